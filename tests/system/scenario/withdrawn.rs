//! Trust that is taken away while a function runs that it had let run.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_tests::{Person, RealNode, Server, unique, within};
use muster_wire::admin::v1::{
    function::Function,
    run::{Run, RunLogs},
};
use serde_json::{Value, json};

use crate::real_node::{PATIENCE, ended};

/// A function that says when it has begun, and sleeps.
async fn sleeper(author: &Person, seconds: u32) -> Function {
    let script = format!(
        "import time\nprint('begun', flush=True)\ntime.sleep({seconds}) {}",
        unique("#")
    );
    let function = author.register(&unique("sleeper"), "python", &script).await;
    author.trust(&function).await;
    function
}

/// A run that has begun, unrestricted.
async fn begun(author: &Person, pool: &str, function: &Function) -> Run {
    begun_as(author, &json!({ "pool": pool }), function).await
}

async fn begun_as(author: &Person, request: &Value, function: &Function) -> Run {
    let run = author.run(function, request).await;
    within(PATIENCE, "the function has begun", async || {
        let path = format!("/api/v1/runs/{}/logs", run.id);
        let logs: RunLogs = author.get(&path).await;
        (!logs.printed.is_empty()).then_some(())
    })
    .await;
    assert_eq!(author.run_now(run.id).await.mode.as_deref(), Some("unrestricted"));
    run
}

/// State, problem, rule and entry of the end of a run.
fn end(run: &Run) -> (String, Option<String>, String, Option<String>) {
    let ending = run.ending.clone().expect("an ending");
    (run.state.clone(), ending.problem, ending.rule, ending.entry)
}

