//! Stamps on items of the library, and the code in items that they are for.

use muster_ids::{LibraryItemId, StampId, UserName};
use serde::{Deserialize, Serialize};

/// A stamp: that one version of a script, data function or custom query is trusted for all who can read the item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// Identity.
    pub id: StampId,
    /// The library item that it is on.
    pub item: LibraryItemId,
    /// `script`, `data_function` or `custom_query`.
    pub kind: String,
    /// The content that is trusted, as the library spells it: `sha256:…` of data functions, `sha512=…` of the others.
    pub hash: String,
    /// Who trusted it.
    pub author: UserName,
    /// When.
    pub created: String,
}

/// `GET /api/v1/trust/stamps`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct StampQuery {
    /// Only those on this item, by path or identifier; all that the caller may read when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// At most this many, 1 to 1000; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// From the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `POST /api/v1/library/{item}/trust`, `…/untrust` and `POST /api/v1/library/untrust`: which contents. Without either
/// field it is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StampChoice {
    /// Hashes of scripts and data functions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scripts: Option<Vec<String>>,
    /// Hashes of custom queries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queries: Option<Vec<String>>,
}

/// What was trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Stamped {
    /// The item.
    pub item: LibraryItemId,
    /// The stamps that were made.
    pub stamped: Vec<Stamp>,
    /// Those that were on it already.
    pub already: Vec<Stamp>,
}

/// What is trusted no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Unstamped {
    /// The stamps that were removed, at most 1,000.
    pub removed: Vec<Stamp>,
    /// The hashes that were asked for and were not trusted there.
    pub already: Vec<String>,
    /// Whether there are more to be removed: ask again.
    pub more: bool,
    /// Stamps that were asked for and stay: other people made them, and the caller is no administrator. At most 1,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Stamp>,
}

/// `GET /api/v1/library/{item}/code`: the code in the current version of an item, which stamps on it can be for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ItemCode {
    /// What it is called in the item.
    pub name: String,
    /// `script`, `data_function` or `custom_query`.
    pub kind: String,
    /// Its content.
    pub hash: String,
    /// `ironpython`, `javascript`, `sql`, `r`, `python` or `terr`.
    pub language: String,
    /// The item that holds it: the item itself, or one that an analysis names.
    pub held_by: LibraryItemId,
    /// Whether a stamp on this item trusts it.
    pub stamped: bool,
}
