//! The trust state as it travels: a signed version, and the entries or changes that lead to it.

use std::collections::BTreeMap;

use muster_ids::{Digest, Incarnation};
use serde::{Deserialize, Serialize};

use super::Envelope;

/// Path: `GET ?since=<number>&incarnation=<id>`; without `since` the whole state comes.
pub const TRUST_STATE_PATH: &str = "/node/v1/trust-state";

/// Which state. The payload of the signed envelope is [`TrustHead`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustVersion {
    /// One copy of the database.
    pub incarnation: Incarnation,
    /// Grows with each restore.
    pub epoch: u64,
    /// Grows with each change.
    pub number: u64,
    /// Of the sorted entries.
    pub digest: Digest,
    /// Of the state before.
    pub previous: Digest,
}

/// The payload of the signed envelope beside a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustHead {
    /// The state that follows from the entries.
    pub version: TrustVersion,
    /// Features that a reader must know (`requires` rule).
    pub requires: Vec<String>,
}

/// One change of one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustChange {
    /// Its number.
    pub number: u64,
    /// The entry.
    pub key: String,
    /// Its new value; absent when it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustStateReply {
    /// [`TrustHead`], signed.
    pub head: Envelope,
    /// The whole state …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<BTreeMap<String, String>>,
    /// … or what changed since the number that was asked with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<TrustChange>>,
    /// [`super::epoch::EpochBump`], signed by a root: with the whole state of every epoch but the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bump: Option<Envelope>,
}
