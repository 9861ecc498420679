//! Who may be connected: limits in all, for each address prefix and each address, and who gives way.
//!
//! ```text
//!   accepted ──► Waiting ──(a whole request is there)──► Settled
//!                 │   ▲                                    │
//!                 │   └──────────(plain: answered)─────────┘
//!                 └──(no room: the oldest of the busiest source)──► cut
//! ```
//!
//! Invariant: no connection that has said something whole is cut for another one, and whoever floods from one place
//! competes with its own connections. What a flood costs here does not grow with it.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use muster_model::address::Prefix;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// In all.
    pub total: usize,
    /// Waiting ones.
    pub waiting: usize,
    /// Waiting ones of one prefix: a /24 of IPv4, a /48 of IPv6.
    pub per_prefix: usize,
    /// Waiting ones of one address.
    pub per_address: usize,
    /// How long a waiting connection stands before a newcomer of its own source may take its place.
    pub patience: Duration,
}

/// There is no room.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// The connections of one listener.
pub(super) struct Gate {
    room: Room,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// All of them.
    total: usize,
    /// By number, so that the first is the oldest.
    waiting: BTreeMap<u64, Waiting>,
    by_prefix: HashMap<Prefix, usize>,
    by_address: HashMap<IpAddr, usize>,
}

struct Waiting {
    source: IpAddr,
    since: Instant,
    cut: CancellationToken,
}

/// A place at the gate; dropping it gives it back.
pub(super) struct Place {
    gate: Arc<Gate>,
    number: u64,
    source: IpAddr,
    cut: CancellationToken,
}

impl Gate {
    pub(super) fn new(room: Room) -> Arc<Self> {
        Arc::new(Self {
            room,
            table: Mutex::default(),
        })
    }

