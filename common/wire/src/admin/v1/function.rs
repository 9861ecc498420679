//! Data functions of the library.

use muster_ids::{Digest, FunctionId, UserName};
use serde::{Deserialize, Serialize};

use crate::function::FunctionDefinition;

/// A function in its current version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// Identity.
    pub id: FunctionId,
    /// Digest of the canonical form of this version.
    pub digest: Digest,
    /// The definition.
    pub definition: FunctionDefinition,
    /// Whether a stamp trusts exactly this version.
    pub trusted: bool,
    /// Who wrote this version; nobody any more where the user was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<UserName>,
    /// When.
    pub updated: String,
}

/// `POST /api/v1/functions`: where a new function comes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct RegisterQuery {
    /// The folder of the library, by path or identifier; the root when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
}

/// `POST /api/v1/functions/{id}/trust`: trusts the version with this digest, which the author has read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TrustFunction {
    /// Must be the current version's, so that what was read is what is trusted.
    pub digest: Digest,
}

/// `POST /api/v1/functions/{id}/untrust`: what became of the stamps on a function.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Untrusted {
    /// How many stamps were removed.
    pub removed: u64,
    /// How many stay: other people made them, and the caller is no administrator.
    #[serde(default)]
    pub others: u64,
}

/// `PUT /api/v1/functions/{id}/policy`: what the unrestricted runs of a function may use at the most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SetFunctionPolicy {
    /// `{"read", "write", "network": {"class", "to"}, "programs", "limits"}`, see docs/reference/run-policy.md.
    pub policy: serde_json::Value,
}

/// The policy of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FunctionPolicy {
    /// Which function.
    pub function: FunctionId,
    /// In its canonical form; absent where none is set, and the setting `unrestricted_policy` alone holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<serde_json::Value>,
    /// Digest of the canonical form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}
