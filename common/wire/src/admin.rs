//! Between people's programs and the control plane.

pub mod v1;
