//! The node agent: joins a collective, obeys what is trusted, runs what was granted.
//!
//! Invariant: the agent only dials. It believes what was signed under the collective's roots, decides every run
//! once more by itself, and keeps each result until the control plane has it.

#![forbid(unsafe_code)]

pub mod agent;
pub mod applicant;
pub mod capability;
pub mod cli;
pub mod config;
pub mod credentials;
pub mod doctor;
pub mod engines;
pub mod envelope;
pub mod function;
pub mod home;
pub mod inventory;
pub mod join;
pub mod leave;
pub mod link;
pub mod membership;
pub mod metrics;
pub mod operations;
pub mod receipt;
pub mod renew;
pub mod revoked;
pub mod roots;
pub mod run;
pub mod service;
#[cfg(feature = "sim")]
pub mod sim;
pub mod spool;
pub mod status;
pub mod trust;
pub mod warm;

#[cfg(test)]
#[path = "../tests/agent/fixture.rs"]
#[expect(dead_code, reason = "the integration tests use the rest")]
mod fixture;

/// An error with its causes in one line, as people read it.
pub fn sentence(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
