//! Two people change what is trusted at once: whichever comes first, the same state is the end, or one is told of a
//! conflict that has a name.

use muster_code_trust::{Block, Change, Entry, Moment, Principal, Target, TrustEntry, TrustState};
use proptest::{option, prelude::*};

use crate::{
    entries::{block, entries, revocation, stamp, trust},
    questions::scene,
    scene::moment,
};

/// What a person does to the entries.
#[derive(Debug, Clone)]
enum Operation {
    /// Adds an entry.
    Insert(Entry),
    /// Takes an entry back.
    Remove(Entry),
    /// Blocks an item, a certificate or a user.
    Block(Entry),
    /// Takes a block back.
    Unblock(Entry),
    /// Voids a time of a user's signatures.
    Revoke(Entry),
    /// Gives a trust entry another end.
    Expire(Principal, Target, Option<Moment>),
}

/// Why an operation is refused: it met another one's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conflict {
    /// The entry is there: whoever puts it relies on somebody else, who may take it back.
    Exists,
    /// There is no such entry any more.
    Gone,
}

impl Operation {
    /// The change that it makes to `state`; none where the state says so already.
    fn change(&self, state: &TrustState) -> Result<Option<Change>, Conflict> {
        let put = |entry: &Entry| {
            Ok(Some(Change {
                number: 1,
                key: entry.key(),
                value: Some(entry.value()),
            }))
        };
        let held = |entry: &Entry| state.get(&entry.key()).map(str::to_owned);
        match self {
            Self::Insert(entry) | Self::Block(entry) | Self::Revoke(entry) => match held(entry) {
                None => put(entry),
                Some(_) => Err(Conflict::Exists),
            },
            Self::Remove(entry) | Self::Unblock(entry) => match held(entry) {
                Some(_) => Ok(Some(Change {
                    number: 1,
                    key: entry.key(),
                    value: None,
                })),
                None => Err(Conflict::Gone),
            },
            Self::Expire(principal, target, expires) => {
                let entry = Entry::Trust(TrustEntry {
                    principal: principal.clone(),
                    target: target.clone(),
                    expires: *expires,
                });
                match held(&entry) {
                    Some(value) if value == entry.value() => Ok(None),
                    // Somebody else's end is not overwritten: who sets one has seen an entry without.
                    Some(value) if value.contains("\"expires\"") => Err(Conflict::Exists),
                    Some(_) => put(&entry),
                    None => Err(Conflict::Gone),
                }
            }
        }
    }
}

/// The state after the operations, as a node gets it, and the conflicts that they met.
fn after(state: &TrustState, operations: [&Operation; 2]) -> (TrustState, Vec<Conflict>) {
    let (mut state, mut conflicts) = (state.clone(), Vec::new());
    for operation in operations {
        match operation.change(&state) {
            Ok(Some(change)) => {
                let mut pairs: Vec<(String, String)> = state
                    .pairs()
                    .filter(|(key, _)| **key != change.key)
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .collect();
                pairs.extend(change.value.clone().map(|value| (change.key.clone(), value)));
                let signed = TrustState::from_pairs(pairs).expect("entries").digest();
                state = state.apply(&[change], &signed).expect("what was signed");
            }
            Ok(None) => {}
            Err(conflict) => conflicts.push(conflict),
        }
    }
    (state, conflicts)
}

fn operation() -> impl Strategy<Value = Operation> {
    let entry = || prop_oneof![trust(), stamp()];
    let end =
        (trust(), option::of(0..100_i64)).prop_filter_map("a trust entry", |(entry, end)| match entry {
            Entry::Trust(entry) => Some(Operation::Expire(entry.principal, entry.target, end.map(moment))),
            _ => None,
        });
    prop_oneof![
        entry().prop_map(Operation::Insert),
        entry().prop_map(Operation::Remove),
        block().prop_map(Operation::Block),
        block().prop_map(Operation::Unblock),
        revocation().prop_map(Operation::Revoke),
        end,
    ]
}

/// Two operations, in half of the cases about one thing.
fn pair() -> impl Strategy<Value = (Operation, Operation)> {
    (operation(), operation(), any::<bool>()).prop_map(|(first, second, same)| {
        let second = match (&first, second) {
            (Operation::Insert(entry), Operation::Remove(_)) if same => Operation::Remove(entry.clone()),
            (Operation::Remove(entry), Operation::Insert(_)) if same => Operation::Insert(entry.clone()),
            (Operation::Block(entry), Operation::Unblock(_)) if same => Operation::Unblock(entry.clone()),
            (Operation::Unblock(entry), Operation::Block(_)) if same => Operation::Block(entry.clone()),
            (Operation::Insert(Entry::Trust(entry)), Operation::Expire(_, _, end)) if same => {
                Operation::Expire(entry.principal.clone(), entry.target.clone(), end)
            }
            (Operation::Remove(Entry::Trust(entry)), Operation::Expire(_, _, end)) if same => {
                Operation::Expire(entry.principal.clone(), entry.target.clone(), end)
            }
            (_, second) => second,
        };
        (first, second)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_orders_of_two_operations_end_alike_or_in_a_named_conflict(
        entries in entries(),
        (first, second) in pair(),
        scene in scene(),
    ) {
        let state = TrustState::from_entries(entries);
        let (one, conflicts_of_one) = after(&state, [&first, &second]);
        let (other, conflicts_of_other) = after(&state, [&second, &first]);
        if one.digest() == other.digest() {
            let facts = scene.facts();
            prop_assert_eq!(scene.decide_with(&facts, &one), scene.decide_with(&facts, &other));
        } else {
            prop_assert!(
                !conflicts_of_one.is_empty() || !conflicts_of_other.is_empty(),
                "{:?} and {:?} end differently and nobody is told", first, second
            );
        }
    }

    /// What restricts is never lost to a race: it is there after both orders, unless the other took it back.
    #[test]
    fn a_block_or_revocation_beside_anything_else_is_there_in_both_orders(
        entries in entries(),
        restriction in prop_oneof![block(), revocation()],
        other in operation(),
    ) {
        let takes_back = matches!(&other, Operation::Unblock(entry) if entry.key() == restriction.key());
        prop_assume!(!takes_back);
        let state = TrustState::from_entries(entries);
        let restrict = match &restriction {
            Entry::Block(Block::Item(_) | Block::Certificate(_) | Block::User(_)) => {
                Operation::Block(restriction.clone())
            }
            _ => Operation::Revoke(restriction.clone()),
        };
        for order in [[&restrict, &other], [&other, &restrict]] {
            let (state, _) = after(&state, order);
            prop_assert!(state.get(&restriction.key()).is_some(), "{:?}", order);
        }
    }
}
