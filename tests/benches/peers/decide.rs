//! How long one decision about trust takes, beside the same decision in Cedar; how large a trust state is, and how long
//! a node takes to read one and to apply a change to it.

mod world;

#[cfg(feature = "cedar")]
mod cedar;

use std::hint::black_box;

use anyhow::ensure;
use muster_code_trust::{Block, Change, Decision, Entry, Place, TrustState, decide};

use crate::{
    memory::resident_mb,
    report::{Row, note},
    sample::{median, now_us, number},
};

use world::World;

/// Decisions of ours in one batch, and how often a state is read and changed in all.
const DECISIONS: usize = 200_000;
const READINGS: usize = 5;

pub(crate) fn rows(rounds: usize) -> anyhow::Result<Vec<Row>> {
    note(&format!("decide: {rounds} rounds"));
    // The large state comes first: what it takes is read off the whole process.
    let large = World::new(100_000);
    let before = resident_mb(std::process::id())?;
    let state = TrustState::from_entries(large.entries());
    let size = resident_mb(std::process::id())? - before;
    let mut rows = vec![Row::alone("trust_state_100000_mb", size, "MiB")];
    rows.extend(reading(&state)?);
    let small = World::new(100);
    let small_state = TrustState::from_entries(small.entries());
    #[cfg(feature = "cedar")]
    let peers = cedar::Peers::new(&small, &small_state)?;
    let (mut of_small, mut of_large) = (Vec::new(), Vec::new());
    #[cfg(feature = "cedar")]
    let (mut of_policies, mut of_attributes) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // Ours is before the peers in one round and after them in the next.
        if round % 2 == 0 {
            of_small.push(batch(&small, &small_state));
        }
        #[cfg(feature = "cedar")]
        {
            of_policies.push(peers.by_policies());
            of_attributes.push(peers.by_attributes());
        }
        if round % 2 == 1 {
            of_small.push(batch(&small, &small_state));
        }
        of_large.push(batch(&large, &state));
    }
    #[cfg(feature = "cedar")]
    {
        let in_ns = |row: Row| Row { unit: "ns", ..row };
        rows.push(in_ns(Row::beside(
            "decide_vs_cedar",
            &of_small,
            "cedar-policy, one policy an entry",
            &of_policies,
        )));
        rows.push(in_ns(Row::beside(
            "decide_vs_cedar_best",
            &of_small,
            "cedar-policy, entries as attributes",
            &of_attributes,
        )));
    }
    rows.push(Row::alone("decide_ns_100", median(of_small), "ns"));
    rows.push(Row::alone("decide_ns_100000", median(of_large), "ns"));
    Ok(rows)
}

/// Nanoseconds of one decision, over all questions of the world in turn.
fn batch(world: &World, state: &TrustState) -> f64 {
    let settings = state.settings_at(&Place::default());
    let began = now_us();
    for question in world.questions().iter().cycle().take(DECISIONS) {
        let decision: Decision<'_> = decide(black_box(question), state, &settings);
        black_box(&decision);
    }
    nanoseconds(began) / number(DECISIONS as u64)
}

fn nanoseconds(began: u64) -> f64 {
    number(now_us() - began) * 1e3
}

/// Reading a whole state as it was sent, applying one change, and how long the entries are together.
fn reading(state: &TrustState) -> anyhow::Result<Vec<Row>> {
    let block = Entry::Block(Block::User("somebody@ELSEWHERE".parse()?));
    let pairs = |state: &TrustState| -> Vec<(String, String)> {
        let pairs = state.pairs();
        pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    };
    let mut after = pairs(state);
    after.push((block.key(), block.value()));
    let signed = TrustState::from_pairs(after)?.digest();
    let change = Change {
        number: 1,
        key: block.key(),
        value: Some(block.value()),
    };
    let (mut reads, mut applies) = (Vec::new(), Vec::new());
    for _ in 0..READINGS {
        let sent = pairs(state);
        let began = now_us();
        let read = TrustState::from_pairs(sent)?;
        ensure!(read.digest() == state.digest(), "another state was read");
        reads.push(nanoseconds(began) / 1e6);
        let began = now_us();
        let applied = read.apply(std::slice::from_ref(&change), &signed)?;
        applies.push(nanoseconds(began) / 1e6);
        ensure!(applied.len() == read.len() + 1, "the change is not there");
    }
    let bytes: usize = state.pairs().map(|(key, value)| key.len() + value.len()).sum();
    Ok(vec![
        Row::alone(
            "trust_state_100000_sent_mb",
            number(bytes as u64) / 1024.0 / 1024.0,
            "MiB",
        ),
        Row::alone("trust_state_read_100000_ms", median(reads), "ms"),
        Row::alone("trust_state_apply_100000_ms", median(applies), "ms"),
    ])
}
