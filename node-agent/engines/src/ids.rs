//! Host ids for runs: one for each that goes on or waits, whatever launcher it belongs to.
//!
//! Invariant: no two children that live have one id. It comes back when the launcher has said that the last process is
//! gone, or has itself ended after all of them; and the one that came back first is given away first. Under another range
//! that shares ids with a former one, nothing starts before everything of the former one has ended ([`Ids::clear`]).

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use muster_sandbox::protocol::IdRange;
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::launcher::locked;

/// How long the processes of a run may take from its result to the end of the last of them.
const LEAVING: Duration = Duration::from_secs(1);

/// The ids of this node's range, but the first, which is the engines'.
pub(crate) struct Ids {
    range: IdRange,
    free: Mutex<VecDeque<u32>>,
    /// One came back.
    back: Notify,
    /// So many are kept from children that only wait.
    kept: AtomicUsize,
    all: usize,
    /// Former ranges that share ids with this one, each with the word that nobody has any of them.
    former: Vec<(IdRange, CancellationToken)>,
    /// Says that of these, when the last engine and the last run let go of them.
    over: DropGuard,
}

/// An id, counted from 0; it comes back when this is dropped.
pub(crate) struct Slot {
    ids: Arc<Ids>,
    number: u32,
}

impl Ids {
    /// `range` with that of the engines; of these `sessions` are for runs that go on, half of all at the most.
    pub(crate) fn new(range: IdRange, sessions: usize) -> Self {
        let free: VecDeque<u32> = (0..range.count.saturating_sub(1)).collect();
        let all = free.len();
        Self {
            range,
            free: Mutex::new(free),
            back: Notify::new(),
            kept: AtomicUsize::new(sessions.min(all / 2)),
            all,
            former: Vec::new(),
            over: CancellationToken::new().drop_guard(),
        }
    }

    /// The ids under other settings: those of `before`, which runs may still have, while the range is the same. Another
    /// range is [clear](Self::clear) when nobody has an id any more that is in both.
    pub(crate) fn after(before: Option<&Arc<Self>>, range: IdRange, sessions: usize) -> Arc<Self> {
        match before {
            Some(before) if before.range == range => {
                before.kept.store(sessions.min(before.all / 2), Ordering::Relaxed);
                Arc::clone(before)
            }
            _ => {
                let mut new = Self::new(range, sessions);
                if let Some(before) = before {
                    let last = (before.range, before.over.token().clone());
                    let former = before.former.iter().cloned().chain([last]);
                    new.former = former.filter(|(other, _)| overlap(*other, range)).collect();
                }
                Arc::new(new)
            }
        }
    }

    /// Waits until no run, no child that waits and no engine has an id of this range under a former range.
    pub(crate) async fn clear(&self) {
        for (range, over) in &self.former {
            if !over.is_cancelled() {
                tracing::info!(
                    first = range.first,
                    count = range.count,
                    "waits for runs that have ids of the former range"
                );
            }
            over.cancelled().await;
        }
    }

    /// For a run that begins: of those that are in use, one may be about to come back. An error is one sentence.
    pub(crate) async fn take(self: &Arc<Self>) -> Result<Slot, String> {
        let freed = async {
            loop {
                let back = self.back.notified();
                let number = locked(&self.free).pop_front();
                if let Some(number) = number {
                    return self.slot(number);
                }
                back.await;
            }
        };
        timeout(LEAVING, freed).await.map_err(|_| {
            format!(
                "all {} ids for runs are in use; raise jail.id_count, or lower slots.per_engine",
                self.all
            )
        })
    }

    /// For a child that waits, if enough are left for runs.
    pub(crate) fn spare(self: &Arc<Self>) -> Option<Slot> {
        let mut free = locked(&self.free);
        if free.len() <= self.kept.load(Ordering::Relaxed) {
            return None;
        }
        free.pop_front().map(|number| self.slot(number))
    }

