//! Pools and sites.

use muster_ids::Name;
use serde::{Deserialize, Serialize};

/// A pool or a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Unique among its kind.
    pub name: Name,
    /// When it was made.
    pub created: String,
    /// How many nodes are in it.
    pub nodes: u64,
}

/// `POST /api/v1/pools`, `POST /api/v1/sites`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreatePlace {
    /// Unique among its kind.
    pub name: Name,
}
