//! Decides again about a run while it goes on: each time the trust state changes.
//!
//! Invariant: a run that may not run any more in its mode, by the newest trust state of this node, is ended at once,
//! unless the setting `trust.running` lets it finish; then its receipt says so. A state that only becomes stale ends
//! nothing: nobody has withdrawn anything. One of which nothing has begun is not let finish but decided about anew.

use std::{
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
};

use muster_code_trust::{Mode, StateVersion, WhenWithdrawn};

use super::{
    Why, Work,
    admit::{Admitted, Decision, Local, decide},
    settle::local,
};
use crate::{agent::Agent, trust::Held};

/// That the newest trust state lets a run go on no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawn {
    /// That state.
    pub version: StateVersion,
    /// The rule that decides now.
    pub rule: String,
    /// And its entry or setting.
    pub entry: Option<String>,
    /// Sentences for people.
    pub reasons: String,
    /// What becomes of the run.
    pub then: WhenWithdrawn,
}

/// Waits for the end of `run`, which was let run in `mode` by this state, and ends it when a later state does not let it.
/// Gives what was withdrawn, if anything was. `None`: it has not `begun`, and waits no longer, because it says so itself or
/// because there is a later state.
pub async fn watch<T>(
    agent: &Agent,
    admitted: &Admitted,
    work: &Work,
    (mode, mut decided): (Mode, StateVersion),
    begun: &AtomicBool,
    run: impl Future<Output = Option<T>>,
) -> Option<(T, Option<Withdrawn>)> {
    let mut run = pin!(run);
    let mut versions = agent.trust.versions();
    let mut found = None;
    loop {
        versions.mark_unchanged();
        if let Some(held) = agent.trust.held().filter(|held| held.version != decided) {
            if !begun.load(Ordering::SeqCst) {
                return None;
            }
            decided = held.version;
            match again(admitted, mode, &held, &local(agent, work)) {
                Some(withdrawn) if withdrawn.then == WhenWithdrawn::Stop => {
                    tracing::info!(run = %admitted.grant.run, rule = withdrawn.rule, "a run is stopped: its trust was withdrawn");
                    found = Some(withdrawn);
                    work.stop(Why::Withdrawn);
                }
                Some(withdrawn) => found = found.or(Some(withdrawn)),
                None => {}
            }
        }
        tokio::select! {
            ended = &mut run => return ended.map(|ended| (ended, found)),
            // The sender is the agent's own, and ends with it.
            Ok(()) = versions.changed() => {}
        }
    }
}

/// What `held` withdraws from a run that goes on in `mode`.
pub fn again(admitted: &Admitted, mode: Mode, held: &Held, local: &Local) -> Option<Withdrawn> {
    // That the state is current was asked when the run began.
    let local = Local {
        fresh: true,
        ..local.clone()
    };
    let (rule, entry, reasons) = match decide(admitted, held, &local) {
        Decision::Run {
            mode: now,
            rule,
            entry,
        } if mode == Mode::Unrestricted && now == Mode::Restricted => {
            (rule, entry, "It may run restricted only.".to_owned())
        }
        Decision::Refuse {
            message, rule, entry, ..
        } => (rule, entry, message),
        Decision::Run { .. } | Decision::PutBack { .. } => return None,
    };
    Some(Withdrawn {
        version: held.version,
        rule,
        entry,
        reasons,
        then: held.state.settings_at(&local.place).trust_running.value,
    })
}
