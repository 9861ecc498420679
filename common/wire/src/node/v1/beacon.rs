//! Freshness: a beacon says that a trust state is the current one, at the time of a node's question.

use serde::{Deserialize, Serialize};

use super::trust_state::TrustVersion;

/// The payload of a signed envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beacon {
    /// The current trust state.
    pub version: TrustVersion,
    /// When it was signed, milliseconds since 1970, UTC; for people only, no decision looks at it.
    pub issued: i64,
    /// How long it may be relied on, in seconds, from the moment when the node made the challenge.
    pub time_to_live: u64,
    /// What the node asked with (base64 of 32 bytes): a recorded beacon answers no later question.
    pub challenge: String,
}
