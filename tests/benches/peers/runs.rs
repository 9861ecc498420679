//! What a run costs beside the time of its engine, and what the daemons keep while they wait.

use std::{fs::File, io::Write as _, time::Duration};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_client::{Multipart, Request, Rest};
use muster_daemon::{Clock, Random, clock::parse_rfc3339};
use muster_ids::FunctionId;
use muster_wire::{
    admin::v1::{
        function::{Function, TrustFunction},
        run::{Run, SubmitRun},
    },
    function::{FunctionDefinition, Limits, Parameter},
    node::v1::outcome::{Receipt, Statement},
};

use crate::{
    collective::Collective,
    memory,
    programs::Programs,
    report::{Row, note},
    sample::{median, now_us, number},
};

/// How long the control plane holds the answer back.
const WAIT: &str = "30s";
/// How long the client waits for it.
const DEADLINE: Duration = Duration::from_mins(1);
/// Before each run of the first series, so that a child waits for it again.
const PAUSE: Duration = Duration::from_millis(100);
/// Writes of the disk's own row.
const SYNCS: usize = 50;

/// One run, in milliseconds.
pub(crate) struct Times {
    /// As the client sees it.
    wall: f64,
    /// From fork to end of the payload.
    engine: f64,
    /// From the beginning to the row of the run: TLS, the form, the first transaction.
    submit: f64,
    /// Until a node has claimed it.
    claim: f64,
    /// Until the node has its grant and begins.
    grant: f64,
    /// Fetching the inputs, on a connection of its own.
    stage: f64,
    /// Deciding, forking and keeping the results on the node; the engine's time is not in it.
    node: f64,
    /// Signing, the blobs on a connection of their own, the last transaction.
    report: f64,
    /// Until the client has the answer.
    answer: f64,
}

/// Everything that needs a control plane and a node.
pub(crate) async fn rows(programs: &Programs, rounds: usize) -> anyhow::Result<Vec<Row>> {
    let clock = Clock::system();
    let collective = Collective::start(programs, &clock).await?;
    let rest = &collective.rest;
    let functions = [
        (function(rest, "terr", "y <- x + 1L", false).await?, "restricted"),
        (function(rest, "python", "y = x + 1", true).await?, "unrestricted"),
    ];
    for (function, mode) in &functions {
        once(rest, &clock, *function, mode).await?;
    }
    let mut rows = idle(&collective).await?;
    note(&format!("runs: {rounds} of each function"));
    let (mut times, mut busy) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for turn in 0..functions.len() {
            let (function, mode) = &functions[(round + turn) % functions.len()];
            tokio::time::sleep(PAUSE).await;
            times.push(once(rest, &clock, *function, mode).await?);
        }
    }
    for round in 0..rounds {
        for turn in 0..functions.len() {
            let (function, mode) = &functions[(round + turn) % functions.len()];
            let run = once(rest, &clock, *function, mode).await?;
            busy.push(run.wall - run.engine);
        }
    }
    let middle = |of: fn(&Times) -> f64| median(times.iter().map(of).collect());
    rows.extend([
        Row::alone("run_overhead_p50_ms", middle(|run| run.wall - run.engine), "ms"),
        Row::alone("run_overhead_busy_p50_ms", median(busy), "ms"),
        Row::alone("run_wall_p50_ms", middle(|run| run.wall), "ms"),
        Row::alone("run_submit_p50_ms", middle(|run| run.submit), "ms"),
        Row::alone("run_claim_p50_ms", middle(|run| run.claim), "ms"),
        Row::alone("run_grant_p50_ms", middle(|run| run.grant), "ms"),
        Row::alone("run_stage_p50_ms", middle(|run| run.stage), "ms"),
        Row::alone("run_node_p50_ms", middle(|run| run.node), "ms"),
        Row::alone("run_report_p50_ms", middle(|run| run.report), "ms"),
        Row::alone("run_answer_p50_ms", middle(|run| run.answer), "ms"),
        Row::alone("disk_sync_p50_ms", disk_sync(&collective)?, "ms"),
    ]);
    Ok(rows)
}

/// Both daemons and the engines' parents once nothing happens any more.
async fn idle(collective: &Collective) -> anyhow::Result<Vec<Row>> {
    let (agent, server) = (collective.agent(), collective.server());
    note("memory: waiting until agent and control plane are idle");
    memory::until_idle(&[agent, server]).await?;
    Ok(vec![
        Row::alone("agent_idle_rss_mb", memory::resident_mb(agent)?, "MiB"),
        Row::alone("engine_parents_pss_mb", memory::descendants_mb(agent)?, "MiB"),
        Row::alone("server_idle_rss_mb", memory::resident_mb(server)?, "MiB"),
    ])
}

