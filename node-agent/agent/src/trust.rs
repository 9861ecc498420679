//! What is trusted, as this node knows it, and whether that is still current.
//!
//! ```text
//!   beacon ──► head newer than held ──► fetch ──► verify, judge, apply, digest as signed ──► store ──► swap
//!      └─────► head held ─────────────► fresh until challenge + min(time to live, max staleness)
//! ```
//!
//! Invariant: the held state was signed under the collective's roots, is never replaced by an older one or by one
//! of another copy of the database unless a root has signed the bump, and nobody sees half of a change. Freshness is counted on the boot clock and
//! does not survive a restart.

mod freshness;
mod reading;
mod store;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use muster_code_trust::{Known, StateError, StateVersion, TrustState, VersionError};
use muster_daemon::file::FileError;
use muster_ids::Digest;
use muster_pki::{Envelope, EnvelopeError, PayloadType, Roots};
use muster_wire::node::v1::{
    Envelope as WireEnvelope,
    beacon::Beacon,
    epoch,
    trust_state::{TrustStateReply, TrustVersion},
};
use tokio::sync::watch;

pub use freshness::{Freshness, UnknownChallenge};
use reading::{build, open};
pub use reading::{open_bump, read};

/// Why a trust state or a beacon is refused.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Not signed by the collective.
    #[error("the trust state or beacon is not accepted")]
    Envelope(#[from] EnvelopeError),
    /// Signed, but not readable.
    #[error(
        "a signed message about trust cannot be read; are this program and the control plane of like versions?"
    )]
    Format(#[from] serde_json::Error),
    /// Older than what is held, or from a second copy.
    #[error("the offered trust state is refused")]
    Version(#[from] VersionError),
    /// Older than the database that let this node in.
    #[error(
        "the trust state is of epoch {offered}, but this node joined in epoch {joined}; it comes from an old control plane"
    )]
    BeforeJoin {
        /// Of the version that was offered.
        offered: u64,
        /// Of the join.
        joined: u64,
    },
    /// Its entries cannot be obeyed or are not what was signed.
    #[error("cannot obey the offered trust state")]
    State(#[from] StateError),
    /// The entries are not those of the signature.
    #[error("the trust state has the digest {found}, but {signed} was signed")]
    Digest {
        /// Of the entries.
        found: Digest,
        /// In the signed head.
        signed: Digest,
    },
    /// Neither the whole nor changes, or changes to nothing.
    #[error("the answer holds neither a whole trust state nor changes to the one that is held")]
    Nothing,
    /// The bump is of another collective.
    #[error("the epoch bump is of another collective")]
    Collective,
    /// A beacon that answers no question of this node.
    #[error("a beacon is refused")]
    Challenge(#[from] UnknownChallenge),
    /// It cannot be kept.
    #[error("cannot store the trust state")]
    Store(#[from] FileError),
}

impl TrustError {
    /// Whether whoever sent it works on another database than the present one, as far as this node knows: no other
    /// message of the same control plane mends that.
    pub fn is_of_another_database(&self) -> bool {
        matches!(self, Self::Version(_) | Self::BeforeJoin { .. })
    }
}

/// A verified state with its version.
#[derive(Debug)]
pub struct Held {
    /// Which.
    pub version: StateVersion,
    /// What it says.
    pub state: TrustState,
}

/// What a beacon said about the held state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is the current one.
    Current,
    /// There is a newer one.
    Behind,
}

/// The trust state of this node; shared by all its parts.
#[derive(Debug)]
pub struct Trust {
    path: PathBuf,
    /// The epoch of the join: nothing older is accepted even by a node that holds nothing.
    joined: u64,
    inner: Mutex<Inner>,
    /// Whose turn it is to replace the state.
    turn: Mutex<()>,
    /// The version held, for those who wait.
    versions: watch::Sender<Option<StateVersion>>,
}

#[derive(Debug)]
struct Inner {
    held: Option<Arc<Held>>,
    /// What must not be undercut; its head may be known where the state itself is unusable.
    known: Known,
    freshness: Freshness,
    /// What led to the epoch of the stored state; kept with it for the next start.
    bump: Option<WireEnvelope>,
}

impl Trust {
    /// The state that is stored at `path`, verified again under `roots`; none where it is missing or cannot be
    /// verified any more, but its version stays the floor.
    pub fn load(path: PathBuf, roots: &Roots, joined: u64, max_staleness: Duration, now_ms: i64) -> Self {
        let stored = store::read(&path);
        let claimed = stored.as_ref().and_then(store::Stored::claimed_version);
        let lines = stored.as_ref().map(|stored| stored.lines.clone());
        let known = Known::new(joined, claimed, lines.unwrap_or_default());
        let bump = stored.as_ref().and_then(store::Stored::bump);
        let held = stored.and_then(|stored| {
            read(&stored.reply(), None, roots, now_ms)
                .inspect_err(|error| {
                    tracing::warn!(error = %store::chain(error), "the stored trust state cannot be used; it will be fetched");
                })
                .ok()
        });
        let held = held.map(Arc::new);
        let (versions, _) = watch::channel(held.as_ref().map(|held| held.version));
        let inner = Mutex::new(Inner {
            held,
            known,
            freshness: Freshness::new(max_staleness),
            bump,
        });
        Self {
            path,
            joined,
            inner,
            turn: Mutex::default(),
            versions,
        }
    }

    /// What is held.
    pub fn held(&self) -> Option<Arc<Held>> {
        self.lock().held.clone()
    }

    /// Tells each time after another state was taken.
    pub fn versions(&self) -> watch::Receiver<Option<StateVersion>> {
        self.versions.subscribe()
    }

    /// Draws the question for the next beacon.
    pub fn challenge(&self, random: [u8; 32], boot: Duration) -> String {
        let mut inner = self.lock();
        let known = inner.known.head().copied();
        inner.freshness.challenge(random, boot, known)
    }

    /// Takes a signed beacon.
    pub fn hear(
        &self,
        envelope: Envelope,
        roots: &Roots,
        now_ms: i64,
    ) -> Result<(Heard, Beacon), TrustError> {
        let verified = envelope.verify(PayloadType::Beacon, roots, now_ms)?;
        let beacon: Beacon = serde_json::from_slice(&verified.payload)?;
        let version = version(&beacon.version);
        let mut inner = self.lock();
        let (until, known_then) = inner.freshness.answer(&beacon)?;
        // What was known when the node asked is known to the present database.
        if let Some(known) = &known_then {
            version.supersedes(known)?;
        }
        if let Some(known) = inner.known.head()
            && !is_earlier(&version, known)
        {
            version.supersedes(known)?;
        }
        self.not_before_join(&version)?;
        let current = inner
            .held
            .as_ref()
            .is_some_and(|held| held.version == version || is_earlier(&version, &held.version));
        if current {
            inner.freshness.extend(until);
            Ok((Heard::Current, beacon))
        } else {
            inner.freshness.promise(version, until);
            Ok((Heard::Behind, beacon))
        }
    }

    /// Takes a state or changes that were fetched, stores the result and makes it the held one.
    pub fn install(&self, reply: &TrustStateReply, roots: &Roots, now_ms: i64) -> Result<(), TrustError> {
        let head = open(reply, roots, now_ms)?;
        let offered = version(&head.version);
        self.not_before_join(&offered)?;
        // Of two that come at once, the second is judged by what the first has left.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, mut known, stored) = {
            let inner = self.lock();
            (inner.held.clone(), inner.known.clone(), inner.bump.clone())
        };
        let present = known.head().map_or(self.joined, |head| head.epoch);
        let bump = reply.bump.as_ref().filter(|_| offered.epoch > present);
        let opened = bump.map(|bump| open_bump(bump, roots, now_ms)).transpose()?;
        known.judge(&offered, opened.as_ref())?;
        let held = build(reply, &head, before.as_deref())?;
        known.accept(offered);
        let bump = bump.cloned().or(stored);
        store::write(&self.path, &reply.head, &held, bump.as_ref(), known.lines())?;
        let version = held.version;
        let mut inner = self.lock();
        inner.bump = bump;
        inner.known = known;
        inner.held = Some(Arc::new(held));
        inner.freshness.settle(&version);
        drop(inner);
        self.versions.send_replace(Some(version));
        Ok(())
    }

    /// What this node can hand in when an epoch begins: the verified state that it holds, with its signature.
    pub fn known(&self) -> epoch::Known {
        let stored = self.held().and_then(|_| store::read(&self.path));
        epoch::Known {
            state: stored.map(store::Stored::known),
        }
    }

    /// Lets later beacons count for this long only.
    pub fn tighten(&self, max_staleness: Duration) {
        self.lock().freshness.limit(max_staleness);
    }

    /// Whether trusted code may run as trusted at `boot`.
    pub fn is_fresh(&self, boot: Duration) -> bool {
        self.lock().freshness.is_fresh(boot)
    }

    /// Until when, on the boot clock.
    pub fn fresh_until(&self) -> Option<Duration> {
        self.lock().freshness.until()
    }

    /// Waits until a state at least as new as `wanted` is held; fails at once where that can never be.
    pub async fn reach(&self, wanted: &TrustVersion) -> Result<Arc<Held>, VersionError> {
        let wanted = version(wanted);
        let mut versions = self.versions.subscribe();
        loop {
            let held = *versions.borrow_and_update();
            if let Some(held) = held {
                reachable(&held, &wanted)?;
                if held.epoch == wanted.epoch && held.number >= wanted.number {
                    // The sender swaps before it announces.
                    if let Some(held) = self.held() {
                        return Ok(held);
                    }
                }
            }
            if versions.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn not_before_join(&self, version: &StateVersion) -> Result<(), TrustError> {
        if version.epoch < self.joined {
            return Err(TrustError::BeforeJoin {
                offered: version.epoch,
                joined: self.joined,
            });
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a grant that names `wanted` can ever be decided by a node that holds `held`.
pub fn reachable(held: &StateVersion, wanted: &StateVersion) -> Result<(), VersionError> {
    if wanted.epoch < held.epoch {
        return Err(VersionError::OldEpoch {
            offered: wanted.epoch,
            held: held.epoch,
        });
    }
    if wanted.epoch == held.epoch && wanted.incarnation != held.incarnation {
        return Err(VersionError::SecondCopy(held.epoch));
    }
    if wanted.epoch == held.epoch && wanted.number == held.number && wanted != held {
        return Err(VersionError::Fork(held.number));
    }
    Ok(())
}

/// A version as the decision crate has it.
pub fn version(wire: &TrustVersion) -> StateVersion {
    StateVersion {
        incarnation: wire.incarnation,
        epoch: wire.epoch,
        number: wire.number,
        digest: wire.digest,
        previous: wire.previous,
    }
}

/// A version as it travels.
pub fn wire_version(version: &StateVersion) -> TrustVersion {
    TrustVersion {
        incarnation: version.incarnation,
        epoch: version.epoch,
        number: version.number,
        digest: version.digest,
        previous: version.previous,
    }
}

/// An earlier number of the same history: a beacon that was on its way while the node fetched.
fn is_earlier(version: &StateVersion, held: &StateVersion) -> bool {
    version.epoch == held.epoch && version.incarnation == held.incarnation && version.number < held.number
}

#[cfg(test)]
mod tests;
