use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn key(number: u32) -> Digest {
    Digest::of(&number.to_be_bytes())
}

fn link(generation: u64, number: u32) -> Link {
    Link {
        generation,
        key: key(number),
    }
}

/// What the control plane keeps of one node.
struct Record {
    at: Link,
    issued: Vec<Link>,
    locked: bool,
}

impl Record {
    fn shown(&mut self, shown: Link) {
        match Use::of(self.at, shown) {
            Use::First => self.at = shown,
            Use::Clone => self.locked = true,
            Use::Current | Use::Superseded => {}
        }
    }

    fn known(&self, asked: Digest) -> Vec<Link> {
        self.issued
            .iter()
            .copied()
            .filter(|link| link.key == asked)
            .collect()
    }

    fn unused(&self) -> usize {
        let next = self.at.generation + 1;
        let of_next = self.issued.iter().filter(|link| link.generation == next);
        of_next.map(|link| link.key).collect::<BTreeSet<_>>().len()
    }

    fn renew(&mut self, shown: Link, asked: Digest) -> Result<Option<Link>, RenewalRefused> {
        self.shown(shown);
        if self.locked {
            return Ok(None);
        }
        match renew(self.at, shown, asked, &self.known(asked), self.unused())? {
            Renewal::Clone => {
                self.locked = true;
                Ok(None)
            }
            Renewal::Repeat(generation) => Ok(Some(Link {
                generation,
                key: asked,
            })),
            Renewal::Issue(generation) => {
                let link = Link {
                    generation,
                    key: asked,
                };
                self.issued.push(link);
                Ok(Some(link))
            }
        }
    }

    fn rejoin(&mut self, key: Digest) -> Option<Link> {
        match comes_back(self.at, key, &self.known(key)) {
            _ if self.locked => None,
            Return::OldKey => None,
            Return::Clone => {
                self.locked = true;
                None
            }
            Return::Known(generation) => {
                let link = Link { generation, key };
                self.issued.push(link);
                Some(link)
            }
        }
    }
}

/// A machine with the identity of the node: what is on its disk, and what is only in its memory.
#[derive(Clone)]
struct Holder {
    held: Link,
    next: Option<Digest>,
    answer: Option<Link>,
    /// Connections that were opened with earlier certificates.
    open: Vec<Link>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    MakeKey,
    Ask { answered: bool },
    Store,
    Use,
    UseOldConnection,
    Crash,
    ComeBack { answered: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::MakeKey),
        4 => any::<bool>().prop_map(|answered| Step::Ask { answered }),
        4 => Just(Step::Store),
        4 => Just(Step::Use),
        1 => Just(Step::UseOldConnection),
        2 => Just(Step::Crash),
        1 => any::<bool>().prop_map(|answered| Step::ComeBack { answered }),
    ]
}

impl Holder {
    fn new(held: Link) -> Self {
        Self {
            held,
            next: None,
            answer: None,
            open: Vec::new(),
        }
    }

    fn take(&mut self, step: Step, record: &mut Record, keys: &mut u32) -> Result<(), RenewalRefused> {
        match step {
            Step::MakeKey if self.next.is_none() => {
                *keys += 1;
                self.next = Some(key(*keys));
            }
            Step::Ask { answered } => {
                if let Some(asked) = self.next {
                    let reply = record.renew(self.held, asked)?;
                    self.answer = reply.filter(|_| answered).or(self.answer);
                }
            }
            Step::Store => {
                if let Some(link) = self.answer.take() {
                    self.open.push(std::mem::replace(&mut self.held, link));
                    self.next = None;
                }
            }
            Step::Use => record.shown(self.held),
            Step::UseOldConnection => {
                if let Some(link) = self.open.last() {
                    record.shown(*link);
                }
            }
            Step::Crash => {
                self.answer = None;
                self.open.clear();
            }
            // Past expiry: the key of the certificate signs a join, and what was being renewed is forgotten.
            Step::ComeBack { answered } => {
                let reply = record.rejoin(self.held.key);
                self.answer = None;
                if let Some(link) = reply.filter(|_| answered) {
                    self.held = link;
                    self.next = None;
                    self.open.clear();
                }
            }
            Step::MakeKey => {}
        }
        Ok(())
    }
}

fn begin() -> (Record, Holder) {
    let first = link(1, 0);
    let record = Record {
        at: first,
        issued: vec![first],
        locked: false,
    };
    (record, Holder::new(first))
}

const CYCLE: [Step; 4] = [
    Step::MakeKey,
    Step::Ask { answered: true },
    Step::Store,
    Step::Use,
];

