//! The budget of offers: a man in the middle who may try codes only at this rate has no hope within an hour.
//!
//! 200 offers a second are 720,000 an hour against 10^12 codes. Prefixes share fairly: none may take more than
//! half of the budget, so that a flood from one does not keep the others out.

use std::{collections::HashMap, net::IpAddr, sync::Mutex, time::Duration};

use crate::Error;

/// Token buckets on the boot clock, one for all and one for each address prefix (IPv4 /24, IPv6 /48).
pub struct OfferBudget {
    per_second: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    second: u64,
    taken: u64,
    by_prefix: HashMap<Prefix, u64>,
}

#[derive(PartialEq, Eq, Hash)]
enum Prefix {
    V4([u8; 3]),
    V6([u8; 6]),
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
        if state.second != boot.as_secs() {
            *state = State {
                second: boot.as_secs(),
                ..State::default()
            };
        }
        let share = (self.per_second / 2).max(1);
        let mine = state.by_prefix.get(&prefix(source)).copied().unwrap_or(0);
        if state.taken >= self.per_second || mine >= share {
            return Err(Error::TooMany {
                detail: "too many nodes ask to join at once; the node tries again by itself".to_owned(),
                retry_after: 5,
            });
        }
        state.taken += 1;
        state.by_prefix.insert(prefix(source), mine + 1);
        Ok(())
    }
}

fn prefix(source: IpAddr) -> Prefix {
    match source.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            Prefix::V4([a, b, c])
        }
        IpAddr::V6(v6) => {
            let o = v6.octets();
            Prefix::V6([o[0], o[1], o[2], o[3], o[4], o[5]])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_prefix_takes_at_most_half_and_all_together_the_whole() {
        let budget = OfferBudget::new(10);
        let now = Duration::from_secs(5);
        let taken = |last: u8, net: u8, now| {
            (0..20)
                .filter(|_| budget.take(IpAddr::from([10, 0, net, last]), now).is_ok())
                .count()
        };
        assert_eq!(taken(1, 0, now), 5);
        assert_eq!(taken(2, 0, now), 0, "the same prefix");
        assert_eq!(taken(1, 1, now), 5);
        assert_eq!(taken(1, 2, now), 0, "nothing is left in this second");
        assert_eq!(taken(1, 2, Duration::from_secs(6)), 5);
    }
}
