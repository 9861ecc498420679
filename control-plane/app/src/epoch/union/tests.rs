use muster_code_trust::{Block, Revocation, Tombstone};
use proptest::prelude::*;

use super::*;

fn act(number: u8, user: &str) -> Blocking {
    Blocking {
        id: BlockId::new(1, [number; 10]),
        block: Block::User(format!("{user}@SPOTFIRE").parse().expect("a user")),
        author: "ann@SPOTFIRE".parse().expect("a user"),
        at: Moment::from_unix_ms(0),
    }
}

/// A state in which `live` acts stand and `lifted` ones were lifted.
fn state(live: &[Blocking], lifted: &[Blocking]) -> TrustState {
    let acts = live
        .iter()
        .flat_map(|act| [Entry::Blocking(act.clone()), Entry::Block(act.block.clone())]);
    let tombstones = lifted.iter().map(|act| {
        Entry::Tombstone(Tombstone {
            gone: Gone::Block(act.id),
            at: Moment::from_unix_ms(1),
        })
    });
    TrustState::from_entries(acts.chain(tombstones))
}

fn pairs(state: &TrustState) -> BTreeMap<String, String> {
    state
        .pairs()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn united(mut entries: BTreeMap<String, String>, reported: &TrustState) -> BTreeMap<String, String> {
    for (key, value) in losses(&entries, reported, Moment::from_unix_ms(9)).changes {
        match value {
            Some(value) => entries.insert(key, value),
            None => entries.remove(&key),
        };
    }
    entries
}

#[test]
fn a_root_that_was_removed_does_not_come_back() {
    let name = Digest::of(b"root").to_string();
    let root = Entry::Root(name.parse().expect("a label"));
    let other = Entry::Root("internal".parse().expect("a label"));
    let gone = Tombstone {
        gone: Gone::Root(name.parse().expect("a label")),
        at: Moment::from_unix_ms(1),
    };
    let reported = TrustState::from_entries([Entry::Tombstone(gone.clone())]);
    let backup = pairs(&TrustState::from_entries([root.clone(), other.clone()]));
    let losses = losses(&backup, &reported, Moment::from_unix_ms(9));
    assert_eq!(losses.roots, [Digest::of(b"root")]);
    let after = united(backup, &reported);
    assert!(!after.contains_key(&root.key()) && after.contains_key(&other.key()));
    assert!(after.contains_key(&Entry::Tombstone(gone).key()));
    // Once known, nothing is taken away a second time: people may have accepted it since.
    assert!(
        super::losses(&after, &reported, Moment::from_unix_ms(9))
            .changes
            .is_empty()
    );
}

#[test]
fn a_block_that_was_forgotten_comes_back_and_one_that_was_lifted_does_not() {
    let (eve, bob) = (act(1, "eve"), act(2, "bob"));
    let forgotten = united(BTreeMap::new(), &state(std::slice::from_ref(&eve), &[]));
    assert!(forgotten.contains_key("block/user/eve@spotfire"));
    // A node that was away while it was lifted knows the block only.
    let later = pairs(&state(&[], std::slice::from_ref(&eve)));
    assert_eq!(
        united(later.clone(), &state(std::slice::from_ref(&eve), &[])),
        later
    );
    // Lifted after the backup.
    let backup = pairs(&state(&[eve.clone(), bob], &[]));
    let after = united(backup, &state(&[], std::slice::from_ref(&eve)));
    assert!(!after.contains_key("block/user/eve@spotfire") && after.contains_key("block/user/bob@spotfire"));
    // Lifted after the backup and blocked again in the epoch that began.
    let again = pairs(&state(&[act(3, "eve")], &[]));
    let kept = united(again, &state(&[], &[eve]));
    assert!(kept.contains_key("block/user/eve@spotfire"));
}

#[test]
fn a_revocation_that_was_forgotten_comes_back() {
    let revocation = Entry::Revocation(Revocation {
        user: "eve@SPOTFIRE".parse().expect("a user"),
        from: Moment::from_unix_ms(0),
        until: None,
    });
    let after = united(BTreeMap::new(), &TrustState::from_entries([revocation.clone()]));
    assert_eq!(after.get(&revocation.key()), Some(&revocation.value()));
}

/// What three people did with three acts: each stands, was lifted, or is not known.
fn some_state() -> impl Strategy<Value = TrustState> {
    let acts = [act(1, "eve"), act(2, "eve"), act(3, "bob")];
    prop::collection::vec(0..3_u8, 3).prop_map(move |fates| {
        let of = |fate: u8| -> Vec<Blocking> {
            let chosen = acts.iter().zip(&fates).filter(|(_, is)| **is == fate);
            chosen.map(|(act, _)| act.clone()).collect()
        };
        state(&of(1), &of(2))
    })
}

proptest! {
    #[test]
    fn reports_lead_to_the_same_blocks_in_any_order_and_twice_is_once(
        own in some_state(), one in some_state(), other in some_state(),
    ) {
        let here = pairs(&own);
        let forth = united(united(here.clone(), &one), &other);
        let back = united(united(here, &other), &one);
        prop_assert_eq!(&forth, &back);
        prop_assert_eq!(&united(forth.clone(), &one), &forth);
        let state = TrustState::from_pairs(forth.clone()).expect("a state");
        // A block stands exactly as long as an act is behind it.
        for user in ["eve", "bob"] {
            let behind = state.blockings().any(|act| is_behind(&act, &Block::User(format!("{user}@SPOTFIRE").parse().expect("a user"))));
            prop_assert_eq!(forth.contains_key(&format!("block/user/{user}@spotfire")), behind);
        }
    }
}