    /// Lets the connection with this number in, if need be in place of another one, whose `cut` is cancelled.
    pub(super) fn enter(
        self: &Arc<Self>,
        number: u64,
        source: IpAddr,
        cut: &CancellationToken,
        now: Instant,
    ) -> Result<(Place, bool), Full> {
        let source = source.to_canonical();
        let mut table = self.lock();
        let displaced = table.make_room(&self.room, source, now)?;
        table.total += 1;
        table.wait(number, source, cut, now);
        drop(table);
        let place = Place {
            gate: self.clone(),
            number,
            source,
            cut: cut.clone(),
        };
        Ok((place, displaced))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Something whole was said: nobody takes this place any more.
    pub(super) fn settle(&self) {
        self.gate.lock().stop_waiting(self.number);
    }

    /// It was answered, and the next thing is waited for.
    pub(super) fn wait_again(&self, now: Instant) {
        if !self.cut.is_cancelled() {
            let mut table = self.gate.lock();
            table.wait(self.number, self.source, &self.cut, now);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.gate.lock();
        table.stop_waiting(self.number);
        table.total -= 1;
    }
}

impl Table {
    /// Whether somebody had to go for a newcomer from `source`.
    fn make_room(&mut self, room: &Room, source: IpAddr, now: Instant) -> Result<bool, Full> {
        let prefix = Prefix::of(source);
        let of_address = self.by_address.get(&source).copied().unwrap_or(0);
        let of_prefix = self.by_prefix.get(&prefix).copied().unwrap_or(0);
        let (victim, own) = if of_address >= room.per_address {
            (self.oldest(|waiting| waiting.source == source), true)
        } else if of_prefix >= room.per_prefix {
            (self.oldest_of_busiest_address(prefix), true)
        } else if self.waiting.len() >= room.waiting || self.total >= room.total {
            let most = self.by_prefix.values().max().copied().unwrap_or(0);
            let one = self.oldest(|waiting| self.by_prefix[&Prefix::of(waiting.source)] == most);
            let busiest = one.and_then(|number| self.waiting.get(&number));
            let busiest = Prefix::of(busiest.ok_or(Full)?.source);
            // Whoever has less than the busiest need not wait for its patience.
            (self.oldest_of_busiest_address(busiest), most <= of_prefix + 1)
        } else {
            return Ok(false);
        };
        let victim = victim.ok_or(Full)?;
        let since = self.waiting[&victim].since;
        if own && now.saturating_duration_since(since) < room.patience {
            return Err(Full);
        }
        if let Some(gone) = self.stop_waiting(victim) {
            gone.cut.cancel();
        }
        Ok(true)
    }

    fn oldest(&self, wanted: impl Fn(&Waiting) -> bool) -> Option<u64> {
        let found = self.waiting.iter().find(|(_, waiting)| wanted(waiting));
        found.map(|(number, _)| *number)
    }

    fn oldest_of_busiest_address(&self, prefix: Prefix) -> Option<u64> {
        let of_prefix = self
            .by_address
            .iter()
            .filter(|(address, _)| Prefix::of(**address) == prefix);
        let most = of_prefix.map(|(_, count)| *count).max()?;
        self.oldest(|waiting| {
            Prefix::of(waiting.source) == prefix && self.by_address[&waiting.source] == most
        })
    }

    fn wait(&mut self, number: u64, source: IpAddr, cut: &CancellationToken, now: Instant) {
        let waiting = Waiting {
            source,
            since: now,
            cut: cut.clone(),
        };
        if self.waiting.insert(number, waiting).is_none() {
            *self.by_prefix.entry(Prefix::of(source)).or_default() += 1;
            *self.by_address.entry(source).or_default() += 1;
        }
    }

    fn stop_waiting(&mut self, number: u64) -> Option<Waiting> {
        let gone = self.waiting.remove(&number)?;
        one_less(&mut self.by_prefix, Prefix::of(gone.source));
        one_less(&mut self.by_address, gone.source);
        Some(gone)
    }
}

fn one_less<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    if let std::collections::hash_map::Entry::Occupied(mut entry) = counts.entry(key) {
        *entry.get_mut() -= 1;
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOM: Room = Room {
        total: 8,
        waiting: 6,
        per_prefix: 4,
        per_address: 3,
        patience: Duration::ZERO,
    };

    struct Somebody {
        place: Place,
        cut: CancellationToken,
    }

    fn enter(gate: &Arc<Gate>, number: u64, source: [u8; 4], now: Instant) -> Result<Somebody, Full> {
        let cut = CancellationToken::new();
        let (place, _) = gate.enter(number, source.into(), &cut, now)?;
        Ok(Somebody { place, cut })
    }

    fn cut(all: &[Somebody]) -> Vec<u64> {
        let cut = all.iter().filter(|one| one.cut.is_cancelled());
        cut.map(|one| one.place.number).collect()
    }

    #[test]
    fn the_oldest_of_an_address_and_of_a_prefix_give_way_to_their_own() {
        let (gate, now) = (Gate::new(ROOM), Instant::now());
        let mut all: Vec<_> = (0..4)
            .map(|n| enter(&gate, n, [10, 0, 0, 1], now).expect("room"))
            .collect();
        assert_eq!(cut(&all), [0], "the fourth of one address");
        all.push(enter(&gate, 4, [10, 0, 0, 2], now).expect("room"));
        assert_eq!(cut(&all), [0], "the fourth of the prefix");
        all.push(enter(&gate, 5, [10, 0, 0, 3], now).expect("room"));
        assert_eq!(cut(&all), [0, 1], "the oldest of its busiest address");
        all.push(enter(&gate, 6, [10, 0, 1, 1], now).expect("room"));
        assert_eq!(cut(&all), [0, 1], "another prefix has room of its own");
    }

    #[test]
    fn when_all_is_full_the_busiest_prefix_gives_way_and_settled_ones_never() {
        let (gate, now) = (Gate::new(ROOM), Instant::now());
        let mut all = Vec::new();
        for (number, source) in [[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 3], [10, 0, 1, 1]]
            .into_iter()
            .enumerate()
        {
            all.push(enter(&gate, number as u64, source, now).expect("room"));
        }
        all[0].place.settle();
        for number in 4..10 {
            all.push(
                enter(
                    &gate,
                    number,
                    [10, 0, 2, u8::try_from(number).expect("small")],
                    now,
                )
                .expect("room"),
            );
        }
        // Four of the last prefix wait beside two and one of the others, whom it does not harm.
        assert_eq!(cut(&all), [4, 5, 6]);
        all.push(enter(&gate, 10, [10, 0, 3, 1], now).expect("room"));
        assert_eq!(cut(&all), [4, 5, 6, 7]);
    }

    #[test]
    fn one_of_the_busiest_source_waits_for_patience_and_a_stranger_does_not() {
        let room = Room {
            patience: Duration::from_secs(1),
            ..ROOM
        };
        let (gate, now) = (Gate::new(room), Instant::now());
        let all: Vec<_> = (0..3)
            .map(|n| enter(&gate, n, [10, 0, 0, 1], now).expect("room"))
            .collect();
        assert!(
            enter(&gate, 3, [10, 0, 0, 1], now).is_err(),
            "all of them are new"
        );
        assert!(cut(&all).is_empty());
        let later = now + room.patience;
        let _after = enter(&gate, 4, [10, 0, 0, 1], later).expect("the oldest stalls");
        assert_eq!(cut(&all), [0]);
    }

    #[test]
    fn nothing_is_left_of_connections_that_are_gone() {
        let (gate, now) = (Gate::new(ROOM), Instant::now());
        for number in 0..100 {
            let one = enter(&gate, number, [10, 0, 0, 1], now).expect("room");
            one.place.settle();
            one.place.wait_again(now);
            drop(one);
        }
        let table = gate.lock();
        assert_eq!((table.total, table.waiting.len()), (0, 0));
        assert!(table.by_prefix.is_empty() && table.by_address.is_empty());
    }

    proptest! {
        #[test]
        fn limits_hold_and_only_waiting_ones_are_cut(acts in proptest::collection::vec((0..4_u8, 0..3_u8, 0..4_u8), 1..200)) {
            let (gate, now) = (Gate::new(ROOM), Instant::now());
            let mut all: Vec<(Somebody, bool)> = Vec::new();
            for (number, (act, third, last)) in acts.into_iter().enumerate() {
                match act {
                    0 | 1 => if let Ok(one) = enter(&gate, number as u64, [10, 0, third, last], now) {
                        all.push((one, false));
                    },
                    2 if !all.is_empty() => {
                        let at = usize::from(last) % all.len();
                        if !all[at].0.cut.is_cancelled() {
                            all[at].0.place.settle();
                            all[at].1 = true;
                        }
                    }
                    3 if !all.is_empty() => drop(all.swap_remove(usize::from(third) % all.len())),
                    _ => {}
                }
                // A cut connection ends at once.
                prop_assert!(all.iter().all(|(one, settled)| !(one.cut.is_cancelled() && *settled)));
                all.retain(|(one, _)| !one.cut.is_cancelled());
                let table = gate.lock();
                prop_assert_eq!(table.total, all.len());
                prop_assert!(table.total <= ROOM.total && table.waiting.len() <= ROOM.waiting);
                prop_assert!(table.by_prefix.values().all(|count| *count <= ROOM.per_prefix));
                prop_assert!(table.by_address.values().all(|count| *count <= ROOM.per_address));
                prop_assert_eq!(table.by_prefix.values().sum::<usize>(), table.waiting.len());
            }
        }
    }
}
