//! Offers: what a control plane says before it knows anything of a node.

use std::time::Duration;

use muster_client::Request;
use muster_ids::Digest;
use muster_pki::{Facts, Role, Roots};
use muster_tests::{Applicant, Server, Settings, refusal, unique};
use muster_wire::node::v1::join::{HELLO_PATH, REVEAL_PATH};

#[tokio::test(flavor = "multi_thread")]
async fn the_offer_for_a_hello_is_always_the_same() {
    let server = Server::private();
    let (node, other) = (Applicant::new("terr01").await, Applicant::new("terr02").await);
    let before = node.greet(&server).await;
    assert_eq!(node.greet(&server).await.offer, before.offer);
    assert_ne!(other.greet(&server).await.offer, before.offer);
    server.restart();
    let after = node.greet(&server).await;
    assert_eq!(after.offer, before.offer, "also after a restart");
    assert_eq!(after.reply.mac, before.reply.mac);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_names_the_roots_that_nodes_pin_and_the_chain_that_signs_answers() {
    let server = Server::shared();
    let offered = Applicant::new(&unique("terr")).await.greet(server).await;
    let offer: muster_wire::node::v1::join::Offer = serde_json::from_slice(&offered.offer).expect("an offer");
    assert_eq!(offer.hello, Digest::of(&offered.hello));
    let der = |text: &String| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        muster_pki::CertificateDer::from(STANDARD.decode(text).expect("base64"))
    };
    let roots = Roots::new(offer.roots.iter().map(der).collect()).expect("roots");
    assert_eq!(roots.fingerprints(), [server.root()]);
    assert!(roots.pinned(&[server.root()]).is_some());
    assert!(roots.pinned(&[Digest::of(b"another root")]).is_none());
    let chain: Vec<_> = offered.reply.chain.iter().map(der).collect();
    roots
        .verify(&chain, Role::Policy, muster_tests::now())
        .expect("a policy certificate under the root of the offer");
    assert!(Facts::of(&chain[0]).is_ok());
    assert!((offered.reply.server_time - muster_tests::now()).abs() < 60_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_before_a_valid_reveal() {
    let server = Server::private();
    let node = Applicant::new("terr01").await;
    let offered = node.greet(&server).await;
    let good = node.reveal(&offered).await;
    let mut bad = good.clone();
    bad.r_n = good.mac.clone();
    let tables = "SELECT (SELECT COUNT(*) FROM audit) || '/' || (SELECT COUNT(*) FROM joins)";
    let before = server.database().rows(&format!("{tables} AS n"));
    let connection = server.plain(server.registration()).await;
    let hello = serde_json::to_vec(&node.hello).expect("JSON");
    let reveal = serde_json::to_vec(&bad).expect("JSON");
    for n in 0..1000 {
        let (path, body, good) = match n % 2 {
            0 => (HELLO_PATH, &hello, true),
            _ => (REVEAL_PATH, &reveal, false),
        };
        let answer = connection
            .send(Request::post(path).bytes("application/json", body.clone()))
            .await;
        assert_eq!(answer.is_ok(), good, "{answer:?}");
    }
    let after = server.database().rows(&format!("{tables} AS n"));
    assert_eq!(before, after, "a flood must not write");
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_are_limited_and_one_prefix_leaves_room_for_others() {
    let server = Server::start(&Settings {
        offers_per_second: 2,
        ..Settings::default()
    });
    let node = Applicant::new("terr01").await;
    let hello = serde_json::to_vec(&node.hello).expect("JSON");
    let connection = server.plain(server.registration()).await;
    let refused = muster_tests::until("offers from here are used up", async || {
        connection
            .send(Request::post(HELLO_PATH).bytes("application/json", hello.clone()))
            .await
            .err()
    })
    .await;
    assert_eq!(refused.retry_after(), Some(Duration::from_secs(5)));
    assert_eq!(refusal::<()>(Err(refused)), (429, "too-many".to_owned()));
}
