//! Settles a run before it is handed over: the node's own decision, the policy, the packages.
//!
//! Invariant: what was settled holds when the run begins, however long it has waited for its turn or its child; it is
//! compared then, and settled anew where anything has changed or the trust state has become stale.

use std::sync::Arc;

use muster_code_trust::{Mode, Place, Settings, StateVersion};
use muster_engines::{Engines, PackageSet};

use super::{
    Work,
    admit::{Admitted, Decision, Local, decide},
    execute::{Ending, end},
    outcome::{Ended, Grounds},
    packages::{self, Choice},
    policy::{self, InForce},
};
use crate::{agent::Agent, trust::wire_version};

/// How often the packages of a run are built, should they be removed at once.
const BUILDS: usize = 3;

/// What was settled about a run that may begin.
pub struct Settlement {
    /// Decided.
    pub mode: Mode,
    /// In force for it.
    pub in_force: InForce,
    /// Of the decided mode, and at hand.
    pub set: Option<PackageSet>,
    /// The trust state that decided.
    pub version: StateVersion,
    /// Those that it was settled for; other settings have others.
    pub engines: Arc<Engines>,
    place: Place,
}

impl Settlement {
    /// Whether the same would be settled now, on the same `grounds`.
    pub fn holds(&self, agent: &Agent, admitted: &Admitted, work: &Work, grounds: &Grounds) -> bool {
        let local = local(agent, work);
        let same = Decision::Run {
            mode: self.mode,
            rule: grounds.rule.clone(),
            entry: grounds.entry.clone(),
        };
        Arc::ptr_eq(&self.engines, &agent.engines())
            && self.place == local.place
            && agent
                .trust
                .held()
                .is_some_and(|held| held.version == self.version && decide(admitted, &held, &local) == same)
    }
}

/// A run whose mode and policy are decided and whose packages are there, or one that is over.
pub(super) enum Settled {
    Run(Box<Settlement>),
    Over(Ending),
}

/// Decides, and has the packages of the decided mode at hand. A build takes its time, so that everything is decided anew
/// after one.
pub(super) async fn settle(
    agent: &Arc<Agent>,
    admitted: &Admitted,
    work: &Work,
    grounds: &mut Grounds,
) -> Result<Settled, String> {
    for _ in 0..BUILDS {
        let (mut settlement, settings) = match decided(agent, admitted, work, grounds).await? {
            Ok(decided) => decided,
            Err(ending) => return Ok(Settled::Over(ending)),
        };
        let list = match packages::choose(admitted, settlement.mode, &settings) {
            Choice::Nothing => return Ok(Settled::Run(settlement)),
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
            settlement.set = Some(set);
            return Ok(Settled::Run(settlement));
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
) -> Result<Result<(Box<Settlement>, Settings), Ending>, String> {
    let Some(held) = agent.trust.held() else {
        let why = "this node holds no trust state".to_owned();
        return Ok(Err(Ending::PutBack(why)));
    };
    // Before the settings: where they change in between, the settlement does not hold.
    let engines = agent.engines();
    let config = agent.config();
    let local = local(agent, work);
    grounds.trust = Some(wire_version(&held.version));
    match decide(admitted, &held, &local) {
        Decision::Run { mode, rule, entry } => {
            (grounds.rule, grounds.entry) = (rule, entry);
            let own = &engines.config().unrestricted;
            let in_force = policy::in_force(admitted, &held.state, &local.place, &config, own);
            if mode == Mode::Unrestricted {
                grounds.policy = in_force.digest;
            }
            let settings = held.state.settings_at(&local.place);
            let settlement = Settlement {
                mode,
                in_force,
                set: None,
                version: held.version,
                engines,
                place: local.place,
            };
            Ok(Ok((Box::new(settlement), settings)))
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
