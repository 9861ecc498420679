//! Join tokens. The secret is in the answer to `POST /api/v1/join-tokens` and nowhere else.

use muster_ids::{Name, TokenId};
use serde::{Deserialize, Serialize};

/// A join token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct JoinToken {
    /// Its public name.
    pub id: TokenId,
    /// `live`, `spent`, `expired` or `revoked`.
    pub state: String,
    /// The most that a node may offer.
    pub capabilities: Vec<String>,
    /// The pool that nodes come into.
    pub pool: Name,
    /// The site that nodes come into.
    pub site: Name,
    /// Names that it is good for: `*` stands for any characters, `?` for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Addresses that it is good for: a network, or an address with `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// How many nodes it lets in.
    pub uses: u64,
    /// How many it has let in.
    pub used: u64,
    /// When it was made.
    pub created: String,
    /// By whom.
    pub created_by: String,
    /// When it ends.
    pub expires: String,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
    /// Why it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many joins that named it were refused, as counted every minute.
    pub refused: u64,
    /// The last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_refused: Option<Refusal>,
}

/// Why a join was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// When.
    pub at: String,
    /// `spent`, `expired`, `revoked`, `wrong proof`, `other capability`, `other pool`, `other site`, `other name`,
    /// `other address` or `needs people`.
    pub why: String,
}

/// `POST /api/v1/join-tokens`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateJoinToken {
    /// The most that a node may offer; everything when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// The pool that nodes come into, `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// The site that nodes come into, `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Name>,
    /// How many nodes it lets in, 1 to 100,000; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u64>,
    /// For how many seconds, 60 to 31,536,000 (a year); an hour when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// Names that it is good for: `*` stands for any characters, `?` for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Addresses that it is good for: a network such as `10.1.0.0/16`, an address, or one with `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// The answer to `POST /api/v1/join-tokens`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewJoinToken {
    /// The token to be handed out, with its secret: shown this once.
    pub token: String,
    /// What it grants.
    pub join_token: JoinToken,
}

/// `POST /api/v1/join-tokens/{id}/revoke`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RevokeJoinToken {
    /// For the list and the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
