//! Groups and the license features that they give.

use std::collections::BTreeMap;

use muster_ids::{Name, UserName};
use serde::{Deserialize, Serialize};

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Unique.
    pub name: Name,
    /// Whether it is built in and cannot be deleted.
    pub builtin: bool,
    /// Groups that it is in.
    pub parents: Vec<Name>,
    /// The one of them that goes before the others where preferences differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<Name>,
    /// Preferences that it sets itself, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub preferences: BTreeMap<String, String>,
    /// License features that it gives by itself.
    pub features: Vec<String>,
    /// Direct members.
    pub members: Vec<UserName>,
}

/// `POST /api/v1/groups`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateGroup {
    /// Unique.
    pub name: Name,
}

/// One license feature: `GET /api/v1/licenses`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct License {
    /// The documented display name.
    pub feature: String,
    /// Groups that give it by themselves.
    pub groups: Vec<Name>,
}
