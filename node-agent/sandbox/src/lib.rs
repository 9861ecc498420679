//! The jail.

pub mod protocol;
