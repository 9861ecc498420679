//! Every pair of operations that change what is trusted, in both orders, against the real use cases and database: they end
//! in the same state, one of them is refused by name, or they answer one question and the later answer holds. Each pair of
//! the last two kinds stands in the golden file `tests/golden/trust-orders.txt`, and no other.
//!
//! Invariant: no operation is forgotten. Every kind of audit record is written by some operation here, or stands in
//! [`ELSEWHERE`] with its reason.

mod act;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

use muster_model::audit::Event;
use tokio::task::JoinSet;

use self::{
    act::Act,
    world::{End, World},
};

/// The conflicts that there are. Where one is new or gone, the test prints the whole file as it should be.
const GOLDEN: &str = include_str!("../../tests/golden/trust-orders.txt");

/// Records of what is no decision about code, by the part of their name before the point, or whole.
const ELSEWHERE: [&str; 28] = [
    // Who belongs to the collective, and under which authority: about nodes.
    "authority",
    "certificate",
    "collective",
    "epoch",
    "join",
    "join_token",
    "node",
    "pool",
    "revocation_list",
    "site",
    "trust.reset",
    // What is written down beside decisions, or after them.
    "login",
    "request",
    "run",
    "secret",
    "trust.tombstones_expired",
    "codetrust.declined",
    "codetrust.denied",
    "codetrust.prompted",
    "codetrust.upload_hash",
    // What older versions wrote.
    "license.changed",
    // Somebody or something new, about whom nothing was decided.
    "group.created",
    "user.created",
    "user.password_set",
    "library.saved",
    // Signing is one operation, whatever was signed before, and something was before anything is tried.
    "codetrust.create_root",
    "codetrust.re_sign",
    // What somebody else signed, dated: nothing is kept of it.
    "codetrust.time_stamp",
];

/// Where both begin: with nothing decided, with the right to trust for oneself alone, and with everything decided that can
/// be at once.
const BEGINS: [&str; 3] = ["nothing", "rights", "everything"];

/// How two operations get on with each other.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Together {
    /// Both are done in either order, and the order does not matter.
    Same,
    /// One of them is refused, in one order at least, for these reasons.
    Refused(BTreeSet<String>),
    /// Both are done in either order, and the later one is what holds.
    LaterHolds,
}

impl Together {
    fn of([one, other]: &[End; 2]) -> Self {
        let refusals: BTreeSet<String> = [one, other]
            .into_iter()
            .flat_map(|end| end.refused.iter().flatten().cloned())
            .collect();
        if !refusals.is_empty() && one.state != other.state {
            Self::Refused(refusals)
        } else if one.state == other.state {
            Self::Same
        } else {
            Self::LaterHolds
        }
    }

    /// The words of the golden file.
    fn words(&self) -> Option<String> {
        match self {
            Self::Same => None,
            Self::Refused(kinds) => Some(kinds.iter().cloned().collect::<Vec<_>>().join(", ")),
            Self::LaterHolds => Some("the later holds".to_owned()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_orders_of_every_pair_of_operations_end_in_one_state_or_in_a_named_conflict() {
    let worlds = World::begin().await;
    let mut pairs = Vec::new();
    for begin in BEGINS {
        for (place, first) in Act::ALL.iter().enumerate() {
            for second in Act::ALL.iter().skip(place + 1) {
                // The right makes a difference to what people decide for themselves.
                if begin != "rights" || first.is_own() || second.is_own() {
                    pairs.push((begin, *first, *second));
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    let mut written = BTreeSet::new();
    let mut running = JoinSet::new();
    let mut waiting = pairs.into_iter();
    loop {
        // Each is two copies of the database on a machine with two processors.
        while running.len() < 4
            && let Some((begin, first, second)) = waiting.next()
        {
            let world = Arc::clone(&worlds[begin]);
            running.spawn(async move {
                let ends = [
                    world.end_of([first, second]).await,
                    world.end_of([second, first]).await,
                ];
                (begin, first, second, ends)
            });
        }
        let Some(done) = running.join_next().await else {
            break;
        };
        let (begin, first, second, ends) = done.expect("no failure");
        let together = Together::of(&ends);
        assert!(
            together != Together::LaterHolds || first.question() == second.question(),
            "with {begin} decided, \"{first}\" and \"{second}\" are both done in either order and end in two states, \
             though they are no two answers to one question: {ends:#?}"
        );
        if let Some(words) = together.words() {
            let (begin, place) = (BEGINS.iter().position(|name| *name == begin), first as usize);
            found.insert((begin, place, second as usize), (first, second, words));
        }
        written.extend(ends.into_iter().flat_map(|end| end.written));
    }
    let mut text = String::new();
    for ((begin, ..), (first, second, words)) in &found {
        let begin = begin.map_or("", |place| BEGINS[place]);
        writeln!(text, "{begin}: {first} / {second}: {words}").expect("a text");
    }
    assert!(
        text == GOLDEN,
        "the conflicts are others than in the golden file:\n{text}"
    );
    let forgotten: Vec<&str> = Event::ALL
        .iter()
        .filter(|event| !written.contains(event))
        .map(|event| event.as_str())
        .filter(|name| {
            let area = name.split('.').next().unwrap_or_default();
            !ELSEWHERE.iter().any(|known| known == name || *known == area)
        })
        .collect();
    assert_eq!(
        forgotten,
        [""; 0],
        "no operation of {:?} writes these records; add it there, or say in ELSEWHERE why it decides nothing",
        Act::ALL
    );
}
