//! Which trust state it is, so that nobody can be given an older one or that of another copy of the database.

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

/// Why a version may not follow the one that is held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// From before a restore.
    #[error(
        "the trust state is of epoch {offered}, but epoch {held} is known here; it comes from an old control plane"
    )]
    OldEpoch {
        /// Of the version that was offered.
        offered: u64,
        /// Of the version that is held.
        held: u64,
    },
    /// Two databases claim one epoch.
    #[error(
        "the trust state comes from another copy of the database with the same epoch {0}; stop one of the two"
    )]
    SecondCopy(u64),
    /// Older than what is held.
    #[error("the trust state has number {offered}, but number {held} is known here")]
    OldNumber {
        /// Of the version that was offered.
        offered: u64,
        /// Of the version that is held.
        held: u64,
    },
    /// One number, two contents.
    #[error("there are two different trust states with number {0}; the database may have been copied")]
    Fork(u64),
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

    /// Whether this version may take the place of `held`. The same version may.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn first() -> StateVersion {
        let digest = Digest::of(b"first");
        let previous = Digest::of(b"nothing");
        StateVersion {
            incarnation: Incarnation::new(1, [1; 10]),
            epoch: 1,
            number: 7,
            digest,
            previous,
        }
    }

    #[test]
    fn a_later_version_of_the_same_history_or_a_new_epoch_follows() {
        let next = first().next(Digest::of(b"second"));
        assert_eq!((next.number, next.previous), (8, first().digest));
        let later = next.next(Digest::of(b"third"));
        for version in [first(), next, later] {
            assert_eq!(version.supersedes(&first()), Ok(()));
        }
        let restored = StateVersion {
            incarnation: Incarnation::new(2, [2; 10]),
            epoch: 2,
            number: 3,
            ..first()
        };
        assert_eq!(restored.supersedes(&later), Ok(()));
        assert_eq!(
            later.supersedes(&restored),
            Err(VersionError::OldEpoch { offered: 1, held: 2 })
        );
    }

    #[test]
    fn rollbacks_forks_and_second_copies_are_refused() {
        let held = first().next(Digest::of(b"second"));
        assert_eq!(
            first().supersedes(&held),
            Err(VersionError::OldNumber { offered: 7, held: 8 })
        );
        assert_eq!(
            StateVersion {
                digest: Digest::of(b"x"),
                ..held
            }
            .supersedes(&held),
            Err(VersionError::Fork(8))
        );
        let stranger = StateVersion {
            previous: Digest::of(b"x"),
            ..held.next(Digest::of(b"third"))
        };
        assert_eq!(stranger.supersedes(&held), Err(VersionError::Fork(9)));
        let copy = StateVersion {
            incarnation: Incarnation::new(2, [2; 10]),
            ..held.next(Digest::of(b"third"))
        };
        assert_eq!(copy.supersedes(&held), Err(VersionError::SecondCopy(1)));
    }
}