async fn statement(person: &Person, run: &Run) -> Value {
    let receipt: Value = person.get(&format!("/api/v1/runs/{}/receipt", run.id)).await;
    let payload = receipt["receipt"]["payload"].as_str().expect("a payload");
    serde_json::from_slice(&STANDARD.decode(payload).expect("base64")).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn trust_58_trust_that_is_removed_while_a_function_runs_ends_it_or_lets_it_finish_as_is_set() {
    let server = Server::shared();
    let (admin, author, analyst) = (
        server.admin().await,
        server.author().await,
        server.analyst().await,
    );
    let pool = server.pool().await;
    let _node = RealNode::start(server, &pool).await;

    // The stamp is removed.
    let function = sleeper(&author, 1000).await;
    let run = begun(&analyst, &pool, &function).await;
    let untrust = ["functions", &function.id.to_string(), "untrust"];
    author.tell(&untrust, &Value::Null).await.expect("untrusted");
    let stopped = ended(&analyst, &run).await;
    let stop = ("failed".to_owned(), Some("trust-withdrawn".to_owned()));
    let (state, problem, rule, _) = end(&stopped);
    assert_eq!((state, problem), stop, "{:?}", stopped.ending);
    assert_eq!(rule, "service-refuses-untrusted");
    let message = stopped.ending.expect("an ending").message;
    assert!(
        message.starts_with("The run was stopped: its trust was withdrawn while it ran."),
        "{message}"
    );

    // The item is blocked, whatever trusts it. What waits is not handed out.
    author.trust(&function).await;
    let run = begun(&analyst, &pool, &function).await;
    let item = json!({ "type": "data_function", "hash": function.digest });
    let block = json!({ "item": item, "reason": "it sends data away" });
    let made = admin.post("/api/v1/trust/blocks", &block).await.expect("blocked");
    let stopped = ended(&analyst, &run).await;
    let key = format!("block/item/data_function/{}", function.digest);
    let (state, problem, rule, entry) = end(&stopped);
    assert_eq!((state, problem), stop, "{:?}", stopped.ending);
    assert_eq!(
        (rule.as_str(), entry.as_deref()),
        ("item-blocked", Some(key.as_str()))
    );
    let predicate = &statement(&analyst, &stopped).await["predicate"];
    assert_eq!(
        (
            predicate["rule"].as_str(),
            predicate["mode"].as_str(),
            predicate["state"].as_str()
        ),
        (Some("item-blocked"), Some("unrestricted"), Some("failed"))
    );
    let limits = predicate["limits"].to_string();
    assert!(
        limits.contains("it began by state") && limits.contains("(stamped, stamp/"),
        "{limits}"
    );
    let trust = &predicate["trust"];
    assert_eq!(trust["number"], predicate["trust_number"]);
    assert_eq!(trust["epoch"], 1, "{predicate}");
    assert!(
        trust["digest"]
            .as_str()
            .is_some_and(|digest| digest.starts_with("sha256:")),
        "{predicate}"
    );
    let refused = analyst.run(&function, &json!({ "pool": pool })).await;
    let refused = ended(&analyst, &refused).await;
    assert_eq!(refused.state, "refused", "{:?}", refused.ending);

    let id = made["id"].as_str().expect("an identity");
    admin.delete(&["trust", "blocks", id]).await.expect("unblocked");

    // Its author is revoked, or blocked: nobody's word stands for it any more.
    for [what, named] in [["revocations", "from"], ["blocks", "reason"]] {
        let vouches = server.author().await;
        let function = sleeper(&vouches, 1000).await;
        let run = begun(&analyst, &pool, &function).await;
        let mut decision = json!({ "user": vouches.name() });
        decision[named] = json!("2020-01-01T00:00:00Z");
        let made = admin.post(&format!("/api/v1/trust/{what}"), &decision).await;
        made.expect("decided");
        let (state, problem, rule, _) = end(&ended(&analyst, &run).await);
        assert_eq!((state, problem), stop, "{what}");
        assert_eq!(rule, "service-refuses-untrusted", "{what}");
    }

    // Runs may finish.
    admin
        .set("trust.running", &format!("pool:{pool}"), "finish")
        .await;
    let function = sleeper(&author, 20).await;
    let run = begun(&analyst, &pool, &function).await;
    let untrust = ["functions", &function.id.to_string(), "untrust"];
    author.tell(&untrust, &Value::Null).await.expect("untrusted");
    let finished = ended(&analyst, &run).await;
    assert_eq!(finished.state, "succeeded", "{:?}", finished.ending);
    let predicate = &statement(&analyst, &finished).await["predicate"];
    assert_eq!(predicate["rule"], "stamped");
    let limits = predicate["limits"].to_string();
    assert!(limits.contains("trust withdrawn by state"), "{limits}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_for_its_session_never_starts_once_its_trust_is_gone() {
    // Any newer trust state ends sessions, so that no other test may make one.
    let server = &Server::private();
    let (admin, author, analyst) = (
        server.admin().await,
        server.author().await,
        server.analyst().await,
    );
    let pool = server.pool().await;
    admin
        .set("trust.running", &format!("pool:{pool}"), "finish")
        .await;
    let node = RealNode::folder(server, &pool, server.root());
    node.configure("[engines]\n", "[slots]\nper_engine = 2\n\n[engines]\n");
    node.join(server, &[]).await;
    node.run(&[]);
    node.connected(server).await;
    let function = sleeper(&author, 30).await;
    let request = json!({ "pool": pool, "analysis": "sales" });
    let first = begun_as(&analyst, &request, &function).await;
    let second = analyst.run(&function, &request).await;
    within(PATIENCE, "the node has the second run", async || {
        (analyst.run_now(second.id).await.state != "queued").then_some(())
    })
    .await;
    let untrust = ["functions", &function.id.to_string(), "untrust"];
    author.tell(&untrust, &Value::Null).await.expect("untrusted");
    let refused = ended(&analyst, &second).await;
    let (state, _, rule, _) = end(&refused);
    assert_eq!(
        (state.as_str(), rule.as_str()),
        ("refused", "service-refuses-untrusted"),
        "{:?}",
        refused.ending
    );
    assert_eq!(
        analyst.run_now(first.id).await.state,
        "running",
        "the first is still at work"
    );
    let finished = ended(&analyst, &first).await;
    assert_eq!(finished.state, "succeeded", "{:?}", finished.ending);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_still_may_run_as_it_does_is_not_ended_by_other_decisions() {
    let server = Server::shared();
    let (admin, author, analyst) = (
        server.admin().await,
        server.author().await,
        server.analyst().await,
    );
    let pool = server.pool().await;
    let _node = RealNode::start(server, &pool).await;
    let (function, other) = (sleeper(&author, 20).await, sleeper(&author, 20).await);
    // The author's own runs need no stamp.
    let (theirs, own) = (
        begun(&analyst, &pool, &function).await,
        begun(&author, &pool, &other).await,
    );
    let block = json!({ "item": { "type": "data_function", "hash": format!("sha256:{}", "0".repeat(64)) } });
    let made = admin.post("/api/v1/trust/blocks", &block).await;
    let untrust = ["functions", &other.id.to_string(), "untrust"];
    author.tell(&untrust, &Value::Null).await.expect("untrusted");
    for (person, run) in [(&analyst, &theirs), (&author, &own)] {
        let run = ended(person, run).await;
        assert_eq!(run.state, "succeeded", "{:?}", run.ending);
    }
    let id = made.expect("blocked")["id"]
        .as_str()
        .expect("an identity")
        .to_owned();
    admin.delete(&["trust", "blocks", &id]).await.expect("unblocked");
}
