//! The whole story with the real agent, the jail, R and Python.

use std::time::Duration;

use http::Method;
use muster_client::{Multipart, Request};
use muster_daemon::Random;
use muster_tests::{Person, RealNode, Server, unique, until, within};
use muster_wire::admin::v1::{function::Function, run::Run};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// Longer than a run of these tests takes on a loaded machine, its engine's first start included.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// A node that several tests share, in a pool where restricted mode is off and untrusted Python runs restricted.
pub(crate) struct Shared {
    pub(crate) pool: String,
    pub(crate) author: Person,
    analyst: Person,
}

/// One node for all tests that only run something on it. It ends with the process.
pub(crate) async fn shared() -> Shared {
    static NODE: OnceCell<(RealNode, String)> = OnceCell::const_new();
    let server = Server::shared();
    let (_, pool) = NODE
        .get_or_init(|| async {
            let pool = server.pool().await;
            let admin = server.admin().await;
            let scope = format!("pool:{pool}");
            admin.set("terr.restricted.execution.mode", &scope, "false").await;
            admin
                .set("restricted_engines", &scope, "python_service,r_service")
                .await;
            (RealNode::start(server, &pool).await, pool)
        })
        .await;
    Shared {
        pool: pool.clone(),
        author: server.author().await,
        analyst: server.analyst().await,
    }
}

impl Shared {
    async fn run(&self, person: &Person, function: &Function, inputs: Value) -> Run {
        let request = json!({ "pool": self.pool, "inputs": inputs });
        let run = person.run(function, &request).await;
        ended(person, &run).await
    }

