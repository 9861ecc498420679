//! What the control plane does by itself, again and again.
//!
//! Each function takes no input, reads the truth, and may run twice or at two control planes at once.

mod drain;
mod leases;
mod liveness;
mod tidy;
