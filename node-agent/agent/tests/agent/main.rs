//! The real binary against a control plane that plays by the protocol, or breaks it on purpose.

mod back_end;
mod crash;
#[expect(dead_code, reason = "the unit tests use the rest")]
mod fixture;
mod joining;
mod limits;
mod node;
mod packages;
mod registration;
mod renewing;
mod services;
mod settings;
mod trusting;
mod warm;
mod working;
