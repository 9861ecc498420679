//! Copies: one identity on two machines, one name on two, and keys that a node has left behind.

use muster_client::{ClientError, Request};
use muster_tests::{Applicant, Member, Person, Server, challenge, member::next, refusal, unique, within};
use serde_json::{Value, json};

use super::renewal::{ITS_END, events, key, node_shown, renew, speaks};

/// Asserts that the alarm about two holders of this identity was raised.
pub(super) async fn clone_alarm(server: &Server, admin: &Person, member: &Member) {
    let shown = node_shown(admin, member).await;
    assert_eq!(shown["trust"], "revoked", "{shown}");
    assert_eq!(events(admin, "node.clone_detected", member.id()).await.len(), 1);
    let status: Value = admin.get("/api/v1/status").await;
    let problems = status["problems"].to_string();
    assert!(
        problems.contains(&format!("\\\"{}\\\" is locked", member.name())),
        "{problems}"
    );
    within(ITS_END, "the metric counts it", async || {
        let operations = server.plain(server.operations()).await;
        let text = operations.send(Request::get("/metrics")).await.ok()?.body;
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text
            .lines()
            .find(|line| line.contains("nodes_cloned_total") && !line.starts_with('#'))?
            .to_owned();
        (!line.ends_with(" 0")).then_some(())
    })
    .await;
}

/// Asserts that the identity is locked: the request is refused, or cut together with all connections of the identity before
/// the refusal was through.
pub(super) fn locked_out<T: std::fmt::Debug>(answer: Result<T, ClientError>) {
    match answer {
        Err(ClientError::Broken { .. } | ClientError::Unreachable { .. }) => {}
        answer => assert_eq!(refusal(answer), (403, "node-revoked".to_owned())),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn join_35_two_holders_of_one_identity_are_both_locked() {
    let server = Server::shared();
    let admin = server.admin().await;
    let author = server.author().await;
    let pool = server.pool().await;
    let node = Applicant::new(&unique("terr")).await.in_pool(&pool);
    let original = node.join(server).await;
    let function = author.register(&unique("f"), "terr", "1").await;
    let run = author.run(&function, &json!({ "pool": pool })).await;
    let copy = original.copied();

    let newer = renew(&original).await;
    let connection = newer.connect().await;
    newer.claim(&connection).await.expect("a run");
    let other = copy.connect().await;
    locked_out(copy.renew(&other, &key()).await);
    clone_alarm(server, &admin, &original).await;
    tokio::time::timeout(ITS_END, connection.closed())
        .await
        .expect("the original is cut off too");
    for holder in [&original, &newer, &copy] {
        speaks(holder).await.expect_err("locked");
    }
    assert_eq!(
        author.run_now(run.id).await.state,
        "lost",
        "nobody knows who ran it"
    );

    // Both asked before either used what it got: the second one that uses it is found out.
    let original = Applicant::new(&unique("terr")).await.join(server).await;
    let copy = original.copied();
    let (mine, theirs) = (key(), key());
    let first = original
        .renew(&original.connect().await, &mine)
        .await
        .expect("renewed");
    let second = copy.renew(&copy.connect().await, &theirs).await.expect("renewed");
    let (original, copy) = (original.renewed(mine, first), copy.renewed(theirs, second));
    speaks(&copy).await.expect("the first to use it");
    locked_out(speaks(&original).await);
    clone_alarm(server, &admin, &original).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn join_51_a_second_machine_with_the_identity_of_a_node_is_refused_and_told_of() {
    let server = Server::shared();
    let admin = server.admin().await;
    let first = Applicant::new(&unique("terr")).await.join(server).await;
    let second = first.copied();
    let (control, other) = (first.connect().await, second.connect().await);
    let mut lines = first.control(&control, &challenge()).await;
    next(&mut lines).await;
    first.heartbeat(&control, &[]).await.expect("alive");

    let refused = second.try_control(&other, &challenge()).await.err();
    let refused = refused.expect("another agent speaks for this node");
    let problem = refused.problem().expect("a problem");
    assert_eq!(problem.status, 409);
    assert!(problem.kind.ends_with("node-elsewhere"), "{problem:?}");
    assert_eq!(
        refusal(second.heartbeat(&other, &[]).await),
        (409, "node-elsewhere".to_owned())
    );
    assert!(
        events(&admin, "node.duplicate_refused", first.id())
            .await
            .is_empty(),
        "it could still be a restart"
    );
    first
        .heartbeat(&control, &[])
        .await
        .expect("the first is untouched");
    let alarms = events(&admin, "node.duplicate_refused", first.id()).await;
    assert_eq!(alarms.len(), 1, "both are there: {alarms:?}");
    let status: Value = admin.get("/api/v1/status").await;
    let problems = status["problems"].to_string();
    assert!(
        problems.contains("second machine") && problems.contains(first.name()),
        "{problems}"
    );
    assert_eq!(node_shown(&admin, &first).await["trust"], "trusted");

    // The same agent may open another stream, as when it renews; a restarted one gets in once the first is gone.
    let again = first.connect().await;
    let mut more = first.control(&again, &challenge()).await;
    next(&mut more).await;
    drop((lines, more));
    control.close();
    again.close();
    let restarted = first.copied();
    within(ITS_END, "a restarted agent gets in", async || {
        let connection = restarted.try_connect().await.ok()?;
        let lines = restarted.try_control(&connection, &challenge()).await.ok()?;
        Some((connection, lines))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn join_52_a_reinstalled_host_joins_under_its_old_name_once_the_old_node_is_deleted() {
    let server = Server::shared();
    let admin = server.admin().await;
    let name = unique("terr");
    let before = Applicant::new(&name).await.join(server).await;
    let reinstalled = Applicant::new(&name).await;
    let transcript = reinstalled.apply(server).await;
    let body = json!({ "code": transcript.code().to_string() });
    let id = transcript.join_id().to_string();
    let refused = admin.tell(&["joins", &id, "approve"], &body).await;
    assert_eq!(refusal(refused), (409, "duplicate-node-name".to_owned()));

    admin
        .tell(&["nodes", &name, "untrust"], &json!({}))
        .await
        .expect("untrusted");
    admin.delete(&["nodes", &name]).await.expect("deleted");
    admin
        .tell(&["joins", &id, "approve"], &body)
        .await
        .expect("the request that waited is enough");
    let issued = reinstalled
        .ask(server, &transcript, 1)
        .await
        .issued
        .expect("issued");
    assert_ne!(issued.node, before.id(), "a new node");
    assert_eq!(issued.generation, 1);
    speaks(&before).await.expect_err("the old one stays out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_its_node_has_left_behind_joins_nothing() {
    let server = Server::shared();
    let admin = server.admin().await;
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let newest = renew(&renew(&member).await).await;
    let thief = Applicant::with_key(member.name(), member.copied().into_key()).await;
    for _ in 0..2 {
        let offered = thief.greet(server).await;
        let reveal = thief.reveal(&offered).await;
        let answer = server.registers("/join/v1/reveal", &reveal).await;
        assert_eq!(refusal(answer), (409, "key-superseded".to_owned()));
    }
    let alarms = events(&admin, "join.old_key", member.id()).await;
    assert_eq!(alarms.len(), 1, "told once: {alarms:?}");
    speaks(&newest)
        .await
        .expect("a thief of an old backup locks nobody");
}
