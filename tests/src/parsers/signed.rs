//! Signed messages: envelopes of every type, trust states and beacons.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_agent::{
    roots,
    trust::{self, Held, Trust},
};
use muster_code_trust::{Authority, Entry, StateVersion, TrustState};
use muster_ids::{Digest, Incarnation};
use muster_pki::{CertificateDer, Envelope, PayloadType};
use muster_wire::node::v1::{
    beacon::Beacon,
    trust_state::{TrustChange, TrustHead, TrustStateReply},
};
use serde::{Deserialize, Serialize};

use super::world::{NOW, World};

/// How long a beacon counts.
const STALENESS: Duration = Duration::from_mins(15);

/// An envelope of whatever type: the bytes as one, and as the payload of one.
pub(super) fn envelope(bytes: &[u8]) {
    let world = World::get();
    for payload_type in PayloadType::ALL {
        let Ok(envelope) = Envelope::from_json(bytes, payload_type) else {
            continue;
        };
        let again = Envelope::from_json(&envelope.to_json(), payload_type);
        assert_eq!(again.ok().as_ref(), Some(&envelope), "it survives its own text");
        if let Ok(verified) = envelope.verify(payload_type, &world.roots, NOW) {
            assert_eq!(Some(verified.signer.id.role()), payload_type.role());
        }
    }
    for payload_type in [PayloadType::Beacon, PayloadType::RunGrant] {
        if let Some(envelope) = world.sign(payload_type, bytes.to_vec()) {
            let verified = envelope.verify(payload_type, &world.roots, NOW);
            assert_eq!(
                verified.map(|verified| verified.payload).ok().as_deref(),
                Some(bytes)
            );
        }
    }
}

pub(super) fn envelope_seeds() -> Vec<Vec<u8>> {
    let world = World::get();
    let types = [
        PayloadType::Beacon,
        PayloadType::TrustState,
        PayloadType::JoinAnswer,
        PayloadType::AuditHead,
    ];
    let envelopes = types.map(|payload_type| world.sign(payload_type, b"{}".to_vec()));
    envelopes
        .into_iter()
        .flatten()
        .map(|envelope| envelope.to_json())
        .collect()
}

/// What a trust state is made of, before a control plane signs its head.
#[derive(Serialize, Deserialize)]
pub(super) struct Draft {
    pub(super) head: TrustHead,
    pub(super) entries: Option<BTreeMap<String, String>>,
    pub(super) changes: Option<Vec<TrustChange>>,
}

impl Draft {
    /// With the digest of its entries in its head, where they can be read.
    pub(super) fn put_right(mut self) -> Self {
        if let Some(entries) = &self.entries
            && let Ok(state) = TrustState::from_pairs(entries.clone())
        {
            self.head.version.digest = state.digest();
        }
        self
    }
}

/// The reply with a trust state, as a node reads it: the bytes as the reply, and as what a control plane signs and
/// sends. A digest of the entries is put right, so that the bytes reach what is behind it.
pub(super) fn trust_state(bytes: &[u8]) {
    let world = World::get();
    let before = held();
    if let Ok(reply) = serde_json::from_slice::<TrustStateReply>(bytes) {
        let _ = trust::read(&reply, Some(&before), &world.roots, NOW);
    }
    let Ok(draft) = serde_json::from_slice::<Draft>(bytes).map(Draft::put_right) else {
        return;
    };
    let head = serde_json::to_vec(&draft.head).expect("JSON");
    let Some(head) = world.sign(PayloadType::TrustState, head) else {
        return;
    };
    let reply = TrustStateReply {
        bump: None,
        head: muster_agent::envelope::wire(&head),
        entries: draft.entries,
        changes: draft.changes,
    };
    if let Ok(held) = trust::read(&reply, Some(&before), &world.roots, NOW) {
        assert_eq!(held.state.digest(), held.version.digest, "what was signed");
        let pairs: Vec<(String, String)> = held
            .state
            .pairs()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let again = TrustState::from_pairs(pairs).expect("what is held can be read again");
        assert_eq!(
            again.digest(),
            held.state.digest(),
            "equal entries, equal digests"
        );
        let member = world.member();
        if let Ok(Some(member)) = roots::named(&held.state, &member) {
            let roots = member.roots().expect("roots of one collective");
            assert_eq!(roots.collective(), world.collective);
        }
    }
}

