//! Sends outcomes until the control plane has acknowledged them.
//!
//! Who has executed a run delivers its outcome; what could not be delivered then is sent here again and again.
//!
//! Invariant: blobs travel on connections of their own, so that a large result never delays a cancel or a revocation;
//! an outcome leaves the spool only when it was acknowledged, or when the control plane said that it does not count.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_client::{ClientError, Connection, Request};
use muster_daemon::{Backoff, file::crash_point};
use muster_ids::RunId;
use muster_pki::PayloadType;
use muster_wire::{
    function::BlobRef,
    node::v1::{
        outcome::{Contents, Outcome},
        run::{BLOBS_PATH, PutBack, RUNS_PATH},
    },
    problem::KIND_PREFIX,
};

use super::{
    outcome::{self, Ended, Grounds},
    payload::Payloads,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    agent::Agent,
    link::{Control, LinkState},
    sentence,
    spool::{Claim, Entry, Progress},
};

/// How often to look without being told that there is something.
const SLOW: Duration = Duration::from_mins(5);
/// How long to wait after an outcome could not be delivered.
const AGAIN: Duration = Duration::from_secs(15);
/// How long results may take to be sent while the agent stops.
const LAST_WORD: Duration = Duration::from_secs(3);
/// Results that are uploaded at once by those who made them.
const AT_ONCE: usize = 8;
/// Blobs up to this size are read whole, in bytes.
const SMALL: u64 = 64 * 1024;
/// The first version of the protocol in which small blobs travel in the outcome.
const WITH_CONTENTS: u32 = 3;
/// The kind of the answer to an outcome that came too late.
const DOES_NOT_COUNT: &str = "outcome-does-not-count";

/// Reports until the control connection fails, or until it is being left.
pub async fn run(
    agent: &Arc<Agent>,
    control: &Control,
    leaving: &CancellationToken,
) -> Result<(), ClientError> {
    loop {
        let mut later = false;
        match agent.spool.entries() {
            Ok(entries) => {
                for entry in entries {
                    if leaving.is_cancelled() {
                        return Ok(());
                    }
                    later |= settle(agent, control, entry).await? == Settled::Later;
                }
                agent.conditions.clear("spool list");
            }
            Err(error) => {
                tracing::error!(error = %sentence(&error), "the spool cannot be read");
                agent
                    .conditions
                    .set("spool list", format!("degraded: {}", sentence(&error)));
            }
        }
        if !later {
            agent.conditions.clear("results");
        }
        tokio::select! {
            () = agent.spooled.notified() => {}
            () = tokio::time::sleep(if later { AGAIN } else { SLOW }) => {}
            () = leaving.cancelled() => return Ok(()),
        }
    }
}

/// What became of one run of the spool.
#[derive(PartialEq, Eq)]
enum Settled {
    Done,
    Later,
}

/// Brings one run to its end, if the control plane takes its outcome now.
async fn settle(agent: &Arc<Agent>, control: &Control, entry: Entry) -> Result<Settled, ClientError> {
    let (run, fence) = (entry.run, entry.fence);
    let mut outcome = match entry.progress {
        // Whoever works on it delivers it, too.
        _ if agent.running.holds(run, fence) => return Ok(Settled::Done),
        // It may have ended, or been delivered, while the runs before it were reported: an end is on disk before the run
        // is let go.
        Progress::Ended(_) | Progress::InFlight(_) => match now(agent, run, fence).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => return Ok(Settled::Done),
            Err(error) => {
                tracing::error!(%run, error, "an interrupted run cannot be reported yet");
                return Ok(Settled::Later);
            }
        },
    };
    // What is on disk may be from before a renewal, a rotation or a restart.
    if let Err(error) = sign_anew(agent, &mut outcome).await {
        tracing::error!(%run, error, "the receipt of a run cannot be signed yet");
        return Ok(Settled::Later);
    }
    let uploaded = upload(agent, control.protocol, run, &outcome).await;
    deliver(agent, control, run, &outcome, uploaded).await
}

/// Delivers the outcome of a run that has just ended; false where that is left to [`run`].
pub async fn at_once(
    agent: &Arc<Agent>,
    run: RunId,
    outcome: &Outcome,
    uploaded: Result<(), ClientError>,
) -> bool {
    let Some(control) = control(agent) else {
        return false;
    };
    if matches!(uploaded, Err(ClientError::NoEndpoint)) {
        return false;
    }
    let delivered = unless_stopped(agent, deliver(agent, &control, run, outcome, uploaded)).await;
    matches!(delivered, Some(Ok(Settled::Done)))
}

