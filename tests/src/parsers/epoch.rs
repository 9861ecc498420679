//! Epochs: the word of a root, as a node reads it, and what a node knows, as a control plane reads it.

use std::collections::BTreeMap;

use muster_agent::trust;
use muster_app::epoch::read_known;
use muster_code_trust::{Entry, Gone, Known as Seen, Moment, StateVersion, Tombstone, TrustState};
use muster_ids::{Incarnation, StampId};
use muster_pki::PayloadType;
use muster_wire::node::v1::epoch::{EpochBump, Known, KnownState, Line};

use super::{
    signed::{self, Draft},
    world::{NOW, World},
};

/// A bump, as a node reads it: the bytes as an envelope, and as what a root signed.
pub(super) fn bump(bytes: &[u8]) {
    let world = World::get();
    let signed = world.sign_by_root(PayloadType::EpochBump, bytes.to_vec());
    let signed = signed.map(|envelope| muster_agent::envelope::wire(&envelope));
    let held = signed::held().version;
    let known = Seen::new(1, Some(held), vec![held.line()]);
    for envelope in serde_json::from_slice(bytes).into_iter().chain(signed) {
        let Ok(bump) = trust::open_bump(&envelope, &world.roots, NOW) else {
            continue;
        };
        let offered = StateVersion {
            incarnation: bump.to.incarnation,
            epoch: bump.to.epoch,
            ..held
        };
        if known.judge(&offered, Some(&bump)).is_ok() {
            assert!(offered.epoch >= held.epoch, "no bump leads back");
            assert!(
                offered.epoch == held.epoch || bump.from.epoch < bump.to.epoch,
                "a bump leads onward"
            );
            assert!(
                offered.epoch == held.epoch || bump.from.epoch != held.epoch || bump.from == held.line(),
                "it does not begin at another copy"
            );
        }
    }
}

pub(super) fn bump_seeds() -> Vec<Vec<u8>> {
    let world = World::get();
    let held = signed::held().version;
    let bump = |from: u64, to: u64| EpochBump {
        collective: world.collective,
        from: Line {
            incarnation: held.incarnation,
            epoch: from,
        },
        to: Line {
            incarnation: Incarnation::new(NOW, [5; 10]),
            epoch: to,
        },
        issued: NOW,
    };
    let payloads = [bump(1, 2), bump(2, 7)].map(|bump| serde_json::to_vec(&bump).expect("JSON"));
    let envelope = world.sign_by_root(PayloadType::EpochBump, payloads[0].clone());
    payloads
        .into_iter()
        .chain(envelope.map(|envelope| envelope.to_json()))
        .collect()
}

/// The report of a node, as a control plane reads it: the bytes as the report, and as what a control plane had signed.
/// A digest of the entries is put right, so that the bytes reach what is behind it.
pub(super) fn known(bytes: &[u8]) {
    let world = World::get();
    if let Ok(Known { state: Some(state) }) = muster_app::object::<Known>(bytes) {
        take(&state);
    }
    let Ok(draft) = serde_json::from_slice::<Draft>(bytes) else {
        return;
    };
    let Draft {
        head,
        entries: Some(entries),
        ..
    } = draft.put_right()
    else {
        return;
    };
    let head = serde_json::to_vec(&head).expect("JSON");
    if let Some(head) = world.sign(PayloadType::TrustState, head) {
        let head = muster_agent::envelope::wire(&head);
        take(&KnownState { head, entries });
    }
}

fn take(state: &KnownState) {
    let world = World::get();
    if let Ok((version, read)) = read_known(state, &world.roots, NOW) {
        assert_eq!(read.digest(), version.digest, "what was signed");
        assert_eq!(pairs(&read), state.entries, "one spelling of each entry");
    }
}

fn pairs(state: &TrustState) -> BTreeMap<String, String> {
    let pairs = state.pairs();
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

pub(super) fn known_seeds() -> Vec<Vec<u8>> {
    let world = World::get();
    let gone = [
        Gone::Stamp(StampId::new(NOW, [6; 10])),
        Gone::Node(world.node),
        Gone::Certificate {
            serial: "01a4".parse().expect("a serial number"),
            until: Moment::from_unix_ms(NOW + 1000),
        },
    ];
    let at = Moment::from_unix_ms(NOW);
    let entries = gone.map(|gone| {
        let entry = Entry::Tombstone(Tombstone { gone, at });
        (entry.key(), entry.value())
    });
    let draft = Draft {
        head: signed::head(&[]),
        entries: Some(entries.into()),
        changes: None,
    };
    let draft = serde_json::to_vec(&draft).expect("JSON");
    let held = signed::held();
    let head = serde_json::to_vec(&signed::head(&[])).expect("JSON");
    let report = world.sign(PayloadType::TrustState, head).map(|head| Known {
        state: Some(KnownState {
            head: muster_agent::envelope::wire(&head),
            entries: pairs(&held.state),
        }),
    });
    let reports = [Known { state: None }].into_iter().chain(report);
    let reports = reports.map(|report| serde_json::to_vec(&report).expect("JSON"));
    [draft].into_iter().chain(reports).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_accepted() {
        let world = World::get();
        for payload in &bump_seeds()[..2] {
            let signed = world.sign_by_root(PayloadType::EpochBump, payload.clone());
            let signed = muster_agent::envelope::wire(&signed.expect("signed"));
            trust::open_bump(&signed, &world.roots, NOW).expect("a bump");
        }
        let report: Known = serde_json::from_slice(&known_seeds()[2]).expect("a report");
        let state = report.state.expect("a state");
        let (_, read) = read_known(&state, &world.roots, NOW).expect("accepted");
        assert_eq!(pairs(&read), state.entries);
        let draft: Draft = serde_json::from_slice(&known_seeds()[0]).expect("a draft");
        let state = TrustState::from_pairs(draft.entries.expect("entries")).expect("tombstones");
        assert_eq!(state.tombstones().count(), 3);
    }
}
