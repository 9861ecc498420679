//! Takes one admitted run through the engine.
//!
//! Invariant: the node's own decision, on its newest trust state, is the last step before the payload is handed over;
//! however this ends, an outcome is on disk or the run was handed back.

use std::{path::PathBuf, pin::pin, sync::Arc, time::Duration};

use muster_client::ClientError;
use muster_code_trust::{Mode, Settings};
use muster_daemon::file::crash_point;
use muster_engines::{Outcome as EngineOutcome, PackageSet, RunEnding};
use muster_ids::RunId;
use muster_wire::node::v1::outcome::Outcome;

use super::{
    Why, Work,
    admit::{Admitted, Decision, Local, decide},
    outcome::{self, Ended, Grounds},
    packages::{self, Choice},
    policy::{self, InForce},
    report, session, stage, withdrawn,
};
use crate::{agent::Agent, sentence, spool::SpoolError};

/// How often to try to keep an outcome for which there is no room.
const AGAIN: Duration = Duration::from_secs(5);
/// How soon an outcome must be taken, or it goes to the disk: longer than a control plane nearby needs, and shorter than
/// anybody would call the end of a run.
const SOON: Duration = Duration::from_millis(20);
/// How often the packages of a run are built, should they be removed at once.
const BUILDS: usize = 3;
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
        let grounds = Grounds::of_grant(admitted, started, 0);
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

enum Ending {
    /// On disk, or noted where it is whole, and how the upload of its blobs went that was tried meanwhile.
    Outcome(Box<Outcome>, Result<(), ClientError>),
    PutBack(String),
}

async fn attempt(agent: &Arc<Agent>, admitted: &Admitted, work: &Work) -> Result<Ending, String> {
    let started = agent.clock.unix_ms();
    let mut grounds = Grounds::of_grant(admitted, started, 0);
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
        Ok(Ok(held)) => grounds.trust_number = held.version.number,
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
        tries += 1;
        let begun = agent.clock.unix_ms();
        let (mode, in_force, set) = match settle(agent, admitted, work, &mut grounds).await? {
            Settled::Run(mode, in_force, set) => (mode, in_force, set),
            Settled::Over(ending) => return Ok(ending),
        };
        let packages_ms = set.as_ref().map(|_| elapsed(agent, begun));
        let handed = hand_over(
            agent,
            admitted,
            work,
            (mode, in_force, set.as_ref()),
            &files,
            (folder.clone(), grounds.trust_number),
        );
        let (ending, trust) =
            withdrawn::watch(agent, admitted, work, (mode, grounds.trust_number), handed).await;
        // A set that was changed on the disk is found out before anything starts with it, and taken away.
        let gone = set.is_some_and(|set| !set.folder.exists());
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

/// A run whose mode and policy are decided and whose packages are there, or one that is over.
enum Settled {
    Run(Mode, InForce, Option<PackageSet>),
    Over(Ending),
}

/// Decides, and has the packages of the decided mode at hand. A build takes its time, so that everything is decided anew
/// after one.
async fn settle(
    agent: &Arc<Agent>,
    admitted: &Admitted,
    work: &Work,
    grounds: &mut Grounds,
) -> Result<Settled, String> {
    for _ in 0..BUILDS {
        let (mode, in_force, settings) = match decided(agent, admitted, work, grounds).await? {
            Ok(decided) => decided,
            Err(ending) => return Ok(Settled::Over(ending)),
        };
        let list = match packages::choose(admitted, mode, &settings) {
            Choice::Nothing => return Ok(Settled::Run(mode, in_force, None)),
            Choice::Set(list) => list,
            Choice::PutBack(why) => return Ok(Settled::Over(Ending::PutBack(why))),
            Choice::End(ended) => {
                return end(agent, admitted, work, grounds, *ended)
                    .await
                    .map(Settled::Over);
            }
        };
        if let Some(set) = packages::ready(agent, &list) {
            grounds.packages = Some(set.digest);
            return Ok(Settled::Run(mode, in_force, Some(set)));
        }
        if let Err(ended) = packages::build(agent, admitted, work, &list).await {
            return end(agent, admitted, work, grounds, *ended)
                .await
                .map(Settled::Over);
        }
    }
    let why = "its package set is removed again as soon as it is built".to_owned();
    Ok(Settled::Over(Ending::PutBack(why)))
}

/// The node's own decision, on its newest trust state, with the policy and the settings there.
async fn decided(
    agent: &Arc<Agent>,
    admitted: &Admitted,
    work: &Work,
    grounds: &mut Grounds,
) -> Result<Result<(Mode, InForce, Settings), Ending>, String> {
    let Some(held) = agent.trust.held() else {
        let why = "this node holds no trust state".to_owned();
        return Ok(Err(Ending::PutBack(why)));
    };
    let config = agent.config();
    let local = local(agent, work);
    grounds.trust_number = held.version.number;
    match decide(admitted, &held, &local) {
        Decision::Run { mode, rule, entry } => {
            (grounds.rule, grounds.entry) = (rule, entry);
            let engines = agent.engines();
            let own = &engines.config().unrestricted;
            let in_force = policy::in_force(admitted, &held.state, &local.place, &config, own);
            if mode == Mode::Unrestricted {
                grounds.policy = in_force.digest;
            }
            Ok(Ok((mode, in_force, held.state.settings_at(&local.place))))
        }
        Decision::PutBack { why } => Ok(Err(Ending::PutBack(why))),
        Decision::Refuse {
            problem,
            message,
            rule,
            entry,
        } => {
            (grounds.rule, grounds.entry) = (rule, entry);
            let ended = Ended::refused(&problem, message);
            end(agent, admitted, work, grounds, ended).await.map(Err)
        }
    }
}

/// What holds here now beyond the trust state.
pub(super) fn local(agent: &Agent, work: &Work) -> Local {
    let config = agent.config();
    let service = config.services.of(work.engine);
    Local {
        place: agent.place(),
        fresh: agent.trust.is_fresh(agent.clock.boot()),
        force_restricted: config.trust.force_restricted,
        keeps_checks: service.keeps_checks.clone(),
        keeps_restricted_mode: service.keeps_restricted_mode.clone(),
        now_ms: agent.clock.unix_ms(),
    }
}

async fn hand_over(
    agent: &Agent,
    admitted: &Admitted,
    work: &Work,
    (mode, in_force, set): (Mode, InForce, Option<&PackageSet>),
    files: &std::collections::BTreeMap<String, PathBuf>,
    (folder, trust_number): (PathBuf, u64),
) -> RunEnding {
    let session = session::owner(&admitted.grant, mode, trust_number);
    let mode = match mode {
        Mode::Restricted => muster_engines::Mode::Restricted,
        Mode::Unrestricted => muster_engines::Mode::Unrestricted,
    };
    let mut order = stage::order(
        agent,
        admitted,
        work.engine,
        mode,
        files,
        (folder, work.live.clone()),
        (in_force.policy, session),
    );
    if let Some(set) = set {
        Arc::make_mut(&mut order.policy).packages = Some(set.folder.clone());
    }
    agent.engines().run(&order, &work.cancel).await
}

fn ended_early(work: &Work) -> Ended {
    Ended::stopped(work.why().unwrap_or(Why::Cancelled))
}

async fn end(
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