/// Sends the blobs of a run that has just ended, where the node is connected.
pub async fn upload_now(agent: &Agent, run: RunId, outcome: &Outcome) -> Result<(), ClientError> {
    static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);
    // Whoever gets no turn is delivered in its turn by [`run`]: a node has a bounded number of connections.
    let Ok(_turn) = TURNS.try_acquire() else {
        return Err(ClientError::NoEndpoint);
    };
    let Some(control) = control(agent) else {
        return Err(ClientError::NoEndpoint);
    };
    let uploaded = unless_stopped(agent, upload(agent, control.protocol, run, outcome)).await;
    uploaded.unwrap_or(Err(ClientError::NoEndpoint))
}

/// An agent that stops waits for a control plane a moment only; its spool keeps what was not sent.
async fn unless_stopped<T>(agent: &Agent, work: impl Future<Output = T>) -> Option<T> {
    let stopped = async {
        agent.stop.cancelled().await;
        tokio::time::sleep(LAST_WORD).await;
    };
    tokio::select! {
        done = work => Some(done),
        () = stopped => None,
    }
}

fn control(agent: &Agent) -> Option<Control> {
    match &*agent.link.borrow() {
        LinkState::Connected(control) => Some(control.clone()),
        _ => None,
    }
}

/// Sends an outcome after its blobs, and forgets it once the control plane has taken it or wants it no more.
async fn deliver(
    agent: &Arc<Agent>,
    control: &Control,
    run: RunId,
    outcome: &Outcome,
    uploaded: Result<(), ClientError>,
) -> Result<Settled, ClientError> {
    let fence = outcome.fence;
    let sent = match uploaded {
        Err(error) if !does_not_count(&error) => Err(error),
        // Blobs are refused once a run has ended; the outcome itself learns whether it was the one that ended it.
        uploaded => {
            let request = Request::post(format!("{RUNS_PATH}/{run}/outcome"));
            let request = if control.protocol >= WITH_CONTENTS || outcome.contents.is_empty() {
                request.json(outcome)
            } else {
                request.json(&Outcome {
                    contents: Contents::new(),
                    ..outcome.clone()
                })
            };
            match control.connection.send(request).await {
                Err(error) if !matches!(error, ClientError::Refused { .. }) => return Err(error),
                Err(error) if uploaded.is_ok() || crate::link::is_revocation(&error) => Err(error),
                Err(_) => uploaded,
                Ok(_) => Ok(()),
            }
        }
    };
    match sent {
        Ok(()) => {
            crash_point("run.reported");
            tracing::info!(%run, fence, state = %outcome.state, "the outcome of a run was acknowledged");
        }
        Err(error) if crate::link::is_revocation(&error) => return Err(error),
        Err(error) if does_not_count(&error) => {
            tracing::warn!(%run, fence, why = %sentence(&error), "the outcome of a run does not count any more");
        }
        Err(error) => {
            let error = sentence(&error);
            tracing::error!(%run, fence, error, "the outcome of a run cannot be delivered; it is kept and sent again");
            agent.conditions.set(
                "results",
                format!("degraded: the outcome of the run {run} cannot be delivered: {error}"),
            );
            return Ok(Settled::Later);
        }
    }
    if let Err(error) = agent.spool.remove(run, fence) {
        tracing::error!(%run, error = %sentence(&error), "an acknowledged outcome cannot be removed; it will be sent again");
    }
    Ok(Settled::Done)
}

/// Puts the present receipt key in the place of an earlier one.
async fn sign_anew(agent: &Agent, outcome: &mut Outcome) -> Result<(), String> {
    let receipt =
        crate::envelope::read(&outcome.receipt, PayloadType::Receipt).map_err(|error| sentence(&error))?;
    let again = agent.receipts.sign_again(&receipt).await;
    if let Some(again) = again.map_err(|error| sentence(&error))? {
        outcome.receipt = crate::envelope::wire(&again);
    }
    Ok(())
}

/// How a run ended that nobody works on any more; `None` once it was handed back.
async fn now(agent: &Agent, run: RunId, fence: i64) -> Result<Option<Box<Outcome>>, String> {
    let entry = agent.spool.entry(run, fence).map_err(|error| sentence(&error))?;
    match entry.map(|entry| entry.progress) {
        None => Ok(None),
        Some(Progress::Ended(outcome)) => Ok(Some(outcome)),
        Some(Progress::InFlight(claim)) => interrupted(agent, &claim)
            .await
            .map(|outcome| Some(Box::new(outcome))),
    }
}