proptest! {
    #[test]
    fn one_honest_holder_is_never_refused_or_locked(steps in prop::collection::vec(step(), 0..200)) {
        let (mut record, mut holder, mut keys) = { let (record, holder) = begin(); (record, holder, 0) };
        for step in steps {
            let taken = holder.take(step, &mut record, &mut keys);
            prop_assert_eq!(taken, Ok(()), "{:?}", step);
            prop_assert!(!record.locked, "{:?}", step);
        }
        let before = record.at.generation;
        for step in CYCLE {
            prop_assert_eq!(holder.take(step, &mut record, &mut keys), Ok(()));
        }
        prop_assert!(record.at.generation > before && record.at == holder.held);
    }

    #[test]
    fn two_holders_that_both_renew_are_found_out(
        before in prop::collection::vec(step(), 0..40),
        after in prop::collection::vec((any::<bool>(), step()), 0..60),
        order in prop::collection::vec(any::<bool>(), 6),
    ) {
        let (mut record, mut one) = begin();
        let mut keys = 0;
        for step in before {
            prop_assert_eq!(one.take(step, &mut record, &mut keys), Ok(()));
        }
        let mut two = Holder { answer: None, open: Vec::new(), ..one.clone() };
        for (first, step) in after {
            let holder = if first { &mut one } else { &mut two };
            let _ = holder.take(step, &mut record, &mut keys);
        }
        // Whatever came before: three whole renewals of each, in any order.
        for first in order.iter().flat_map(|first| [*first, !*first]) {
            let holder = if first { &mut one } else { &mut two };
            for step in CYCLE {
                let _ = holder.take(step, &mut record, &mut keys);
            }
        }
        prop_assert!(record.locked, "{} at {}", one.held.generation, record.at.generation);
    }
}

#[test]
fn a_restored_holder_may_ask_with_another_key_until_a_certificate_is_used() {
    let (mut record, _) = begin();
    let first = link(1, 0);
    assert_eq!(record.renew(first, key(1)), Ok(Some(link(2, 1))));
    assert_eq!(record.renew(first, key(2)), Ok(Some(link(2, 2))));
    record.shown(link(2, 2));
    assert!(!record.locked);
    record.shown(link(2, 1));
    assert!(
        record.locked,
        "the key that was asked for first has another holder"
    );
}

#[test]
fn keys_are_not_collected_for_one_generation() {
    let (mut record, _) = begin();
    for number in 1..=4 {
        assert!(record.renew(link(1, 0), key(number)).is_ok());
    }
    assert_eq!(record.renew(link(1, 0), key(5)), Err(RenewalRefused::TooMany));
    assert_eq!(
        record.renew(link(1, 0), key(3)),
        Ok(Some(link(2, 3))),
        "a known key is answered"
    );
}

#[test]
fn another_key_under_an_old_generation_is_a_clone_and_the_same_key_is_not() {
    let (mut record, _) = begin();
    assert_eq!(record.renew(link(1, 0), key(1)), Ok(Some(link(2, 1))));
    record.shown(link(2, 1));
    assert_eq!(
        record.renew(link(1, 0), key(1)),
        Ok(Some(link(2, 1))),
        "an answer that got lost"
    );
    assert_eq!(record.renew(link(1, 0), key(2)), Ok(None));
    assert!(record.locked);
}

#[test]
fn keys_do_not_come_back() {
    let (mut record, _) = begin();
    assert_eq!(record.renew(link(1, 0), key(0)), Err(RenewalRefused::SameKey));
    assert_eq!(record.renew(link(1, 0), key(1)), Ok(Some(link(2, 1))));
    assert_eq!(record.renew(link(2, 1), key(0)), Err(RenewalRefused::OldKey));
    assert_eq!(
        comes_back(record.at, key(0), &record.known(key(0))),
        Return::OldKey
    );
    assert_eq!(
        comes_back(record.at, key(1), &record.known(key(1))),
        Return::Known(3)
    );
}

#[test]
fn a_certificate_is_renewed_from_half_of_its_life() {
    let held = Held {
        not_before: 1_000,
        not_after: 11_000,
        leave_within: None,
    };
    assert_eq!(renew_within(held, 5_999), None);
    assert_eq!(renew_within(held, 6_000), Some(1_000));
    assert_eq!(renew_within(held, 20_000), Some(1_000));
}

#[test]
fn the_certificate_before_is_good_for_ten_minutes_more() {
    assert!(overlaps(Some(0), OVERLAP_MS - 1));
    assert!(!overlaps(Some(0), OVERLAP_MS));
    assert!(!overlaps(None, 0));
}
