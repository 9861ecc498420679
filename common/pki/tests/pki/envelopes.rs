//! Envelopes: what is signed is read again, and nothing else is.

use muster_ids::NodeId;
use muster_pki::{Envelope, EnvelopeError, PayloadType, Role, SignError, Subject, VerifyError};
use proptest::prelude::*;

use crate::fixture::{Collective, Member, NOW_MS, ready};

fn signed(payload_type: PayloadType, payload: &[u8], member: &Member) -> Envelope {
    ready(Envelope::sign(
        payload_type,
        payload.to_vec(),
        &member.key,
        &member.chain,
    ))
    .expect("signed")
}

fn signer_of(collective: &Collective, payload_type: PayloadType) -> Member {
    match payload_type.role() {
        Some(Role::Receipt) => collective.receipt_member(),
        Some(_) => collective.policy_member(),
        None => collective.root_itself(),
    }
}

#[test]
fn each_type_is_read_as_itself_and_as_no_other() {
    let collective = Collective::new(1);
    for payload_type in PayloadType::ALL {
        let json = signed(payload_type, b"payload", &signer_of(&collective, payload_type)).to_json();
        for expected in PayloadType::ALL {
            let read = Envelope::from_json(&json, expected);
            assert_eq!(
                read.is_ok(),
                expected == payload_type,
                "{payload_type} as {expected}"
            );
        }
        let envelope = Envelope::from_json(&json, payload_type).expect("envelope");
        let by_root = envelope
            .clone()
            .verify_by_root(payload_type, &collective.roots(), NOW_MS);
        let verified = envelope.verify(payload_type, &collective.roots(), NOW_MS);
        if let Some(role) = payload_type.role() {
            let verified = verified.expect("verified");
            assert_eq!(verified.payload, b"payload");
            assert_eq!(verified.signer.id.role(), role);
            assert!(by_root.is_err(), "{payload_type}");
        } else {
            assert_eq!(by_root.expect("verified"), b"payload");
            assert!(verified.is_err(), "{payload_type}");
        }
        assert_eq!(
            serde_json::to_string(&payload_type).expect("text"),
            format!("\"{}\"", payload_type.name())
        );
    }
}

#[test]
fn only_a_known_root_itself_brings_a_new_epoch() {
    let (collective, other) = (Collective::new(1), Collective::new(2));
    let roots = collective.roots();
    let bump = |signer: &Member| signed(PayloadType::EpochBump, b"bump", signer);
    let verify = |envelope: Envelope, at| envelope.verify_by_root(PayloadType::EpochBump, &roots, at);
    let root = collective.root_itself();
    assert_eq!(verify(bump(&root), NOW_MS).expect("signed by the root"), b"bump");
    for (stranger, what) in [
        (other.root_itself(), "another root"),
        (collective.issuing_itself(), "an intermediate"),
    ] {
        let refused = verify(bump(&stranger), NOW_MS);
        assert!(
            matches!(refused, Err(EnvelopeError::Signer { .. })),
            "{what}: {refused:?}"
        );
    }
    let long_after = NOW_MS + 20 * 365 * 24 * 60 * 60 * 1000;
    let refused = verify(bump(&root), long_after);
    assert!(matches!(
        refused,
        Err(EnvelopeError::Signer {
            source: VerifyError::Expired,
            ..
        })
    ));
    // The root's certificate beside another key's signature.
    let json = bump(&root).to_json();
    let mut forged: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    forged["payload"] = "YnVtcA==".replace('Y', "Z").into();
    let forged =
        Envelope::from_json(forged.to_string().as_bytes(), PayloadType::EpochBump).expect("readable");
    assert!(matches!(
        verify(forged, NOW_MS),
        Err(EnvelopeError::Signature(..))
    ));
}

