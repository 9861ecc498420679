//! Asks for runs while slots are free.
//!
//! Invariant: a claimed run is on disk and among the running ones before anything of it starts, and before the next
//! one is asked for.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use muster_client::{ClientError, Request};
use muster_engines::EngineKind;
use muster_ids::RunId;
use muster_wire::node::v1::{
    control::NO_RUN_CONDITION,
    run::{CLAIM_PATH, Claim as Ask, Granted},
};
use tokio_util::sync::CancellationToken;

use super::{
    Work,
    admit::{Admitted, Answer, Ground, check},
    execute, report,
};
use crate::{
    agent::{Agent, lock},
    inventory::no_room,
    link::Control,
    sentence,
    spool::Claim,
};

/// How often to ask without being told that there is something. The control plane says with every beacon when work
/// waits, so this only covers a fault.
const SLOW: Duration = Duration::from_mins(5);
/// The longest that a busy control plane is left alone, and how often a node without room looks for some.
const LEFT_ALONE: Duration = Duration::from_secs(30);
/// The first version of the protocol in which a claim says whether the node keeps engine sessions.
const WITH_SESSIONS: u32 = 4;
/// How long to wait after a run was handed back: it could come again at once.
const PAUSE: Duration = Duration::from_secs(3);

/// Claims runs until the connection fails, or until it is being left: what was asked for is still heard and kept.
pub async fn run(
    agent: &Arc<Agent>,
    control: &Control,
    leaving: &CancellationToken,
) -> Result<(), ClientError> {
    let mut handed_back = agent.put_backs.load(Ordering::SeqCst);
    loop {
        let mut pause = SLOW;
        while !agent.stop.is_cancelled() && !leaving.is_cancelled() {
            let engines = free_engines(agent);
            if engines.is_empty() {
                break;
            }
            if !has_room(agent) {
                pause = LEFT_ALONE;
                break;
            }
            let handed_back_now = agent.put_backs.load(Ordering::SeqCst);
            if handed_back_now != handed_back {
                handed_back = handed_back_now;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let ask = Ask {
                boot_nonce: agent.boot_nonce.clone(),
                engines: engines.iter().map(|engine| engine.name().to_owned()).collect(),
                sessions: control.protocol >= WITH_SESSIONS,
            };
            let answer = match control
                .connection
                .send(Request::post(CLAIM_PATH).json(&ask))
                .await
            {
                Ok(answer) => answer,
                // It is busy, and asks to be left alone for a while.
                Err(error) if error.retry_after().is_some() => {
                    tokio::time::sleep(error.retry_after().unwrap_or_default().min(LEFT_ALONE)).await;
                    break;
                }
                Err(error) => return Err(error),
            };
            if answer.status.as_u16() == 204 || answer.body.is_empty() {
                break;
            }
            take(agent, answer.json()?);
        }
        tokio::select! {
            () = agent.available.notified() => {}
            () = tokio::time::sleep(pause) => {}
            () = leaving.cancelled() => return Ok(()),
        }
    }
}

/// Whether the next run would find room on the disk; says so in the conditions where not.
fn has_room(agent: &Agent) -> bool {
    match no_room(agent.home.root()) {
        None => {
            agent.conditions.clear("room");
            true
        }
        Some(why) => {
            agent.conditions.set("room", format!("{NO_RUN_CONDITION} {why}"));
            false
        }
    }
}

/// Engines that are there, were granted to this node and have a free slot.
fn free_engines(agent: &Agent) -> Vec<EngineKind> {
    let member = agent.member();
    let config = agent.config();
    agent
        .probe()
        .engines
        .iter()
        .map(|engine| engine.kind)
        .filter(|kind| {
            member
                .member
                .capabilities
                .iter()
                .any(|capability| capability.engine() == kind.name())
        })
        .filter(|kind| {
            let sessions = config.services.of(*kind).sessions;
            agent.running.count(*kind) < usize::try_from(sessions).unwrap_or(usize::MAX)
        })
        .collect()
}

fn take(agent: &Arc<Agent>, granted: Granted) {
    let member = agent.member();
    let ground = Ground {
        node: member.node(),
        boot_nonce: &agent.boot_nonce,
        roots: &member.roots,
        now_ms: agent.clock.unix_ms(),
    };
    let checked = check(granted, &ground, &mut lock(&agent.used));
    let admitted = match checked {
        Ok(admitted) => admitted,
        Err(refused) => {
            let why = sentence(&refused.why);
            tracing::error!(why, "a run grant is not used");
            if let (Answer::PutBack, Some((run, fence))) = (refused.why.answer(), refused.claim) {
                put_back(agent, run, fence, why);
            }
            return;
        }
    };
    let engine = engine_of(&admitted);
    let (run, fence) = (admitted.grant.run, admitted.grant.fence);
    let work = Work::new(fence, engine);
    agent.running.begin(run, work.clone());
    agent.begun.notify_one();
    let claim = Claim {
        grant: admitted.grant.clone(),
        digest: admitted.digest,
        claimed_at: agent.clock.unix_ms(),
    };
    if let Err(error) = agent.spool.claim(&claim) {
        tracing::error!(%run, error = %sentence(&error), "a claimed run cannot be kept and goes back to the queue");
        agent
            .conditions
            .set("spool", format!("degraded: {}", sentence(&error)));
        put_back(agent, run, fence, "the node cannot store the claim".to_owned());
        agent.running.end(run, fence);
        return;
    }
    agent.conditions.clear("spool");
    tracing::info!(%run, fence, engine = %engine, user = %admitted.grant.user, "claimed a run");
    let worker = Arc::clone(agent);
    agent.tasks.spawn(async move {
        let delivered = Box::pin(execute::run(&worker, admitted, work)).await;
        worker.running.end(run, fence);
        worker.available.notify_one();
        if !delivered {
            worker.spooled.notify_one();
        }
    });
}

fn put_back(agent: &Arc<Agent>, run: RunId, fence: i64, why: String) {
    let worker = Arc::clone(agent);
    agent
        .tasks
        .spawn(async move { report::put_back(&worker, run, fence, why).await });
}

/// The words of languages and engines are the same three.
fn engine_of(admitted: &Admitted) -> EngineKind {
    match admitted.language {
        muster_code_trust::Language::R => EngineKind::R,
        muster_code_trust::Language::Python => EngineKind::Python,
        muster_code_trust::Language::Terr => EngineKind::Terr,
    }
}
