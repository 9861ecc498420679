//! A data function as people write it, the library keeps it and nodes get it.

use std::collections::BTreeMap;

use muster_ids::Name;
use serde::{Deserialize, Serialize};

/// The whole definition. Its canonical form (docs/reference/data-function.md) is what a stamp trusts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FunctionDefinition {
    /// Unique in the library.
    pub name: Name,
    /// `r`, `python` or `terr`.
    pub language: String,
    /// The script, as it is.
    pub script: String,
    /// What a caller gives.
    #[serde(default)]
    pub inputs: Vec<Parameter>,
    /// What a caller gets.
    #[serde(default)]
    pub outputs: Vec<Parameter>,
    /// The locked list of packages that unrestricted runs have besides the engine's own, one a line: of Python
    /// `name==version --hash=sha256:…`, of R `name version sha256:…`.
    #[serde(default)]
    pub packages: Vec<String>,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Limits below the node's own.
    #[serde(default)]
    pub limits: Limits,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// The variable in the script.
    pub name: String,
    /// `value`, `column` or `table`.
    pub kind: String,
    /// Allowed types (services.md 4.2 names, for example `Real`); empty allows all.
    #[serde(default)]
    pub types: Vec<String>,
    /// Whether a caller may leave it out (inputs only).
    #[serde(default)]
    pub optional: bool,
}

/// What a run may use at the most; absent means the node's own limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Wall time in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_seconds: Option<u64>,
    /// Memory in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
}

/// One argument of a run: data that is stored as a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BlobRef {
    /// What it is named by.
    pub digest: muster_ids::Digest,
    /// In bytes.
    pub size: u64,
    /// `csv` or `json`.
    pub format: String,
}

/// Arguments or results by parameter name.
pub type Blobs = BTreeMap<String, BlobRef>;
