//! The lineage of a node's certificates: each renewal is the next generation under a new key.
//!
//! ```text
//!    generation G, key K ──renew (new key K')──► G+1 issued, not used ──first use──► generation G+1, key K'
//!          ▲                     │      ▲                │                                │
//!          └── K stays good ─────┘      └─ same K' ──────┘            G: good for [`OVERLAP_MS`] more, then refused
//!
//!    under G after the first use of G+1:  another key ──► clone      K' again ──► its certificate again
//!    two certificates of G+1:  the second one that is used ──► clone
//! ```
//!
//! Invariants: a holder that stores its next key before it asks, and its next certificate before it uses it, is never
//! taken for two, wherever it crashes. Two holders that have both renewed are always found out: only the first use of
//! a generation counts, and the other holder is left with a certificate or a key that the lineage has passed by.

pub mod rotation;

use muster_ids::Digest;

/// How long a certificate is good after the first use of the one that replaced it: for what was under way.
pub const OVERLAP_MS: i64 = 10 * 60 * 1000;

/// Certificates that may be issued for one generation. An honest node needs one; one that was restored from a backup
/// between asking and using needs another.
pub const UNUSED_AT_MOST: usize = 4;

/// A place in a lineage: where a node stands, or what a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// 1 for the certificate of the join, then one more with each renewal.
    pub generation: u64,
    /// Digest of the public key.
    pub key: Digest,
}

/// What it means that a certificate was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It is the one that the node stands at.
    Current,
    /// It is the next one: the node stands at it from now on.
    First,
    /// The node has gone on; it is good for a while after that.
    Superseded,
    /// Another certificate of its generation was used before: there are two holders.
    Clone,
}

impl Use {
    /// What it means that `shown` was shown by a node that stands at `at`.
    pub fn of(at: Link, shown: Link) -> Self {
        match shown.generation.cmp(&at.generation) {
            std::cmp::Ordering::Greater => Self::First,
            std::cmp::Ordering::Less => Self::Superseded,
            std::cmp::Ordering::Equal if shown.key == at.key => Self::Current,
            std::cmp::Ordering::Equal => Self::Clone,
        }
    }
}

/// Whether a certificate is still good whose node went on to the next at `moved_at`.
pub fn overlaps(moved_at: Option<i64>, now: i64) -> bool {
    moved_at.is_some_and(|moved_at| now - moved_at < OVERLAP_MS)
}

/// What a request for renewal gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// A certificate of this generation.
    Issue(u64),
    /// The certificate of this generation that the key has already.
    Repeat(u64),
    /// Nothing; both holders are locked.
    Clone,
}

/// Why a request for renewal is refused, without an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RenewalRefused {
    /// A key is renewed by another key.
    #[error(
        "the request is for the key of the certificate that it would renew; make a new key for each renewal"
    )]
    SameKey,
    /// A key comes back.
    #[error("the request is for a key that this node has used before; make a new key for each renewal")]
    OldKey,
    /// The node says that it renews another certificate than it shows.
    #[error(
        "the request names another generation than that of the certificate that the connection was opened with"
    )]
    OtherGeneration,
    /// More keys than a restored node needs.
    #[error(
        "there are several certificates of the next generation already, and none was used; use one of them, or untrust the node and let it join again"
    )]
    TooMany,
}

/// Decides about a request for the key `asked` by the holder of `shown`, of a node that stands at `at`. `known` are
/// the certificates that this node has or had for the key `asked`, `unused` counts the keys of the next generation.
pub fn renew(
    at: Link,
    shown: Link,
    asked: Digest,
    known: &[Link],
    unused: usize,
) -> Result<Renewal, RenewalRefused> {
    if Use::of(at, shown) == Use::Clone {
        return Ok(Renewal::Clone);
    }
    if asked == shown.key {
        return Err(RenewalRefused::SameKey);
    }
    let newest = known.iter().map(|link| link.generation).max();
    match newest.map(|generation| {
        (
            generation,
            Use::of(
                at,
                Link {
                    generation,
                    key: asked,
                },
            ),
        )
    }) {
        None if shown.generation < at.generation => Ok(Renewal::Clone),
        None if unused >= UNUSED_AT_MOST => Err(RenewalRefused::TooMany),
        None => Ok(Renewal::Issue(at.generation + 1)),
        Some((generation, Use::First | Use::Current)) => Ok(Renewal::Repeat(generation)),
        Some((_, Use::Clone)) => Ok(Renewal::Clone),
        // It asks for what came after its own certificate, and somebody else has used that and gone on.
        Some((generation, Use::Superseded)) if generation > shown.generation => Ok(Renewal::Clone),
        Some((_, Use::Superseded)) => Err(RenewalRefused::OldKey),
    }
}

/// Who signs a join with a key that a node of this collective has or had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// The node, whose certificate is of this generation if it is approved.
    Known(u64),
    /// Somebody with a key that the node has left behind: an old backup, or a thief's copy of one.
    OldKey,
    /// A second holder.
    Clone,
}

/// Who comes back with the key `key`, certified as `known`, to a node that stands at `at`.
pub fn comes_back(at: Link, key: Digest, known: &[Link]) -> Return {
    let newest = known.iter().map(|link| link.generation).max().unwrap_or(0);
    if key == at.key {
        return Return::Known(at.generation + 1);
    }
    match Use::of(
        at,
        Link {
            generation: newest,
            key,
        },
    ) {
        Use::First | Use::Current => Return::Known(at.generation + 1),
        Use::Clone => Return::Clone,
        Use::Superseded => Return::OldKey,
    }
}

/// The part of a life, in percent, after which a certificate is renewed, and within which further part.
const RENEW_FROM: i64 = 50;
const RENEW_WITHIN: i64 = 10;

/// What decides whether a certificate should be renewed before it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Valid from, milliseconds.
    pub not_before: i64,
    /// Valid until, milliseconds.
    pub not_after: i64,
    /// Its authority is to be left within this time, milliseconds.
    pub leave_within: Option<i64>,
}

/// Within how many milliseconds a certificate should be renewed; `None` while it is good as it is. Nodes renew by
/// themselves from half of life: this reminds them, and gives each the same window.
pub fn renew_within(held: Held, now: i64) -> Option<i64> {
    let life = held.not_after.saturating_sub(held.not_before).max(0);
    let half = held.not_before.saturating_add(life / 100 * RENEW_FROM);
    let by_age = (now >= half).then_some(life / 100 * RENEW_WITHIN);
    by_age.into_iter().chain(held.leave_within).min()
}

#[cfg(test)]
mod tests;
