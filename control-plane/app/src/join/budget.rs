//! The budget of offers: a man in the middle who may try codes only at this rate has no hope within an hour.
//!
//! 200 offers a second are 720,000 an hour against 10^12 codes. Prefixes share fairly: with `n` of them asking, each
//! may take one part in `n + 1`, so that something is left for one that comes new, whatever the others do.

use std::{collections::HashMap, net::IpAddr, sync::Mutex, time::Duration};

use muster_model::address::Prefix;

use crate::Error;

/// Offers of one kind in each second of the boot clock, for all and for each address prefix (IPv4 /24, IPv6 /48).
pub struct OfferBudget {
    per_second: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    second: u64,
    taken: u64,
    by_prefix: HashMap<Prefix, u64>,
    /// Prefixes that asked in the second before.
    before: u64,
}

impl OfferBudget {
    /// At most `per_second` offers in each second.
    pub fn new(per_second: u64) -> Self {
        Self {
            per_second,
            state: Mutex::default(),
        }
    }

    /// Takes one offer for `source` at `boot` (time since boot), or says when to come back.
    pub fn take(&self, source: IpAddr, boot: Duration) -> Result<(), Error> {
        let mut state = self
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let second = boot.as_secs();
        if state.second != second {
            let asked = state.by_prefix.len() as u64;
            *state = State {
                second,
                before: if state.second.checked_add(1) == Some(second) {
                    asked
                } else {
                    0
                },
                ..State::default()
            };
        }
        // More prefixes than offers are not told apart any more, and need no memory.
        let room = (state.by_prefix.len() as u64) < self.per_second;
        let prefix = Prefix::of(source);
        if room {
            state.by_prefix.entry(prefix).or_insert(0);
        }
        let asking = (state.by_prefix.len() as u64).max(state.before);
        let share = (self.per_second / (asking + 1)).max(1);
        let mine = state.by_prefix.get(&prefix).copied().unwrap_or(share);
        if state.taken >= self.per_second || mine >= share {
            return Err(Error::TooMany {
                detail: "too many nodes ask to join at once; the node tries again by itself".to_owned(),
                retry_after: 5,
            });
        }
        state.taken += 1;
        state.by_prefix.insert(prefix, mine + 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(budget: &OfferBudget, net: u8, last: u8, second: u64) -> usize {
        (0..200)
            .filter(|_| {
                budget
                    .take(IpAddr::from([10, 0, net, last]), Duration::from_secs(second))
                    .is_ok()
            })
            .count()
    }

    #[test]
    fn one_prefix_takes_at_most_half() {
        let budget = OfferBudget::new(10);
        assert_eq!(taken(&budget, 0, 1, 5), 5);
        assert_eq!(taken(&budget, 0, 2, 5), 0, "the same prefix");
        assert_eq!(taken(&budget, 1, 1, 5), 3);
        assert_eq!(
            taken(&budget, 0, 2, 6),
            3,
            "two prefixes asked in the second before"
        );
        assert_eq!(taken(&budget, 0, 2, 9), 5, "nobody did");
    }

    #[test]
    fn something_is_left_for_whoever_comes_new() {
        let budget = OfferBudget::new(100);
        for second in 0..3 {
            for net in 0..9 {
                taken(&budget, net, 1, second);
            }
            assert!(
                second == 0 || taken(&budget, 200, 1, second) > 0,
                "nine prefixes keep a tenth out"
            );
        }
    }

    #[test]
    fn the_whole_is_never_exceeded_and_memory_is_bounded() {
        let budget = OfferBudget::new(10);
        let all: usize = (0..=255).map(|net| taken(&budget, net, 1, 1)).sum();
        assert!(all <= 10, "{all}");
        assert!(budget.state.lock().expect("state").by_prefix.len() <= 10);
    }
}
