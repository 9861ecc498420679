//! A join token as the control plane knows it: what it grants, to whom, how often and until when.
//!
//! ```text
//!   created ──► live ──last use──► spent
//!                │ │
//!                │ └── time ─────► expired
//!                └──── revoke ───► revoked
//! ```
//!
//! Invariant: only a live token lets anybody in, or one that is spent the node whose key has used it before: a retry
//! is the same use. A token grants no more than it says, whatever the node asks for. Times are milliseconds since
//! 1970, UTC.

mod pattern;

use std::net::IpAddr;

use muster_ids::{Name, TokenId};

use crate::{
    join::{Applicant, Capability},
    node::words,
};

pub use pattern::{AddressPattern, NamePattern, PatternError};

/// The most uses of one token.
pub const MOST_USES: u64 = 100_000;
/// The shortest and the longest life of a token, milliseconds: a minute and a year.
pub const LIFETIME_MS: (i64, i64) = (60 * 1000, 365 * 24 * 60 * 60 * 1000);

words! {
    /// Where a token stands.
    TokenState, "a state of a join token" {
        /// Lets nodes in.
        Live = "live",
        /// All its uses are used.
        Spent = "spent",
        /// Its time is over.
        Expired = "expired",
        /// Taken back by an administrator, or by a restore.
        Revoked = "revoked",
    }
}

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Its public name.
    pub id: TokenId,
    /// The Ed25519 key that proves its secret, 32 bytes.
    pub public_key: [u8; 32],
    /// The most that a node may offer.
    pub capabilities: Vec<Capability>,
    /// The pool that nodes come into.
    pub pool: Name,
    /// The site that nodes come into.
    pub site: Name,
    /// Names that it is good for; any when absent.
    pub name: Option<NamePattern>,
    /// Addresses that it is good for; any when absent.
    pub address: Option<AddressPattern>,
    /// How many nodes it lets in.
    pub uses: u64,
    /// How many it has let in.
    pub used: u64,
    /// When it was made.
    pub created_at: i64,
    /// By whom.
    pub created_by: String,
    /// When it ends.
    pub expires_at: i64,
    /// When it was taken back.
    pub revoked_at: Option<i64>,
    /// Why it was taken back.
    pub reason: Option<String>,
    /// How often somebody who named it was refused.
    pub refused: u64,
    /// The last refusal: when and why.
    pub last_refused: Option<(i64, String)>,
}

/// Why a token lets this node not in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// There is none of this name.
    #[error("there is no such join token")]
    Unknown,
    /// The proof is not by the token's key, or for another exchange.
    #[error("the join token was not proved")]
    Proof,
    /// Spent, expired or revoked.
    #[error("the join token is {0}")]
    Over(TokenState),
    /// The node offers more than it grants.
    #[error(
        "the join token does not grant {0}; offer less (node.capabilities, --capability), or have a token made that grants it"
    )]
    Capability(Capability),
    /// Another pool or site.
    #[error("the join token is for the {0} \"{1}\"; ask for that one, or for none")]
    Place(&'static str, Name),
    /// Another name.
    #[error("the join token is for nodes named \"{0}\"; choose such a name (node.name, --name)")]
    Name(NamePattern),
    /// Another address.
    #[error("the join token is for other addresses than the one that this node comes from")]
    Address,
    /// People must decide.
    #[error(
        "nodes of this kind are approved by {0} people, and a join token cannot stand for them; join without it"
    )]
    People(u32),
}

impl TokenRefused {
    /// The word in the audit log and in the list of tokens.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Proof => "wrong proof",
            Self::Over(TokenState::Spent) => "spent",
            Self::Over(TokenState::Expired) => "expired",
            Self::Over(_) => "revoked",
            Self::Capability(_) => "other capability",
            Self::Place("pool", _) => "other pool",
            Self::Place(_, _) => "other site",
            Self::Name(_) => "other name",
            Self::Address => "other address",
            Self::People(_) => "needs people",
        }
    }

    /// Whether the one who asked has proved the secret, and may be told what is wrong. Everybody else gets one and
    /// the same refusal.
    pub fn may_be_told(&self) -> bool {
        !matches!(self, Self::Unknown | Self::Proof | Self::Over(_))
    }
}

impl JoinToken {
    /// Where it stands at `now`.
    pub fn state(&self, now: i64) -> TokenState {
        if self.revoked_at.is_some() {
            TokenState::Revoked
        } else if now >= self.expires_at {
            TokenState::Expired
        } else if self.used >= self.uses {
            TokenState::Spent
        } else {
            TokenState::Live
        }
    }

    /// Whether it may be used at `now`, or used again by a node that has `used_it` before.
    pub fn may_be_used(&self, used_it: bool, now: i64) -> Result<(), TokenRefused> {
        match self.state(now) {
            TokenState::Live => Ok(()),
            TokenState::Spent if used_it => Ok(()),
            over => Err(TokenRefused::Over(over)),
        }
    }

    /// What the applicant who came from `source` is granted: all that it asks for, in the token's pool and site.
    pub fn grant(&self, applicant: &Applicant, source: IpAddr) -> Result<Applicant, TokenRefused> {
        let beyond = |capability: &&Capability| !self.capabilities.contains(capability);
        if let Some(capability) = applicant.capabilities.iter().find(beyond) {
            return Err(TokenRefused::Capability(*capability));
        }
        let other = |asked: &Option<Name>, granted: &Name| {
            asked.as_ref().is_some_and(|asked| asked.key() != granted.key())
        };
        if other(&applicant.pool, &self.pool) {
            return Err(TokenRefused::Place("pool", self.pool.clone()));
        }
        if other(&applicant.site, &self.site) {
            return Err(TokenRefused::Place("site", self.site.clone()));
        }
        if let Some(pattern) = self.name.as_ref().filter(|name| !name.matches(&applicant.name)) {
            return Err(TokenRefused::Name(pattern.clone()));
        }
        if self
            .address
            .as_ref()
            .is_some_and(|address| !address.matches(source))
        {
            return Err(TokenRefused::Address);
        }
        Ok(Applicant {
            pool: Some(self.pool.clone()),
            site: Some(self.site.clone()),
            ..applicant.clone()
        })
    }
}

#[cfg(test)]
mod tests;
