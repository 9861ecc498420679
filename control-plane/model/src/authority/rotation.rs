//! The exchange of the certificate authority, in four steps that each can be taken back but the last.
//!
//! ```text
//!             prepare              activate                 taint                  revoke
//!   old:  active ──────► active ────────────► retired ────────────► tainted ────────────► revoked
//!   new:                 prepared ──────────► active  ────────────► active  ────────────► active
//!                          │ abort              │ abort               │ abort
//!                          ▼                    ▼                     ▼          revoke
//!                     new: revoked         new: tainted, old: active ─────────────────► new: revoked
//! ```
//!
//! Invariants: exactly one authority is active, at most one other is accepted beside it, and what was revoked stays
//! revoked. Each step is one change of the standings, so a crash leaves a stage that the next step starts from; the
//! same step again changes nothing.

use muster_ids::Digest;

use crate::node::words;

words! {
    /// What an authority of the collective is good for.
    AuthorityState, "a state of an authority" {
        /// Its root is spread; it signs nothing yet.
        Prepared = "prepared",
        /// It signs.
        Active = "active",
        /// It signs nothing more; what it signed is accepted.
        Retired = "retired",
        /// What it signed is accepted, and must be replaced.
        Tainted = "tainted",
        /// Nothing of it is accepted; final.
        Revoked = "revoked",
    }
}

impl AuthorityState {
    /// Whether certificates that lead to it are accepted.
    pub fn is_accepted(self) -> bool {
        self != Self::Revoked
    }
}

/// One authority among those of the collective.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// 1 for the first authority, one more for each that was prepared.
    pub number: u64,
    /// The fingerprint of its root.
    pub root: Digest,
    /// What it is good for.
    pub state: AuthorityState,
}

/// How far an exchange is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// One authority, and no exchange.
    Idle {
        /// The authority.
        active: Digest,
    },
    /// The new root is spread.
    Prepared {
        /// Signs.
        active: Digest,
        /// Is spread.
        new: Digest,
    },
    /// The new authority signs.
    Activated {
        /// The new one, which signs.
        active: Digest,
        /// Is accepted.
        old: Digest,
    },
    /// What the old authority signed must be replaced.
    Tainted {
        /// The new one, which signs.
        active: Digest,
        /// Is accepted until everybody has left it.
        old: Digest,
    },
    /// The exchange was taken back after the new authority had signed.
    Aborted {
        /// The old one, which signs again.
        active: Digest,
        /// Is accepted until everybody has left it.
        new: Digest,
    },
}

/// What an administrator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make a new authority and spread its root.
    Prepare,
    /// Let the new authority sign.
    Activate,
    /// Have everything that the old authority signed replaced.
    Taint,
    /// Accept nothing of the authority that was left.
    Revoke,
    /// Go back.
    Abort,
}

impl Step {
    /// The word on the command line and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Activate => "activate",
            Self::Taint => "taint",
            Self::Revoke => "revoke",
            Self::Abort => "abort",
        }
    }
}

impl std::str::FromStr for Step {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [
            Self::Prepare,
            Self::Activate,
            Self::Taint,
            Self::Revoke,
            Self::Abort,
        ]
        .into_iter()
        .find(|step| step.as_str() == text)
        .ok_or_else(|| "a step of a rotation is prepare, activate, taint, revoke or abort".to_owned())
    }
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done before.
    Already,
    /// A new authority is to be made, with the state prepared.
    Make,
    /// These authorities get these states; the one that stops being active comes first.
    Change(Vec<(Digest, AuthorityState)>),
}

/// Why a step may not be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RotationRefused {
    /// There is no exchange.
    #[error("no rotation of the authority is under way; begin one with muster ca rotate prepare")]
    Idle,
    /// The steps have an order.
    #[error("the rotation of the authority is {at}; the next step is muster ca rotate {next}")]
    Order {
        /// The stage.
        at: &'static str,
        /// What comes next.
        next: &'static str,
    },
    /// The one that was given up is still accepted.
    #[error(
        "the rotation of the authority was aborted, and the new authority is accepted until everybody has left it; muster ca show says who has not, muster ca rotate revoke ends it"
    )]
    Aborted,
    /// The database says something that no exchange leads to.
    #[error(
        "the authorities in the database do not belong to one rotation; restore the database from a backup"
    )]
    Inconsistent,
}

