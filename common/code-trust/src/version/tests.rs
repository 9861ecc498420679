use proptest::prelude::*;

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

fn line(incarnation: u8, epoch: u64) -> Line {
    let incarnation = Incarnation::new(1, [incarnation; 10]);
    Line { incarnation, epoch }
}

fn on(line: Line, number: u64) -> StateVersion {
    let digest = |number: u64| Digest::of(format!("{line:?} {number}").as_bytes());
    StateVersion {
        incarnation: line.incarnation,
        epoch: line.epoch,
        number,
        digest: digest(number),
        previous: digest(number.wrapping_sub(1)),
    }
}

#[test]
fn a_later_epoch_needs_a_bump_from_a_line_that_contradicts_nothing() {
    let known = Known::new(1, Some(on(line(1, 1), 7)), Vec::new());
    let offered = on(line(2, 2), 3);
    let judge = |bump: Option<Bump>| known.judge(&offered, bump.as_ref());
    let bump = |from, to| Some(Bump { from, to });
    assert_eq!(judge(bump(line(1, 1), line(2, 2))), Ok(()));
    assert_eq!(judge(None), Err(VersionError::NoBump { offered: 2, held: 1 }));
    assert_eq!(judge(bump(line(1, 1), line(3, 2))), Err(VersionError::OtherBump));
    assert_eq!(judge(bump(line(1, 1), line(2, 3))), Err(VersionError::OtherBump));
    assert_eq!(judge(bump(line(2, 2), line(2, 2))), Err(VersionError::OtherBump));
    assert_eq!(
        judge(bump(line(3, 1), line(2, 2))),
        Err(VersionError::ForeignBump(1))
    );
    // Epochs that were slept through are no obstacle.
    let far = on(line(4, 5), 1);
    let skipped = Bump {
        from: line(3, 4),
        to: line(4, 5),
    };
    assert_eq!(known.judge(&far, Some(&skipped)), Ok(()));
}

#[test]
fn the_first_state_is_of_the_epoch_of_the_join() {
    let known = Known::new(2, None, Vec::new());
    assert_eq!(known.judge(&on(line(2, 2), 3), None), Ok(()));
    assert_eq!(
        known.judge(&on(line(1, 1), 9), None),
        Err(VersionError::OldEpoch { offered: 1, held: 2 })
    );
    assert_eq!(
        known.judge(&on(line(3, 3), 3), None),
        Err(VersionError::NoBump { offered: 3, held: 2 })
    );
    let bump = Bump {
        from: line(2, 2),
        to: line(3, 3),
    };
    assert_eq!(known.judge(&on(line(3, 3), 3), Some(&bump)), Ok(()));
}

/// What may happen to a database.
#[derive(Debug, Clone, Copy)]
enum Step {
    Change,
    /// A copy from so many steps ago is put back, with a bump.
    Restore(usize),
    /// The node hears of the present state.
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Change),
        1 => (0_usize..20).prop_map(Step::Restore),
        3 => Just(Step::Look),
    ]
}

proptest! {
    #[test]
    fn whatever_is_offered_an_accepted_history_never_goes_back(
        offers in proptest::collection::vec(
            (0_u8..3, 0_u64..4, 0_u64..5, proptest::option::of((0_u8..3, 0_u64..4, 0_u8..3, 0_u64..4))),
            1..60,
        ),
        joined in 0_u64..3,
    ) {
        let mut known = Known::new(joined, None, Vec::new());
        for (incarnation, epoch, number, bump) in offers {
            let offered = on(line(incarnation, epoch), number);
            let bump = bump.map(|(from, from_epoch, to, to_epoch)| Bump {
                from: line(from, from_epoch),
                to: line(to, to_epoch),
            });
            let before = known.head().copied();
            let seen = known.lines().to_vec();
            if known.judge(&offered, bump.as_ref()).is_err() {
                continue;
            }
            known.accept(offered);
            prop_assert!(epoch >= joined);
            let rose = match before {
                None => epoch > joined,
                Some(before) => {
                    prop_assert!(epoch >= before.epoch);
                    if epoch == before.epoch {
                        prop_assert_eq!(offered.incarnation, before.incarnation);
                        prop_assert!(number >= before.number);
                    }
                    epoch > before.epoch
                }
            };
            if rose {
                let bump = bump.expect("nothing rises without a bump");
                prop_assert_eq!(bump.to, offered.line());
                prop_assert!(seen.iter().all(|line| line.epoch != bump.from.epoch || *line == bump.from));
            }
            let mut epochs: Vec<_> = known.lines().iter().map(|line| line.epoch).collect();
            epochs.dedup();
            prop_assert_eq!(epochs.len(), known.lines().len(), "one line an epoch");
        }
    }

    #[test]
    fn an_honest_history_is_accepted_however_much_of_it_is_slept_through(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let (mut head, mut bump) = (on(line(0, 1), 0), None);
        let mut copies = vec![head];
        let mut known = Known::new(1, None, Vec::new());
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Change => head = head.next(Digest::of(&at.to_be_bytes())),
                Step::Restore(ago) => {
                    let copy = copies[copies.len().saturating_sub(1 + ago)];
                    let epoch = head.epoch + 1;
                    let to = line(u8::try_from(epoch).expect("few"), epoch);
                    bump = Some(Bump { from: copy.line(), to });
                    head = StateVersion { incarnation: to.incarnation, epoch, ..copy };
                }
                Step::Look => {
                    prop_assert_eq!(known.judge(&head, bump.as_ref()), Ok(()));
                    known.accept(head);
                }
            }
            copies.push(head);
        }
    }
}
