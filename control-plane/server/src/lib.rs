//! The control plane: configuration, keys on disk, the four listeners.
//!
//! Invariant: `Config → assemble → run`; nothing listens before everything it needs is there.

#![forbid(unsafe_code)]

pub mod cli;
pub mod command;
pub mod config;
pub mod http;
mod instance;
pub mod keys;
pub mod listen;
mod metrics;
pub mod pkcs11;
pub mod serve;
