//! Inline expressions and traced runs: what the control plane grants, and what a real node does with it.

use muster_client::{ClientError, Multipart, Request};
use muster_daemon::Random;
use muster_tests::{Applicant, Person, RealNode, Server, problem, refusal, unique};
use muster_wire::admin::v1::run::Run;
use serde_json::{Value, json};

use crate::real_node::{ended, restricted_call, shared, value};

async fn evaluate(person: &Person, request: &Value) -> Result<Run, ClientError> {
    let form = Multipart::new(Random::system().bytes()).field("request", request.to_string());
    let request = Request::post("/api/v1/expressions").multipart(form);
    person.send(request).await?.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expression_is_granted_restricted_without_a_function_whoever_asks() {
    let server = Server::shared();
    let (pool, site) = (server.pool().await, server.site().await);
    let node = Applicant::new(&unique("terr")).await;
    let member = node.in_pool(&pool).in_site(&site).join(server).await;
    let connection = member.connect().await;
    let admin = server.admin().await;
    let scope = format!("pool:{pool}");
    admin.set("terr.restricted.execution.mode", &scope, "false").await;
    admin.set("disable.spotfire.trust.checks", &scope, "true").await;
    for person in [&server.author().await, &server.analyst().await] {
        let request = json!({
            "expression": "output <- input1 + 1", "inputs": { "input1": 41 }, "pool": pool, "site": site,
        });
        let run = evaluate(person, &request).await.expect("queued");
        assert_eq!((run.function, run.function_name.as_str()), (None, "expression"));
        let claimed = member.claim(&connection).await.expect("granted");
        let grant = &claimed.grant;
        assert_eq!(
            (grant.run, grant.function, grant.engine.as_str()),
            (run.id, None, "terr")
        );
        assert_eq!(
            (grant.mode.as_str(), grant.rule.as_str(), grant.network.as_str()),
            ("restricted", "terr-inline", "none")
        );
        assert_eq!(claimed.definition.script, "output <- input1 + 1");
        let shown = person.run_now(run.id).await;
        assert_eq!(shown.why.map(|why| why.rule).as_deref(), Some("terr-inline"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expression_is_refused_where_no_node_has_terr() {
    let server = Server::shared();
    let pool = server.pool().await;
    let request = json!({ "expression": "output <- 1", "pool": pool });
    let refused = problem(evaluate(&server.analyst().await, &request).await);
    assert_eq!(refused.status, 409);
    assert!(
        refused.kind.ends_with("no-engine") && refused.detail.contains(&pool),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_expression_is_refused_in_words() {
    let server = Server::shared();
    let analyst = server.analyst().await;
    for request in [
        json!({ "expression": " " }),
        json!({ "expression": "output <- 1", "inputs": { "no name": 1 } }),
        json!({ "expression": "output <- 1", "output": "matrix" }),
        json!({ "expression": "output <- 1", "trace": true }),
        json!({ "script": "output <- 1" }),
    ] {
        assert_eq!(refusal(evaluate(&analyst, &request).await).0, 422, "{request}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authors_and_administrators_have_runs_traced_which_are_restricted_then() {
    let server = Server::shared();
    let (pool, site) = (server.pool().await, server.site().await);
    let node = Applicant::new(&unique("terr")).await;
    let member = node.in_pool(&pool).in_site(&site).join(server).await;
    let connection = member.connect().await;
    let admin = server.admin().await;
    admin
        .set("terr.restricted.execution.mode", &format!("pool:{pool}"), "false")
        .await;
    let (author, analyst) = (server.author().await, server.analyst().await);
    let function = author.register(&unique("f"), "terr", &unique("#")).await;
    author.trust(&function).await;
    let request = json!({ "pool": pool, "site": site, "trace": true });
    let denied = refusal(analyst.try_run(&function, &request, None).await);
    assert_eq!(denied, (403, "denied".to_owned()));
    for person in [&author, &admin] {
        let run = person.run(&function, &request).await;
        let grant = member.claim(&connection).await.expect("granted").grant;
        assert_eq!((grant.run, grant.trace), (run.id, true));
        assert_eq!(
            (grant.mode.as_str(), grant.rule.as_str()),
            ("restricted", "traced")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_traced_run_lists_what_a_trusted_function_oversteps() {
    let world = shared().await;
    let script = format!(
        "y <- tryCatch(length(readLines('/etc/shadow')), error = function(e) -1) {}",
        unique("#")
    );
    let function = world.function("terr", &script).await;
    world.author.trust(&function).await;
    let request = json!({ "pool": world.pool, "trace": true });
    let run = world.author.run(&function, &request).await;
    let run = ended(&world.author, &run).await;
    let ending = run.ending.expect("an ending");
    assert_eq!(
        (run.state.as_str(), run.mode.as_deref()),
        ("succeeded", Some("restricted")),
        "{}",
        ending.message
    );
    assert_eq!(ending.oversteps, ["Native[file], line 1"]);
    assert_eq!(value(&world.author, run.id, "y").await, -1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_overstep_is_counted_by_their_node() {
    let server = &Server::private();
    let (admin, author, analyst) = (
        server.admin().await,
        server.author().await,
        server.analyst().await,
    );
    admin.set("restricted_engines", "all", "python_service").await;
    let node = RealNode::start(server, "default").await;
    let counted = async || {
        let monitor = server.plain(node.operations()).await;
        let answer = monitor.send(Request::get("/metrics")).await.expect("metrics");
        let text = String::from_utf8(answer.body.to_vec()).expect("text");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("muster_node_oversteps_total "));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    assert_eq!(counted().await, "0");
    let traced = "y <- tryCatch(length(readLines('/etc/shadow')), error = function(e) -1)";
    for (person, language, script, trace, state, expected) in [
        (&analyst, "python", "open('/etc/passwd')", false, "failed", "1"),
        // The check does not see this one, and the kernel refuses it.
        (
            &analyst,
            "python",
            "import readline; readline.write_history_file('/usr/lib/x')",
            false,
            "failed",
            "2",
        ),
        (&analyst, "python", "x = 1", false, "succeeded", "2"),
        (&analyst, "python", "raise ValueError('x')", false, "failed", "2"),
        (&author, "terr", traced, true, "succeeded", "3"),
    ] {
        let function = author.register(&unique("f"), language, script).await;
        let run = person.run(&function, &json!({ "trace": trace })).await;
        let run = ended(person, &run).await;
        assert_eq!(run.state, state, "{script}: {:?}", run.ending);
        assert_eq!(counted().await, expected, "{script}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expression_is_evaluated_restricted_with_a_value_and_a_column() {
    let world = shared().await;
    let evaluate = async |expression: &str| {
        let request = json!({ "expression": expression, "inputs": { "input2": 2 }, "pool": world.pool });
        let form = Multipart::new(Random::system().bytes())
            .field("request", request.to_string())
            .bytes("input:input1", "x.csv", "text/csv", &b"x\n20\n22\n"[..]);
        let request = Request::post("/api/v1/expressions").multipart(form);
        let run: Run = world
            .author
            .send(request)
            .await
            .expect("queued")
            .json()
            .expect("a run");
        ended(&world.author, &run).await
    };
    let run = evaluate("output <- mean(input1) * input2").await;
    assert_eq!(
        (run.state.as_str(), run.mode.as_deref(), run.function),
        ("succeeded", Some("restricted"), None),
        "{:?}",
        run.ending
    );
    assert_eq!(value(&world.author, run.id, "output").await, 42);
    restricted_call(
        &evaluate("output <- readLines('/etc/hostname')").await,
        "Native[file]",
    );
}
