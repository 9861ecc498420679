//! Preferences: values that groups give to their members.

use muster_ids::Name;
use serde::{Deserialize, Serialize};

/// A preference as it holds: `GET /api/v1/groups/{name}/preferences` and `GET /api/v1/users/{name}/preferences`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Preference {
    /// The documented display name.
    pub name: String,
    /// What holds, for example `true`.
    pub value: String,
    /// The group that sets it; without one the default holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Name>,
    /// What holds where no group sets it.
    pub default: String,
    /// One sentence.
    pub meaning: String,
}

/// `PUT /api/v1/groups/{name}/preferences/{preference}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SetPreference {
    /// For example `false`.
    pub value: String,
}
