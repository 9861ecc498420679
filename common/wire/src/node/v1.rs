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

/// The versions that this module is, the newest last; one is agreed upon in the first request of a control connection.
/// Since 2 heartbeats can be lines of one request, since 3 small blobs travel in the outcome that names them, since 4 a
/// claim says whether the node keeps engine sessions, since 5 small changes of the trust state come with their hint, since 6
/// receipts name all of the version of the trust state.
pub const PROTOCOLS: [u32; 6] = [1, 2, 3, 4, 5, 6];

/// A DSSE envelope as JSON, opaque here: `muster-pki` opens and verifies it.
pub type Envelope = serde_json::Value;
