//! Nodes that come back after the end of their certificate: never a dead end, never without their key.

use muster_tests::{Applicant, Member, RealNode, Server, refusal, unique, within};
use muster_wire::admin::v1::{Page, join::Join};
use serde_json::json;

use super::renewal::{DAY, ITS_END, SHORT, speaks};

#[tokio::test(flavor = "multi_thread")]
async fn join_33_a_node_past_its_expiry_comes_back_as_the_node_that_it_is() {
    let server = Server::private();
    server.restart_in(&SHORT);
    let admin = server.admin().await;
    let name = unique("terr");
    let member = Applicant::new(&name).await.join(&server).await;
    expired(&member).await;

    let back = Applicant::with_key(&name, member.copied().into_key()).await;
    let transcript = back.apply(&server).await;
    let waiting: Join = admin.join(transcript.join_id()).await;
    assert_eq!(
        waiting.renewal_of,
        Some(member.id()),
        "shown as a renewal of the known node"
    );
    let body = json!({ "code": transcript.code().to_string() });
    admin
        .tell(&["joins", &waiting.id.to_string(), "approve"], &body)
        .await
        .expect("approved");
    let issued = back.ask(&server, &transcript, 1).await.issued.expect("issued");
    assert_eq!(
        (issued.node, issued.generation),
        (member.id(), 2),
        "the same node"
    );
    let member = member.with_issued(issued);
    speaks(&member).await.expect("it is back");
    expired(&member).await;

    // By policy it comes back without a person.
    server.restart_in(&[SHORT[0], ("MUSTER_JOIN__EXPIRED_RENEWAL", "automatic")]);
    let back = Applicant::with_key(&name, member.copied().into_key()).await;
    let offered = back.greet(&server).await;
    let reveal = back.reveal(&offered).await;
    let answer = server
        .registers("/join/v1/reveal", &reveal)
        .await
        .expect("revealed");
    let answer = muster_tests::answer_of(&server.roots(), &answer);
    assert_eq!(answer.state, "issued", "at the reveal");
    let member = member.with_issued(answer.issued.expect("issued"));
    speaks(&member).await.expect("it is back");

    // One that does not know the key is nobody, whatever its name is.
    let stranger = Applicant::new(&name).await;
    let transcript = stranger.apply(&server).await;
    assert_eq!(admin.join(transcript.join_id()).await.renewal_of, None);

    // One that was untrusted does not come back, however long ago.
    expired(&member).await;
    let path = ["nodes", member.name(), "untrust"];
    admin.tell(&path, &json!({})).await.expect("untrusted");
    let back = Applicant::with_key(&name, member.copied().into_key()).await;
    let transcript = back.apply(&server).await;
    let body = json!({ "code": transcript.code().to_string() });
    let id = transcript.join_id().to_string();
    let refused = admin.tell(&["joins", &id, "approve"], &body).await;
    assert_eq!(refusal(refused), (409, "node-revoked".to_owned()));
}

/// Waits until the back end no longer takes a short-lived certificate.
async fn expired(member: &Member) {
    within(ITS_END, "the certificate ends", async || {
        speaks(member).await.err()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_was_away_for_two_weeks_takes_its_fleet_back_at_once() {
    let server = Server::private();
    // A real node needs some seconds to start.
    server.restart_in(&[(SHORT[0].0, "30s")]);
    let admin = server.admin().await;
    let mut members = Vec::new();
    for number in 0..3 {
        members.push(Applicant::new(&format!("terr{number}")).await.join(&server).await);
    }
    let node = RealNode::start(&server, &server.pool().await).await;
    server.kill();
    // The node renews from half of life, so that its certificate ends while nobody answers.
    within(ITS_END * 2, "the node waits to be let in again", async || {
        (node.status()["state"] == "joining").then_some(())
    })
    .await;
    move_back(&server, 14 * DAY);
    server.restart();
    let mut waiting = Vec::new();
    for member in &members {
        let back = Applicant::with_key(member.name(), member.copied().into_key()).await;
        let transcript = back.apply(&server).await;
        waiting.push((back, transcript));
    }
    let list = within(ITS_END * 2, "all of them wait", async || {
        let list: Page<Join> = admin.get("/api/v1/joins/renewals").await;
        let list = list.items;
        (list.len() == 4).then_some(list)
    })
    .await;
    assert!(list.iter().all(|join| join.renewal_of.is_some()));

    let stranger = Applicant::new(&unique("terr")).await;
    let asked = stranger.apply(&server).await;
    let joins: Vec<_> = list.iter().map(|join| join.id).chain([asked.join_id()]).collect();
    let answer = admin
        .post("/api/v1/joins/renewals/approve", &json!({ "joins": joins }))
        .await
        .expect("approved");
    assert_eq!(answer["approved"].as_array().map(Vec::len), Some(4), "{answer}");
    assert_eq!(
        answer["refused"][0]["id"],
        asked.join_id().to_string(),
        "{answer}"
    );
    assert_eq!(admin.join(asked.join_id()).await.state, "pending");
    for (member, (back, transcript)) in members.iter().zip(&waiting) {
        let issued = back.ask(&server, transcript, 1).await.issued.expect("issued");
        assert_eq!(issued.node, member.id());
        speaks(&member.with_issued(issued)).await.expect("it is back");
    }
    node.connected(&server).await;
    assert_eq!(admin.audit_broken().await, None);
}

/// Lets all certificates of nodes have ended so much earlier.
fn move_back(server: &Server, by: i64) {
    server.database().change(&format!(
        "UPDATE certificates SET not_before = not_before - {by}, not_after = not_after - {by} WHERE purpose = 'node'"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_more_than_thirty_days_a_known_node_needs_its_code_again() {
    let server = Server::private();
    server.restart_in(&[SHORT[0], ("MUSTER_JOIN__EXPIRED_RENEWAL", "automatic")]);
    let admin = server.admin().await;
    let member = Applicant::new("terr01").await.join(&server).await;
    expired(&member).await;
    move_back(&server, 31 * DAY);
    let back = Applicant::with_key("terr01", member.copied().into_key()).await;
    let transcript = back.apply(&server).await;
    let list: Page<Join> = admin.get("/api/v1/joins/renewals").await;
    let list = list.items;
    assert!(list.is_empty(), "{list:?}");
    let joins = json!({ "joins": [transcript.join_id()] });
    let answer = admin
        .post("/api/v1/joins/renewals/approve", &joins)
        .await
        .expect("answered");
    assert_eq!(answer["refused"].as_array().map(Vec::len), Some(1), "{answer}");
    let body = json!({ "code": transcript.code().to_string() });
    let id = transcript.join_id().to_string();
    admin
        .tell(&["joins", &id, "approve"], &body)
        .await
        .expect("by its code");
    let issued = back.ask(&server, &transcript, 1).await.issued.expect("issued");
    assert_eq!(issued.node, member.id(), "never a dead end");
}
