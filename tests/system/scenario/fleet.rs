//! Many nodes, and a control plane that was away.

use std::{sync::Arc, time::Duration};

use muster_client::{Connection, Lines};
use muster_daemon::Random;
use muster_tests::{Applicant, Member, RealNode, Server, challenge, needs_crash_points, until, within};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::timeout};

use crate::real_node::ended;

/// Longer than an engine's first start on a loaded machine takes.
const PATIENCE: Duration = Duration::from_mins(3);
/// Enough to be a storm for a control plane that was built for debugging.
const NODES: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn join_40_a_node_that_missed_a_change_is_stale_and_runs_only_restricted_code_until_it_has_caught_up() {
    let server = Server::private();
    let pool = server.pool().await;
    let node = RealNode::start(&server, &pool).await;
    let author = server.author().await;
    let function = author.register("f", "python", "y = 1").await;
    until("the node is fresh", async || is_fresh(&node, true)).await;

    // It hears nothing of this.
    node.process().kill();
    author.trust(&function).await;
    server.kill();
    node.run(&[]);
    until("the node says that it is stale", async || is_fresh(&node, false)).await;
    let conditions = node.status()["agent"]["conditions"].clone();
    assert!(conditions.to_string().contains("\"stale\""), "{conditions}");

    server.restart();
    node.connected(&server).await;
    within(PATIENCE, "the node is fresh again", async || {
        is_fresh(&node, true)
    })
    .await;
    let number = author.get::<Value>("/api/v1/status").await["trust_number"].clone();
    assert_eq!(node.status()["agent"]["trust_number"], number);
    let run = author.run(&function, &json!({ "pool": pool })).await;
    let run = within(PATIENCE, "the run ends", async || {
        let run = author.run_now(run.id).await;
        run.finished.is_some().then_some(run)
    })
    .await;
    assert_eq!(run.mode.as_deref(), Some("unrestricted"), "{:?}", run.ending);
    while_nothing_reaches_it_a_node_is_stale_and_runs_only_restricted_code(&server, &node, &pool).await;
}

async fn while_nothing_reaches_it_a_node_is_stale_and_runs_only_restricted_code(
    server: &Server,
    node: &RealNode,
    pool: &str,
) {
    needs_crash_points("muster-node");
    let (admin, author) = (server.admin().await, server.author().await);
    // Beacons and what tells of changes get lost; everything else arrives.
    node.run(&[("MUSTER_LOST", "trust")]);
    node.connected(server).await;
    let scope = format!("pool:{pool}");
    admin.set("restricted_engines", &scope, "python_service").await;
    let trusted = author.register("g", "python", "y = 2").await;
    author.trust(&trusted).await;
    let untrusted = server.registrar().await.register("h", "python", "y = 3").await;
    within(
        PATIENCE,
        "the control plane shows the node as stale",
        async || {
            let shown: Value = admin.show(&["nodes", node.name()]).await;
            let conditions = shown["inventory"]["conditions"].to_string();
            conditions.contains("\"stale\"").then_some(())
        },
    )
    .await;

    // The grant of this one is ahead of the node by all these changes, so that it fetches them.
    let asked = json!({ "pool": pool });
    let analyst = server.analyst().await;
    let run = analyst.run(&untrusted, &asked).await;
    let run = ended(&analyst, &run).await;
    assert_eq!(
        (run.state.as_str(), run.mode.as_deref()),
        ("succeeded", Some("restricted")),
        "{:?}",
        run.ending
    );
    let number = author.get::<Value>("/api/v1/status").await["trust_number"].clone();
    until("the node says that it has them", async || {
        (node.status()["agent"]["trust_number"] == number).then_some(())
    })
    .await;
    assert!(
        is_fresh(node, false).is_some(),
        "nobody said that this is the newest"
    );
    let waits = author.run(&trusted, &asked).await;
    within(PATIENCE, "the trusted one is handed back", async || {
        let rows = admin.audited("run.put_back").await;
        let of_run = rows.iter().find(|row| row["subject"] == waits.id.to_string());
        of_run?["detail"]["why"].as_str()?.contains("stale").then_some(())
    })
    .await;

    let id = waits.id.to_string();
    author
        .tell(&["runs", &id, "cancel"], &Value::Null)
        .await
        .expect("cancelled");
    assert_eq!(ended(&author, &waits).await.state, "cancelled");

    // Where beacons arrive it runs.
    node.run(&[]);
    let run = author.run(&trusted, &asked).await;
    let run = ended(&author, &run).await;
    assert_eq!(
        (run.state.as_str(), run.mode.as_deref()),
        ("succeeded", Some("unrestricted")),
        "{:?}",
        run.ending
    );
}

