//! Settings that loosen or tighten trust; they travel in the trust state.

use serde::{Deserialize, Serialize};

/// A setting at one scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The documented name, for example `terr.restricted.execution.mode`.
    pub name: String,
    /// `all`, `site:<name>`, `pool:<name>` or `node:<name>`.
    pub scope: String,
    /// For example `true`, or `python_service,r_service`.
    pub value: String,
}

/// A setting that exists: its meaning and default, and where it is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SettingInfo {
    /// The documented name.
    pub name: String,
    /// What holds where nothing is set.
    pub default: String,
    /// One sentence.
    pub meaning: String,
    /// Where it is set.
    pub values: Vec<Setting>,
}
