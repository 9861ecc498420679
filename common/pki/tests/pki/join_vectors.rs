//! The published vectors of the join protocol, recomputed.
//!
//! They were made by another program from the protocol's document, so they test the document as well.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_ids::Digest;
use muster_pki::{
    CertificateDer, CrossRoot, KeyUse, PublicKey, Roots, Signer as _, SoftwareSigner, csr,
    join::{self, JoinKey, JoinToken, SUITE, Transcript},
};
use serde::Deserialize;

const VECTORS: &str = include_str!("../../../../docs/reference/join-protocol-vectors.json");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    #[serde(rename = "description")]
    _description: Vec<String>,
    suite: String,
    node_key_pkcs8: String,
    node_key_spki: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    r_n: String,
    commit: Digest,
    hello: String,
    hello_digest: Digest,
    join_key: String,
    r_s: String,
    offer: String,
    offer_mac: String,
    transcript: Digest,
    code: String,
    join_id: String,
    reveal_input: String,
    reveal_signature: String,
    poll_counter: u64,
    poll_input: String,
    poll_signature: String,
    token_input: String,
    token: String,
    token_seed: String,
    token_key: String,
    token_proof: String,
    #[serde(default)]
    pinned: Vec<Pinned>,
}

/// Which of the offered roots a node with these pins keeps.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pinned {
    pins: Vec<Digest>,
    kept: Vec<Digest>,
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
        .collect()
}

fn unhex(text: &str) -> [u8; 32] {
    let bytes: Vec<u8> = (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal"))
        .collect();
    bytes.try_into().expect("32 bytes")
}

fn bytes(text: &str) -> Vec<u8> {
    STANDARD.decode(text).expect("base64")
}

#[test]
fn every_published_value_is_what_the_protocol_gives() {
    let vectors: Vectors = serde_json::from_str(VECTORS).expect("vectors");
    assert_eq!(vectors.suite, SUITE);
    let key = SoftwareSigner::from_pkcs8(&bytes(&vectors.node_key_pkcs8), KeyUse::Tls).expect("key");
    let public = *key.public_key();
    assert_eq!(PublicKey::from_spki(&bytes(&vectors.node_key_spki)), Ok(public));
    assert_eq!(vectors.cases.len(), 4);

    for case in vectors.cases {
        let name = &case.name;
        let (r_n, join_key) = (unhex(&case.r_n), JoinKey::from_bytes(unhex(&case.join_key)));
        let (hello, offer) = (case.hello.as_bytes(), case.offer.as_bytes());
        assert_eq!(join::commit(&public, &r_n), case.commit, "{name}");
        assert_eq!(join::verify_commit(&case.commit, &public, &r_n), Ok(()), "{name}");
        assert_eq!(Digest::of(hello), case.hello_digest, "{name}");
        assert_eq!(hex(&join_key.nonce(hello)), case.r_s, "{name}");
        assert_eq!(hex(&join_key.offer_mac(offer)), case.offer_mac, "{name}");
        assert_eq!(
            join_key.verify_offer(offer, &unhex(&case.offer_mac)),
            Ok(()),
            "{name}"
        );

        let transcript = Transcript::new(hello, offer, &r_n);
        assert_eq!(transcript.digest(), case.transcript, "{name}");
        assert_eq!(transcript.code().to_string(), case.code, "{name}");
        assert_eq!(transcript.join_id().to_string(), case.join_id, "{name}");
        assert_eq!(hex(&transcript.reveal_input()), case.reveal_input, "{name}");
        assert_eq!(
            hex(&transcript.poll_input(case.poll_counter)),
            case.poll_input,
            "{name}"
        );
        assert_eq!(hex(&transcript.token_input()), case.token_input, "{name}");
        let token: JoinToken = case.token.parse().expect("a token");
        assert_eq!(*token.to_text(), case.token, "{name}");
        assert_eq!(hex(token.key().as_bytes()), case.token_key, "{name}");
        let seed = Ed25519KeyPair::from_seed_unchecked(&unhex(&case.token_seed)).expect("a seed");
        assert_eq!(hex(seed.public_key().as_ref()), case.token_key, "{name}");
        assert_eq!(
            STANDARD.encode(token.prove(&transcript)),
            case.token_proof,
            "{name}"
        );
        let proof = bytes(&case.token_proof);
        assert_eq!(token.key().verify(&transcript, &proof), Ok(()), "{name}");
        let reveal = public.verify(&transcript.reveal_input(), &bytes(&case.reveal_signature));
        let poll = public.verify(
            &transcript.poll_input(case.poll_counter),
            &bytes(&case.poll_signature),
        );
        assert_eq!((reveal, poll), (Ok(()), Ok(())), "{name}");
    }
}

#[test]
fn the_examples_are_messages_that_name_these_values() {
    let vectors: Vectors = serde_json::from_str(VECTORS).expect("vectors");
    let key = PublicKey::from_spki(&bytes(&vectors.node_key_spki)).expect("key");
    for case in vectors.cases {
        let hello: serde_json::Value = serde_json::from_str(&case.hello).expect("hello");
        let offer: serde_json::Value = serde_json::from_str(&case.offer).expect("offer");
        assert_eq!(hello["commit"], case.commit.to_string(), "{}", case.name);
        let csr = bytes(hello["csr"].as_str().expect("text"));
        assert_eq!(csr::public_key(&csr), Ok(key), "{}", case.name);
        assert_eq!(offer["hello"], case.hello_digest.to_string(), "{}", case.name);
        assert_eq!(
            hex(&bytes(offer["r_s"].as_str().expect("text"))),
            case.r_s,
            "{}",
            case.name
        );
    }
}

#[test]
fn a_pin_keeps_the_roots_that_it_names_and_those_that_they_vouch_for() {
    let vectors: Vectors = serde_json::from_str(VECTORS).expect("vectors");
    let mut tried = 0;
    for case in vectors.cases {
        let hello: serde_json::Value = serde_json::from_str(&case.hello).expect("hello");
        let offer: serde_json::Value = serde_json::from_str(&case.offer).expect("offer");
        let created = hello["created"].as_i64().expect("a time");
        let der = |text: &serde_json::Value| CertificateDer::from(bytes(text.as_str().expect("text")));
        let list = |name: &str| offer[name].as_array().cloned().unwrap_or_default();
        let roots = Roots::new(list("roots").iter().map(der).collect()).expect("roots of one collective");
        let cross = |one: &serde_json::Value| CrossRoot {
            root: der(&one["root"]),
            certificate: der(&one["certificate"]),
        };
        let crosses: Vec<CrossRoot> = list("cross").iter().map(cross).collect();
        assert_eq!(crosses.is_empty(), case.pinned.is_empty(), "{}", case.name);
        for Pinned { pins, kept } in &case.pinned {
            let found = roots.pinned_across(pins, &crosses, created);
            let found = found.map(|roots| roots.fingerprints()).unwrap_or_default();
            assert_eq!(found, *kept, "{}: {pins:?}", case.name);
            tried += 1;
        }
    }
    assert_eq!(tried, 5);
}
