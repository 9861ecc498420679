//! A man in the middle of the plain port: what he changes, swaps or leaves out is noticed on one side or the other.

use std::sync::Mutex;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_ids::Digest;
use muster_pki::{Purpose, Signer as _, join::Transcript};
use muster_tests::{Applicant, Middle, Offered, RealNode, Server, folder, problem, refusal, unique, until};
use muster_wire::node::v1::join::{HELLO_PATH, Offer, REVEAL_PATH, Reveal};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn join_08_a_swapped_key_gives_another_code_that_approves_nothing() {
    let server = Server::shared();
    let admin = server.administrator().await;
    let middle = Middle::bind().await;
    let node = RealNode::towards(middle.address(), "default", Some(server.root()), folder("node"));
    let forger = Applicant::new(node.name()).await;
    let swapped: Mutex<Option<Transcript>> = Mutex::new(None);
    let swap = async |path: &str, body: Vec<u8>| match path {
        HELLO_PATH => {
            // His own hello goes on; the node gets an offer that seems to be for its own.
            let mut offered = forger.greet(server).await;
            let reveal = forger.reveal(&offered).await;
            server
                .registers(REVEAL_PATH, &reveal)
                .await
                .expect("his own key is genuine");
            *swapped.lock().expect("no panic") = Some(forger.transcript(&offered));
            let mut offer: Offer = serde_json::from_slice(&offered.offer).expect("an offer");
            offer.hello = Digest::of(&body);
            offered.reply.offer = STANDARD.encode(serde_json::to_vec(&offer).expect("JSON"));
            Some(serde_json::to_vec(&offered.reply).expect("JSON"))
        }
        // Nothing that the node reveals would be accepted.
        _ => None,
    };
    let story = async {
        node.begin("join", &[]);
        let shown = until("the node shows its code", async || node.code()).await;
        let his = swapped
            .lock()
            .expect("no panic")
            .take()
            .expect("he has a request");
        assert_ne!(shown, his.code().to_string(), "the codes differ");
        let waiting = admin.join(his.join_id()).await;
        let fingerprint = node.status()["fingerprint"]
            .as_str()
            .expect("a fingerprint")
            .to_owned();
        assert!(
            !fingerprint.contains(&waiting.key_prefix),
            "{fingerprint} and {}",
            waiting.key_prefix
        );
        let parts = ["joins", &his.join_id().to_string(), "approve"];
        for proof in [json!({ "code": shown }), json!({ "fingerprint": fingerprint })] {
            assert_eq!(refusal(admin.tell(&parts, &proof).await).0, 404, "{proof}");
        }
        let matched = admin.post("/api/v1/joins/match", &json!({ "code": shown })).await;
        assert_eq!(refusal(matched).0, 404);
        assert_eq!(admin.join(his.join_id()).await.state, "pending");
    };
    tokio::select! {
        () = middle.serve(swap) => unreachable!("he serves for ever"),
        () = story => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn join_09_a_swapped_authority_is_refused_by_its_pin_or_stays_unconfirmed() {
    let (server, stranger) = (Server::shared(), Server::private());
    let pinned = RealNode::towards(
        stranger.registration(),
        "default",
        Some(server.root()),
        folder("node"),
    );
    pinned.begin("join", &[]);
    let status = until("the node gives up", async || pinned.process().ended()).await;
    let log = pinned.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(
        log.contains(&server.root().to_string()) && log.contains(&stranger.root().to_string()),
        "{log}"
    );
    let joins: Value = stranger.admin().await.get("/api/v1/joins").await;
    assert_eq!(joins["items"], json!([]), "nothing was revealed");

    let trusting = RealNode::towards(stranger.registration(), "default", None, folder("node"));
    trusting.join(&stranger, &[]).await;
    let status = trusting.status();
    assert_eq!(status["state"], "unconfirmed", "{status}");
    assert!(
        trusting.log().contains(&stranger.root().to_string()),
        "it shows what a person has to compare: {}",
        trusting.log()
    );
    let (confirmed, said) = trusting.command(&format!("confirm --ca-fingerprint {}", server.root()));
    assert!(
        !confirmed && said.contains(&stranger.root().to_string()),
        "{said}"
    );
    trusting.run(&[]);
    until("the service waits", async || {
        trusting.log().contains("muster-node confirm").then_some(())
    })
    .await;
    assert_eq!(trusting.status()["state"], "unconfirmed");
    let shown: Value = stranger.admin().await.show(&["nodes", trusting.name()]).await;
    assert_eq!(shown["seen"], Value::Null, "it has dialled no back end: {shown}");
    trusting.process().kill();
    let (confirmed, said) = trusting.command(&format!("confirm --ca-fingerprint {}", stranger.root()));
    assert!(confirmed, "{said}");
    assert_eq!(trusting.status()["state"], "trusted");
}

#[tokio::test(flavor = "multi_thread")]
async fn join_10_a_reveal_is_refused_when_any_part_of_it_was_changed() {
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
    // Fields that were taken out, or widened, by somebody who writes the hello again.
    for (field, value) in [
        ("pool", Value::Null),
        ("expires", json!(node.hello.expires + 3_600_000)),
        ("capabilities", json!(["TERR"])),
        ("name", json!("another")),
        ("token_id", Value::Null),
    ] {
        let mut hello: Value = serde_json::from_slice(&offered.hello).expect("JSON");
        let fields = hello.as_object_mut().expect("an object");
        if value.is_null() {
            fields.remove(field);
        } else {
            fields.insert(field.to_owned(), value);
        }
        // Even the same fields in other bytes are another hello.
        let written = [serde_json::to_vec(&hello).expect("JSON"), b" ".to_vec()].concat();
        let reveal = change(&|r| r.hello = STANDARD.encode(&written));
        assert_eq!(
            refusal(server.registers(REVEAL_PATH, &reveal).await).0,
            422,
            "{field}"
        );
        // With an offer of its own it is another exchange, and the node has not signed that.
        let answer = server
            .registers_bytes(HELLO_PATH, written.clone())
            .await
            .expect("an offer");
        let theirs = Offered::of(written.clone(), &answer);
        let reveal = change(&|r| {
            r.hello = STANDARD.encode(&written);
            r.offer = STANDARD.encode(&theirs.offer);
            r.mac.clone_from(&theirs.reply.mac);
        });
        let said = problem(server.registers(REVEAL_PATH, &reveal).await);
        assert!(
            said.detail.contains("not signed by the key"),
            "{field}: {}",
            said.detail
        );
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

/// One bit in the middle is another.
fn flipped(text: &str) -> String {
    let mut bytes = STANDARD.decode(text).expect("base64");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    STANDARD.encode(bytes)
}
