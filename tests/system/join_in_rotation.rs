//! Joins that began before the authority was exchanged: whoever asked under the old root comes through, at whatever stage the
//! rotation is when it goes on.

use std::time::Duration;

use muster_ids::Digest;
use muster_tests::{
    CommandLine, Person, RealNode, Server, approve, folder, needs_crash_points, until, within,
};
use serde_json::{Value, json};

/// A join that waits asks every few seconds, and a node connects at once.
const COMES: Duration = Duration::from_mins(2);
/// How long a code is shown before a new exchange makes another, milliseconds.
const CODE_LIFETIME: i64 = 60 * 60 * 1000;

/// Where the join stops: its nonce is not revealed yet, or its request waits.
const STOPS: [&str; 2] = ["join.offer.stored", "join.reveal.stored"];

async fn rotate(admin: &Person, step: &str) {
    let body = json!({ "step": step, "force": true });
    let answer = admin.post("/api/v1/authority/rotation", &body).await;
    let _: Value = answer.unwrap_or_else(|error| panic!("{step}: {error}"));
}

/// A node whose join was killed at `point`, without a pin if it is to be confirmed by a person.
async fn began(server: &Server, point: &str, pinned: bool) -> RealNode {
    let pin = pinned.then(|| server.root());
    let node = RealNode::towards(server.registration(), "default", pin, folder("node"));
    node.begin("join", &[("MUSTER_CRASH_AT", point)]);
    let killed = within(COMES, "the join is killed", async || node.process().ended()).await;
    assert_eq!(killed.code(), None, "{point}: {}", node.log());
    node
}

/// The newest code that the node shows, on the terminal or in the log of its service.
fn code(node: &RealNode) -> Option<String> {
    let log = node.log();
    let logged = log.rsplit_once("waits for approval").and_then(|(_, rest)| {
        let (_, code) = rest.split_once(" code=")?;
        code.split_whitespace().next().map(str::to_owned)
    });
    logged.or_else(|| node.code())
}

