//! A node that loses its right to speak loses it at once, on every connection, with everything that it holds.

use std::time::Duration;

use muster_client::ClientError;
use muster_tests::{Applicant, Member, Server, challenge, member::next, problem, refusal, unique, within};
use serde_json::{Value, json};

/// Cutting takes milliseconds; this is for a machine that does much else.
const CUT: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn untrust_cuts_every_connection_of_the_node_and_refuses_new_ones() {
    let server = Server::shared();
    let admin = server.admin().await;
    let (member, other) = (
        Applicant::new(&unique("terr")).await.join(server).await,
        Applicant::new(&unique("terr")).await.join(server).await,
    );
    let (control, payload, others) = (
        member.connect().await,
        member.connect().await,
        other.connect().await,
    );
    let mut lines = member.control(&control, &challenge()).await;
    next(&mut lines).await;
    member.trust_state(&payload, None).await;
    let mut other_lines = other.control(&others, &challenge()).await;
    next(&mut other_lines).await;

    let reason = json!({ "reason": "stolen" });
    admin
        .tell(&["nodes", member.name(), "untrust"], &reason)
        .await
        .expect("untrusted");
    tokio::time::timeout(CUT, async {
        control.closed().await;
        payload.closed().await;
    })
    .await
    .expect("both connections are cut");
    while let Ok(Some(_)) = lines.next().await {}
    assert!(!others.is_closed(), "the other node is not touched");
    other.trust_state(&others, None).await;

    let refused = speaks(&member).await.expect_err("the node lost its right");
    assert!(
        refused.problem().is_none_or(|problem| problem.status == 403),
        "{refused}"
    );
    // The list that every handshake asks follows within a moment.
    within(CUT, "handshakes are refused", async || {
        let error = speaks(&member).await.expect_err("the node lost its right");
        error.problem().is_none().then_some(())
    })
    .await;
    let shown: Value = admin.show(&["nodes", member.name()]).await;
    assert_eq!(shown["trust"], "revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_is_the_same_as_being_untrusted() {
    let server = Server::shared();
    let admin = server.admin().await;
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let (control, second) = (member.connect().await, member.connect().await);
    let mut lines = member.control(&control, &challenge()).await;
    next(&mut lines).await;
    member.leave(&second).await.expect("left");
    tokio::time::timeout(CUT, async {
        control.closed().await;
        second.closed().await;
    })
    .await
    .expect("both connections are cut");
    speaks(&member).await.expect_err("the node lost its right");
    let shown: Value = admin.show(&["nodes", member.name()]).await;
    assert_eq!(shown["trust"], "revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_a_node_that_is_untrusted_or_leaves_are_lost_at_once() {
    let server = Server::shared();
    let admin = server.admin().await;
    let author = server.author().await;
    let function = author.register(&unique("f"), "terr", "1").await;
    for leaves in [false, true] {
        let pool = server.pool().await;
        let member = Applicant::new(&unique("terr"))
            .await
            .in_pool(&pool)
            .join(server)
            .await;
        let run = author.run(&function, &json!({ "pool": pool })).await;
        let connection = member.connect().await;
        let claimed = member.claim(&connection).await.expect("a run");
        assert_eq!(claimed.grant.run, run.id);
        let signer = member.receipt_signer(&connection).await;
        let outcome = member.outcome(&claimed, &signer, "succeeded").await;
        if leaves {
            member.leave(&connection).await.expect("left");
        } else {
            admin
                .tell(&["nodes", member.name(), "untrust"], &json!({}))
                .await
                .expect("untrusted");
        }
        let run = author.run_now(run.id).await;
        assert_eq!(run.state, "lost", "leaves: {leaves}");
        let ended = admin.audited("run.ended").await;
        let subject = run.id.to_string();
        let mine = ended
            .iter()
            .find(|row| row["subject"] == subject.as_str())
            .expect("audited");
        assert_eq!(mine["detail"]["state"], "lost");
        let fresh = member.try_connect().await;
        if let Ok(connection) = fresh {
            member
                .report(&connection, run.id, &outcome)
                .await
                .expect_err("an untrusted node reports nothing");
        }
        assert_eq!(author.run_now(run.id).await.state, "lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_a_deleted_node_can_be_given_again() {
    let server = Server::shared();
    let admin = server.admin().await;
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let name = member.name().to_owned();
    let early = admin.delete(&["nodes", &name]).await;
    let problem = problem(early);
    assert_eq!(problem.status, 409);
    assert!(
        problem.detail.contains("muster node untrust"),
        "{}",
        problem.detail
    );
    admin
        .tell(&["nodes", &name, "untrust"], &json!({}))
        .await
        .expect("untrusted");
    admin.delete(&["nodes", &name]).await.expect("deleted");
    assert_eq!(refusal(admin.delete(&["nodes", &name]).await).0, 404);
    speaks(&member)
        .await
        .expect_err("a deleted node has no right to speak");
    let next = Applicant::new(&name).await.join(server).await;
    assert_ne!(next.id(), member.id());
    speaks(&next).await.expect("the new one may");
}

#[tokio::test(flavor = "multi_thread")]
async fn untrusting_twice_is_untrusting_once_and_cannot_be_undone() {
    let server = Server::shared();
    let admin = server.admin().await;
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    for _ in 0..2 {
        admin
            .tell(&["nodes", member.name(), "untrust"], &json!({}))
            .await
            .expect("untrusted");
    }
    let tried = admin
        .patch(&["nodes", member.name()], &json!({ "scheduling": "active" }))
        .await;
    assert_eq!(refusal(tried), (409, "node-state".to_owned()));
    speaks(&member).await.expect_err("still untrusted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_node_stays_out_after_a_restart() {
    let server = Server::private();
    let admin = server.admin().await;
    let member = Applicant::new("terr01").await.join(&server).await;
    let stays = Applicant::new("terr02").await.join(&server).await;
    admin
        .tell(&["nodes", "terr01", "untrust"], &json!({}))
        .await
        .expect("untrusted");
    server.kill();
    server.restart();
    let error = speaks(&member).await.expect_err("revoked for good");
    assert!(error.problem().is_none(), "refused in the handshake: {error}");
    speaks(&stays).await.expect("a member still is one");
}

async fn speaks(member: &Member) -> Result<(), ClientError> {
    let connection = member.try_connect().await?;
    member.heartbeat(&connection, &[]).await.map(drop)
}