#[test]
fn a_changed_type_breaks_the_signature() {
    let collective = Collective::new(1);
    let json = signed(PayloadType::Beacon, b"payload", &collective.policy_member()).to_json();
    let text = String::from_utf8(json)
        .expect("text")
        .replace("beacon+json", "run-grant+json");
    let envelope = Envelope::from_json(text.as_bytes(), PayloadType::RunGrant).expect("well-formed");
    let result = envelope.verify(PayloadType::RunGrant, &collective.roots(), NOW_MS);
    assert!(matches!(result, Err(EnvelopeError::Signature(..))), "{result:?}");
}

#[test]
fn no_other_role_signs_what_nodes_obey() {
    let collective = Collective::new(1);
    let receipt = collective.receipt_member();
    // The key itself refuses.
    let refused = ready(Envelope::sign(
        PayloadType::RunGrant,
        vec![],
        &receipt.key,
        &receipt.chain,
    ));
    assert!(matches!(refused, Err(SignError::Purpose { .. })), "{refused:?}");
    // And a key that does not refuse is refused by its certificate.
    let policy_use = muster_pki::KeyUse::Policy;
    for subject in [
        Subject::Node(collective.node),
        Subject::ControlPlane(collective.control_plane),
        Subject::Receipt(collective.node),
    ] {
        let member = collective.of_profile(&collective.subject(subject), policy_use);
        let envelope = signed(PayloadType::RunGrant, b"grant", &member);
        let result = envelope.verify(PayloadType::RunGrant, &collective.roots(), NOW_MS);
        assert!(
            matches!(result, Err(EnvelopeError::Signer { .. })),
            "{subject:?}: {result:?}"
        );
    }
}

#[test]
fn another_collective_an_impostor_and_another_time_are_refused() {
    let ours = Collective::new(1);
    let impostor = Collective::with_id(ours.id, 2);
    for stranger in [Collective::new(3), impostor] {
        let envelope = signed(
            PayloadType::TrustState,
            b"all is trusted",
            &stranger.policy_member(),
        );
        let result = envelope.verify(PayloadType::TrustState, &ours.roots(), NOW_MS);
        assert!(matches!(
            result,
            Err(EnvelopeError::Signer {
                source: VerifyError::UnknownIssuer,
                ..
            })
        ));
    }
    let envelope = signed(PayloadType::TrustState, b"state", &ours.policy_member());
    let result = envelope.verify(PayloadType::TrustState, &ours.roots(), NOW_MS + 8 * 86_400_000);
    assert!(matches!(
        result,
        Err(EnvelopeError::Signer {
            source: VerifyError::Expired,
            ..
        })
    ));
}

#[test]
fn a_signer_must_bring_the_certificate_of_its_key() {
    let collective = Collective::new(1);
    let (one, other) = (collective.policy_member(), collective.policy_member());
    for chain in [&other.chain[..], &[], &one.chain[1..]] {
        let result = ready(Envelope::sign(PayloadType::Beacon, vec![], &one.key, chain));
        assert!(matches!(result, Err(SignError::OtherKey { .. })), "{result:?}");
    }
}

#[test]
fn a_second_signature_is_refused() {
    let collective = Collective::new(1);
    let envelope = signed(PayloadType::Receipt, b"{}", &collective.receipt_member());
    let mut json: serde_json::Value = serde_json::from_slice(&envelope.to_json()).expect("json");
    let first = json["signatures"][0].clone();
    json["signatures"].as_array_mut().expect("signatures").push(first);
    let two: Envelope = serde_json::from_value(json).expect("envelope");
    let result = two.verify(PayloadType::Receipt, &collective.roots(), NOW_MS);
    assert!(
        matches!(result, Err(EnvelopeError::Signatures { found: 2, .. })),
        "{result:?}"
    );
}

