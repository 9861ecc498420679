//! The same story on PostgreSQL.

#[path = "../../control-plane/store/tests/support/postgres.rs"]
pub(crate) mod support;

use muster_tests::{Applicant, Server, Settings, challenge, member::next};
use muster_wire::node::v1::control::ControlMessage;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_learns_what_is_trusted_and_runs_a_function() {
    let server = Server::start(&Settings {
        database_url: Some(support::database()),
        ..Settings::default()
    });
    let (admin, author, analyst) = (
        server.admin().await,
        server.author().await,
        server.analyst().await,
    );
    let member = Applicant::new("terr01").await.join(&server).await;
    let connection = member.connect().await;
    let mut lines = member.control(&connection, &challenge()).await;
    let first = member.next_beacon(&mut lines).await;

    let function = author.register("f", "terr", "1").await;
    author.trust(&function).await;
    admin.set("terr.restricted.execution.mode", "all", "false").await;
    loop {
        let beacon = member.next_beacon(&mut lines).await;
        if beacon.version.number >= first.version.number + 2 {
            break;
        }
    }
    let (head, reply) = member.trust_state(&connection, Some(0)).await;
    assert_eq!(
        (head.version.number, reply.changes.map(|changes| changes.len())),
        (2, Some(2))
    );

    let run = analyst.run(&function, &json!({})).await;
    while !matches!(next(&mut lines).await, ControlMessage::RunAvailable) {}
    let claimed = member.claim(&connection).await.expect("a run");
    assert_eq!(
        (claimed.grant.mode.as_str(), claimed.grant.rule.as_str()),
        ("unrestricted", "stamped")
    );
    let signer = member.receipt_signer(&connection).await;
    let outcome = member.outcome(&claimed, &signer, "succeeded").await;
    member
        .report(&connection, run.id, &outcome)
        .await
        .expect("counts");
    member
        .report(&connection, run.id, &outcome)
        .await
        .expect("twice is once");
    assert_eq!(analyst.run_ended(run.id).await.state, "succeeded");

    server.kill();
    server.restart();
    assert_eq!(analyst.run_now(run.id).await.state, "succeeded");
    admin
        .tell(&["nodes", "terr01", "untrust"], &json!({}))
        .await
        .expect("untrusted");
    assert!(member.try_claim(&member.connect().await).await.is_err());
    assert_eq!(admin.audit_broken().await, None);
    let page: Value = admin.get("/api/v1/audit?limit=3").await;
    assert!(page["next"].is_string());
}