    fn slot(self: &Arc<Self>, number: u32) -> Slot {
        Slot {
            ids: Arc::clone(self),
            number,
        }
    }
}

fn overlap(one: IdRange, other: IdRange) -> bool {
    let end = |range: IdRange| u64::from(range.first) + u64::from(range.count);
    u64::from(one.first) < end(other) && u64::from(other.first) < end(one)
}

impl Slot {
    pub(crate) fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        locked(&self.ids.free).push_back(self.number);
        self.ids.back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    /// An id that is there now.
    fn taken(ids: &Arc<Ids>) -> Option<Slot> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let now = async { timeout(Duration::ZERO, ids.take()).await };
        runtime.expect("a runtime").block_on(now).ok()?.ok()
    }

    fn range(count: u32) -> IdRange {
        IdRange {
            first: 300_000,
            count,
        }
    }

    #[test]
    fn other_settings_give_no_id_away_that_a_run_still_has() {
        let old = Arc::new(Ids::new(range(9), 2));
        let going = taken(&old).expect("an id");
        let new = Ids::after(Some(&old), range(9), 4);
        let given: Vec<Slot> = std::iter::from_fn(|| taken(&new)).collect();
        assert_eq!(given.len(), 7);
        assert!(given.iter().all(|slot| slot.number() != going.number()));
        drop((given, going));
        assert_eq!(std::iter::from_fn(|| new.spare()).collect::<Vec<_>>().len(), 4);
        assert!(!Arc::ptr_eq(&old, &Ids::after(Some(&old), range(5), 4)));
    }

    fn is_clear(ids: &Ids) -> bool {
        let clear = pin!(ids.clear());
        clear.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    fn at(first: u32, count: u32) -> IdRange {
        IdRange { first, count }
    }

    #[test]
    fn ranges_overlap_where_they_share_an_id() {
        let one = at(100, 10);
        for (other, shared) in [
            (at(90, 10), false),
            (at(90, 11), true),
            (at(100, 10), true),
            (at(103, 2), true),
            (at(109, 50), true),
            (at(110, 5), false),
            (at(u32::MAX, 2), false),
        ] {
            assert_eq!(
                (overlap(one, other), overlap(other, one)),
                (shared, shared),
                "{other:?}"
            );
        }
    }

    #[test]
    fn a_range_that_overlaps_a_former_one_is_clear_when_the_last_of_that_has_ended() {
        let first = Arc::new(Ids::new(at(300_000, 9), 2));
        let going = taken(&first).expect("an id");
        let elsewhere = Ids::after(Some(&first), at(400_000, 9), 2);
        let second = Ids::after(Some(&first), at(300_008, 9), 2);
        // Shares ids with the first one, though not with the one right before it.
        let third = Ids::after(Some(&second), at(300_000, 4), 2);
        drop(first);
        let clear = [&elsewhere, &second, &third].map(|ids| is_clear(ids));
        assert_eq!(clear, [true, false, false]);
        drop(going);
        let clear = [&elsewhere, &second, &third].map(|ids| is_clear(ids));
        assert_eq!(clear, [true, true, true]);
    }

    #[test]
    fn an_id_is_given_away_once_and_the_oldest_first() {
        let ids = Arc::new(Ids::new(range(4), 9));
        let mut held: Vec<Slot> = (0..3).map(|_| taken(&ids).expect("an id")).collect();
        assert_eq!(held.iter().map(Slot::number).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(taken(&ids).is_none());
        drop(held.remove(1));
        drop(held.remove(0));
        assert_eq!(taken(&ids).expect("an id").number(), 1);
    }

    #[test]
    fn children_that_wait_leave_ids_for_runs() {
        let ids = Arc::new(Ids::new(range(9), 2));
        let waiting: Vec<Slot> = std::iter::from_fn(|| ids.spare()).collect();
        assert_eq!(waiting.len(), 6);
        assert!(taken(&ids).is_some());
    }
}