#[test]
fn a_nodes_receipt_key_does_not_countersign() {
    let collective = Collective::new(1);
    let other = collective.of_profile(
        &collective.subject(Subject::Receipt(NodeId::new(NOW_MS, [9; 10]))),
        muster_pki::KeyUse::Policy,
    );
    let envelope = signed(PayloadType::Countersignature, b"{}", &other);
    let result = envelope.verify(PayloadType::Countersignature, &collective.roots(), NOW_MS);
    assert!(matches!(
        result,
        Err(EnvelopeError::Signer {
            source: VerifyError::Role { .. },
            ..
        })
    ));
}

#[test]
fn unknown_fields_and_oversized_messages_are_refused() {
    let collective = Collective::new(1);
    let json = signed(PayloadType::Beacon, b"payload", &collective.policy_member()).to_json();
    let text = String::from_utf8(json).expect("text");
    for changed in [
        text.replacen('{', "{\"extra\":1,", 1),
        text.replace("\"keyid\"", "\"extra\":1,\"keyid\""),
        text.replacen('{', "{\"payload\":\"\",", 1),
        format!("{text} x"),
        text.replace("beacon", "beacons"),
        text[..text.len() - 1].to_owned(),
        String::new(),
        "null".to_owned(),
    ] {
        let result = Envelope::from_json(changed.as_bytes(), PayloadType::Beacon);
        assert!(matches!(result, Err(EnvelopeError::Format { .. })), "{changed}");
    }
    let result = Envelope::from_json(&vec![b' '; 200_000], PayloadType::Beacon);
    assert!(matches!(result, Err(EnvelopeError::TooLong { .. })));
    let policy = collective.policy_member();
    let long = ready(Envelope::sign(
        PayloadType::Beacon,
        vec![0; 65_537],
        &policy.key,
        &policy.chain,
    ));
    assert!(
        matches!(long, Err(SignError::TooLong { length: 65_537, .. })),
        "{long:?}"
    );
    let stuffed = text.replace("cGF5bG9hZA==", &"AAAA".repeat(21_846));
    let result = Envelope::from_json(stuffed.as_bytes(), PayloadType::Beacon);
    assert!(
        matches!(result, Err(EnvelopeError::TooLong { length: 65_538, .. })),
        "{result:?}"
    );
}

#[test]
fn no_byte_of_an_envelope_can_be_changed() {
    let collective = Collective::new(1);
    let roots = collective.roots();
    let mut json = signed(PayloadType::Receipt, b"{}", &collective.receipt_member()).to_json();
    for position in 0..json.len() {
        let bit = 1 << (position % 7);
        json[position] ^= bit;
        let accepted = Envelope::from_json(&json, PayloadType::Receipt)
            .and_then(|envelope| envelope.verify(PayloadType::Receipt, &roots, NOW_MS));
        assert!(
            accepted.is_err(),
            "byte {position} of {}",
            String::from_utf8_lossy(&json)
        );
        json[position] ^= bit;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_payload_survives_its_envelope_and_no_change_of_a_byte(
        payload in proptest::collection::vec(any::<u8>(), 0..2000),
        position in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let collective = Collective::new(1);
        let roots = collective.roots();
        let envelope = signed(PayloadType::RunGrant, &payload, &collective.policy_member());
        let mut json = envelope.to_json();
        let read = Envelope::from_json(&json, PayloadType::RunGrant).expect("envelope");
        prop_assert_eq!(&read, &envelope);
        prop_assert_eq!(read.to_json(), json.clone());
        let verified = read.verify(PayloadType::RunGrant, &roots, NOW_MS).expect("verified");
        prop_assert_eq!(verified.payload, payload);

        let position = position.index(json.len());
        prop_assume!(json[position] != byte);
        json[position] = byte;
        let changed = Envelope::from_json(&json, PayloadType::RunGrant)
            .and_then(|envelope| envelope.verify(PayloadType::RunGrant, &roots, NOW_MS));
        prop_assert!(changed.is_err());
    }

    #[test]
    fn garbage_is_never_an_envelope(garbage in any::<Vec<u8>>()) {
        prop_assert!(Envelope::from_json(&garbage, PayloadType::TrustState).is_err());
    }
}
