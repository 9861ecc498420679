//! Passes on what runs print and say while they go on, as small requests beside the control stream.
//!
//! Invariant: at most one request a second, of at most [`MAX_OUTPUT`] bytes: a run that prints without end shows its
//! newest bytes, delays nothing else, and costs neither side more memory. Nothing here decides; outcomes hold the truth.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_client::{ClientError, Connection, Request};
use muster_engines::{Live, News, Stream};
use muster_wire::node::v1::output::{
    MAX_OUTPUT, MAX_PRINTED, MAX_RUNS, OUTPUT_PATH, Output, OutputReply, Printed, Progress, RunOutput,
};
use tokio_util::sync::CancellationToken;

use crate::{agent::Agent, sentence};

/// Between two requests.
const PERIOD: Duration = Duration::from_secs(1);
/// Before the first one after a run has begun, so that a short one is seen as well.
const FIRST: Duration = Duration::from_millis(200);
/// Less is not worth a piece of its own.
const LEAST: usize = 1024;

/// Passes on until the control connection fails, or until it is being left.
pub async fn run(
    agent: &Arc<Agent>,
    connection: &Connection,
    leaving: &CancellationToken,
) -> Result<(), ClientError> {
    let end = pass_on(agent, connection, leaving).await;
    // The next session may wait for what this one was told.
    agent.begun.notify_one();
    end
}

async fn pass_on(
    agent: &Agent,
    connection: &Connection,
    leaving: &CancellationToken,
) -> Result<(), ClientError> {
    loop {
        let mut wait = PERIOD;
        if agent.running.is_empty() {
            tokio::select! {
                () = agent.begun.notified() => wait = FIRST,
                () = leaving.cancelled() => return Ok(()),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = leaving.cancelled() => return Ok(()),
        }
        let taken = collect(agent);
        if taken.is_empty() {
            continue;
        }
        let output = Output {
            runs: taken.iter().map(|(run, _, _)| run.clone()).collect(),
        };
        let refused = match connection.send(Request::post(OUTPUT_PATH).json(&output)).await {
            Ok(answer) => {
                let reply: OutputReply = answer.json()?;
                if !reply.not_held.is_empty() {
                    tracing::debug!(runs = ?reply.not_held, "runs whose output is not wanted any more");
                }
                None
            }
            // It is busy: what waits is sent later, as far as there is room for it.
            Err(error) if error.retry_after().is_some() => {
                tokio::time::sleep(error.retry_after().unwrap_or_default().min(PERIOD * 10)).await;
                continue;
            }
            Err(error @ ClientError::Refused { .. }) if crate::link::is_revocation(&error) => {
                return Err(error);
            }
            Err(error @ ClientError::Refused { .. }) => Some(error),
            Err(error) => return Err(error),
        };
        for (_, live, news) in &taken {
            live.acknowledge(news);
        }
        if let Some(error) = refused {
            let older = error.problem().is_some_and(|problem| problem.status == 404);
            tracing::debug!(error = %sentence(&error), older, "what runs print is not taken");
            if older {
                // A control plane of a version before; the next session asks again.
                leaving.cancelled().await;
                return Ok(());
            }
        }
    }
}

/// What is to be told of each run, and where it came from. Runs share the room, those that come first by a little.
fn collect(agent: &Agent) -> Vec<(RunOutput, Live, News)> {
    let all = agent.running.live();
    let count = all.len().clamp(1, MAX_RUNS);
    // Two streams each.
    let share = (MAX_OUTPUT / (2 * count)).clamp(LEAST, MAX_PRINTED);
    let mut room = MAX_OUTPUT;
    let mut taken = Vec::new();
    for (run, fence, live) in all {
        let news = live.news(share);
        if news.is_empty() || news.size() > room || taken.len() == MAX_RUNS {
            continue;
        }
        room -= news.size();
        let printed = news.pieces.iter().map(|piece| Printed {
            stream: name(piece.stream).to_owned(),
            offset: piece.begins,
            data: STANDARD.encode(&piece.bytes),
        });
        let progress = news.progress.as_ref().map(|said| Progress {
            fraction: said.millionths.map(|number| f64::from(number) / 1_000_000.0),
            text: said.text.clone(),
        });
        let output = RunOutput {
            run,
            fence,
            printed: printed.collect(),
            progress,
        };
        taken.push((output, live, news));
    }
    taken
}

fn name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    }
}
