//! Join requests. The verification code is never in an answer: the node alone shows it.

use muster_ids::{JoinId, Name, NodeId, TokenId, UserName};
use serde::{Deserialize, Serialize};

/// A join request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// Changes with each exchange.
    pub id: JoinId,
    /// `pending`, `approved`, `issued`, `rejected`, `expired` or `superseded`.
    pub state: String,
    /// The name that the node asks for.
    pub name: Name,
    /// Why the name may be meant to be taken for another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_warning: Option<String>,
    /// What it offers to run.
    pub capabilities: Vec<String>,
    /// The pool that it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// The site that it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Name>,
    /// Addresses that it says it has.
    pub addresses: Vec<String>,
    /// The address that the request came from.
    pub source: String,
    /// Version of its agent.
    pub agent_version: String,
    /// The first 8 digits of its key's fingerprint; the whole is read on the node.
    pub key_prefix: String,
    /// When it first asked.
    pub created: String,
    /// How long it has waited, in seconds.
    pub waiting_seconds: i64,
    /// When it expires.
    pub expires: String,
    /// Why it was rejected, or what took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many people must approve it.
    #[serde(default = "one")]
    pub approvals_needed: u32,
    /// Who has approved it, where several people must.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
    /// In the answer to an approval: earlier ones that do not count any more, because who gave them may not now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub void_approvals: Vec<UserName>,
    /// Nodes that there are already of the same name or key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<EarlierNode>,
    /// The join token that let it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenId>,
    /// The known node whose key signs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_of: Option<NodeId>,
    /// The node, once issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
}

fn one() -> u32 {
    1
}

/// One person's approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Who.
    pub user: UserName,
    /// When.
    pub at: String,
}

/// A node that there is already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EarlierNode {
    /// Which.
    pub id: NodeId,
    /// Its name.
    pub name: Name,
    /// `trusted` or `revoked`.
    pub trust: String,
    /// Whether it has the key of the request.
    pub same_key: bool,
}

/// `POST /api/v1/joins/match`: which request has this code? Nothing is changed.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MatchJoin {
    /// 12 digits, as the node shows them.
    pub code: String,
}

/// `POST /api/v1/joins/{id}/approve`: exactly one of both, read on the node.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ApproveJoin {
    /// 12 digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// `sha256:` and 64 digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

/// `POST /api/v1/joins/{id}/reject`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RejectJoin {
    /// Shown on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /api/v1/joins/renewals/approve`: requests of known nodes whose certificates have ended, as
/// `GET /api/v1/joins/renewals` lists them. Their keys sign them, so no code is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ApproveRenewals {
    /// Which, 1 to 1,000.
    pub joins: Vec<JoinId>,
}

/// What became of each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ApprovedRenewals {
    /// They have their certificates.
    pub approved: Vec<Join>,
    /// They were left as they are.
    pub refused: Vec<RefusedRenewal>,
}

/// A request that was not approved with the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RefusedRenewal {
    /// Which.
    pub id: JoinId,
    /// Why, and what to do.
    pub detail: String,
}