/// Registers a function that adds one, and has it trusted where that is wanted.
pub(crate) async fn function(
    rest: &Rest,
    language: &str,
    script: &str,
    trusted: bool,
) -> anyhow::Result<FunctionId> {
    let value = |name: &str| Parameter {
        name: name.to_owned(),
        kind: "value".to_owned(),
        types: Vec::new(),
        optional: false,
    };
    let definition = FunctionDefinition {
        name: format!("bench-{language}").parse()?,
        language: language.to_owned(),
        script: script.to_owned(),
        inputs: vec![value("x")],
        outputs: vec![value("y")],
        packages: Vec::new(),
        description: String::new(),
        limits: Limits::default(),
    };
    let function: Function = rest.post("/api/v1/functions", &definition, None).await?;
    if trusted {
        let path = format!("/api/v1/functions/{}/trust", function.id);
        let content = TrustFunction {
            digest: function.digest,
        };
        rest.post::<_, serde_json::Value>(&path, &content, None).await?;
    }
    Ok(function.id)
}

/// Submits a run and waits for its end in the same request.
pub(crate) async fn once(
    rest: &Rest,
    clock: &Clock,
    function: FunctionId,
    mode: &str,
) -> anyhow::Result<Times> {
    let (begun, before) = (clock.unix_ms(), now_us());
    let run = submit(rest, function, 1).await?;
    let (after, ended) = (now_us(), clock.unix_ms());
    ensure!(
        run.mode.as_deref() == Some(mode),
        "a run was {:?} and should be {mode}",
        run.mode
    );
    let statement = statement(rest, &run).await?;
    let time = |text: Option<&str>| parse_rfc3339(text.unwrap_or_default()).context("a run has its times");
    let (created, started) = (time(Some(&run.created))?, time(run.started.as_deref())?);
    let finished = time(run.finished.as_deref())?;
    let ending = run.ending.context("a run that has ended says how")?;
    let timing = |name: &str| {
        let found = ending.timings.get(name).copied();
        found
            .map(number)
            .with_context(|| format!("a run that has ended says {name}"))
    };
    let (engine, stage) = (timing("running_ms")?, timing("staging_ms")?);
    // All on one machine, so that the clocks of node and control plane are one.
    let between = |from: i64, to: i64| number(u64::try_from(to - from).unwrap_or(0));
    Ok(Times {
        wall: number(after - before) / 1000.0,
        engine,
        submit: between(begun, created),
        claim: between(created, started),
        grant: between(started, statement.predicate.started),
        stage,
        node: between(statement.predicate.started, statement.predicate.finished) - engine - stage,
        report: between(statement.predicate.finished, finished),
        answer: between(finished, ended),
    })
}

/// One run and its end, in one request.
pub(crate) async fn submit(rest: &Rest, function: FunctionId, x: usize) -> anyhow::Result<Run> {
    let wanted = SubmitRun {
        inputs: [("x".to_owned(), x.into())].into(),
        ..SubmitRun::default()
    };
    let form = Multipart::new(Random::system().bytes()).field("request", serde_json::to_vec(&wanted)?);
    let request = Request::post(format!("/api/v1/functions/{function}/runs"))
        .query("wait", WAIT)
        .multipart(form)
        .deadline(DEADLINE);
    let run: Run = rest.call(request).await?;
    ensure!(
        run.state == "succeeded",
        "a run ended as {} ({:?}): {:?}",
        run.state,
        run.mode,
        run.ending.map(|ending| ending.message)
    );
    Ok(run)
}

/// What the node signed about a run.
async fn statement(rest: &Rest, run: &Run) -> anyhow::Result<Statement> {
    let receipt: Receipt = rest.get(&format!("/api/v1/runs/{}/receipt", run.id)).await?;
    let payload = receipt.receipt["payload"]
        .as_str()
        .context("an envelope has a payload")?;
    Ok(serde_json::from_slice(&STANDARD.decode(payload)?)?)
}

/// What one synced write of 4 KiB costs where the database is: every commit pays it at least once.
fn disk_sync(collective: &Collective) -> anyhow::Result<f64> {
    let mut file = File::create(collective.folder.join("disk"))?;
    let mut times = Vec::new();
    for _ in 0..SYNCS {
        let before = now_us();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        times.push(number(now_us() - before) / 1000.0);
    }
    Ok(median(times))
}
