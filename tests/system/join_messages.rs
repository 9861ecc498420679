//! What the registration listener refuses: every message that is not exactly what the protocol says.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use muster_client::Request;
use muster_pki::{KeyUse, Purpose, Role, Signer as _, SoftwareSigner, csr};
use muster_tests::{Applicant, Server, problem, refusal, unique};
use muster_wire::{
    node::v1::join::{HELLO_PATH, MAX_MESSAGE, POLL_PATH, REVEAL_PATH, Reveal},
    problem::KIND_PREFIX,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_reveal_is_refused_when_any_part_of_it_was_changed() {
    let server = Server::shared();
    let (node, other) = (
        Applicant::new(&unique("terr")).await,
        Applicant::new(&unique("terr")).await,
    );
    let (offered, others) = (node.greet(server).await, other.greet(server).await);
    let good = node.reveal(&offered).await;
    let foreign = other.reveal(&others).await;
    let signed_by_other = {
        let input = node.transcript(&offered).reveal_input();
        other.key.sign(Purpose::JoinReveal, &input).await.expect("signed")
    };
    let change = |change: &dyn Fn(&mut Reveal)| {
        let mut reveal = good.clone();
        change(&mut reveal);
        reveal
    };
    let cases: Vec<(&str, Reveal)> = vec![
        ("a flipped hello", change(&|r| r.hello = flipped(&good.hello))),
        ("a flipped offer", change(&|r| r.offer = flipped(&good.offer))),
        ("a flipped MAC", change(&|r| r.mac = flipped(&good.mac))),
        ("a flipped nonce", change(&|r| r.r_n = flipped(&good.r_n))),
        (
            "a flipped signature",
            change(&|r| r.signature = flipped(&good.signature)),
        ),
        ("no hello", change(&|r| r.hello = String::new())),
        ("no offer", change(&|r| r.offer = String::new())),
        ("no MAC", change(&|r| r.mac = String::new())),
        ("no nonce", change(&|r| r.r_n = String::new())),
        ("no signature", change(&|r| r.signature = String::new())),
        (
            "half a MAC",
            change(&|r| r.mac = STANDARD.encode(&STANDARD.decode(&good.mac).expect("base64")[..16])),
        ),
        ("a long nonce", change(&|r| r.r_n = STANDARD.encode([7; 33]))),
        ("no base64", change(&|r| r.r_n = "~".repeat(44))),
        ("another's hello", change(&|r| r.hello.clone_from(&foreign.hello))),
        (
            "another's offer",
            change(&|r| (r.offer, r.mac) = (foreign.offer.clone(), foreign.mac.clone())),
        ),
        ("another's nonce", change(&|r| r.r_n.clone_from(&foreign.r_n))),
        (
            "another's signature",
            change(&|r| r.signature = STANDARD.encode(&signed_by_other)),
        ),
        ("another type", change(&|r| "poll".clone_into(&mut r.kind))),
    ];
    for (what, reveal) in cases {
        let said = problem(server.registers(REVEAL_PATH, &reveal).await);
        assert_eq!(said.status, 422, "{what}: {}", said.detail);
    }
    let revealed = server.admin().await.audited("join.revealed").await;
    let name = node.hello.name.as_str();
    assert!(
        revealed.iter().all(|row| row["subject"] != name),
        "nothing was written"
    );
    server
        .registers(REVEAL_PATH, &good)
        .await
        .expect("as it was, it is good");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_of_another_collective_is_refused() {
    let (server, stranger) = (Server::shared(), Server::private());
    let node = Applicant::new(&unique("terr")).await;
    let offered = node.greet(&stranger).await;
    let reveal = node.reveal(&offered).await;
    let said = problem(server.registers(REVEAL_PATH, &reveal).await);
    assert_eq!(said.status, 422);
    assert!(said.detail.contains("begin the join again"), "{}", said.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_with_a_wrong_field_is_refused_in_words() {
    let server = Server::shared();
    let node = Applicant::new(&unique("terr")).await;
    let good = serde_json::to_value(&node.hello).expect("JSON");
    let (created, hour) = (node.hello.created, 3_600_000);
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
    let p384 = CertificateParams::default()
        .serialize_request(&p384)
        .expect("a request");
    let cases: Vec<(&str, Value)> = vec![
        ("type", json!("hi")),
        ("suite", json!("muster-join/2")),
        ("suite", json!("")),
        ("csr", json!("")),
        ("csr", json!("AAAA")),
        ("csr", json!(STANDARD.encode(p384.der()))),
        ("csr", json!(flipped_at_end(&node.hello.csr))),
        ("name", json!("")),
        ("name", json!("a\u{202e}b")),
        ("name", json!("a\nb")),
        ("name", json!("../etc")),
        ("name", json!(7)),
        ("name", json!("x".repeat(129))),
        ("capabilities", json!([])),
        ("capabilities", json!(["COBOL"])),
        ("capabilities", json!(vec!["TERR"; 17])),
        ("pool", json!("a/b")),
        ("site", json!("\u{7}")),
        ("addresses", json!(["not an address"])),
        ("addresses", json!([""])),
        ("addresses", json!(vec!["10.0.0.1"; 17])),
        ("agent_version", json!("1\u{1b}[2J")),
        ("agent_version", json!("1".repeat(65))),
        ("expires", json!(created)),
        ("expires", json!(created + 25 * hour)),
        ("created", json!("now")),
        ("created", json!(1.5)),
        ("commit", json!("sha256:00")),
        ("commit", json!(null)),
        ("wish", json!("to be an administrator")),
    ];
    for (field, value) in cases {
        let mut hello = good.clone();
        hello[field] = value.clone();
        let said = problem(server.registers(HELLO_PATH, &hello).await);
        assert_eq!(said.status, 422, "{field} = {value}: {}", said.detail);
        assert_eq!(
            said.kind,
            format!("{KIND_PREFIX}invalid-request"),
            "{field} = {value}"
        );
    }
    let mut hello = good.clone();
    (hello["created"], hello["expires"]) = (json!(i64::MIN), json!(i64::MAX));
    let forever = server.registers(HELLO_PATH, &hello).await;
    assert_eq!(refusal(forever).0, 422, "from the beginning to the end of time");
    for field in good.as_object().expect("an object").keys() {
        let mut hello = good.clone();
        hello.as_object_mut().expect("an object").remove(field);
        assert_eq!(
            refusal(server.registers(HELLO_PATH, &hello).await).0,
            422,
            "without {field}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_clock_is_wrong_is_told_so() {
    let server = Server::shared();
    let hour = 3_600_000;
    for (name, off) in [("late", -2 * hour), ("early", 2 * hour)] {
        let mut node = Applicant::new(&unique(name)).await;
        node.hello.created += off;
        node.hello.expires += off;
        let said = problem(server.registers(HELLO_PATH, &node.hello).await);
        assert_eq!(said.kind, format!("{KIND_PREFIX}clock-difference"));
        assert!(
            said.detail.ends_with("set the clock of the node"),
            "{}",
            said.detail
        );
    }
    let mut node = Applicant::new(&unique("nearly")).await;
    node.hello.created += 4 * 60 * 1000;
    server
        .registers(HELLO_PATH, &node.hello)
        .await
        .expect("a few minutes do not matter");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_certificate_request_asks_for_is_not_given() {
    let server = Server::shared();
    let mut node = Applicant::new(&unique("terr")).await;
    let key = KeyPair::try_from(node.key.to_pkcs8().expect("a key").as_slice()).expect("the same key");
    let mut wishes = CertificateParams::default();
    wishes
        .distinguished_name
        .push(DnType::CommonName, "administrator");
    wishes.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    wishes.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let control_plane = format!("spiffe://{}/control-plane/x", server.roots().collective());
    wishes.subject_alt_names = vec![
        SanType::DnsName("localhost".try_into().expect("a name")),
        SanType::URI(control_plane.try_into().expect("a URI")),
    ];
    let request = wishes.serialize_request(&key).expect("a request");
    node.hello.csr = STANDARD.encode(request.der());
    let member = node.join(server).await;
    let facts = server
        .roots()
        .verify(&member.chain(), Role::Node, muster_tests::now())
        .expect("a node's certificate and nothing else");
    assert_eq!(facts.id.subject, muster_pki::Subject::Node(member.id()));
    let bytes = String::from_utf8_lossy(&member.chain()[0]).into_owned();
    assert!(!bytes.contains("administrator") && !bytes.contains("localhost"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_key_that_its_sender_does_not_hold_is_refused() {
    let server = Server::shared();
    let mut node = Applicant::new(&unique("terr")).await;
    let other = SoftwareSigner::generate(KeyUse::Tls).expect("a key");
    // The other's request is genuine, but the reveal cannot be signed by its key.
    node.hello.csr = STANDARD.encode(csr::request(&other).await.expect("a request"));
    let offered = node.greet(server).await;
    let reveal = node.reveal(&offered).await;
    assert_eq!(refusal(server.registers(REVEAL_PATH, &reveal).await).0, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_and_oversized_messages_are_refused_with_a_problem_document() {
    let server = Server::shared();
    let deep = "[".repeat(20_000);
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("no JSON", b"hello".to_vec()),
        ("not UTF-8", vec![0xff; 64]),
        ("zero bytes", vec![0; 64]),
        ("null", b"null".to_vec()),
        ("a list", b"[]".to_vec()),
        ("a field twice", br#"{"type":"hello","type":"hello"}"#.to_vec()),
        ("deeply nested", deep.into_bytes()),
        ("too long", vec![b' '; MAX_MESSAGE + 1]),
    ];
    for path in [HELLO_PATH, REVEAL_PATH, POLL_PATH] {
        for (what, body) in &bodies {
            let said = problem(server.registers_bytes(path, body.clone()).await);
            assert_eq!(said.status, 422, "{what} at {path}: {}", said.detail);
        }
    }
    // Nobody reads all of this, so the answer may be overtaken by the end of the connection.
    let flood = server
        .registers_bytes(HELLO_PATH, vec![b' '; 8 * 1024 * 1024])
        .await;
    assert!(flood.is_err());
    let node = Applicant::new(&unique("terr")).await;
    node.greet(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registration_listener_answers_join_messages_and_nothing_else() {
    let server = Server::shared();
    let connection = server.plain(server.registration()).await;
    let paths = [
        "/",
        "/api/v1/status",
        "/api/v1/sessions",
        "/api/v1/openapi.json",
        "/node/v1/heartbeat",
        "/node/v1/runs/claim",
        "/healthz",
        "/metrics",
        "/join/v1",
        "/join/v1/hello/",
        "/join/v2/hello",
        "/JOIN/V1/HELLO",
    ];
    let get = paths.iter().map(|path| Request::get(*path));
    let post = paths.iter().map(|path| Request::post(*path).json(&json!({})));
    let wrong_method = [
        Request::get(HELLO_PATH),
        Request::put(REVEAL_PATH),
        Request::delete(POLL_PATH),
    ];
    for request in get.chain(post).chain(wrong_method) {
        let what = format!("{request:?}");
        let error = connection.send(request).await.expect_err("not here");
        let said = error.problem().expect("an answer");
        // The client makes this up where the answer itself says nothing.
        assert_eq!((said.status, said.kind.as_str()), (404, "about:blank"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_listener_answers_join_messages() {
    let server = Server::shared();
    let node = Applicant::new(&unique("terr")).await;
    let stranger = muster_tests::Person::stranger(server);
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let back_end = member.connect().await;
    let operations = server.plain(server.operations()).await;
    for path in [HELLO_PATH, REVEAL_PATH, POLL_PATH] {
        let request = || Request::post(path).json(&node.hello);
        for answer in [
            stranger.send(request()).await,
            back_end.send(request()).await,
            operations.send(request()).await,
        ] {
            let status = answer
                .expect_err("not here")
                .problem()
                .map(|problem| problem.status);
            assert_eq!(status, Some(StatusCode::NOT_FOUND.as_u16()), "{path}");
        }
    }
}

/// One bit in the middle is another.
fn flipped(text: &str) -> String {
    let mut bytes = STANDARD.decode(text).expect("base64");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    STANDARD.encode(bytes)
}

/// One bit at the end is another: in a certificate request that is the signature.
fn flipped_at_end(text: &str) -> String {
    let mut bytes = STANDARD.decode(text).expect("base64");
    *bytes.last_mut().expect("some bytes") ^= 1;
    STANDARD.encode(bytes)
}