pub(super) fn trust_state_seeds() -> Vec<Vec<u8>> {
    let all = [
        ("root/internal", "\"internal\""),
        ("setting/all/terr.restricted.execution.mode", "true"),
        ("block/user/eve@spotfire", r#"{"user":"eve@SPOTFIRE"}"#),
        (
            "block/item/visualization_mod/h9",
            r#"{"item":{"hash":"h9","type":"visualization_mod"}}"#,
        ),
        (
            "revocation/bob@spotfire/2020-12-31T00:00:00Z",
            r#"{"from":"2020-12-31T00:00:00Z","user":"bob@SPOTFIRE"}"#,
        ),
    ];
    let entries = |count: usize| -> BTreeMap<String, String> {
        let pairs = all.iter().take(count);
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    let world = World::get();
    let [older, _] = &world.older;
    let authority = |root: &CertificateDer<'_>, accepted: bool| {
        let entry = Entry::Authority(Authority {
            fingerprint: Digest::of(root),
            issuing: Digest::of(b"the key of an intermediate"),
            root: accepted.then(|| STANDARD.encode(root).parse().expect("a label")),
        });
        (entry.key(), entry.value())
    };
    let change = |number, key: &str, value: Option<&str>| TrustChange {
        number,
        key: key.to_owned(),
        value: value.map(str::to_owned),
    };
    let drafts = [
        Draft {
            head: head(&["roots/1"]),
            entries: Some(entries(1)),
            changes: None,
        },
        Draft {
            head: head(&["blocks/1", "revocations/1"]),
            entries: Some(entries(all.len())),
            changes: None,
        },
        Draft {
            head: head(&["authorities/1"]),
            entries: Some([authority(&world.root, true), authority(older, false)].into()),
            changes: None,
        },
        Draft {
            head: head(&[]),
            entries: None,
            changes: Some(vec![
                change(2, "root/corp-ca", Some("\"corp-ca\"")),
                change(3, "root/corp-ca", None),
            ]),
        },
    ];
    let drafts = drafts
        .iter()
        .map(|draft| serde_json::to_vec(draft).expect("JSON"));
    let head = serde_json::to_vec(&head(&[])).expect("JSON");
    let reply = world
        .sign(PayloadType::TrustState, head)
        .map(|head| TrustStateReply {
            bump: None,
            head: muster_agent::envelope::wire(&head),
            entries: Some(entries(1)),
            changes: None,
        });
    let reply = reply.map(|reply| serde_json::to_vec(&reply).expect("JSON"));
    drafts.chain(reply).collect()
}

/// A head of the version that the node holds.
pub(super) fn head(requires: &[&str]) -> TrustHead {
    TrustHead {
        version: trust::wire_version(&held().version),
        requires: requires.iter().map(|feature| (*feature).to_owned()).collect(),
    }
}

/// A beacon, as a node reads it: the bytes as an envelope, and as the payload that a control plane signed.
pub(super) fn beacon(bytes: &[u8]) {
    let world = World::get();
    let signed = world.sign(PayloadType::Beacon, bytes.to_vec());
    let read = Envelope::from_json(bytes, PayloadType::Beacon).ok();
    for envelope in read.into_iter().chain(signed) {
        let trust = Trust::load(
            PathBuf::from("tests/fuzz/there is no such file"),
            &world.roots,
            1,
            STALENESS,
            NOW,
        );
        let challenge = trust.challenge([5; 32], Duration::ZERO);
        if let Ok((_, beacon)) = trust.hear(envelope, &world.roots, NOW) {
            assert_eq!(beacon.challenge, challenge, "it answers the question");
            assert!(beacon.version.epoch >= 1, "it is not older than the join");
            assert!(!trust.is_fresh(Duration::ZERO), "what is not held is not fresh");
        }
    }
}

pub(super) fn beacon_seeds() -> Vec<Vec<u8>> {
    let world = World::get();
    let trust = Trust::load(PathBuf::new(), &world.roots, 1, STALENESS, NOW);
    let beacon = Beacon {
        version: trust::wire_version(&held().version),
        issued: NOW,
        time_to_live: 90,
        challenge: trust.challenge([5; 32], Duration::ZERO),
    };
    let payload = serde_json::to_vec(&beacon).expect("JSON");
    let envelope = world.sign(PayloadType::Beacon, payload.clone());
    [payload]
        .into_iter()
        .chain(envelope.map(|envelope| envelope.to_json()))
        .collect()
}

/// What the node holds already.
pub(super) fn held() -> Held {
    let entries = [("root/internal".to_owned(), "\"internal\"".to_owned())];
    let state = TrustState::from_pairs(entries).expect("an entry");
    Held {
        version: StateVersion {
            incarnation: Incarnation::new(NOW, [4; 10]),
            epoch: 1,
            number: 1,
            digest: state.digest(),
            previous: Digest::of(b""),
        },
        state,
    }
}
