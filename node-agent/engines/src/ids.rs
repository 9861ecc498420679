//! Host ids for runs: one for each that goes on or waits, whatever launcher it belongs to.
//!
//! Invariant: no two children that live have one id. The one that came back first is given away first, so that its last
//! process is long gone.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use crate::launcher::locked;

/// The ids of this node's range, but the first, which is the engines'.
pub(crate) struct Ids {
    free: Mutex<VecDeque<u32>>,
    /// So many are kept from children that only wait.
    kept: usize,
    all: usize,
}

/// An id, counted from 0; it comes back when this is dropped.
pub(crate) struct Slot {
    ids: Arc<Ids>,
    number: u32,
}

impl Ids {
    /// `count` with that of the engines; of these `sessions` are for runs that go on, half of all at the most.
    pub(crate) fn new(count: u32, sessions: usize) -> Self {
        let free: VecDeque<u32> = (0..count.saturating_sub(1)).collect();
        let all = free.len();
        Self {
            free: Mutex::new(free),
            kept: sessions.min(all / 2),
            all,
        }
    }

    /// For a run that begins. An error is one sentence.
    pub(crate) fn take(self: &Arc<Self>) -> Result<Slot, String> {
        let number = locked(&self.free).pop_front();
        number.map(|number| self.slot(number)).ok_or_else(|| {
            format!(
                "all {} ids for runs are in use; raise jail.id_count, or lower slots.per_engine",
                self.all
            )
        })
    }

    /// For a child that waits, if enough are left for runs.
    pub(crate) fn spare(self: &Arc<Self>) -> Option<Slot> {
        let mut free = locked(&self.free);
        if free.len() <= self.kept {
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

impl Slot {
    pub(crate) fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        locked(&self.ids.free).push_back(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_given_away_once_and_the_oldest_first() {
        let ids = Arc::new(Ids::new(4, 9));
        let mut held: Vec<Slot> = (0..3).map(|_| ids.take().expect("an id")).collect();
        assert_eq!(held.iter().map(Slot::number).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(ids.take().err().expect("none").contains("jail.id_count"));
        drop(held.remove(1));
        drop(held.remove(0));
        assert_eq!(ids.take().expect("an id").number(), 1);
    }

    #[test]
    fn children_that_wait_leave_ids_for_runs() {
        let ids = Arc::new(Ids::new(9, 2));
        let waiting: Vec<Slot> = std::iter::from_fn(|| ids.spare()).collect();
        assert_eq!(waiting.len(), 6);
        assert!(ids.take().is_ok());
    }
}
