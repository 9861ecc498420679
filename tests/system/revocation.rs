//! A node that loses its right to speak loses it at once, on every connection, with everything that it holds.

use std::time::Duration;

use muster_client::ClientError;
use muster_pki::Outline;
use muster_tests::{Applicant, Member, Server, challenge, member::next, problem, refusal, unique, within};
use serde_json::{Value, json};

/// Cutting takes milliseconds; this is for a machine that does much else.
const CUT: Duration = Duration::from_mins(1);

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

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_revoked_by_itself_cuts_what_was_opened_with_it() {
    let server = Server::shared();
    let (admin, author) = (server.admin().await, server.author().await);
    let pool = server.pool().await;
    let member = Applicant::new(&unique("terr"))
        .await
        .in_pool(&pool)
        .join(server)
        .await;
    let other = Applicant::new(&unique("terr")).await.join(server).await;
    let function = author.register(&unique("f"), "terr", "1").await;
    let run = author.run(&function, &json!({ "pool": pool })).await;
    let (connection, others) = (member.connect().await, other.connect().await);
    member.claim(&connection).await.expect("a run");
    other.heartbeat(&others, &[]).await.expect("heard");
    let serial = Outline::of(&member.chain()[0]).expect("read").serial.to_string();

    let bad = json!({ "reason": "because" });
    let refused = admin.tell(&["certificates", &serial, "revoke"], &bad).await;
    assert_eq!(refusal(refused).0, 422);
    let reason = json!({ "reason": "key-compromise" });
    let answer = admin.tell(&["certificates", &serial, "revoke"], &reason).await;
    let answer: Value = answer.expect("revoked").json().expect("JSON");
    assert_eq!(answer["serials"], json!([serial]));
    assert_eq!(answer["runs_lost"], 1, "nobody could report it");
    tokio::time::timeout(CUT, connection.closed())
        .await
        .expect("the connection is cut");
    assert!(!others.is_closed(), "the other node is not touched");
    assert_eq!(author.run_now(run.id).await.state, "lost");
    speaks(&member).await.expect_err("it was the only certificate");

    let again = admin.tell(&["certificates", &serial, "revoke"], &reason).await;
    assert_eq!(refusal(again), (409, "certificate-state".to_owned()));
    let shown: Value = admin.show(&["certificates", &serial.to_uppercase()]).await;
    assert_eq!(
        (&shown["state"], &shown["reason"], &shown["node"]),
        (&json!("revoked"), &json!("key-compromise"), &json!(member.name()))
    );
    assert!(
        shown["pem"]
            .as_str()
            .is_some_and(|pem| pem.starts_with("-----BEGIN CERTIFICATE-----"))
    );
    let shown: Value = admin.show(&["nodes", member.name()]).await;
    assert_eq!(
        shown["trust"], "trusted",
        "the trust of the node is another matter"
    );
    let audited = admin.audited("certificate.revoked").await;
    assert!(audited.iter().any(|row| row["subject"] == serial.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn results_signed_with_a_revoked_receipt_certificate_are_refused() {
    let server = Server::shared();
    let (admin, author) = (server.admin().await, server.author().await);
    let pool = server.pool().await;
    let member = Applicant::new(&unique("terr"))
        .await
        .in_pool(&pool)
        .join(server)
        .await;
    let function = author.register(&unique("f"), "terr", "1").await;
    let run = author.run(&function, &json!({ "pool": pool })).await;
    let connection = member.connect().await;
    let claimed = member.claim(&connection).await.expect("a run");
    let signer = member.receipt_signer(&connection).await;
    let serial = Outline::of(&signer.chain[0]).expect("read").serial.to_string();
    admin
        .tell(&["certificates", &serial, "revoke"], &json!({}))
        .await
        .expect("revoked");
    let outcome = member.outcome(&claimed, &signer, "succeeded").await;
    let refused = member.report(&connection, run.id, &outcome).await;
    assert_eq!(refusal(refused), (422, "invalid-receipt".to_owned()));
    let signer = member.receipt_signer(&connection).await;
    let outcome = member.outcome(&claimed, &signer, "succeeded").await;
    member
        .report(&connection, run.id, &outcome)
        .await
        .expect("under a certificate that holds");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_cannot_take_the_connections_of_others() {
    let server = Server::shared();
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let connection = member.connect().await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut lines = member.control(&connection, &challenge()).await;
        next(&mut lines).await;
        streams.push(lines);
    }
    let refused = member.try_control(&connection, &challenge()).await;
    let problem = problem(refused.map(drop));
    assert_eq!(problem.status, 429, "{}", problem.detail);
    streams.pop();
    within(CUT, "a place is free again", async || {
        member.try_control(&connection, &challenge()).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trust_that_is_reset_ends_every_node_and_the_control_plane_goes_on() {
    let server = Server::private();
    let admin = server.admin().await;
    let member = Applicant::new("terr01").await.join(&server).await;
    let connection = member.connect().await;
    member.heartbeat(&connection, &[]).await.expect("heard");
    let waiting = Applicant::new("terr02").await;
    waiting.apply(&server).await;

    let pending: Value = admin.get("/api/v1/certificates?state=pending").await;
    assert_eq!(pending["items"][0]["subject"], "terr02");
    let valid: Value = admin.get("/api/v1/certificates?state=valid&limit=1").await;
    assert!(valid["next"].is_string(), "there is more than one");
    let answer = admin
        .post("/api/v1/certificates/reset", &json!({ "delete": true }))
        .await
        .expect("reset");
    assert_eq!(answer["nodes"], 1);
    tokio::time::timeout(CUT, connection.closed())
        .await
        .expect("the connection is cut");
    let none: Value = admin.get("/api/v1/nodes").await;
    assert_eq!(none["items"], json!([]));
    speaks(&member).await.expect_err("all trust is gone");

    // What the control plane itself needs is there again, and a node can join under its name at once.
    let back = Applicant::new("terr01").await.join(&server).await;
    speaks(&back).await.expect("trusted anew");
    within(
        CUT,
        "the certificates of the control plane are new ones",
        async || {
            let valid: Value = admin.get("/api/v1/certificates?state=valid").await;
            let purposes: Vec<_> = valid["items"]
                .as_array()?
                .iter()
                .map(|row| row["purpose"].clone())
                .collect();
            ["control_plane", "front_end"]
                .iter()
                .all(|purpose| purposes.contains(&json!(purpose)))
                .then_some(())
        },
    )
    .await;
    server.kill();
    server.restart();
    speaks(&member).await.expect_err("deleted is not forgotten");
    speaks(&back).await.expect("still trusted");
}

async fn speaks(member: &Member) -> Result<(), ClientError> {
    let connection = member.try_connect().await?;
    member.heartbeat(&connection, &[]).await.map(drop)
}