/// The outcome of a run that an earlier life of the agent left behind.
async fn interrupted(agent: &Agent, claim: &Claim) -> Result<Outcome, String> {
    let engine = claim.grant.engine.parse().map_or_else(
        |_| claim.grant.engine.clone(),
        |kind| crate::inventory::description(&agent.probe(), kind),
    );
    let outcome = outcome::build(
        &Grounds::of_claim(claim),
        Ended::interrupted(),
        engine,
        agent.member().node(),
        agent.clock.unix_ms(),
        &agent.receipts,
    )
    .await
    .map_err(|error| sentence(&error))?;
    agent
        .spool
        .end(claim.grant.run, &outcome)
        .map_err(|error| sentence(&error))?;
    Ok(outcome)
}

/// Sends the blobs of an outcome, each once, but for those that travel in it.
async fn upload(agent: &Agent, protocol: u32, run: RunId, outcome: &Outcome) -> Result<(), ClientError> {
    let mut sent = BTreeSet::new();
    let mut payload = None;
    for blob in outcome::blobs(outcome) {
        let content = outcome.contents.get(&blob.digest);
        if !sent.insert(blob.digest) || (content.is_some() && protocol >= WITH_CONTENTS) {
            continue;
        }
        let content = content.map(String::as_str);
        let mut used = match payload.take() {
            Some(payload) => payload,
            None => agent.payloads.take(agent).await?,
        };
        let claim = (run, outcome.fence);
        match upload_one(agent, &used.connection, claim, (blob, content)).await {
            // It had ended while nobody used it.
            Err(ClientError::Broken { .. }) if used.used => {
                used = Payloads::fresh(agent).await?;
                upload_one(agent, &used.connection, claim, (blob, content)).await?;
            }
            uploaded => uploaded?,
        }
        payload = Some(used);
    }
    if let Some(payload) = payload {
        agent.payloads.give_back(payload);
    }
    Ok(())
}

async fn upload_one(
    agent: &Agent,
    connection: &Connection,
    (run, fence): (RunId, i64),
    (blob, content): (&BlobRef, Option<&str>),
) -> Result<(), ClientError> {
    let path = agent.spool.blob(run, fence, &blob.digest);
    let name = format!("PUT {BLOBS_PATH}/{}", blob.digest);
    let failed = |source| ClientError::Store {
        request: name.clone(),
        source,
    };
    let request = Request::put(format!("{BLOBS_PATH}/{}", blob.digest))
        .query("run", &run.to_string())
        .query("fence", &fence.to_string());
    let kind = "application/octet-stream";
    let request = if let Some(content) = content {
        let broken = |error| failed(io::Error::new(io::ErrorKind::InvalidData, error));
        request.bytes(kind, STANDARD.decode(content).map_err(broken)?)
    } else if blob.size <= SMALL {
        // It was written a moment ago, so it comes from memory.
        request.bytes(kind, std::fs::read(&path).map_err(failed)?)
    } else {
        let file = tokio::fs::File::open(&path).await.map_err(failed)?;
        request.file(kind, file, blob.size)
    };
    connection.send(request).await.map(drop)
}

/// Hands a claimed run back, on whichever control connection there is, until the control plane has answered.
pub async fn put_back(agent: &Arc<Agent>, run: RunId, fence: i64, why: String) {
    agent.put_backs.fetch_add(1, Ordering::SeqCst);
    let body = PutBack { fence, why };
    let path = format!("{RUNS_PATH}/{run}/put-back");
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15));
    let mut link = agent.link.subscribe();
    loop {
        let connection = {
            let state = link
                .wait_for(|state| matches!(state, LinkState::Connected(_)))
                .await;
            match state.as_deref() {
                Ok(LinkState::Connected(control)) => control.connection.clone(),
                _ => return,
            }
        };
        match connection.send(Request::post(path.as_str()).json(&body)).await {
            Ok(_) => break,
            Err(ClientError::Refused { problem, .. }) => {
                tracing::warn!(%run, fence, why = %problem.detail, "a run could not be handed back");
                break;
            }
            Err(error) => {
                tracing::debug!(%run, %error, "handing a run back again");
                tokio::time::sleep(backoff.next(agent.random.fraction(), None)).await;
            }
        }
    }
    if let Err(error) = agent.spool.remove(run, fence) {
        tracing::error!(%run, error = %sentence(&error), "a run that was handed back cannot be removed from the spool");
    }
}

/// Whether the control plane says that another claim holds or that the run has ended.
fn does_not_count(error: &ClientError) -> bool {
    let kind = error
        .problem()
        .and_then(|problem| problem.kind.strip_prefix(KIND_PREFIX));
    kind == Some(DOES_NOT_COUNT)
}