impl Stage {
    /// The stage that these authorities, in any order, are at.
    pub fn of(standings: &[Standing]) -> Result<Self, RotationRefused> {
        let mut accepted: Vec<&Standing> = standings.iter().filter(|one| one.state.is_accepted()).collect();
        accepted.sort_by_key(|one| (one.state != AuthorityState::Active, one.number));
        match accepted.as_slice() {
            [active] if active.state == AuthorityState::Active => Ok(Self::Idle { active: active.root }),
            [active, other] if active.state == AuthorityState::Active => {
                let (one, two) = (active.root, other.root);
                match (other.state, other.number > active.number) {
                    (AuthorityState::Prepared, true) => Ok(Self::Prepared {
                        active: one,
                        new: two,
                    }),
                    (AuthorityState::Retired, false) => Ok(Self::Activated {
                        active: one,
                        old: two,
                    }),
                    (AuthorityState::Tainted, false) => Ok(Self::Tainted {
                        active: one,
                        old: two,
                    }),
                    (AuthorityState::Tainted, true) => Ok(Self::Aborted {
                        active: one,
                        new: two,
                    }),
                    _ => Err(RotationRefused::Inconsistent),
                }
            }
            _ => Err(RotationRefused::Inconsistent),
        }
    }

    /// The authority that signs.
    pub fn active(&self) -> Digest {
        match *self {
            Self::Idle { active }
            | Self::Prepared { active, .. }
            | Self::Activated { active, .. }
            | Self::Tainted { active, .. }
            | Self::Aborted { active, .. } => active,
        }
    }

    /// The authority whose certificates have to be replaced, if there is one.
    pub fn left(&self) -> Option<Digest> {
        match *self {
            Self::Activated { old, .. } | Self::Tainted { old, .. } => Some(old),
            Self::Aborted { new, .. } => Some(new),
            Self::Idle { .. } | Self::Prepared { .. } => None,
        }
    }

    /// The word for people.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Idle { .. } => "idle",
            Self::Prepared { .. } => "prepared",
            Self::Activated { .. } => "activated",
            Self::Tainted { .. } => "tainted",
            Self::Aborted { .. } => "aborted",
        }
    }

    /// What `step` does at this stage.
    pub fn step(&self, step: Step) -> Result<Outcome, RotationRefused> {
        use AuthorityState::{Active, Retired, Revoked, Tainted};
        match (*self, step) {
            (Self::Idle { .. }, Step::Prepare) => Ok(Outcome::Make),
            (Self::Idle { .. }, _) => Err(RotationRefused::Idle),

            (Self::Prepared { active, new }, Step::Activate) => {
                Ok(Outcome::Change(vec![(active, Retired), (new, Active)]))
            }
            (Self::Activated { old, .. }, Step::Taint) => Ok(Outcome::Change(vec![(old, Tainted)])),
            (Self::Tainted { old, .. }, Step::Revoke) => Ok(Outcome::Change(vec![(old, Revoked)])),

            (Self::Prepared { new, .. }, Step::Abort) | (Self::Aborted { new, .. }, Step::Revoke) => {
                Ok(Outcome::Change(vec![(new, Revoked)]))
            }
            (Self::Activated { active, old } | Self::Tainted { active, old }, Step::Abort) => {
                Ok(Outcome::Change(vec![(active, Tainted), (old, Active)]))
            }

            (Self::Prepared { .. }, Step::Prepare)
            | (Self::Activated { .. }, Step::Activate)
            | (Self::Tainted { .. }, Step::Taint)
            | (Self::Aborted { .. }, Step::Abort) => Ok(Outcome::Already),

            (Self::Aborted { .. }, _) => Err(RotationRefused::Aborted),
            (Self::Prepared { .. }, _) => Err(self.order("activate")),
            (Self::Activated { .. }, _) => Err(self.order("taint")),
            (Self::Tainted { .. }, _) => Err(self.order("revoke")),
        }
    }

    fn order(&self, next: &'static str) -> RotationRefused {
        RotationRefused::Order {
            at: self.as_str(),
            next,
        }
    }
}

/// Within how many milliseconds certificates of an authority that is to be left are renewed: `nodes` of them at
/// `per_second`, but no longer than `longest`.
pub fn spread(nodes: usize, per_second: u64, longest: i64) -> i64 {
    let nodes = i64::try_from(nodes).unwrap_or(i64::MAX);
    let per_second = i64::try_from(per_second.max(1)).unwrap_or(i64::MAX);
    nodes
        .saturating_mul(1000)
        .div_euclid(per_second)
        .clamp(1000, longest.max(1000))
}

/// From half of its life on a certificate of the authority's own is issued anew.
pub fn is_past_half(not_before: i64, not_after: i64, now: i64) -> bool {
    now >= not_before.saturating_add(not_after.saturating_sub(not_before) / 2)
}

#[cfg(test)]
mod tests;
