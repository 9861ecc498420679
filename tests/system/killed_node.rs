//! `kill -9` of the real agent at each named point of a run: nothing is lost, nothing comes twice.

use muster_client::Request;
use muster_daemon::file::WRITE_POINTS;
use muster_tests::{RealNode, Server, needs_crash_points, until, within};
use serde_json::{Value, json};

use crate::real_node::{PATIENCE, ended, value};

/// The writes of a run, with how the run ends when the agent is killed at each of [`WRITE_POINTS`].
const WRITES: [(&str, [&str; 5]); 3] = [
    // Before its name is there nobody knows of the claim, and its lease ends. It is synced after that.
    ("run.claim", ["lost", "lost", "failed", "failed", "failed"]),
    ("run.blob", ["failed"; 5]),
    // So is this, and only where it is not taken at once.
    (
        "run.outcome",
        ["failed", "failed", "succeeded", "succeeded", "succeeded"],
    ),
];

/// What only a run comes to that prints more than an outcome takes along.
const OF_LARGE: [&str; 3] = ["run.blob.", "run.outcome.synced", "run.outcome.settled"];

/// The points between the writes, with how the run ends.
const BETWEEN: [(&str, &str); 4] = [
    ("run.claimed", "failed"),
    ("run.executed", "failed"),
    ("run.spooled", "succeeded"),
    ("run.reported", "succeeded"),
];

/// Where one process after the other is killed, with how the run ends: what tidies up after a kill is killed as well.
const AGAIN: [(&[&str], &str); 4] = [
    (&["run.claim.settled", "run.outcome.synced"], "failed"),
    (
        &[
            "run.blob.renamed",
            "run.outcome.created",
            "run.outcome.renamed",
            "run.reported",
        ],
        "failed",
    ),
    (&["run.executed", "run.spooled", "run.reported"], "failed"),
    (
        &["run.outcome.settled", "run.reported", "run.reported"],
        "succeeded",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_at_any_point_of_a_run_reports_it_once() {
    needs_crash_points("muster-node");
    let mut stories: Vec<(Vec<String>, &str)> = Vec::new();
    for (write, states) in WRITES {
        for (step, state) in WRITE_POINTS.iter().zip(states) {
            stories.push((vec![format!("{write}.{step}")], state));
        }
    }
    stories.extend(BETWEEN.map(|(point, state)| (vec![point.to_owned()], state)));
    stories.extend(AGAIN.map(|(points, state)| {
        let points = points.iter().map(|point| (*point).to_owned());
        (points.collect(), state)
    }));
    let server = Server::private();
    let (admin, author) = (server.admin().await, server.author().await);
    let node = RealNode::folder(&server, "default", server.root());
    // It is started often, and each time an engine of each language would be.
    node.configure("[node]\n", "[node]\ncapabilities = [\"TERR\"]\n");
    node.join(&server, &[]).await;
    let mut functions = Vec::new();
    for (name, times) in [("small", 1), ("large", 1000)] {
        let definition = json!({
            "name": name, "language": "terr",
            "script": format!("cat(strrep('printed', {times})); y <- 1"),
            "outputs": [{ "name": "y", "kind": "value" }],
        });
        functions.push((author.register_definition(&definition).await, times));
    }
    for (points, state) in &stories {
        let mut run = None;
        let large = OF_LARGE.iter().any(|point| points[0].starts_with(point));
        let (function, times) = &functions[usize::from(large)];
        for point in points {
            node.run(&[("MUSTER_CRASH_AT", point)]);
            if run.is_none() {
                run = Some(author.run(function, &json!({})).await);
            }
            let killed = within(PATIENCE, &format!("the node is killed at {point}"), async || {
                node.process().ended()
            })
            .await;
            assert_eq!(killed.code(), None, "{point}: {}", node.log());
        }
        let run = run.expect("there is a point");
        node.run(&[]);
        node.connected(&server).await;
        if *state == "lost" {
            let sql = format!(
                "UPDATE runs SET lease_until = lease_until - 45000 WHERE id = '{}'",
                run.id
            );
            server.database().change(&sql);
        }
        let run = ended(&author, &run).await;
        assert_eq!(run.state, *state, "{points:?}: {:?}", run.ending);
        assert_eq!(run.attempts, 1, "{points:?}: nothing is repeated by itself");
        match *state {
            "succeeded" => {
                assert_eq!(value(&author, run.id, "y").await, 1, "{points:?}");
                let printed = Request::get(format!("/api/v1/runs/{}/stdout", run.id));
                let printed = author.send(printed).await.expect("what was printed");
                assert_eq!(printed.body, "printed".repeat(*times), "{points:?}");
            }
            "failed" => {
                let problem = run.ending.and_then(|ending| ending.problem);
                assert_eq!(problem.as_deref(), Some("agent-restarted"), "{points:?}");
            }
            _ => {}
        }
        until(&format!("nothing waits any more after {points:?}"), async || {
            (node.status()["agent"]["unacknowledged"] == 0).then_some(())
        })
        .await;
        let subject = run.id.to_string();
        for event in ["run.granted", "run.ended"] {
            let rows = admin.audited(event).await;
            let mine = rows.iter().filter(|row| row["subject"] == subject.as_str());
            assert_eq!(mine.count(), 1, "{points:?}: {event}");
        }
    }
    assert_eq!(admin.audited("run.outcome_rejected").await.len(), 0);
    assert_eq!(admin.audit_broken().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_taken_although_the_key_of_its_receipt_was_revoked_meanwhile() {
    needs_crash_points("muster-node");
    let server = Server::private();
    let (admin, author) = (server.admin().await, server.author().await);
    let node = RealNode::start(&server, "default").await;
    let definition = json!({
        "name": "f", "language": "terr", "script": "y <- 1",
        "outputs": [{ "name": "y", "kind": "value" }],
    });
    let function = author.register_definition(&definition).await;
    node.run(&[("MUSTER_CRASH_AT", "run.spooled")]);
    let run = author.run(&function, &json!({})).await;
    within(
        PATIENCE,
        "the node is killed with the result on disk",
        async || node.process().ended(),
    )
    .await;
    let listed: Value = admin.get("/api/v1/certificates?state=valid&limit=200").await;
    let receipts = listed["items"].as_array().expect("a list").iter();
    let receipts: Vec<&str> = receipts
        .filter(|certificate| certificate["purpose"] == "receipt")
        .filter_map(|certificate| certificate["serial"].as_str())
        .collect();
    assert!(!receipts.is_empty(), "{listed}");
    for serial in receipts {
        let reason = json!({ "reason": "key-compromise" });
        let revoked = admin.tell(&["certificates", serial, "revoke"], &reason).await;
        assert!(revoked.is_ok(), "{revoked:?}");
    }
    node.run(&[]);
    let run = ended(&author, &run).await;
    assert_eq!(run.state, "succeeded", "{:?}", run.ending);
    assert_eq!(value(&author, run.id, "y").await, 1);
}
