//! A join request, from the reveal to the certificate.
//!
//! ```text
//!            reveal (same key: renewed), vote (not the last one that is needed)
//!              ┌──┐
//!   reveal ──► Pending ──last vote, token──► Approved ──issue──► Issued
//!                │ │ │
//!                │ │ └─ 24 h after the last reveal, over quota, restore ──► Expired
//!                │ └─── reject ──────────────────────────────────────────► Rejected
//!                └───── another key, same name ──────────────────────────► Superseded   (the other was approved)
//! ```
//!
//! Invariant: only `Pending` can be approved, and only while the code that the approver read is the code of
//! the transcript in the row. A vote counts for one transcript: a renewed request has none. Times are milliseconds
//! since 1970, UTC.

pub mod approval;

use muster_ids::{Digest, JoinId, Name, NodeId, TokenId};
use serde::{Deserialize, Serialize};

use approval::Vote;

/// How long a verification code can be approved after the reveal that made it (protocols.md 2).
pub const CODE_LIFETIME_MS: i64 = 60 * 60 * 1000;
/// How long a request waits after its last reveal (protocols.md 2).
pub const REQUEST_LIFETIME_MS: i64 = 24 * 60 * 60 * 1000;
/// How far the times in a hello may be off the control plane's clock.
pub const CLOCK_SKEW_MS: i64 = 5 * 60 * 1000;

/// What a node can do for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Capability {
    /// Runs `terr` functions.
    Terr,
    /// Runs open-source R functions.
    R,
    /// Runs Python functions.
    Python,
}

impl Capability {
    /// Every capability, in the order in which people see them.
    pub const ALL: [Self; 3] = [Self::Terr, Self::R, Self::Python];

    /// The documented name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Terr => "TERR",
            Self::R => "R",
            Self::Python => "PYTHON",
        }
    }
}

impl std::fmt::Display for Capability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Capability {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|capability| capability.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| "a capability is TERR, R or PYTHON".to_owned())
    }
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinState {
    /// Waits for an administrator.
    Pending,
    /// Approved; the certificate is being issued in the same transaction or by the next poll.
    Approved,
    /// The certificate exists.
    Issued,
    /// An administrator said no.
    Rejected,
    /// Nobody answered in time.
    Expired,
    /// Another key took its place.
    Superseded,
}

impl JoinState {
    /// The name in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Issued => "issued",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
        }
    }
}

impl std::str::FromStr for JoinState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [
            Self::Pending,
            Self::Approved,
            Self::Issued,
            Self::Rejected,
            Self::Expired,
            Self::Superseded,
        ]
        .into_iter()
        .find(|state| state.as_str() == text)
        .ok_or_else(|| format!("\"{text}\" is not a state of a join request"))
    }
}

/// What a node said about itself; all of it is inside the transcript that the approver's code covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applicant {
    /// The name that it asks for.
    pub name: Name,
    /// What it offers to run.
    pub capabilities: Vec<Capability>,
    /// The pool that it asks for.
    pub pool: Option<Name>,
    /// The site that it asks for.
    pub site: Option<Name>,
    /// The addresses that it says it has.
    pub addresses: Vec<String>,
    /// The version of its agent.
    pub agent_version: String,
    /// When the node made its hello, by its own clock: of two exchanges of one key the later counts, so that a
    /// recorded one cannot take the place of the present one.
    pub asked_at: i64,
}

/// One request. There is one row for a node key; a new exchange renews the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// Derived from the transcript, so another after each exchange.
    pub id: JoinId,
    /// Digest of the node's public key (SubjectPublicKeyInfo).
    pub key: Digest,
    /// The node's public key (SubjectPublicKeyInfo, DER).
    pub spki: Vec<u8>,
    /// The transcript T.
    pub transcript: Digest,
    /// What the node said.
    pub applicant: Applicant,
    /// The address that the reveal came from.
    pub source: String,
    /// When the row was first made.
    pub created_at: i64,
    /// When the last valid reveal came.
    pub revealed_at: i64,
    /// The largest poll counter seen.
    pub poll_counter: u64,
    /// Where it stands.
    pub state: JoinState,
    /// Why it was rejected, or which request took its place.
    pub reason: Option<String>,
    /// The known node whose key signs this request.
    pub renewal_of: Option<NodeId>,
    /// The node, once issued.
    pub node: Option<NodeId>,
    /// The join token that it names. People never approve such a request.
    pub token: Option<TokenId>,
    /// Who has approved this transcript, where several people must.
    pub votes: Vec<Vote>,
    /// Number of changes; compare-and-swap on it decides between two administrators.
    pub version: i64,
}

