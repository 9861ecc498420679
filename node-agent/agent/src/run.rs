//! One run on this node, from the claim to the acknowledged outcome.
//!
//! ```text
//!   claim ──► admit ──► (spooled) ──► stage ──► decide again ──► execute ──► report ──► acknowledged
//!               │                                  │
//!               └── not for this node, replayed    ├── stale: put back
//!                   … ignored or put back          └── refused: reported
//! ```
//!
//! While it goes on, what it prints is passed on by [`live`], and [`withdrawn`] decides again whenever the trust state
//! changes.
//!
//! Invariant: nothing is started that was not granted to this node, in this life, once; nothing runs looser than the
//! control plane *and* this node's own trust state allow.

pub mod admit;
pub mod claim;
pub mod execute;
pub mod live;
pub mod outcome;
pub mod packages;
pub mod payload;
pub mod policy;
pub mod report;
pub mod session;
pub mod settle;
pub mod stage;
pub mod withdrawn;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use muster_engines::{EngineKind, Live};
use muster_ids::RunId;
use tokio_util::sync::CancellationToken;

use crate::agent::lock;

/// Why a run is ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A person wants it ended, or the control plane no longer wants its result.
    Cancelled,
    /// The agent stops.
    Stopping,
    /// The node was revoked.
    Revoked,
    /// It may not run any more as it does.
    Withdrawn,
}

/// A run at work.
#[derive(Debug, Clone)]
pub struct Work {
    /// The claim.
    pub fence: i64,
    /// The engine whose slot it holds.
    pub engine: EngineKind,
    /// Ends it.
    pub cancel: CancellationToken,
    /// What it prints while it goes on.
    pub live: Live,
    over: Arc<AtomicBool>,
    why: Arc<OnceLock<Why>>,
}

impl Work {
    /// A run that begins now.
    pub fn new(fence: i64, engine: EngineKind) -> Self {
        Self {
            fence,
            engine,
            cancel: CancellationToken::new(),
            live: Live::default(),
            over: Arc::default(),
            why: Arc::default(),
        }
    }

    /// Gives its slot back: how it ended is on disk, and only to be told.
    pub fn is_over(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Ends it; the first reason counts.
    pub fn stop(&self, why: Why) {
        let _ = self.why.set(why);
        self.cancel.cancel();
    }

    /// Why it was ended, if it was.
    pub fn why(&self) -> Option<Why> {
        self.why.get().copied()
    }
}

/// The runs of this moment.
#[derive(Debug, Default)]
pub struct Running(Mutex<BTreeMap<(RunId, i64), Work>>);

impl Running {
    /// A run begins.
    pub fn begin(&self, run: RunId, work: Work) {
        lock(&self.0).insert((run, work.fence), work);
    }

    /// A claim has ended: its outcome is on disk and nobody is about to deliver it, or it was handed back.
    pub fn end(&self, run: RunId, fence: i64) {
        lock(&self.0).remove(&(run, fence));
    }

    /// Whether this very claim is at work.
    pub fn holds(&self, run: RunId, fence: i64) -> bool {
        lock(&self.0).contains_key(&(run, fence))
    }

    /// Ends a run; of a certain claim only, where `fence` names one.
    pub fn stop(&self, run: RunId, fence: Option<i64>, why: Why) {
        for ((at_work, claim), work) in lock(&self.0).iter() {
            if *at_work == run && fence.is_none_or(|fence| fence == *claim) {
                work.stop(why);
            }
        }
    }

    /// Ends all runs.
    pub fn stop_all(&self, why: Why) {
        lock(&self.0).values().for_each(|work| work.stop(why));
    }

    /// What all runs show, with their claims.
    pub fn live(&self) -> Vec<(RunId, i64, Live)> {
        lock(&self.0)
            .iter()
            .map(|((run, fence), work)| (*run, *fence, work.live.clone()))
            .collect()
    }

    /// How many runs hold a slot of `engine`.
    pub fn count(&self, engine: EngineKind) -> usize {
        lock(&self.0)
            .values()
            .filter(|work| work.engine == engine && !work.over.load(Ordering::SeqCst))
            .count()
    }

    /// How many runs there are.
    pub fn len(&self) -> usize {
        lock(&self.0).len()
    }

    /// Whether nothing runs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_claim_is_stopped_and_the_first_reason_counts() {
        let running = Running::default();
        let run = RunId::new(1, [1; 10]);
        let work = Work::new(7, EngineKind::R);
        running.begin(run, work.clone());
        assert_eq!(
            (running.count(EngineKind::R), running.count(EngineKind::Python)),
            (1, 0)
        );
        running.stop(run, Some(6), Why::Cancelled);
        assert!(!work.cancel.is_cancelled() && running.holds(run, 7) && !running.holds(run, 6));
        running.stop(run, None, Why::Cancelled);
        running.stop_all(Why::Stopping);
        assert!(work.cancel.is_cancelled());
        assert_eq!(work.why(), Some(Why::Cancelled));
        work.is_over();
        assert_eq!((running.count(EngineKind::R), running.holds(run, 7)), (0, true));
        running.end(run, 7);
        assert!(running.is_empty());
    }
}
