//! The library: folders, items and their permissions.

use std::collections::BTreeMap;

use muster_ids::{LibraryItemId, Name, UserName};
use serde::{Deserialize, Serialize};

/// A folder, or something in one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LibraryItem {
    /// Identity; that of the function, where it is one.
    pub id: LibraryItemId,
    /// `folder`, `data_function`, `visualization_mod`, `action_mod`, `external_action`, `script`, `custom_query`,
    /// `job_script` or `analysis`.
    pub kind: String,
    /// Unique in its folder.
    pub name: Name,
    /// Where it is: `/Team/Forecasts`, `/` for the root.
    pub path: String,
    /// For people.
    pub description: String,
    /// Names its current content, as stamps and blocks do; absent for folders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Whether it has the permissions of the folder that it is in.
    pub inherits: bool,
    /// What the caller may do with it: `read` or `write`.
    pub right: String,
    /// When it was made.
    pub created: String,
    /// By whom; absent for the root, and for users who are gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<UserName>,
    /// When it was changed last.
    pub updated: String,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<UserName>,
}

/// `GET /api/v1/library`: what is in a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct LibraryQuery {
    /// The folder, by path or identifier; the root when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// At most this many, 1 to 1000; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// From the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `POST /api/v1/library/folders`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateFolder {
    /// The folder that it comes into, by path or identifier.
    pub folder: String,
    /// Its name, without `/`.
    pub name: Name,
    /// For people, one line.
    #[serde(default)]
    pub description: String,
}

/// `PATCH /api/v1/library/{item}`: what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PatchItem {
    /// The folder that it is moved into, by path or identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Its new name; data functions keep theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Its new description, one line; that of a data function is in its definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// `DELETE /api/v1/library/{item}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct DeleteItem {
    /// Whether a folder goes with what is in it; otherwise only an empty one does.
    #[serde(default)]
    pub recursive: bool,
}

/// One permission, for exactly one of a user, a group and all who have a license feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = LibraryGrant))]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// The group, with all who are in it by inheritance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Name>,
    /// The license feature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// `read`, or `write`, which includes it.
    pub right: String,
}

/// The permissions that hold for an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = LibraryPermissions))]
#[serde(deny_unknown_fields)]
pub struct Permissions {
    /// Whether they are those of a folder that it is in.
    pub inherits: bool,
    /// Where they are set.
    pub from: String,
    /// What they are. Administrators may do everything besides.
    pub grants: Vec<Grant>,
    /// Of what they were read from, for `PUT`: another one whenever the item, the folder that it inherits from or the
    /// permissions of either were changed.
    pub version: String,
}

/// `PUT /api/v1/library/{item}/permissions`: all permissions of the item itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = SetLibraryPermissions))]
#[serde(deny_unknown_fields)]
pub struct SetPermissions {
    /// Whether it has those of its folder; then `grants` is empty.
    #[serde(default)]
    pub inherits: bool,
    /// Its own. Nobody but administrators may read an item without any.
    #[serde(default)]
    pub grants: Vec<Grant>,
    /// Only while they have this version: what was read is what is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// `POST /api/v1/library/items`: a new item, or a new version of the one of this name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = SaveLibraryItem))]
#[serde(deny_unknown_fields)]
pub struct SaveItem {
    /// The folder that it is in, by path or identifier.
    pub folder: String,
    /// Its name there, without `/`.
    pub name: Name,
    /// Any kind but `folder` and `data_function`.
    pub kind: String,
    /// For people, one line.
    #[serde(default)]
    pub description: String,
    /// The manifest, whose bytes are part of the digest; of an analysis, the analysis.
    pub manifest: String,
    /// The files, in base64 by path; at most 12 MiB together.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// One version of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = LibraryVersion))]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// Names its content.
    pub digest: String,
    /// Whether it is the current one.
    pub current: bool,
    /// When it was first saved.
    pub created: String,
    /// By whom; absent for users who are gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<UserName>,
}

/// `GET /api/v1/library/{item}/content` and `…/file`: which version, and of that which file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct ContentQuery {
    /// The version; the current one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The file, for `file` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// What a version of an item holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = LibraryContent))]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// The item.
    pub item: LibraryItemId,
    /// What it is.
    pub kind: String,
    /// Names the version.
    pub digest: String,
    /// Its manifest, as it came.
    pub manifest: String,
    /// Its files, by path.
    pub files: Vec<File>,
}

/// A file of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = LibraryFile))]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Where it is in the item.
    pub path: String,
    /// SHA-512 of its bytes, as the digest of the item covers it.
    pub digest: String,
    /// In bytes.
    pub size: u64,
}
