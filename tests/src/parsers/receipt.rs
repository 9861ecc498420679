//! Receipts of runs, which people keep and verify where there is no control plane.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_client::receipt::{Anchors, verify};
use muster_ids::{AuditWriter, Digest, Incarnation, RunId};
use muster_pki::PayloadType;
use muster_wire::node::v1::{
    outcome::{
        Countersignature, PREDICATE_TYPE, Predicate, Receipt, STATEMENT_TYPE, Statement, Subject as Output,
    },
    trust_state::TrustVersion,
};

use super::world::{NOW, World};

/// The bytes as the file of a receipt, and as what a node signed and a control plane took. Whatever is believed names the
/// node that signed it.
pub(super) fn receipt(bytes: &[u8]) {
    let world = World::get();
    let anchors = [
        Anchors::Roots(world.roots.clone()),
        Anchors::Pins(vec![Digest::of(&world.root)]),
    ];
    for file in [Some(bytes.to_vec()), taken(bytes)].into_iter().flatten() {
        let [by_roots, by_pins] = [&anchors[0], &anchors[1]].map(|anchors| verify(&file, anchors));
        if let Ok(proven) = &by_pins {
            assert_eq!(by_roots.ok().as_ref(), Some(proven), "both ways to name the root");
        }
        let Ok(proven) = by_pins else { continue };
        let said = &proven.statement.predicate;
        assert_eq!(said.node, world.node, "nobody else has a receipt key here");
        assert!(
            said.trust
                .as_ref()
                .is_none_or(|trust| trust.number == said.trust_number)
        );
        assert_eq!(proven.statement.kind, STATEMENT_TYPE);
        assert_eq!(proven.statement.predicate_type, PREDICATE_TYPE);
    }
}

/// A file in which the node says this, and a control plane that it took it.
fn taken(payload: &[u8]) -> Option<Vec<u8>> {
    let world = World::get();
    let word = Countersignature {
        receipt: Digest::of(payload),
        time: NOW + 1000,
        audit_writer: AuditWriter::new(NOW, [4; 10]),
        audit_sequence: 12,
    };
    let word = serde_json::to_vec(&word).expect("JSON");
    let receipt = Receipt {
        receipt: muster_agent::envelope::wire(&world.sign_receipt(payload.to_vec())?),
        countersignature: muster_agent::envelope::wire(&world.sign(PayloadType::Countersignature, word)?),
        roots: vec![STANDARD.encode(&world.root)],
    };
    serde_json::to_vec(&receipt).ok()
}

pub(super) fn receipt_seeds() -> Vec<Vec<u8>> {
    let world = World::get();
    let digest = |text: &str| Digest::of(text.as_bytes());
    let statement = Statement {
        kind: STATEMENT_TYPE.to_owned(),
        subject: vec![Output {
            name: "y".to_owned(),
            digest: BTreeMap::from([("sha256".to_owned(), digest("y").hex())]),
        }],
        predicate_type: PREDICATE_TYPE.to_owned(),
        predicate: Predicate {
            grant: digest("grant"),
            run: RunId::new(NOW, [7; 10]),
            fence: 3,
            user: "ann@SPOTFIRE".parse().expect("a name"),
            item: digest("item"),
            mode: Some("restricted".to_owned()),
            rule: "not-trusted".to_owned(),
            entry: None,
            policy: None,
            packages: Some(digest("packages")),
            node: world.node,
            trust_number: 9,
            trust: Some(TrustVersion {
                incarnation: Incarnation::new(NOW, [8; 10]),
                epoch: 2,
                number: 9,
                digest: digest("state"),
                previous: digest("before"),
            }),
            inputs: BTreeMap::from([("x".to_owned(), digest("x"))]),
            state: "succeeded".to_owned(),
            started: NOW,
            finished: NOW + 20,
            limits: vec!["degraded: memory".to_owned()],
        },
    };
    let payload = serde_json::to_vec(&statement).expect("JSON");
    let file = taken(&payload);
    [payload].into_iter().chain(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_accepted() {
        let [payload, file] = receipt_seeds().try_into().expect("two seeds");
        let pin = Anchors::Pins(vec![Digest::of(&World::get().root)]);
        for file in [taken(&payload).expect("signed"), file] {
            verify(&file, &pin).expect("proven");
        }
    }
}
