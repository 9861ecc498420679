//! Which nodes are given runs: cordoned ones and draining ones are not.

use std::time::Duration;

use muster_tests::{Applicant, CommandLine, Server, unique, within};
use serde_json::{Value, json};

/// Longer than the control plane takes to notice on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_node_ends_its_run_takes_no_other_and_is_cordoned_then() {
    let server = Server::private();
    let (admin, author) = (server.admin().await, server.author().await);
    let muster = CommandLine::log_in(&server);
    let member = Applicant::new("terr01").await.join(&server).await;
    let connection = member.connect().await;
    let function = author.register(&unique("f"), "terr", "1").await;
    let first = author.run(&function, &json!({})).await;
    let second = author.run(&function, &json!({})).await;
    let claimed = member.claim(&connection).await.expect("a run");
    assert_eq!(claimed.grant.run, first.id);

    let (exit, _, complained) = muster.run(&["node", "drain", "terr01", "--wait", "1s"]);
    assert_eq!(exit, Some(1), "its run goes on");
    assert!(complained.contains("still works on its runs (1)"), "{complained}");
    let (exit, _, complained) = muster.run(&["node", "drain", "terr01", "--wait", "soon"]);
    assert_eq!(exit, Some(2), "{complained}");
    let shown: Value = admin.show(&["nodes", "terr01"]).await;
    assert_eq!(
        (&shown["scheduling"], &shown["runs"]),
        (&json!("draining"), &json!(1))
    );
    assert!(member.claim(&connection).await.is_none(), "it takes no new run");
    member
        .heartbeat(&connection, &[(first.id, claimed.grant.fence)])
        .await
        .expect("it still speaks");

    let signer = member.receipt_signer(&connection).await;
    let outcome = member.outcome(&claimed, &signer, "succeeded").await;
    member
        .report(&connection, first.id, &outcome)
        .await
        .expect("its own run counts");
    let (exit, said, complained) = muster.run(&["node", "drain", "terr01", "--wait"]);
    assert_eq!(exit, Some(0), "{complained}");
    assert!(
        said.contains("\"terr01\" is cordoned now and works on nothing."),
        "{said}"
    );
    assert!(
        member.claim(&connection).await.is_none(),
        "cordoned, it takes none either"
    );
    assert_eq!(author.run_now(first.id).await.state, "succeeded");
    assert_eq!(author.run_now(second.id).await.state, "queued");
    let drained = admin.audited("node.drained").await;
    assert_eq!(drained[0]["subject"], "terr01");
    assert_eq!(drained[0]["actor"], "system");

    let (exit, _, complained) = muster.run(&["node", "uncordon", "terr01"]);
    assert_eq!(exit, Some(0), "{complained}");
    let claimed = member.claim(&connection).await.expect("the other run");
    assert_eq!(claimed.grant.run, second.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_node_is_drained_within_a_moment_and_a_change_of_mind_counts() {
    let server = Server::shared();
    let admin = server.admin().await;
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let scheduled = async |scheduling: &str| {
        let change = json!({ "scheduling": scheduling });
        admin
            .patch(&["nodes", member.name()], &change)
            .await
            .expect("changed");
    };
    scheduled("draining").await;
    within(PATIENCE, "the node is drained", async || {
        let shown: Value = admin.show(&["nodes", member.name()]).await;
        (shown["scheduling"] == "cordoned").then_some(())
    })
    .await;
    scheduled("active").await;
    let shown: Value = admin.show(&["nodes", member.name()]).await;
    assert_eq!(shown["scheduling"], "active");
}
