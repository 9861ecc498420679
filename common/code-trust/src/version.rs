//! Which trust state it is, so that nobody can be given an older one or that of another copy of the database.
//!
//! ```text
//!   line (incarnation 1, epoch 1)   0 ─► 1 ─► 2 ─► 3           numbers grow by one with each change
//!                                        │ backup
//!   line (incarnation 2, epoch 2)        1 ─► 2 ─► …           put back: a bump leads here, signed under the root
//! ```
//!
//! Invariant of [`Known`]: the epoch never falls and rises only by a bump; within an epoch the incarnation never
//! changes and the number never falls.

use muster_ids::{Digest, Incarnation};
use serde::{Deserialize, Serialize};

/// The version of a trust state. This is what the control plane signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateVersion {
    /// The copy of the database that it lives in.
    pub incarnation: Incarnation,
    /// Grows when an older copy of the database takes over.
    pub epoch: u64,
    /// Grows by one with each change within an epoch.
    pub number: u64,
    /// The digest of the state.
    pub digest: Digest,
    /// The digest of the state with the number before.
    pub previous: Digest,
}

/// One copy of the database in one epoch: the history that numbers count in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The copy of the database.
    pub incarnation: Incarnation,
    /// Its epoch.
    pub epoch: u64,
}

/// That one line goes on as another, by the word of the collective's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bump {
    /// The line of the copy that was put back.
    pub from: Line,
    /// The line that begins.
    pub to: Line,
}

/// How many lines are remembered; each is a restore or a failover of the database.
const MAX_LINES: usize = 64;

/// What a holder of trust states has seen, for the judgement about what it is offered next.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The newest version that was accepted.
    head: Option<StateVersion>,
    /// Nothing older than this epoch is accepted, whatever was seen.
    least_epoch: u64,
    /// The line of each epoch that was seen, oldest first.
    lines: Vec<Line>,
}

/// Why a version may not follow the one that is held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// From before a restore.
    #[error(
        "the trust state is of epoch {offered}, but epoch {held} is known here; it comes from an old control plane: stop that one, or, if its database was put back on purpose, run muster-server new-epoch --above {held} there"
    )]
    OldEpoch {
        /// Of the version that was offered.
        offered: u64,
        /// Of the version that is held.
        held: u64,
    },
    /// Two databases claim one epoch.
    #[error(
        "the trust state comes from another copy of the database with the same epoch {0}; stop one of the two control planes"
    )]
    SecondCopy(u64),
    /// Older than what is held.
    #[error(
        "the trust state has number {offered}, but number {held} is known here: an older database was put back; stop the control plane and run muster-server new-epoch"
    )]
    OldNumber {
        /// Of the version that was offered.
        offered: u64,
        /// Of the version that is held.
        held: u64,
    },
    /// One number, two contents.
    #[error("there are two different trust states with number {0}; the database may have been copied")]
    Fork(u64),
    /// A later epoch that nobody vouches for.
    #[error(
        "the trust state is of epoch {offered}, but epoch {held} is known here, and no bump signed under the root leads to it; run muster-server new-epoch with the root's key"
    )]
    NoBump {
        /// Of the version that was offered.
        offered: u64,
        /// That is known.
        held: u64,
    },
    /// The bump leads elsewhere.
    #[error("the epoch bump leads to another copy of the database or another epoch than the trust state has")]
    OtherBump,
    /// The bump begins at a copy that was refused.
    #[error(
        "the epoch bump begins at another copy of the database than the one known here of epoch {0}; two databases were brought forward: stop the wrong control plane"
    )]
    ForeignBump(u64),
}

impl StateVersion {
    /// The version after one change that makes the state `digest`.
    pub fn next(&self, digest: Digest) -> Self {
        Self {
            number: self.number + 1,
            digest,
            previous: self.digest,
            ..*self
        }
    }

    /// The history that it is part of.
    pub fn line(&self) -> Line {
        Line {
            incarnation: self.incarnation,
            epoch: self.epoch,
        }
    }

    /// Whether this version may take the place of `held`, as far as the two alone can tell: a later epoch also needs a
    /// bump, see [`Known::judge`]. The same version may.
    pub fn supersedes(&self, held: &Self) -> Result<(), VersionError> {
        if self.epoch < held.epoch {
            return Err(VersionError::OldEpoch {
                offered: self.epoch,
                held: held.epoch,
            });
        }
        if self.epoch > held.epoch {
            return Ok(());
        }
        if self.incarnation != held.incarnation {
            return Err(VersionError::SecondCopy(self.epoch));
        }
        if self.number < held.number {
            return Err(VersionError::OldNumber {
                offered: self.number,
                held: held.number,
            });
        }
        let forked = (self.number == held.number && self != held)
            || (self.number - held.number == 1 && self.previous != held.digest);
        if forked {
            Err(VersionError::Fork(self.number))
        } else {
            Ok(())
        }
    }
}

impl Known {
    /// What is known of a collective that was joined in `least_epoch`, with what was accepted since.
    pub fn new(least_epoch: u64, head: Option<StateVersion>, lines: Vec<Line>) -> Self {
        let mut known = Self {
            head: None,
            least_epoch,
            lines,
        };
        if let Some(head) = head {
            known.accept(head);
        }
        known
    }

    /// The newest version that was accepted.
    pub fn head(&self) -> Option<&StateVersion> {
        self.head.as_ref()
    }

    /// The lines that were seen, oldest first.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Whether `offered` may be the next version, with the bump that came along, verified under a root.
    pub fn judge(&self, offered: &StateVersion, bump: Option<&Bump>) -> Result<(), VersionError> {
        let held = self.head.map_or(0, |head| head.epoch).max(self.least_epoch);
        if offered.epoch < held {
            let offered = offered.epoch;
            return Err(VersionError::OldEpoch { offered, held });
        }
        if let Some(head) = &self.head {
            offered.supersedes(head)?;
        }
        // Whoever has seen nothing yet was told the epoch when it joined.
        let later = self
            .head
            .map_or(offered.epoch > held, |head| offered.epoch > head.epoch);
        if !later {
            return Ok(());
        }
        let bump = bump.ok_or(VersionError::NoBump {
            offered: offered.epoch,
            held,
        })?;
        if bump.to != offered.line() || bump.from.epoch >= bump.to.epoch {
            return Err(VersionError::OtherBump);
        }
        let contradicts =
            |line: &Line| line.epoch == bump.from.epoch && line.incarnation != bump.from.incarnation;
        if self.lines.iter().any(contradicts) {
            return Err(VersionError::ForeignBump(bump.from.epoch));
        }
        Ok(())
    }

    /// Remembers a version that was judged.
    pub fn accept(&mut self, version: StateVersion) {
        let line = version.line();
        if !self.lines.contains(&line) {
            self.lines.push(line);
            if self.lines.len() > MAX_LINES {
                self.lines.remove(0);
            }
        }
        self.head = Some(version);
    }
}

#[cfg(test)]
mod tests;