    /// A function of the author with one value `y` as its output.
    pub(crate) async fn function(&self, language: &str, script: &str) -> Function {
        let definition = json!({
            "name": unique("f"), "language": language, "script": script,
            "outputs": [{ "name": "y", "kind": "value" }],
            "limits": { "wall_seconds": 20, "memory_mib": 512 },
        });
        self.author.register_definition(&definition).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_r_and_python_functions_compute_on_a_table() {
    let world = shared().await;
    let scripts = [
        ("r", "s <- aggregate(v ~ g, t, mean); n <- nrow(t) * k"),
        (
            "python",
            "s = t.groupby('g', as_index=False)['v'].mean()\nn = len(t) * k",
        ),
        (
            "terr",
            "s <- aggregate(v ~ g, t, mean); n <- nrow(t) * k; print('hello')",
        ),
    ];
    for (language, script) in scripts {
        let definition = json!({
            "name": unique("f"), "language": language, "script": format!("# {}\n{script}", unique("s")),
            "inputs": [{ "name": "t", "kind": "table" }, { "name": "k", "kind": "value" }],
            "outputs": [{ "name": "s", "kind": "table" }, { "name": "n", "kind": "value" }],
        });
        let function = world.author.register_definition(&definition).await;
        world.author.trust(&function).await;
        let form = Multipart::new(Random::system().bytes())
            .field(
                "request",
                json!({ "pool": world.pool, "inputs": { "k": 2 } }).to_string(),
            )
            .bytes("input:t", "t.csv", "text/csv", &b"g,v\na,1\na,3\nb,10\n"[..]);
        let run = world.analyst.submit(&function, form, None).await.expect("queued");
        let run = ended(&world.analyst, &run).await;
        assert_eq!(run.state, "succeeded", "{language}: {:?}", run.ending);
        assert_eq!(run.mode.as_deref(), Some("unrestricted"));
        assert_eq!(run.why.map(|why| why.rule).as_deref(), Some("stamped"));
        let table = output(&world.analyst, run.id, "s").await;
        let table = table.replace('"', "");
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(rows[0], ["g", "v"], "{language}");
        let mean = |row: usize| rows[row][1].parse::<f64>().expect("a number");
        assert!(
            (mean(1) - 2.0).abs() < 1e-9 && (mean(2) - 10.0).abs() < 1e-9,
            "{language}: {table}"
        );
        assert_eq!(
            value(&world.analyst, run.id, "n").await.as_f64(),
            Some(6.0),
            "{language}"
        );
        let receipt = format!("/api/v1/runs/{}/receipt", run.id);
        let receipt = world
            .analyst
            .send(Request::get(receipt))
            .await
            .expect("a receipt");
        assert!(!receipt.body.is_empty());
        assert!(run.engine.is_some_and(|engine| !engine.is_empty()), "{language}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_function_is_restricted_then_trusted_then_restricted_again() {
    let world = shared().await;
    let mark = unique("#");
    let script = format!("y <- length(readLines('/etc/hostname')) {mark}");
    let function = world.function("terr", &script).await;
    let run = world.run(&world.analyst, &function, json!({})).await;
    restricted_call(&run, "Native[file]");

    let harmless = world.function("terr", &format!("y <- 1 + 1 {mark}")).await;
    let run = world.run(&world.analyst, &harmless, json!({})).await;
    assert_eq!(
        (run.state.as_str(), run.mode.as_deref()),
        ("succeeded", Some("restricted"))
    );
    assert_eq!(value(&world.analyst, run.id, "y").await, 2);

    // What trusted code may see of the host is the administrator's to say; its own folder is always there.
    let own = format!("writeLines('a', 'own.txt'); y <- length(readLines('own.txt')) {mark}");
    let function = world.function("terr", &own).await;
    restricted_call(
        &world.run(&world.analyst, &function, json!({})).await,
        "Native[file]",
    );
    world.author.trust(&function).await;
    let run = world.run(&world.analyst, &function, json!({})).await;
    assert_eq!(
        (run.state.as_str(), run.mode.as_deref()),
        ("succeeded", Some("unrestricted")),
        "{:?}",
        run.ending
    );
    let name = function.definition.name.as_str();
    let changed = json!({
        "name": name, "language": "terr", "script": format!("{own} "),
        "outputs": [{ "name": "y", "kind": "value" }],
    });
    let changed = world.author.register_definition(&changed).await;
    restricted_call(
        &world.run(&world.analyst, &changed, json!({})).await,
        "Native[file]",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restricted_script_that_oversteps_is_stopped_and_says_at_what() {
    let world = shared().await;
    let scripts = [
        ("terr", "y <- try(readLines('/etc/passwd'))", "Native[file]"),
        (
            "terr",
            "y <- tryCatch(system('id', intern = TRUE), error = function(e) 1)",
            "system",
        ),
        (
            "terr",
            "y <- try(socketConnection('127.0.0.1', 80))",
            "socketConnection",
        ),
        ("r", "y <- try(file('/etc/passwd', 'r'))", "Native[file]"),
        (
            "python",
            "try:\n    y = open('/etc/passwd').read()\nexcept BaseException:\n    y = 1",
            "open",
        ),
        (
            "python",
            "import socket\ntry:\n    socket.create_connection(('127.0.0.1', 80))\nfinally:\n    y = 1",
            "socket",
        ),
        (
            "python",
            "import subprocess\ntry:\n    y = subprocess.run(['id']).returncode\nexcept BaseException:\n    y = 1",
            "subprocess",
        ),
        (
            "python",
            "import os\ntry:\n    y = os.system('id')\nexcept BaseException:\n    y = 1",
            "os.system",
        ),
    ];
    for (language, script, what) in scripts {
        let function = world
            .function(language, &format!("# {}\n{script}", unique("s")))
            .await;
        let run = world.run(&world.analyst, &function, json!({})).await;
        assert_eq!(run.mode.as_deref(), Some("restricted"), "{script}");
        restricted_call(&run, what);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_loops_or_eats_memory_is_ended_in_words() {
    let world = shared().await;
    let scripts = [
        ("terr", "repeat {}", "timed_out", "time-limit"),
        ("python", "while True: pass", "timed_out", "time-limit"),
        (
            "terr",
            "x <- list(); repeat x[[length(x) + 1]] <- rnorm(5e6)",
            "failed",
            "memory-limit",
        ),
        (
            "python",
            "x = []\nwhile True: x.append(bytearray(20_000_000))",
            "failed",
            "memory-limit",
        ),
        ("terr", "stop('on purpose')", "failed", "script-failed"),
        (
            "python",
            "raise ValueError('on purpose')",
            "failed",
            "script-failed",
        ),
    ];
    for (language, script, state, problem) in scripts {
        let definition = json!({
            "name": unique("f"), "language": language, "script": format!("# {}\n{script}", unique("s")),
            "limits": { "wall_seconds": 4, "memory_mib": 256 },
        });
        let function = world.author.register_definition(&definition).await;
        let run = world.run(&world.analyst, &function, json!({})).await;
        let ending = run.ending.clone().expect("an ending");
        assert_eq!(run.state, state, "{script}: {}", ending.message);
        // A language that is out of memory may say so itself before the kernel does.
        let itself = problem == "memory-limit" && ending.problem.as_deref() == Some("script-failed");
        assert!(
            ending.problem.as_deref() == Some(problem) || itself,
            "{script}: {:?} {}",
            ending.problem,
            ending.message
        );
        assert!(!ending.message.is_empty());
    }
    let after = world.function("terr", &format!("y <- 7 {}", unique("#"))).await;
    let run = world.run(&world.analyst, &after, json!({})).await;
    assert_eq!(run.state, "succeeded", "the engine lives on");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_of_one_engine_share_no_random_numbers() {
    let world = shared().await;
    let scripts = [
        ("terr", "y <- paste(runif(4), collapse = ' ')"),
        (
            "python",
            "import random, numpy\ny = f'{random.random()} {numpy.random.random()} {hash(\"a\")}'.rsplit(' ', 1)[0]",
        ),
    ];
    for (language, script) in scripts {
        let function = world
            .function(language, &format!("# {}\n{script}", unique("s")))
            .await;
        let mut drawn = Vec::new();
        for _ in 0..3 {
            let run = world.run(&world.analyst, &function, json!({})).await;
            assert_eq!(run.state, "succeeded", "{:?}", run.ending);
            let text = value(&world.analyst, run.id, "y").await;
            drawn.extend(text.as_str().expect("a text").split(' ').map(str::to_owned));
        }
        let all = drawn.len();
        drawn.sort();
        drawn.dedup();
        assert_eq!(drawn.len(), all, "{language}: a number came twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restricted_script_learns_nothing_of_the_host() {
    let world = shared().await;
    // What neither language check would stop by itself: the kernel's walls.
    let script = "y = repr(sorted(k for k in __import__('sys').modules['os'].environ if 'MUSTER' in k))";
    let function = world
        .function("python", &format!("# {}\n{script}", unique("s")))
        .await;
    let run = world.run(&world.analyst, &function, json!({})).await;
    assert_eq!(run.state, "succeeded", "{:?}", run.ending);
    assert_eq!(value(&world.analyst, run.id, "y").await, "[]");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_ends_with_everything_that_it_started() {
    let world = shared().await;
    let mark = unique("cancelled");
    let script = format!("system('sleep 1000 # {mark}'); y <- 1");
    let function = world.function("terr", &script).await;
    world.author.trust(&function).await;
    let request = json!({ "pool": world.pool });
    let run = world.analyst.run(&function, &request).await;
    within(PATIENCE, "the script's own process runs", async || {
        let now = world.analyst.run_now(run.id).await;
        assert!(
            ["queued", "running"].contains(&now.state.as_str()),
            "{:?}",
            now.ending
        );
        is_running(&mark).then_some(())
    })
    .await;
    let parts = ["runs", &run.id.to_string(), "cancel"];
    world.analyst.tell(&parts, &Value::Null).await.expect("asked");
    assert_eq!(ended(&world.analyst, &run).await.state, "cancelled");
    until("the whole tree is gone", async || {
        (!is_running(&mark)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_pin_is_of_another_root_tells_nobody_anything() {
    let server = Server::shared();
    let pool = server.pool().await;
    let node = RealNode::folder(server, &pool, muster_ids::Digest::of(b"another root"));
    node.begin("join", &[]);
    let status = until("the join ends", async || node.process().ended()).await;
    assert_eq!(status.code(), Some(1));
    assert!(node.code().is_none(), "no code is shown");
    let revealed = server.admin().await.audited("join.revealed").await;
    assert!(revealed.iter().all(|row| row["subject"] != node.name()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_node_says_so_with_the_reason() {
    let server = Server::shared();
    let admin = server.admin().await;
    let pool = server.pool().await;
    let node = RealNode::folder(server, &pool, server.root());
    node.begin("join", &[]);
    let code = until("the node shows its code", async || node.code()).await;
    let found = until("the request waits", async || {
        admin
            .post("/api/v1/joins/match", &json!({ "code": code }))
            .await
            .ok()
    })
    .await;
    let id = found["id"].as_str().expect("an identifier");
    admin
        .tell(&["joins", id, "reject"], &json!({ "reason": "not one of ours" }))
        .await
        .expect("rejected");
    let status = until("the join ends", async || node.process().ended()).await;
    assert_eq!(status.code(), Some(1));
    assert!(node.log().contains("not one of ours"), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn results_wait_on_the_node_until_the_control_plane_takes_them_and_untrust_cuts_it_off() {
    let server = Server::private();
    let admin = server.admin().await;
    let author = server.author().await;
    admin.set("terr.restricted.execution.mode", "all", "false").await;
    let node = RealNode::start(&server, "default").await;
    // It ends when the test says so, which it does while the control plane is away.
    let definition = json!({
        "name": "slow", "language": "terr", "script": "Sys.sleep(3); y <- 42",
        "outputs": [{ "name": "y", "kind": "value" }],
    });
    let function = author.register_definition(&definition).await;
    let run = author.run(&function, &json!({})).await;
    within(PATIENCE, "the run is claimed", async || {
        (author.run_now(run.id).await.state == "running").then_some(())
    })
    .await;
    server.kill();
    within(PATIENCE, "the result waits on the node", async || {
        (node.waiting_results() == 1).then_some(())
    })
    .await;
    server.restart();
    let run = ended(&author, &run).await;
    assert_eq!(run.state, "succeeded", "{:?}", run.ending);
    assert_eq!(value(&author, run.id, "y").await, 42);
    until("nothing waits any more", async || {
        (node.waiting_results() == 0).then_some(())
    })
    .await;

    // Killed in a run, it reports when it comes back what it knows of it.
    let definition = json!({ "name": "long", "language": "terr", "script": "Sys.sleep(1000)" });
    let long = author.register_definition(&definition).await;
    let run = author.run(&long, &json!({})).await;
    // A claim that never reached the node's disk would be nothing that it knows.
    within(PATIENCE, "the node has stored its claim", async || {
        node.holds_claim(run.id).then_some(())
    })
    .await;
    node.process().kill();
    node.run(&[]);
    node.connected(&server).await;
    let run = ended(&author, &run).await;
    assert_eq!(
        (
            run.state.as_str(),
            run.ending.and_then(|ending| ending.problem).as_deref()
        ),
        ("failed", Some("agent-restarted"))
    );

    // Killed for good, its run is lost when the lease is over.
    let run = author.run(&long, &json!({})).await;
    within(PATIENCE, "the run is claimed", async || {
        (author.run_now(run.id).await.state == "running").then_some(())
    })
    .await;
    node.process().kill();
    server
        .database()
        .change("UPDATE runs SET lease_until = lease_until - 45000 WHERE state = 'running'");
    assert_eq!(ended(&author, &run).await.state, "lost");

    node.run(&[]);
    node.connected(&server).await;
    admin
        .tell(&["nodes", node.name(), "untrust"], &json!({}))
        .await
        .expect("untrusted");
    within(PATIENCE, "the node says that it is revoked", async || {
        node.command("status").1.contains("revoked").then_some(())
    })
    .await;
    assert_eq!(author.run_now(run.id).await.state, "lost", "for good");
    assert_eq!(admin.audit_broken().await, None);
}

pub(crate) fn restricted_call(run: &Run, what: &str) {
    let ending = run.ending.as_ref().expect("an ending");
    assert_eq!(
        (run.state.as_str(), ending.problem.as_deref()),
        ("failed", Some("restricted-call")),
        "{what}: {}",
        ending.message
    );
    let first = ending.message.lines().next().unwrap_or_default();
    assert!(
        first.starts_with("restricted call to ") && first.contains(what),
        "{what}: {}",
        ending.message
    );
    assert!(
        ending.message.lines().count() > 1,
        "the next line says what to do"
    );
}

/// The run once it has ended.
pub(crate) async fn ended(person: &Person, run: &Run) -> Run {
    within(PATIENCE, "the run ends", async || {
        let path = format!("/api/v1/runs/{}?wait=10s", run.id);
        let answer = person.ask(&Method::GET, &path, &Value::Null).await.ok()?;
        let run: Run = answer.json().expect("a run");
        (!["queued", "running"].contains(&run.state.as_str())).then_some(run)
    })
    .await
}

async fn output(person: &Person, run: muster_ids::RunId, name: &str) -> String {
    let path = format!("/api/v1/runs/{run}/outputs/{name}");
    let answer = person.send(Request::get(path)).await.expect("an output");
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// An output that is one value.
pub(crate) async fn value(person: &Person, run: muster_ids::RunId, name: &str) -> Value {
    let output: Value = serde_json::from_str(&output(person, run, name).await).expect("JSON");
    output["value"].clone()
}

/// Whether a process on this machine has this mark in its command line.
pub(crate) fn is_running(mark: &str) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return false;
    };
    processes.flatten().any(|process| {
        std::fs::read(process.path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(mark))
    })
}
