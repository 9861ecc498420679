//! Stamps and explanations.

use muster_ids::{Digest, FunctionId, Name, StampId, UserName};
use serde::{Deserialize, Serialize};

use super::run::Why;

/// A stamp.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// Identity.
    pub id: StampId,
    /// The library item.
    pub function: FunctionId,
    /// The content that is trusted.
    pub digest: Digest,
    /// The Script Author.
    pub author: UserName,
    /// When.
    pub created: String,
}

/// `GET /api/v1/trust/explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    /// The function, by name or identifier.
    pub function: String,
    /// Whose run; the caller's when absent. Only administrators ask for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// On which node; on a node of the pool and site `default` without settings of its own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Name>,
}

/// What would happen now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Explanation {
    /// The function.
    pub function: Name,
    /// Its current version.
    pub digest: Digest,
    /// Whose run.
    pub user: UserName,
    /// The node's name, or `any`.
    pub node: String,
    /// `allow`, `restricted` or `deny`.
    pub outcome: String,
    /// `unrestricted`, `restricted`, or absent when it would be refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Why.
    pub why: Why,
}
