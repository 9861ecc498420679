//! Epochs: the signed word that an older database was put back on purpose, and what nodes still know.

use std::collections::BTreeMap;

use muster_ids::{CollectiveId, Incarnation};
use serde::{Deserialize, Serialize};

use super::Envelope;

/// `POST`: [`Known`], answered by an empty 204.
pub const KNOWN_PATH: &str = "/node/v1/known";

/// The largest body of [`KNOWN_PATH`], bytes: the trust state of a large collective has some MiB.
pub const MAX_KNOWN: usize = 16 * 1024 * 1024;

/// One copy of the database in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The copy.
    pub incarnation: Incarnation,
    /// The epoch.
    pub epoch: u64,
}

/// The payload of an epoch bump, signed by a root itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochBump {
    /// Whose database.
    pub collective: CollectiveId,
    /// The copy that was put back.
    pub from: Line,
    /// What it is from now on.
    pub to: Line,
    /// When it was signed, milliseconds since 1970, UTC; for people only.
    pub issued: i64,
}

/// What a node holds from before the present epoch: asked for by the welcome, given before anything is granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The trust state as it is stored; absent when none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<KnownState>,
}

/// A trust state with the signature that it came with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownState {
    /// [`super::trust_state::TrustHead`], signed.
    pub head: Envelope,
    /// Every entry.
    pub entries: BTreeMap<String, String>,
}
