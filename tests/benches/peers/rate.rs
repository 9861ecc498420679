//! How many runs a second a control plane and one node do, and how that grows with those that are under way at once.

use std::{sync::Arc, time::Duration};

use muster_client::Rest;
use muster_daemon::Clock;
use muster_ids::FunctionId;
use tokio::task::JoinSet;

use crate::{
    collective::Collective,
    programs::Programs,
    report::{Row, note},
    runs,
    sample::{median, now_us, number},
};

/// For how long runs are submitted for one row.
const SPAN: Duration = Duration::from_secs(10);
/// How many clients wait for a run at once, and what the rows of the rate and of the time of a run are called.
const CLIENTS: [(usize, &str, &str); 5] = [
    (1, "runs_per_s_1", "run_of_1_p50_ms"),
    (2, "runs_per_s_2", "run_of_2_p50_ms"),
    (4, "runs_per_s_4", "run_of_4_p50_ms"),
    (8, "runs_per_s", "run_of_8_p50_ms"),
    (16, "runs_per_s_16", "run_of_16_p50_ms"),
];

/// Two rows for each number of clients.
pub(crate) async fn rows(programs: &Programs) -> anyhow::Result<Vec<Row>> {
    let clock = Clock::system();
    let collective = Collective::start(programs, &clock).await?;
    let function = runs::function(&collective.rest, "python", "y = x + 1", true).await?;
    runs::once(&collective.rest, &clock, function, "unrestricted").await?;
    let mut rows = Vec::new();
    for (clients, name, time) in CLIENTS {
        note(&format!("rate: {clients} at once for {} s", SPAN.as_secs()));
        let begun = now_us();
        let mut work = JoinSet::new();
        for _ in 0..clients {
            work.spawn(client(Arc::clone(&collective.rest), function, begun));
        }
        let mut times = Vec::new();
        while let Some(done) = work.join_next().await {
            times.append(&mut done??);
        }
        let span = number(now_us() - begun) / 1_000_000.0;
        let count = number(u64::try_from(times.len())?);
        note(&format!(
            "rate: {count} runs in {span:.1} s, each {:.1} ms in the middle",
            median(times.clone())
        ));
        rows.push(Row::rate(name, count / span));
        rows.push(Row::alone(time, median(times), "ms"));
    }
    Ok(rows)
}

/// Asks for one run after the other; how long each took, in milliseconds.
async fn client(rest: Arc<Rest>, function: FunctionId, begun: u64) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::new();
    let span = u64::try_from(SPAN.as_micros())?;
    while now_us() - begun < span {
        let before = now_us();
        runs::submit(&rest, function, times.len()).await?;
        times.push(number(now_us() - before) / 1000.0);
    }
    Ok(times)
}