/// Something once the running agent says of its trust state what is `wanted`.
fn is_fresh(node: &RealNode, wanted: bool) -> Option<()> {
    (node.status()["agent"]["trust_fresh"] == wanted).then_some(())
}

/// A node with its control connection.
struct Connected {
    member: Arc<Member>,
    connection: Connection,
    lines: Lines,
}

/// All of `members` at the same moment, each again until it is let in.
async fn connect(members: &[Arc<Member>]) -> Vec<Connected> {
    let mut tasks = JoinSet::new();
    for member in members {
        let member = member.clone();
        tasks.spawn(async move {
            let connection = loop {
                if let Ok(connection) = member.try_connect().await {
                    break connection;
                }
                // Full jitter, as nodes have it.
                let wait = Duration::from_secs(1).mul_f64(Random::system().fraction());
                tokio::time::sleep(wait).await;
            };
            let mut lines = member.control(&connection, &challenge()).await;
            member.next_beacon(&mut lines).await;
            member.heartbeat(&connection, &[]).await.expect("a sign of life");
            Connected {
                member,
                connection,
                lines,
            }
        });
    }
    timeout(PATIENCE, tasks.join_all()).await.expect("all are back")
}

#[tokio::test(flavor = "multi_thread")]
async fn join_55_a_fleet_comes_back_after_a_restart_and_nobody_is_marked_lost() {
    let server = Server::private();
    let admin = server.admin().await;
    let mut members = Vec::new();
    for n in 0..NODES {
        members.push(Arc::new(
            Applicant::new(&format!("node{n:03}")).await.join(&server).await,
        ));
    }
    let before = connect(&members).await;
    let author = server.author().await;
    let function = author.register("f", "terr", "y <- 1").await;
    let run = author.run(&function, &json!({})).await;
    let claimed = before[0].member.claim(&before[0].connection).await.expect("work");
    assert_eq!(claimed.grant.run, run.id);

    // Signs of life are written in batches.
    within(PATIENCE, "all nodes were seen", async || {
        let seen = server
            .database()
            .number("SELECT COUNT(*) FROM nodes WHERE seen_at IS NOT NULL");
        usize::try_from(seen)
            .is_ok_and(|seen| seen == NODES)
            .then_some(())
    })
    .await;
    server.kill();
    for mut node in before {
        // Each has noticed.
        while let Ok(Some(_)) = node.lines.next_json::<Value>().await {}
    }
    server.restart();
    let watched = tokio::spawn(lost(server.admin().await));
    let after = connect(&members).await;
    // On a slow machine the first are back for longer than a sign of life lasts before the last are.
    within(PATIENCE, "all nodes are online at once", async || {
        for node in &after {
            let alive = node.member.heartbeat(&node.connection, &[]).await;
            alive.expect("a sign of life");
        }
        let status: Value = admin.get("/api/v1/status").await;
        (status["nodes"]["online"] == NODES).then_some(())
    })
    .await;
    watched.abort();
    if let Ok(lost) = watched.await {
        panic!("a healthy node was marked lost: {lost}");
    }
    assert_eq!(author.run_now(run.id).await.state, "running", "its node holds it");
    drop(after);
}

/// Ends when any node is shown as offline.
async fn lost(admin: muster_tests::Person) -> Value {
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    loop {
        looks.tick().await;
        let status: Value = admin.get("/api/v1/status").await;
        if status["nodes"]["offline"] != 0 {
            return status["nodes"].clone();
        }
    }
}
