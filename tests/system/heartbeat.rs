//! Heartbeats as lines of one request, since version 2 of the node protocol.

use axum::body::Bytes;
use muster_client::{Connection, Lines, Request};
use muster_ids::RunId;
use muster_tests::{Applicant, Member, Server, challenge, member::inventory, refusal, unique};
use muster_wire::node::v1::{
    PROTOCOLS,
    control::{
        CONTROL_PATH, Claimed, ControlMessage, HEARTBEATS_PATH, Heartbeat, HeartbeatReply, OpenControl,
    },
};
use serde_json::Value;
use tokio::sync::mpsc;

/// A stream of heartbeats: what the node says, and what it hears.
async fn heartbeats(connection: &Connection) -> (mpsc::Sender<Bytes>, Lines) {
    let (say, content) = mpsc::channel(4);
    let request = Request::post(HEARTBEATS_PATH).stream("application/x-ndjson", content);
    (say, connection.lines(request).await.expect("a stream"))
}

fn line(member: &Member, held: &[(RunId, i64)], with_inventory: bool) -> Bytes {
    let beat = Heartbeat {
        boot_nonce: member.boot_nonce.clone(),
        challenge: challenge(),
        inventory: with_inventory.then(inventory),
        running: held.iter().map(|&(run, fence)| Claimed { run, fence }).collect(),
    };
    let mut line = serde_json::to_vec(&beat).expect("JSON");
    line.push(b'\n');
    line.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_signs_of_life_and_are_answered_where_there_is_something_to_say() {
    let server = Server::shared();
    let admin = server.admin().await;
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let connection = member.connect().await;
    let (say, mut hear) = heartbeats(&connection).await;
    say.send(line(&member, &[], true)).await.expect("taken");
    // A claim that nobody gave: the node should stop it. The line before had no answer, or it would come first.
    let (run, fence) = (RunId::new(1, [7; 10]), 3);
    say.send(line(&member, &[(run, fence)], false))
        .await
        .expect("taken");
    let reply: HeartbeatReply = hear.next_json().await.expect("heard").expect("a line");
    assert_eq!(reply.stop, [run]);
    let shown: Value = admin.get(&format!("/api/v1/nodes/{}", member.id())).await;
    assert_eq!(shown["health"], "online", "{shown}");
    assert!(
        !shown["inventory"].is_null(),
        "what was said once is kept: {shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_no_heartbeat_ends_the_stream_and_no_other_request() {
    let server = Server::shared();
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let connection = member.connect().await;
    for nonsense in ["{}\n", "nonsense\n", "[1\n", "\n"] {
        let (say, mut hear) = heartbeats(&connection).await;
        say.send(nonsense.into()).await.expect("taken");
        hear.next().await.expect_err("the stream has ended");
    }
    member.heartbeat(&connection, &[]).await.expect("alive");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_is_authorized_anew() {
    let server = Server::shared();
    let admin = server.admin().await;
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let connection = member.connect().await;
    let (say, mut hear) = heartbeats(&connection).await;
    say.send(line(&member, &[], true)).await.expect("taken");
    admin
        .tell(&["nodes", member.name(), "untrust"], &serde_json::json!({}))
        .await
        .expect("untrusted");
    // The connection may be gone already.
    let _ = say.send(line(&member, &[], false)).await;
    hear.next().await.expect_err("the stream has ended");
    connection.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_agent_is_welcomed_with_its_own_version() {
    let server = Server::shared();
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let connection = member.connect().await;
    let newest = PROTOCOLS[PROTOCOLS.len() - 1];
    for (spoken, common) in [
        (vec![1], Some(1)),
        (vec![newest, 1, 99], Some(newest)),
        (vec![99], None),
        (vec![], None),
    ] {
        let open = OpenControl {
            protocols: spoken.clone(),
            boot_nonce: member.boot_nonce.clone(),
            agent_version: "0.0.1".to_owned(),
            trust: None,
            challenge: challenge(),
        };
        let opened = connection.lines(Request::post(CONTROL_PATH).json(&open)).await;
        match (opened, common) {
            (Ok(mut lines), Some(common)) => {
                let first = lines.next_json::<ControlMessage>().await.expect("read");
                assert!(
                    matches!(first, Some(ControlMessage::Welcome { protocol, .. }) if protocol == common),
                    "{spoken:?}: {first:?}"
                );
            }
            (opened, None) => {
                let refused = refusal(opened.map(drop));
                assert_eq!(refused, (409, "protocol-version".to_owned()), "{spoken:?}");
            }
            (Err(error), Some(_)) => panic!("{spoken:?}: {error}"),
        }
    }
}
