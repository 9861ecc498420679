//! A run: one queued execution of a function.
//!
//! ```text
//!            claim (fence + 1)                outcome (fence matches)
//!   Queued ───────────────────► Running ───────────────────────────► Succeeded | Failed | TimedOut | Cancelled
//!     │  ▲                        │   │
//!     │  └── put back (trust ─────┘   └── lease over, node silent ──► Lost
//!     │      state of the node stale)
//!     ├── refused by the decision, or stale for 10 minutes ─────────► Refused
//!     └── cancelled before it ran ──────────────────────────────────► Cancelled
//! ```
//!
//! Invariant: every end is final; an outcome counts only under the fence of the claim that it belongs to, so
//! a node that comes back after its run was declared lost changes nothing.

use muster_ids::{NodeId, RunId};

use crate::node::words;

/// How long a claim holds without a heartbeat that names the run.
pub const LEASE_MS: i64 = 45_000;
/// How long a run waits for a node with a fresh trust state before it is refused (interface.md 6).
pub const STALE_WAIT_MS: i64 = 10 * 60 * 1000;

words! {
    /// Where a run stands.
    RunState, "a state of a run" {
        /// Waits for a node.
        Queued = "queued",
        /// A node holds its lease.
        Running = "running",
        /// The script ended well and its outputs are stored.
        Succeeded = "succeeded",
        /// The script or its engine ended badly.
        Failed = "failed",
        /// It may not run.
        Refused = "refused",
        /// A person ended it.
        Cancelled = "cancelled",
        /// It ran longer than it may.
        TimedOut = "timed_out",
        /// Its node vanished.
        Lost = "lost",
    }
}

impl RunState {
    /// Whether nothing more can happen.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

words! {
    /// The mode that a run ran in.
    Mode, "a mode of a run" {
        /// In the sandbox for untrusted code.
        Restricted = "restricted",
        /// With the administrator's files and network.
        Unrestricted = "unrestricted",
    }
}

words! {
    /// What a run prints to.
    Stream, "a stream of a run" {
        /// Standard output.
        Stdout = "stdout",
        /// Standard error.
        Stderr = "stderr",
    }
}

/// The last epoch that has all its fences: they are numbers of 63 bits.
pub const LAST_EPOCH: u64 = 1 << 31;

/// Below every fence of an epoch and above all of earlier ones: each epoch has 2³² fences of its own, so that a claim
/// which a database has forgotten never has the fence of a later one.
fn before_fences(epoch: u64) -> i64 {
    i64::try_from(epoch.saturating_sub(1)).map_or(i64::MAX / 2, |epochs| epochs.saturating_mul(1 << 32))
}

/// What decides about a run; everything else in its row is description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its identity.
    pub id: RunId,
    /// Where it stands.
    pub state: RunState,
    /// Counts claims; an outcome must carry the current one.
    pub fence: i64,
    /// The node of the current claim.
    pub node: Option<NodeId>,
    /// When the claim ends unless it is renewed.
    pub lease_until: Option<i64>,
    /// A person asked to end it.
    pub cancel_requested: bool,
    /// Since when it has found only nodes with a stale trust state.
    pub stale_since: Option<i64>,
    /// Number of changes; compare-and-swap.
    pub version: i64,
}

/// Why a transition may not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunRefused {
    /// The run has ended.
    #[error("the run has ended already: {0}")]
    Ended(RunState),
    /// Another claim has taken over.
    #[error("the run is not held by this node under fence {0}")]
    Fenced(i64),
    /// Not waiting.
    #[error("the run is {0} and cannot be claimed")]
    NotQueued(RunState),
}

impl Run {
    /// The run with fences of this epoch.
    #[must_use]
    pub fn in_epoch(self, epoch: u64) -> Self {
        Self {
            fence: self.fence.max(before_fences(epoch)),
            ..self
        }
    }

    /// `node` takes the run for [`LEASE_MS`].
    pub fn claim(self, node: NodeId, now: i64) -> Result<Self, RunRefused> {
        if self.state != RunState::Queued {
            return Err(RunRefused::NotQueued(self.state));
        }
        Ok(Self {
            state: RunState::Running,
            fence: self.fence + 1,
            node: Some(node),
            lease_until: Some(now + LEASE_MS),
            version: self.version + 1,
            ..self
        })
    }

    /// The node still works on it.
    pub fn renew(self, node: NodeId, fence: i64, now: i64) -> Result<Self, RunRefused> {
        self.held_by(node, fence)?;
        Ok(Self {
            lease_until: Some(now + LEASE_MS),
            version: self.version + 1,
            ..self
        })
    }

    /// The node hands it back unstarted because its own trust state is stale.
    pub fn put_back(self, node: NodeId, fence: i64, now: i64) -> Result<Self, RunRefused> {
        self.held_by(node, fence)?;
        let stale_since = self.stale_since.unwrap_or(now);
        let state = if now - stale_since >= STALE_WAIT_MS {
            RunState::Refused
        } else {
            RunState::Queued
        };
        Ok(Self {
            state,
            node: None,
            lease_until: None,
            stale_since: Some(stale_since),
            version: self.version + 1,
            ..self
        })
    }

    /// The node reports how it ended.
    pub fn complete(self, node: NodeId, fence: i64, state: RunState) -> Result<Self, RunRefused> {
        self.held_by(node, fence)?;
        // A run that ended in the same moment as it was cancelled keeps its own ending.
        let state = if state.is_final() { state } else { RunState::Failed };
        Ok(Self {
            state,
            lease_until: None,
            version: self.version + 1,
            ..self
        })
    }

    /// A person asks to end it: at once when it waits, by its node when it runs. Asking twice is asking once.
    pub fn cancel(self) -> Result<Self, RunRefused> {
        match self.state {
            RunState::Queued => Ok(Self {
                state: RunState::Cancelled,
                cancel_requested: true,
                version: self.version + 1,
                ..self
            }),
            RunState::Running => Ok(Self {
                cancel_requested: true,
                version: self.version + 1,
                ..self
            }),
            ended => Err(RunRefused::Ended(ended)),
        }
    }

    /// The decision says that it may not run.
    pub fn refuse(self) -> Result<Self, RunRefused> {
        if self.state.is_final() {
            return Err(RunRefused::Ended(self.state));
        }
        Ok(Self {
            state: RunState::Refused,
            lease_until: None,
            version: self.version + 1,
            ..self
        })
    }

    /// The lease is over: `Some` lost run, or `None` when it still holds.
    pub fn lose(self, now: i64) -> Option<Self> {
        match (self.state, self.lease_until) {
            (RunState::Running, Some(until)) if now >= until => Some(Self {
                state: RunState::Lost,
                lease_until: None,
                version: self.version + 1,
                ..self
            }),
            _ => None,
        }
    }

    fn held_by(&self, node: NodeId, fence: i64) -> Result<(), RunRefused> {
        if self.state.is_final() {
            return Err(RunRefused::Ended(self.state));
        }
        if self.state != RunState::Running || self.node != Some(node) || self.fence != fence {
            return Err(RunRefused::Fenced(fence));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