/// Goes on with the join, has it approved, and works.
async fn comes_through(server: &Server, node: &RealNode) {
    node.run(&[]);
    let code = until("the service shows its code", async || {
        node.log().contains("waits for approval").then(|| code(node))?
    })
    .await;
    approve(server, &code).await;
    node.connected(server).await;
    node.process().kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_began_before_a_rotation_comes_through_at_each_of_its_stages() {
    needs_crash_points("muster-node");
    let server = Server::private();
    let admin = server.admin().await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let [offered, revealed] = STOPS.map(|point| began(&server, point, true));
        waiting.push([offered.await, revealed.await]);
    }
    for (step, nodes) in ["prepare", "activate", "taint", "revoke"]
        .into_iter()
        .zip(waiting)
    {
        rotate(&admin, step).await;
        for (node, stopped) in nodes.iter().zip(STOPS) {
            let held = node.status()["ca_fingerprints"].clone();
            assert_eq!(held, json!([server.root().to_string()]), "{step} after {stopped}");
            comes_through(&server, node).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_confirms_after_a_rotation_confirms_the_root_that_is() {
    needs_crash_points("muster-node");
    let server = Server::private();
    let admin = server.admin().await;
    let node = began(&server, "join.reveal.stored", false).await;
    for step in ["prepare", "activate", "taint", "revoke"] {
        rotate(&admin, step).await;
    }
    let shown: Value = admin.get("/api/v1/authority").await;
    let root = shown["root_fingerprints"][0].as_str().expect("a root").to_owned();
    assert_ne!(root, server.root().to_string());
    let code = code(&node).expect("the join has shown its code");
    node.begin("join", &[]);
    approve(&server, &code).await;
    let ended = within(COMES, "the join ends", async || node.process().ended()).await;
    assert!(ended.success(), "{}", node.log());
    assert_eq!(node.status()["state"], "unconfirmed");
    let (ok, said) = node.command(&format!("confirm --ca-fingerprint {}", server.root()));
    assert!(!ok && said.contains(&root), "{said}");
    let (ok, said) = node.command(&format!("confirm --ca-fingerprint {root}"));
    assert!(ok, "{said}");
    node.run(&[]);
    node.connected(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_whose_authority_was_revoked_before_it_was_fetched_is_replaced() {
    needs_crash_points("muster-node");
    let server = Server::private();
    let admin = server.admin().await;
    let node = began(&server, "join.reveal.stored", true).await;
    approve(&server, &code(&node).expect("a code")).await;
    for step in ["prepare", "activate", "taint", "revoke"] {
        rotate(&admin, step).await;
    }
    let before = node.log().matches("waits for approval").count();
    node.run(&[]);
    let again = within(COMES, "it asks again with its key", async || {
        let asked = node.log().matches("waits for approval").count();
        (asked > before + usize::from(before == 0)).then(|| code(&node))?
    })
    .await;
    approve(&server, &again).await;
    node.connected(&server).await;
    let nodes: Value = admin.get("/api/v1/nodes").await;
    assert_eq!(
        nodes["items"].as_array().map(Vec::len),
        Some(1),
        "it is the same node"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_waited_through_two_rotations_begins_anew_by_itself() {
    needs_crash_points("muster-node");
    let server = Server::private();
    // Follows the rotations, as people do.
    let muster = CommandLine::log_in(&server);
    let node = began(&server, "join.reveal.stored", true).await;
    let first = code(&node).expect("a code");
    for step in ["prepare", "activate", "taint", "revoke"].repeat(2) {
        let (exit, _, complained) = muster.run(&["ca", "rotate", step, "--force"]);
        assert_eq!(exit, Some(0), "{step}: {complained}");
    }
    // No bridge leads from the answers of today to the offer of before, and an hour has passed.
    age(&node, CODE_LIFETIME);
    let before = waiting(&muster);
    node.run(&[]);
    let second = within(COMES, "it shows another code", async || {
        code(&node).filter(|code| *code != first)
    })
    .await;
    // The code is shown before its request waits, and wrong codes are counted.
    within(COMES, "the request is another", async || {
        (waiting(&muster) != before).then_some(())
    })
    .await;
    let (exit, _, complained) = muster.run(&["join", "approve", "--code", &second, "--yes"]);
    assert_eq!(exit, Some(0), "{complained}");
    node.connected(&server).await;
}

/// The identifiers of the requests that wait.
fn waiting(muster: &CommandLine) -> Vec<Value> {
    let (exit, listed, complained) = muster.run(&["join", "list", "--output", "json"]);
    assert_eq!(exit, Some(0), "{complained}");
    let listed: Value = serde_json::from_str(&listed).expect("stable JSON");
    let items = listed["items"].as_array().or_else(|| listed.as_array());
    let items = items.expect("a list of requests");
    assert!(!items.is_empty(), "a request waits");
    items.iter().map(|join| join["id"].clone()).collect()
}

/// Makes the exchange on disk so much older.
fn age(node: &RealNode, by_ms: i64) {
    let text = std::fs::read_to_string(node.identity()).expect("an identity");
    let (_, content) = text.split_once("\"content\":").expect("a content");
    let content = content.trim_end().strip_suffix('}').expect("the end of the file");
    let (before, after) = content.split_once("\"begun\":").expect("an exchange");
    let (begun, after) = after.split_once(',').expect("more fields");
    let begun: i64 = begun.parse().expect("a number");
    let content = format!("{before}\"begun\":{},{after}", begun - by_ms);
    let digest = Digest::of(content.as_bytes());
    let text = format!("{{\"format\":1,\"digest\":\"{digest}\",\"content\":{content}}}\n");
    // Written in place, so that its mode stays.
    std::fs::write(node.identity(), text).expect("written");
}
