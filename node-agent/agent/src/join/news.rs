//! What a join tells people: while it goes on, and when it has ended.

use std::time::Duration;

use muster_ids::{Digest, TokenId};
use muster_pki::{SignError, join::VerificationCode};

use super::OfferError;
use crate::credentials::CredentialsError;

/// Why a join ended without a membership.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// An administrator said no.
    #[error("the join of this node was rejected{}; ask the administrator, then run muster-node join again", .0.as_ref().map(|reason| format!(" (\"{}\")", reason.escape_debug())).unwrap_or_default())]
    Rejected(Option<String>),
    /// Nobody answered in time.
    #[error(
        "the join request expired before anybody approved it; run muster-node join again and have its code approved within a day"
    )]
    Expired,
    /// Another key took its place.
    #[error("another request took the place of this one{}; if that was not you, tell the administrator, else run muster-node join again", .0.as_ref().map(|reason| format!(" (\"{}\")", reason.escape_debug())).unwrap_or_default())]
    Superseded(Option<String>),
    /// Not the collective that is pinned.
    #[error("the join was stopped")]
    Offer(#[from] OfferError),
    /// The state could not be stored.
    #[error("the join was stopped")]
    Credentials(#[from] CredentialsError),
    /// The key does not work.
    #[error("the join was stopped: this node's key cannot sign")]
    Sign(#[from] SignError),
    /// The request could not be made.
    #[error("the join was stopped: no certificate request could be made")]
    Csr(#[from] muster_pki::csr::RequestError),
    /// No address to ask.
    #[error(
        "no control plane is named; run muster-node join http://HOST:9080, or set control_plane.registration in node.toml"
    )]
    NoAddress,
    /// There is nothing to join.
    #[error("this node is not joining; run muster-node status")]
    NotJoining,
}

/// What a person may want to hear while a join goes on.
#[derive(Debug)]
pub enum News {
    /// A code to be approved.
    Code {
        /// The code.
        code: VerificationCode,
        /// The digest of the node's key.
        fingerprint: Digest,
        /// Fingerprints of the roots that the control plane showed.
        roots: Vec<Digest>,
        /// Whether one of them is pinned here.
        pinned: bool,
    },
    /// A join token stands in place of a person.
    Token {
        /// Which.
        token: TokenId,
        /// The digest of the node's key.
        fingerprint: Digest,
    },
    /// An administrator approved; the certificate is on its way.
    Approved,
    /// The clocks differ: the control plane's minus this one, in milliseconds.
    Clock(i64),
    /// Something did not work and is tried again.
    Again {
        /// What.
        why: String,
        /// After this time.
        wait: Duration,
    },
}

/// How a join ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// The control plane was proved by a pin.
    Trusted,
    /// A person must compare fingerprints: `muster-node confirm`.
    Unconfirmed,
}
