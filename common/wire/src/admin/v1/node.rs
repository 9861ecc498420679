//! Nodes.

use muster_ids::{Name, NodeId};
use serde::{Deserialize, Serialize};

use crate::node::v1::control::Inventory;

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Identity.
    pub id: NodeId,
    /// Unique.
    pub name: Name,
    /// `trusted` or `revoked`.
    pub trust: String,
    /// `active`, `cordoned` or `draining`.
    pub scheduling: String,
    /// `online`, `suspect` or `offline`.
    pub health: String,
    /// Runs that it works on.
    #[serde(default)]
    pub runs: u64,
    /// `TERR`, `R`, `PYTHON`.
    pub capabilities: Vec<String>,
    /// Its pool.
    pub pool: Name,
    /// Its site.
    pub site: Name,
    /// Addresses that it said it has.
    pub addresses: Vec<String>,
    /// The first 8 digits of its key's fingerprint.
    pub key_prefix: String,
    /// When it was approved.
    pub created: String,
    /// When it was last heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// When its certificate ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_expires: Option<String>,
    /// What it last said of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Inventory>,
}

/// `PATCH /api/v1/nodes/{id}`: what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PatchNode {
    /// `active`, `cordoned` or `draining`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<String>,
    /// An existing pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// An existing site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Name>,
}

/// `POST /api/v1/nodes/{id}/untrust`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UntrustNode {
    /// For the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
