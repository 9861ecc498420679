//! Takes one admitted run through the engine.
//!
//! Invariant: the node's own decision, on its newest trust state, is the last step before the payload is handed over, and
//! holds when its turn has come; however this ends, an outcome is on disk or the run was handed back.

use std::{
    path::PathBuf,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use muster_client::ClientError;
use muster_code_trust::Mode;
use muster_daemon::file::crash_point;
use muster_engines::{Outcome as EngineOutcome, RunEnding};
use muster_ids::RunId;
use muster_wire::node::v1::outcome::Outcome;

use super::{
    Why, Work,
    admit::Admitted,
    outcome::{self, Ended, Grounds},
    report, session,
    settle::{Settled, Settlement, settle},
    stage,
    withdrawn::{self, Withdrawn},
};
use crate::{agent::Agent, sentence, spool::SpoolError, trust::wire_version};

/// How often to try to keep an outcome for which there is no room.
const AGAIN: Duration = Duration::from_secs(5);
/// How soon an outcome must be taken, or it goes to the disk: longer than a control plane nearby needs, and shorter than
/// anybody would call the end of a run.
const SOON: Duration = Duration::from_millis(20);
/// How long a run waits for the trust state that its grant names.
const BEHIND: Duration = Duration::from_mins(1);

/// Runs it and keeps its outcome. Says whether nothing of it is left to be reported.
pub async fn run(agent: &Arc<Agent>, admitted: Admitted, work: Work) -> bool {
    let (run, fence) = (admitted.grant.run, admitted.grant.fence);
    match attempt(agent, &admitted, &work).await {
        Ok(Ending::Outcome(outcome, uploaded)) => {
            tracing::info!(%run, state = %outcome.state, "a run has ended");
            tell(agent, run, &outcome, uploaded).await
        }
        Ok(Ending::PutBack(why)) => {
            tracing::warn!(%run, why, "a run goes back to the queue");
            report::put_back(agent, run, fence, why).await;
            true
        }
        Err(error) => {
            keep_the_end(agent, &admitted, &work, error).await;
            false
        }
    }
}

/// Tells how a run ended. While nobody has taken it, it is on the disk.
async fn tell(agent: &Arc<Agent>, run: RunId, outcome: &Outcome, uploaded: Result<(), ClientError>) -> bool {
    let mut telling = pin!(report::at_once(agent, run, outcome, uploaded));
    let told = tokio::select! {
        delivered = &mut telling => Some(delivered),
        () = tokio::time::sleep(SOON) => None,
    };
    if told == Some(true) {
        return true;
    }
    make_durable(agent, run, outcome).await;
    match told {
        Some(delivered) => delivered,
        None => telling.await,
    }
}

/// Has an outcome on the disk that was only noted.
async fn make_durable(agent: &Arc<Agent>, run: RunId, outcome: &Outcome) {
    if !outcome::is_whole(outcome) {
        return;
    }
    let (worker, fence) = (Arc::clone(agent), outcome.fence);
    let settled = tokio::task::spawn_blocking(move || worker.spool.settle_end(run, fence)).await;
    let error = match settled {
        Ok(Ok(())) => return,
        Ok(Err(error)) => sentence(&error),
        Err(error) => error.to_string(),
    };
    tracing::error!(%run, error, "the outcome of a run would not survive a power cut");
    agent.conditions.set("spool", format!("degraded: {error}"));
}

/// Says that a run has ended whose outcome found no room, as soon as there is some. Until then the run counts as running
/// here; its claim stays on disk, so that it is reported after the next start at the latest.
async fn keep_the_end(agent: &Arc<Agent>, admitted: &Admitted, work: &Work, mut error: String) {
    let (run, fence) = (admitted.grant.run, admitted.grant.fence);
    let started = agent.clock.unix_ms();
    loop {
        tracing::error!(%run, error, "the outcome of a run cannot be kept");
        agent.conditions.set("spool", format!("degraded: {error}"));
        if let Err(error) = agent.spool.discard(run, fence) {
            tracing::error!(%run, error = %sentence(&error), "what a run has left cannot be removed");
        }
        let why = format!("The run ended, but its results could not be kept: {error}");
        let grounds = Grounds::of_grant(admitted, started);
        match end(agent, admitted, work, &grounds, Ended::failed("no-room", why)).await {
            Ok(ended) => {
                agent.conditions.clear("spool");
                if let Ending::Outcome(outcome, _) = ended {
                    make_durable(agent, run, &outcome).await;
                }
                return;
            }
            Err(again) => error = again,
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = agent.stop.cancelled() => return,
            // A node that was revoked keeps nothing.
            () = work.cancel.cancelled(), if work.why() == Some(Why::Revoked) => return,
        }
    }
}

/// How a run is over here.
pub(super) enum Ending {
    /// On disk, or noted where it is whole, and how the upload of its blobs went that was tried meanwhile.
    Outcome(Box<Outcome>, Result<(), ClientError>),
    /// It goes back to the queue, with the reason.
    PutBack(String),
}

async fn attempt(agent: &Arc<Agent>, admitted: &Admitted, work: &Work) -> Result<Ending, String> {
    let started = agent.clock.unix_ms();
    let mut grounds = Grounds::of_grant(admitted, started);
    // The message that there is a newer state may be lost or behind the grant.
    let wanted = admitted.grant.trust.number;
    if agent.trust.held().is_none_or(|held| held.version.number < wanted) {
        agent.trust_wanted.notify_one();
    }
    let reached = tokio::select! {
        reached = tokio::time::timeout(BEHIND, agent.trust.reach(&admitted.grant.trust)) => reached,
        () = work.cancel.cancelled() => return end(agent, admitted, work, &grounds, ended_early(work)).await,
    };
    match reached {
        Ok(Ok(held)) => grounds.trust = Some(wire_version(&held.version)),
        Ok(Err(error)) => return Ok(Ending::PutBack(sentence(&error))),
        Err(_) => {
            return Ok(Ending::PutBack(
                "the trust state of this node is behind".to_owned(),
            ));
        }
    }
    let folder = match agent.spool.work(admitted.grant.run, admitted.grant.fence) {
        Ok(folder) => folder,
        Err(error) => {
            return end(
                agent,
                admitted,
                work,
                &grounds,
                Ended::failed("no-room", sentence(&error)),
            )
            .await;
        }
    };
    let fetched = tokio::select! {
        fetched = stage::fetch(agent, admitted, &folder) => fetched,
        () = work.cancel.cancelled() => return end(agent, admitted, work, &grounds, ended_early(work)).await,
    };
    let files = match fetched {
        Ok(files) => files,
        Err(error) => {
            return end(
                agent,
                admitted,
                work,
                &grounds,
                Ended::failed("inputs-missing", sentence(&error)),
            )
            .await;
        }
    };
    let staged_ms = elapsed(agent, started);
    if !admitted.grant.outputs.is_empty() {
        let worker = Arc::clone(agent);
        tokio::spawn(async move { worker.payloads.prepare(&worker).await });
    }
    let mut tries = 0;
    let (ending, trust, packages_ms) = loop {
        let begun = agent.clock.unix_ms();
        let settlement = match settle(agent, admitted, work, &mut grounds).await? {
            Settled::Run(settlement) => settlement,
            Settled::Over(ending) => return Ok(ending),
        };
        let packages_ms = settlement.set.as_ref().map(|_| elapsed(agent, begun));
        let settled = (&*settlement, &grounds);
        let handed = hand_over(agent, admitted, work, settled, &files, folder.clone());
        let Some((ending, trust)) = handed.await else {
            // It has waited for its turn, and what decided about it has changed.
            continue;
        };
        tries += 1;
        // A set that was changed on the disk is found out before anything starts with it, and taken away.
        let gone = settlement.set.is_some_and(|set| !set.folder.exists());
        if !gone || tries > 1 || !matches!(ending.outcome, EngineOutcome::JailRefused { .. }) {
            break (ending, trust, packages_ms);
        }
    };
    crash_point("run.executed");
    // A run that no launcher took says nothing of what launchers can enforce.
    if !matches!(
        ending.outcome,
        EngineOutcome::JailRefused { .. } | EngineOutcome::Cancelled
    ) {
        agent.conditions.note_limits(&ending.limits_degraded);
    }
    // One ends a run; a traced run goes on and lists them.
    let oversteps = usize::from(ending.overstep().is_some()) + ending.oversteps.len();
    let oversteps = u64::try_from(oversteps).unwrap_or(u64::MAX);
    agent.oversteps.fetch_add(oversteps, Ordering::Relaxed);
    let function = admitted.grant.function.map(|_| admitted.definition.name.as_str());
    let mut ended = outcome::of_engine(&ending, grounds.cure(function), work.why());
    if let Some(trust) = &trust {
        outcome::note_withdrawn(trust, &mut ended, &mut grounds);
    }
    ended.timings.insert("staging_ms".to_owned(), staged_ms);
    ended
        .timings
        .extend(packages_ms.map(|spent| ("packages_ms".to_owned(), spent)));
    if ending.session_run > 0 {
        let number = ("session_run".to_owned(), ending.session_run);
        ended.timings.extend([number]);
    }
    end_with_files(agent, admitted, work, &grounds, (ended, Some(ending))).await
}

/// Hands a settled run over and watches it to its end. `None`: what was settled did not hold any more when its turn came,
/// and nothing of it has begun.
async fn hand_over(
    agent: &Agent,
    admitted: &Admitted,
    work: &Work,
    (settlement, grounds): (&Settlement, &Grounds),
    files: &std::collections::BTreeMap<String, PathBuf>,
    folder: PathBuf,
) -> Option<(RunEnding, Option<Withdrawn>)> {
    let mode = match settlement.mode {
        Mode::Restricted => muster_engines::Mode::Restricted,
        Mode::Unrestricted => muster_engines::Mode::Unrestricted,
    };
    let session = session::owner(&admitted.grant, &settlement.version);
    let mut order = stage::order(
        agent,
        admitted,
        work.engine,
        mode,
        files,
        (folder, work.live.clone()),
        (Arc::clone(&settlement.in_force.policy), session),
    );
    if let Some(set) = &settlement.set {
        Arc::make_mut(&mut order.policy).packages = Some(set.folder.clone());
    }
    let begun = AtomicBool::new(false);
    let may_begin = || {
        let may = settlement.holds(agent, admitted, work, grounds);
        begun.store(may, Ordering::SeqCst);
        may
    };
    let run = settlement.engines.run_if(&order, &work.cancel, may_begin);
    let decided = (settlement.mode, settlement.version);
    withdrawn::watch(agent, admitted, work, decided, &begun, run).await
}

fn ended_early(work: &Work) -> Ended {
    Ended::stopped(work.why().unwrap_or(Why::Cancelled))
}

pub(super) async fn end(
    agent: &Arc<Agent>,
    admitted: &Admitted,
    work: &Work,
    grounds: &Grounds,
    ended: Ended,
) -> Result<Ending, String> {
    end_with_files(agent, admitted, work, grounds, (ended, None)).await
}

/// Notes an outcome that is whole in itself. Puts any other on disk, with everything that belongs to it, and its blobs on
/// their way meanwhile.
async fn end_with_files(
    agent: &Arc<Agent>,
    admitted: &Admitted,
    work: &Work,
    grounds: &Grounds,
    (mut ended, ending): (Ended, Option<RunEnding>),
) -> Result<Ending, String> {
    let (run, fence) = (admitted.grant.run, admitted.grant.fence);
    if let Some(ending) = ending {
        let small = outcome::is_small(&ending);
        let (worker, wanted) = (Arc::clone(agent), admitted.grant.outputs.clone());
        let keep = move || outcome::keep_files(&worker.spool, run, fence, &ending, &wanted);
        let kept = if small {
            keep()
        } else {
            let kept = tokio::task::spawn_blocking(keep);
            kept.await.map_err(|error| error.to_string())?
        };
        match kept {
            Ok(files) => ended.files = files,
            Err(error) => {
                ended = Ended::failed("no-room", no_room(&error));
                if let Err(error) = agent.spool.discard(run, fence) {
                    tracing::error!(%run, error = %sentence(&error), "what a run has left cannot be removed");
                }
            }
        }
    }
    let engine = crate::inventory::description(&agent.probe(), engine_kind(admitted));
    let finished = agent.clock.unix_ms();
    let node = agent.member().node();
    let outcome = outcome::build(grounds, ended, engine, node, finished, &agent.receipts)
        .await
        .map_err(|error| sentence(&error))?;
    if outcome::is_whole(&outcome) {
        agent
            .spool
            .note_end(run, &outcome)
            .map_err(|error| sentence(&error))?;
        work.is_over();
        agent.available.notify_one();
        return Ok(Ending::Outcome(Box::new(outcome), Ok(())));
    }
    let outcome = Arc::new(outcome);
    let spooling = async {
        let (worker, outcome) = (Arc::clone(agent), Arc::clone(&outcome));
        let spooled = tokio::task::spawn_blocking(move || {
            let blobs = outcome.outputs.values().map(|blob| &blob.digest);
            let files = blobs.filter(|digest| !outcome.contents.contains_key(digest));
            worker.spool.settle(run, fence, files)?;
            worker.spool.end(run, &outcome)
        });
        let spooled = spooled.await.map_err(|error| error.to_string())?;
        spooled.map_err(|error| sentence(&error))?;
        work.is_over();
        agent.available.notify_one();
        Ok::<_, String>(())
    };
    let (spooled, uploaded) = tokio::join!(spooling, report::upload_now(agent, run, &outcome));
    spooled?;
    let outcome = Arc::unwrap_or_clone(outcome);
    Ok(Ending::Outcome(Box::new(outcome), uploaded))
}

fn no_room(error: &SpoolError) -> String {
    format!(
        "The run ended, but its results could not be kept: {}",
        sentence(error)
    )
}

fn engine_kind(admitted: &Admitted) -> muster_engines::EngineKind {
    match admitted.language {
        muster_code_trust::Language::R => muster_engines::EngineKind::R,
        muster_code_trust::Language::Python => muster_engines::EngineKind::Python,
        muster_code_trust::Language::Terr => muster_engines::EngineKind::Terr,
    }
}

fn elapsed(agent: &Agent, since: i64) -> u64 {
    u64::try_from(agent.clock.unix_ms() - since).unwrap_or(0)
}
