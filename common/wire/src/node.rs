//! Between nodes and the control plane.

pub mod v1;