/// Why a transition may not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefused {
    /// Not waiting any more.
    #[error("the request is {} already", .0.as_str())]
    NotPending(JoinState),
    /// The code is too old; the node makes a new one by itself.
    #[error(
        "the verification code is older than an hour; read the new one on the node with muster-node status"
    )]
    CodeTooOld,
    /// A poll that was sent before.
    #[error("the poll counter {0} was used before")]
    Replayed(u64),
    /// A later exchange of the same key came before.
    #[error("a later request of the same key was seen already; begin the join again")]
    Older,
    /// Only an approved request gets a certificate.
    #[error("the request is {} and was not approved", .0.as_str())]
    NotApproved(JoinState),
    /// The same person again, in whatever session.
    #[error(
        "you have approved this request already; another person must read the code on the node and approve it"
    )]
    SamePerson,
    /// Tokens and people do not mix: offers for tokens are not budgeted against guessing.
    #[error("the request names a join token and cannot be approved by a person; join without the token")]
    NamesToken,
}

impl JoinRequest {
    /// A valid reveal with this key came again: the row is renewed when it still waits or has ended without a
    /// certificate, and left alone when it was approved.
    ///
    /// A rejected request stays rejected until an hour has passed since the rejection was last asked for, so
    /// that a node which retries does not undo an administrator's answer; then it waits anew.
    pub fn renew(self, exchange: Self) -> Result<Self, JoinRefused> {
        if exchange.applicant.asked_at <= self.applicant.asked_at {
            return Err(JoinRefused::Older);
        }
        match self.state {
            JoinState::Pending | JoinState::Expired | JoinState::Superseded => {}
            JoinState::Rejected if exchange.revealed_at - self.revealed_at >= CODE_LIFETIME_MS => {}
            JoinState::Issued | JoinState::Approved | JoinState::Rejected => {
                // A node that lost its certificate asks again with the same key: that is a new question.
                if self.state != JoinState::Issued {
                    return Err(JoinRefused::NotPending(self.state));
                }
            }
        }
        let created_at = if self.state == JoinState::Pending {
            self.created_at
        } else {
            exchange.created_at
        };
        Ok(Self {
            created_at,
            version: self.version + 1,
            ..exchange
        })
    }

    /// The request as it stands at `now`: a waiting one expires by time alone.
    pub fn at(mut self, now: i64) -> Self {
        if self.state == JoinState::Pending && now - self.revealed_at >= REQUEST_LIFETIME_MS {
            self.state = JoinState::Expired;
        }
        self
    }

    /// Whether the code of this transcript may still be typed.
    pub fn code_is_fresh(&self, now: i64) -> bool {
        now - self.revealed_at < CODE_LIFETIME_MS
    }

    /// It may have its certificate: the last vote that was needed was given, or what stands in place of people says so.
    pub fn approve(self, now: i64) -> Result<Self, JoinRefused> {
        let request = self.at(now);
        if request.state != JoinState::Pending {
            return Err(JoinRefused::NotPending(request.state));
        }
        if !request.code_is_fresh(now) {
            return Err(JoinRefused::CodeTooOld);
        }
        Ok(Self {
            state: JoinState::Approved,
            version: request.version + 1,
            ..request
        })
    }

    /// The certificate of `node` was made.
    pub fn issue(self, node: NodeId) -> Result<Self, JoinRefused> {
        if self.state != JoinState::Approved {
            return Err(JoinRefused::NotApproved(self.state));
        }
        Ok(Self {
            state: JoinState::Issued,
            node: Some(node),
            version: self.version + 1,
            ..self
        })
    }

    /// An administrator said no.
    pub fn reject(self, now: i64, reason: Option<String>) -> Result<Self, JoinRefused> {
        let request = self.at(now);
        if request.state != JoinState::Pending {
            return Err(JoinRefused::NotPending(request.state));
        }
        Ok(Self {
            state: JoinState::Rejected,
            reason,
            version: request.version + 1,
            ..request
        })
    }

    /// Nobody answered, and it must give way: `reason` says to what.
    pub fn expire(self, reason: &str) -> Result<Self, JoinRefused> {
        if self.state != JoinState::Pending {
            return Err(JoinRefused::NotPending(self.state));
        }
        Ok(Self {
            state: JoinState::Expired,
            reason: Some(reason.to_owned()),
            version: self.version + 1,
            ..self
        })
    }

    /// Another request for the same name was approved.
    pub fn supersede(self, by: JoinId) -> Result<Self, JoinRefused> {
        if self.state != JoinState::Pending {
            return Err(JoinRefused::NotPending(self.state));
        }
        Ok(Self {
            state: JoinState::Superseded,
            reason: Some(format!("replaced by the request {by}")),
            version: self.version + 1,
            ..self
        })
    }

    /// A poll with this counter, whose signature was verified. Counters only grow, so that a recorded poll is
    /// worth nothing.
    pub fn poll(self, counter: u64) -> Result<Self, JoinRefused> {
        if counter <= self.poll_counter {
            return Err(JoinRefused::Replayed(counter));
        }
        Ok(Self {
            poll_counter: counter,
            ..self
        })
    }
}

#[cfg(test)]
mod tests;
