//! State machines and rules of the control plane: pure, without clock, random numbers, files or sockets.
//!
//! Invariant: a transition consumes a state and returns the next one or the reason why it may not happen;
//! nothing here performs an effect.

#![forbid(unsafe_code)]

pub mod address;
pub mod audit;
pub mod authority;
pub mod join;
pub mod join_token;
pub mod library;
pub mod node;
pub mod permission;
pub mod preference;
pub mod run;
