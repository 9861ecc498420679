//! How long what a run has started lives on after a person wants it ended, or blocks the function.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use muster_client::{Multipart, Request, Rest};
use muster_daemon::{Clock, Random};
use muster_wire::{
    admin::v1::{
        function::Function,
        run::{Run, SubmitRun},
        trust::{Block, CreateBlock, Item},
    },
    function::{FunctionDefinition, Limits},
};

use crate::{
    collective::{Collective, until},
    programs::Programs,
    report::{Row, note},
    sample::{median, now_us, number},
};

/// Runs that are cancelled, after the first one, which starts the engine.
const RUNS: usize = 100;
/// Processes that each of them starts.
const TREE: usize = 12;
/// Between two looks at the processes.
const LOOK: Duration = Duration::from_millis(1);
/// No tree lives so long.
const LOOKS: usize = 60_000;

/// What ends a run.
#[derive(Debug, Clone, Copy)]
enum How {
    /// A person cancels it.
    Cancel,
    /// A person blocks its function, which is unblocked afterwards.
    Block,
}

/// From the request that ends a run until the last of its processes is gone.
pub(crate) async fn rows(programs: &Programs) -> anyhow::Result<Vec<Row>> {
    let collective = Collective::start(programs, &Clock::system()).await?;
    let rest = &collective.rest;
    let mark = format!("1000.{}", std::process::id());
    let function = function(rest, &mark).await?;
    let mut rows = Vec::new();
    for (how, half, high) in [
        (How::Cancel, "cancel_tree_p50_ms", "cancel_tree_p99_ms"),
        (How::Block, "block_to_stop_p50_ms", "block_to_stop_p99_ms"),
    ] {
        note(&format!("{how:?}: {RUNS} runs with {TREE} processes each"));
        let mut times = Vec::with_capacity(RUNS);
        for round in 0..=RUNS {
            let time = once(rest, &function, &mark, how).await?;
            if round > 0 {
                times.push(time);
            }
        }
        times.sort_unstable_by(f64::total_cmp);
        let last = times.len().saturating_sub(1 + times.len() / 100);
        let p99 = times.get(last).copied().context("there were runs")?;
        rows.push(Row::alone(half, median(times), "ms"));
        rows.push(Row::alone(high, p99, "ms"));
    }
    Ok(rows)
}

/// Python of a Script Author, which may start programs. Half of its children leave its session.
async fn function(rest: &Rest, mark: &str) -> anyhow::Result<Function> {
    let script = format!(
        "import subprocess\n\
         for i in range({}):\n    subprocess.Popen(['/bin/sh', '-c', 'sleep {mark} & sleep {mark}; exit'], start_new_session=i % 2 == 0)\n\
         import time\ntime.sleep(1000)\n",
        TREE / 3
    );
    let definition = FunctionDefinition {
        name: "bench-tree".parse()?,
        language: "python".to_owned(),
        script,
        inputs: Vec::new(),
        outputs: Vec::new(),
        packages: Vec::new(),
        description: String::new(),
        limits: Limits::default(),
    };
    Ok(rest.post("/api/v1/functions", &definition, None).await?)
}

/// Milliseconds.
async fn once(rest: &Rest, function: &Function, mark: &str, how: How) -> anyhow::Result<f64> {
    let form =
        Multipart::new(Random::system().bytes()).field("request", serde_json::to_vec(&SubmitRun::default())?);
    let run: Run = rest
        .call(Request::post(format!("/api/v1/functions/{}/runs", function.id)).multipart(form))
        .await?;
    let processes = until("the tree of a run", || {
        let found = marked(mark)?;
        Ok((found.len() >= TREE).then_some(found))
    })
    .await?;
    let gone = tokio::task::spawn_blocking(move || {
        for _ in 0..LOOKS {
            if !processes.iter().any(|process| process.exists()) {
                return Some(now_us());
            }
            std::thread::sleep(LOOK);
        }
        None
    });
    let begin = now_us();
    let block = match how {
        How::Cancel => {
            let _: Run = rest
                .call(Request::post(format!("/api/v1/runs/{}/cancel", run.id)))
                .await?;
            None
        }
        How::Block => {
            let item = Item {
                kind: "data_function".to_owned(),
                hash: function.digest.to_string(),
            };
            let new = CreateBlock {
                item: Some(item),
                ..CreateBlock::default()
            };
            let block: Block = rest.post("/api/v1/trust/blocks", &new, None).await?;
            Some(block.id)
        }
    };
    let end = gone.await?.context("the tree of a run that was ended lives on")?;
    let path = format!("/api/v1/runs/{}", run.id);
    let ended: Run = rest.call(Request::get(path).query("wait", "30s")).await?;
    let expected = match how {
        How::Cancel => "cancelled",
        How::Block => "trust-withdrawn",
    };
    let problem = ended.ending.and_then(|ending| ending.problem);
    ensure!(
        problem.as_deref() == Some(expected),
        "a run that was to end as {expected} ended as {} {problem:?}",
        ended.state,
    );
    if let Some(block) = block {
        rest.call::<()>(Request::delete(format!("/api/v1/trust/blocks/{block}")))
            .await?;
    }
    Ok(number(end.saturating_sub(begin)) / 1000.0)
}

/// The folders in /proc of all processes with this mark in their command line.
fn marked(mark: &str) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for process in fs::read_dir("/proc")? {
        let path = process?.path();
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        // The runner's own command line does not hold the script.
        if String::from_utf8_lossy(&line).contains(mark) {
            found.insert(path);
        }
    }
    Ok(found)
}
