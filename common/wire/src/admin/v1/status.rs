//! One line each: what an administrator should know now.

use serde::{Deserialize, Serialize};

/// `GET /api/v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Version of the control plane.
    pub version: String,
    /// Its clock.
    pub time: String,
    /// Joins that wait; absent without rights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joins_waiting: Option<u64>,
    /// Nodes by health; absent without rights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCounts>,
    /// Runs that wait.
    pub runs_queued: u64,
    /// Runs that run.
    pub runs_running: u64,
    /// Number of the trust state.
    pub trust_number: u64,
    /// When certificates end that nothing works without, the nearest end first; absent without rights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expiries: Vec<Expiry>,
    /// What needs attention, a sentence each.
    pub problems: Vec<String>,
}

/// When something ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Expiry {
    /// `root`, `issuing`, `policy`, `control_plane`, `front_end`, `node` (the first of them), `revocation_list`.
    pub what: String,
    /// Which one, where there are several.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// When.
    pub ends: String,
}

/// Trusted nodes by health, and those that are trusted no longer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NodeCounts {
    /// Heard of within 15 seconds.
    pub online: u64,
    /// Heard of within 45 seconds.
    pub suspect: u64,
    /// Not heard of for longer.
    pub offline: u64,
    /// Untrusted and not deleted.
    #[serde(default)]
    pub revoked: u64,
}
