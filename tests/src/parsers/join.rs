//! The messages of the join: three that a control plane reads, two that a node reads.
//!
//! Where a signature or MAC stands before a part of a parser, a target also makes that signature itself, so that the
//! bytes reach what is behind it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_agent::{
    credentials::Exchange,
    join::{answer as node_answer, exchange as node_exchange},
};
use muster_app::join::message;
use muster_ids::{Digest, TokenId};
use muster_pki::{
    AuthorityFacts, PayloadType, Purpose, Signer as _,
    join::{JoinToken, Transcript},
};
use muster_wire::node::v1::join::{Answer, Hello, HelloReply, Issued, Reveal};
use serde_json::json;

use super::world::{NONCE, NOW, World, ready};

/// Step 1, as a control plane reads it.
pub(super) fn hello(bytes: &[u8]) {
    let named = message::named_token(bytes);
    if let Ok(greeting) = message::hello(bytes, NOW) {
        assert_eq!(named.ok(), Some(greeting.token), "both readings see one token");
        let applicant = greeting.applicant;
        assert!((1..=3).contains(&applicant.capabilities.len()));
        assert!(applicant.addresses.len() <= 16 && applicant.agent_version.len() <= 64);
        assert!(!applicant.agent_version.chars().any(char::is_control));
        assert!(
            !applicant
                .addresses
                .iter()
                .any(|text| text.chars().any(char::is_control))
        );
    }
}

pub(super) fn hello_seeds() -> Vec<Vec<u8>> {
    let hello = World::get().hello();
    let with_token = Hello {
        token_id: Some(the_token().id()),
        ..hello.clone()
    };
    [hello, with_token]
        .map(|hello| serde_json::to_vec(&hello).expect("JSON"))
        .to_vec()
}

/// Step 3, as a control plane reads it: the bytes as a reveal, and as a hello in a reveal that is right otherwise.
pub(super) fn reveal(bytes: &[u8]) {
    let world = World::get();
    let _ = message::reveal(bytes, &world.join_key, NOW);
    for token in [None, Some(&the_token())] {
        let made = reveal_of(world, bytes, token);
        let Ok(revealed) = message::reveal(&made, &world.join_key, NOW) else {
            continue;
        };
        let expected = Transcript::new(bytes, &world.offer(bytes), &NONCE);
        assert_eq!(revealed.transcript.digest(), expected.digest());
        assert_eq!(revealed.greeting.key, *world.node_key.public_key());
        assert_eq!(
            revealed.greeting.token.is_some(),
            token.is_some(),
            "named and proved, or neither"
        );
        if let Some(proof) = revealed.token_proof {
            assert_eq!(the_token().key().verify(&revealed.transcript, &proof), Ok(()));
        }
    }
}

fn the_token() -> JoinToken {
    JoinToken::new(TokenId::new(NOW, [6; 10]), [8; 32], vec![Digest::of(b"root")])
}

pub(super) fn reveal_seeds() -> Vec<Vec<u8>> {
    let world = World::get();
    let [hello, with_token] = hello_seeds().try_into().expect("two hellos");
    vec![
        reveal_of(world, &hello, None),
        reveal_of(world, &with_token, Some(&the_token())),
        hello,
        with_token,
    ]
}

fn reveal_of(world: &World, hello: &[u8], token: Option<&JoinToken>) -> Vec<u8> {
    let offer = world.offer(hello);
    let transcript = Transcript::new(hello, &offer, &NONCE);
    let input = transcript.reveal_input();
    let signature = ready(world.node_key.sign(Purpose::JoinReveal, &input)).expect("signed");
    let reveal = Reveal {
        kind: "reveal".to_owned(),
        hello: STANDARD.encode(hello),
        mac: STANDARD.encode(world.join_key.offer_mac(&offer)),
        offer: STANDARD.encode(offer),
        r_n: STANDARD.encode(NONCE),
        token_proof: token.map(|token| STANDARD.encode(token.prove(&transcript))),
        signature: STANDARD.encode(signature),
    };
    serde_json::to_vec(&reveal).expect("JSON")
}

/// Step 4, as a control plane reads it.
pub(super) fn poll(bytes: &[u8]) {
    let world = World::get();
    if let Ok(polled) = message::poll(bytes) {
        let input = transcript(world).poll_input(polled.counter);
        let verified = world.node_key.public_key().verify(&input, &polled.signature);
        assert!(
            verified.is_err() || polled.counter == 1,
            "a signature of this node was made for its own counter"
        );
    }
}

fn transcript(world: &World) -> Transcript {
    let hello = serde_json::to_vec(&world.hello()).expect("JSON");
    Transcript::new(&hello, b"offer", &NONCE)
}

pub(super) fn poll_seeds() -> Vec<Vec<u8>> {
    let world = World::get();
    let input = transcript(world).poll_input(1);
    let signature = ready(world.node_key.sign(Purpose::JoinPoll, &input)).expect("signed");
    [vec![48; 70], signature]
        .map(|signature| {
            let signature = STANDARD.encode(signature);
            json!({ "type": "poll", "id": "07".repeat(16), "counter": 1, "signature": signature })
        })
        .map(|poll| poll.to_string().into_bytes())
        .to_vec()
}

