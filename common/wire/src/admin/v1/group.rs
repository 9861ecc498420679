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

/// `PUT /api/v1/groups/{name}/licenses`: which features of a license a group gives by itself, in one change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SetLicense {
    /// What the license is called, for the record: a license is a name for features.
    pub license: String,
    /// All features of the license.
    pub of: Vec<String>,
    /// Those that the group gives from now on; the others of the license it gives no more.
    pub features: Vec<String>,
}

/// What such a change did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LicenseSet {
    /// The features that the group did not give before.
    pub given: Vec<String>,
    /// Those that it gave before.
    pub taken: Vec<String>,
}

/// `POST /api/v1/group-imports`: groups, and who is in them, all of it or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ImportGroups {
    /// Groups that shall be there.
    pub groups: Vec<Name>,
    /// Groups in groups.
    pub parents: Vec<GroupInGroup>,
    /// Users in groups.
    pub members: Vec<UserInGroup>,
}

/// That a group inherits from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GroupInGroup {
    /// The one that inherits.
    pub group: Name,
    /// The one that it is in.
    pub parent: Name,
}

/// That a user is in a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UserInGroup {
    /// Where.
    pub group: Name,
    /// Who.
    pub user: UserName,
}

/// What an import made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GroupsImported {
    /// The groups that were not there.
    pub made: Vec<Name>,
    /// How many memberships were not there, of users and of groups.
    pub memberships: u64,
    /// How many were.
    pub had: u64,
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

/// A license feature that somebody has: `GET /api/v1/users/{name}/licenses` and `GET /api/v1/groups/{name}/licenses`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HeldLicense {
    /// The documented display name.
    pub feature: String,
    /// The nearest group that gives it.
    pub from: Name,
}

/// Which license features of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct HeldQuery {
    /// Also those that its members have by the groups that it is in, and by `Everyone`.
    #[serde(default)]
    pub include_inherited: bool,
}
