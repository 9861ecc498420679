//! Version 1 of the node protocol.

pub mod beacon;
pub mod control;
pub mod epoch;
pub mod join;
pub mod outcome;
pub mod output;
pub mod renew;
pub mod run;
pub mod trust_state;

/// The version that this module is; negotiated in the first request of a control connection.
pub const PROTOCOL: u32 = 1;

/// A DSSE envelope as JSON, opaque here: `muster-pki` opens and verifies it.
pub type Envelope = serde_json::Value;
