//! The only HTTP client of the product: nodes and the command line reach a control plane through it.
//!
//! Invariant: nothing that the other side does can make a call wait for ever or fill the memory. Every wait has
//! a deadline and every answer a limit ([`Limits`]); a dead peer is noticed by pings. Random numbers and the
//! TLS configuration, with whom it trusts, are parameters.

#![forbid(unsafe_code)]

mod body;
mod connection;
mod download;
mod endpoint;
mod error;
mod lines;
mod multipart;
pub mod receipt;
mod request;
mod rest;
mod transport;
mod wire;

pub use connection::{Answer, Connection};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{ClientError, Fault};
pub use lines::Lines;
pub use multipart::Multipart;
pub use request::Request;
pub use rest::Rest;
pub use transport::{Limits, Transport};