/// The text of a join token, as a node reads it from a file.
pub(super) fn token(bytes: &[u8]) {
    let Some(token) = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse::<JoinToken>().ok())
    else {
        return;
    };
    let again: JoinToken = token.to_text().parse().expect("a token's own text is one");
    assert_eq!((again.id(), again.roots()), (token.id(), token.roots()));
    assert_eq!(again.key().as_bytes(), token.key().as_bytes(), "the same secret");
}

pub(super) fn token_seeds() -> Vec<Vec<u8>> {
    let roots = [Digest::of(b"root"), Digest::of(b"another root")];
    [&roots[..1], &roots]
        .map(|roots| JoinToken::new(TokenId::new(NOW, [6; 10]), [8; 32], roots.to_vec()))
        .map(|token| token.to_text().as_bytes().to_vec())
        .to_vec()
}

/// Step 2, as a node reads it: the bytes as the reply, and as the offer in a reply.
pub(super) fn offer(bytes: &[u8]) {
    let world = World::get();
    let hello = serde_json::to_vec(&world.hello()).expect("JSON");
    let pins = [Digest::of(&world.root), Digest::of(b"another root")];
    let older = Digest::of(&world.older[0]);
    let present = AuthorityFacts::of(&world.root).expect("a root").public_key;
    let around = HelloReply {
        offer: STANDARD.encode(bytes),
        mac: STANDARD.encode([1; 32]),
        server_time: NOW,
        chain: Vec::new(),
    };
    for reply in serde_json::from_slice(bytes).into_iter().chain([around]) {
        if let Ok(accepted) = node_exchange::accept(&hello, &reply, &[older]) {
            for root in accepted.roots.certificates() {
                let facts = AuthorityFacts::of(root).expect("a root");
                assert!(
                    Digest::of(root) == older || facts.public_key == present,
                    "an older root vouches for what it certified only"
                );
            }
        }
        for pins in [&pins[..], &[]] {
            if let Ok(accepted) = node_exchange::accept(&hello, &reply, pins) {
                assert!(
                    pins.is_empty() || accepted.roots.fingerprints() == pins[..1],
                    "a match vouches for the matching root only"
                );
            }
        }
    }
}

pub(super) fn offer_seeds() -> Vec<Vec<u8>> {
    let world = World::get();
    let hello = serde_json::to_vec(&world.hello()).expect("JSON");
    let offer = world.offer(&hello);
    let reply = HelloReply {
        mac: STANDARD.encode(world.join_key.offer_mac(&offer)),
        offer: STANDARD.encode(&offer),
        server_time: NOW,
        chain: world.chains[2].iter().map(|der| STANDARD.encode(der)).collect(),
    };
    vec![serde_json::to_vec(&reply).expect("JSON"), offer]
}

/// Step 5, as a node reads it: the bytes as the reply, and as what a control plane signed.
pub(super) fn answer(bytes: &[u8]) {
    let world = World::get();
    let exchange = exchange(world);
    let signed = world.sign(PayloadType::JoinAnswer, bytes.to_vec());
    let key = world.node_key.public_key();
    for reply in [bytes.to_vec()]
        .into_iter()
        .chain(signed.map(|signed| signed.to_json()))
    {
        let Ok(opened) = node_answer::open(&reply, &exchange, 1, NOW) else {
            continue;
        };
        assert_eq!(opened.answer.transcript, exchange.transcript().digest());
        if let Ok(member) = node_answer::member(opened, &exchange, key, &[], NOW) {
            assert_eq!((member.node, member.collective), (world.node, world.collective));
            let roots = member.roots().expect("roots of one collective");
            assert_eq!(
                roots.collective(),
                world.collective,
                "no root of another collective"
            );
        }
    }
}

pub(super) fn answer_seeds() -> Vec<Vec<u8>> {
    let world = World::get();
    let exchange = exchange(world);
    let answer = |state: &str, issued| Answer {
        transcript: exchange.transcript().digest(),
        counter: 1,
        state: state.to_owned(),
        reason: None,
        retry_after: 5,
        issued,
    };
    let list =
        |chain: &[muster_pki::CertificateDer<'_>]| chain.iter().map(|der| STANDARD.encode(der)).collect();
    let issued = Issued {
        node: world.node,
        collective: world.collective,
        name: "terr01".parse().expect("a name"),
        role: "node".to_owned(),
        capabilities: vec!["TERR".to_owned()],
        pool: "default".parse().expect("a name"),
        site: "default".parse().expect("a name"),
        chain: list(&world.chains[0]),
        back_ends: vec!["control:9443".to_owned(), "[::1]:9443".to_owned()],
        server_identity: format!("spiffe://{}/control-plane/", world.collective),
        anchors: list(std::slice::from_ref(&world.root)),
        generation: 1,
        epoch: 1,
    };
    let payloads = [answer("pending", None), answer("issued", Some(issued))];
    let payloads = payloads.map(|answer| serde_json::to_vec(&answer).expect("JSON"));
    let envelope = world.sign(PayloadType::JoinAnswer, payloads[0].clone());
    payloads
        .into_iter()
        .chain(envelope.map(|envelope| envelope.to_json()))
        .collect()
}

/// What the node has stored of its exchange. Its roots are made anew with each process, so nothing of them is hashed.
fn exchange(world: &World) -> Exchange {
    Exchange::new(
        &NONCE,
        b"hello".to_vec(),
        b"offer".to_vec(),
        STANDARD.encode([1; 32]),
        &world.roots,
        NOW,
    )
}
