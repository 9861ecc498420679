//! The certificate authority.

use serde::{Deserialize, Serialize};

/// `GET /api/v1/authority`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// Fingerprints of the roots, `sha256:…`; nodes pin one of them.
    pub root_fingerprints: Vec<String>,
    /// The roots in PEM.
    pub roots_pem: String,
    /// When the issuing intermediate ends.
    pub intermediate_expires: String,
    /// The collective.
    pub collective: String,
    /// How far a rotation is: `idle`, `prepared`, `activated`, `tainted` or `aborted`.
    pub stage: String,
    /// Every authority that there was, the first one first.
    pub authorities: Vec<OneAuthority>,
    /// How the trusted nodes keep up; for administrators only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<AuthorityNode>>,
}

/// One authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct OneAuthority {
    /// The fingerprint of its root.
    pub root: String,
    /// `prepared`, `active`, `retired`, `tainted` or `revoked`.
    pub state: String,
    /// When the root ends; absent once it is revoked, as the next two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_expires: Option<String>,
    /// When the issuing intermediate ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intermediate_expires: Option<String>,
    /// When the policy certificate ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_expires: Option<String>,
    /// When it was made.
    pub prepared: String,
    /// When it began to sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated: Option<String>,
    /// When it was said that it must be left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tainted: Option<String>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
}

/// How one node keeps up with a rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AuthorityNode {
    /// The node.
    pub name: muster_ids::Name,
    /// `online`, `suspect` or `offline`.
    pub health: String,
    /// Fingerprints of the roots that it said it knows.
    pub roots: Vec<String>,
    /// The root of the authority whose certificate it uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// `POST /api/v1/authority/rotation`: one step; the answer is [`Authority`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// `prepare`, `activate`, `taint`, `revoke` or `abort`.
    pub step: String,
    /// Even if nodes do not keep up.
    #[serde(default)]
    pub force: bool,
}
