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
    /// What needs attention, a sentence each.
    pub problems: Vec<String>,
}

/// Trusted nodes by health.
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
}
