//! The trust state and its beacons as a node gets them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_code_trust::{Change, TrustState};
use muster_pki::PayloadType;
use muster_tests::{Applicant, Server, challenge, member::next, unique};
use muster_wire::node::v1::{control::ControlMessage, trust_state::TrustHead};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_state_has_the_digest_that_is_signed() {
    let server = Server::shared();
    let author = server.author().await;
    let function = author.register(&unique("f"), "r", "1").await;
    author.trust(&function).await;
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let (head, reply) = member.trust_state(&member.connect().await, None).await;
    assert!(reply.changes.is_none());
    let state = TrustState::from_pairs(reply.entries.expect("entries")).expect("a state");
    assert_eq!(state.digest(), head.version.digest);
    assert!(!state.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_leads_to_the_digest_that_is_signed() {
    let server = Server::shared();
    let (admin, author) = (server.admin().await, server.author().await);
    let pool = server.pool().await;
    let scope = format!("pool:{pool}");
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let connection = member.connect().await;
    let (head, reply) = member.trust_state(&connection, None).await;
    let mut state = TrustState::from_pairs(reply.entries.expect("entries")).expect("a state");
    let mut number = head.version.number;

    let function = author.register(&unique("f"), "python", "1").await;
    author.trust(&function).await;
    admin.set("terr.restricted.execution.mode", &scope, "false").await;
    admin
        .set("restricted_engines", &scope, "r_service,python_service")
        .await;
    for step in 0..3 {
        let (head, reply) = member.trust_state(&connection, Some(number)).await;
        assert!(reply.entries.is_none(), "a delta was asked for");
        let changes: Vec<Change> = reply
            .changes
            .expect("changes")
            .into_iter()
            .map(|change| Change {
                number: change.number,
                key: change.key,
                value: change.value,
            })
            .collect();
        assert!(changes.iter().all(|change| change.number > number));
        state = state
            .apply(&changes, &head.version.digest)
            .expect("the signed state");
        assert!(head.version.number > number || step == 2);
        number = head.version.number;
        match step {
            0 => {
                admin.unset("restricted_engines", &scope).await;
                let untrust = ["functions", &function.id.to_string(), "untrust"];
                author.tell(&untrust, &Value::Null).await.expect("untrusted");
            }
            _ => admin.set("terr.restricted.execution.mode", &scope, "true").await,
        }
    }
    let (head, reply) = member.trust_state(&connection, Some(u64::MAX)).await;
    assert!(
        reply.entries.is_some() && head.version.number < u64::MAX,
        "from a number that does not exist yet the whole state comes"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_grows_by_one_with_each_change_and_the_audit_log_with_it() {
    let server = Server::private();
    let (admin, author) = (server.admin().await, server.author().await);
    let numbers = || {
        let database = server.database();
        (
            database.number("SELECT number FROM trust_head"),
            database.number("SELECT COUNT(*) FROM audit"),
        )
    };
    let function = author.register("f", "r", "1").await;
    let (mut number, mut rows) = numbers();
    let mut grew = |what: &str, by: i64| {
        let (now, audited) = numbers();
        assert_eq!((now - number, audited - rows), (by, 1), "{what}");
        (number, rows) = (now, audited);
    };
    admin.set("restricted_engines", "all", "r_service").await;
    grew("a setting", 1);
    admin.unset("restricted_engines", "all").await;
    grew("a setting removed", 1);
    author.trust(&function).await;
    grew("a stamp", 1);
    admin.create("/api/v1/pools", "p").await;
    grew("a pool is no trust", 0);
    let denied = admin.try_trust(&function).await;
    assert!(denied.is_err());
    grew("a refusal is audited and changes nothing", 0);
    let untrust = ["functions", "f", "untrust"];
    author.tell(&untrust, &Value::Null).await.expect("untrusted");
    grew("a stamp removed", 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beacon_answers_the_nodes_own_question() {
    let server = Server::shared();
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let connection = member.connect().await;
    let question = challenge();
    let mut lines = member.control(&connection, &question).await;
    let beacon = member.next_beacon(&mut lines).await;
    assert_eq!(beacon.challenge, question);
    assert_eq!(beacon.time_to_live, 15 * 60);
    let (head, _) = member.trust_state(&connection, None).await;
    assert!(beacon.version.number <= head.version.number);
    assert_eq!(beacon.version.incarnation, head.version.incarnation);
    assert_eq!(beacon.version.epoch, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beacon_after_a_change_is_for_the_new_state() {
    let server = Server::shared();
    let admin = server.admin().await;
    let pool = server.pool().await;
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let connection = member.connect().await;
    let mut lines = member.control(&connection, &challenge()).await;
    let first = member.next_beacon(&mut lines).await;
    admin
        .set("disable.spotfire.trust.checks", &format!("pool:{pool}"), "false")
        .await;
    while member.next_trust_number(&mut lines).await <= first.version.number {}
    let again = member.connect().await;
    let mut lines = member.control(&again, &challenge()).await;
    let second = member.next_beacon(&mut lines).await;
    assert!(second.version.number > first.version.number);
    assert_ne!(second.version.digest, first.version.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_change_comes_with_its_hint_and_leads_to_the_digest_that_is_signed() {
    let server = Server::private();
    let admin = server.admin().await;
    let member = Applicant::new("terr01").await.join(&server).await;
    let mut at_once = None;
    for value in ["false", "true", "false"] {
        let connection = member.connect().await;
        let mut lines = member.control(&connection, &challenge()).await;
        member.next_beacon(&mut lines).await;
        let (head, whole) = member.trust_state(&connection, None).await;
        // The first hint says where the node is; what is before that number it may not hold.
        let told = loop {
            if let ControlMessage::Trust { number, reply } = next(&mut lines).await {
                break (number, reply);
            }
        };
        assert_eq!(told, (head.version.number, None));
        admin.set("disable.spotfire.trust.checks", "all", value).await;
        // What is repeated every 30 seconds, in case a hint was lost, comes behind a beacon.
        at_once = loop {
            match next(&mut lines).await {
                ControlMessage::Trust { number, reply } => break Some((head, whole, number, reply)),
                ControlMessage::Beacon { .. } => break None,
                _ => {}
            }
        };
        if at_once.is_some() {
            break;
        }
    }
    let (head, whole, number, reply) = at_once.expect("a change comes at once, and not with the next beacon");
    let reply = reply.expect("the change");
    let state = TrustState::from_pairs(whole.entries.expect("entries")).expect("a state");
    let signed = member
        .verified(&reply.head, PayloadType::TrustState)
        .expect("a signed head");
    let signed: TrustHead = serde_json::from_slice(&signed).expect("a head");
    assert_eq!((number, signed.version.number), (head.version.number + 1, number));
    let changes = reply.changes.expect("changes").into_iter().map(|change| Change {
        number: change.number,
        key: change.key,
        value: change.value,
    });
    let changes: Vec<Change> = changes.collect();
    state
        .apply(&changes, &signed.version.digest)
        .expect("the state that is signed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_copy_of_a_signed_message_does_not_verify() {
    let server = Server::shared();
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let connection = member.connect().await;
    let (_, reply) = member.trust_state(&connection, None).await;
    let head = reply.head;
    member
        .verified(&head, PayloadType::TrustState)
        .expect("as it was sent, it is good");

    let mut payload: Value = decoded(&head["payload"]);
    payload["version"]["number"] = json!(0);
    let mut changed = head.clone();
    changed["payload"] = json!(STANDARD.encode(payload.to_string()));
    let mut unsigned = head.clone();
    unsigned["signatures"] = json!([]);
    let mut twice = head.clone();
    let signature = head["signatures"][0].clone();
    twice["signatures"] = json!([signature, signature]);
    let mut stripped = head.clone();
    stripped["signatures"][0]["chain"] = json!([]);
    let mut relabelled = head.clone();
    relabelled["payloadType"] = json!("application/vnd.muster.beacon+json");
    for (what, copy) in [
        ("changed", changed),
        ("unsigned", unsigned),
        ("signed twice", twice),
        ("without its chain", stripped),
        ("of another type", relabelled.clone()),
    ] {
        assert!(member.verified(&copy, PayloadType::TrustState).is_err(), "{what}");
    }
    assert!(
        member.verified(&relabelled, PayloadType::Beacon).is_err(),
        "a trust state passes for a beacon"
    );
    assert!(member.verified(&head, PayloadType::Beacon).is_err());

    let stranger = Server::private();
    let foreign = Applicant::new("terr01").await.join(&stranger).await;
    let (_, theirs) = foreign.trust_state(&foreign.connect().await, None).await;
    assert!(
        member.verified(&theirs.head, PayloadType::TrustState).is_err(),
        "another collective's state"
    );
}

fn decoded(payload: &Value) -> Value {
    let bytes = STANDARD
        .decode(payload.as_str().expect("base64"))
        .expect("base64");
    serde_json::from_slice(&bytes).expect("JSON")
}
