//! What the registration listener refuses: every message that is not exactly what the protocol says.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use muster_client::Request;
use muster_tests::{Applicant, Server, problem, refusal, unique};
use muster_wire::{
    node::v1::join::{HELLO_PATH, MAX_MESSAGE, POLL_PATH, REVEAL_PATH},
    problem::KIND_PREFIX,
};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

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

/// One bit at the end is another: in a certificate request that is the signature.
fn flipped_at_end(text: &str) -> String {
    let mut bytes = STANDARD.decode(text).expect("base64");
    *bytes.last_mut().expect("some bytes") ^= 1;
    STANDARD.encode(bytes)
}
