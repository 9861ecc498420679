//! What the jail lets through and what it stops, with real jails on this machine.
//!
//! As root every wall is tried with ids of their own and control groups, and again as an ordinary user; as an
//! ordinary user only the latter. A kernel that lacks what is needed fails these tests, as it fails the product.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the launcher as its users do"
)]

mod engines;
mod files;
mod harness;
mod hidden;
mod lies;
mod life;
mod limits;
mod network;
mod policy;
mod start;
mod stays;
mod walls;
