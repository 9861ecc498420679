//! The engines of this node: a launcher and children that wait for each (engine, mode, policy, packages).
//!
//! Invariant: a run gets a child of exactly its mode, and each child one run; a launcher never changes mode, policy or
//! packages.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
};

use muster_ids::Digest;
use muster_sandbox::protocol::{Limits, Mode};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    EngineKind, EnginesConfig, NetworkPolicy, Outcome, RunEnding, RunOrder, RunPolicy,
    broker::{ControlPlane, Policy},
    execute::execute,
    ids::Ids,
    launcher::locked,
    plan,
    sessions::{SessionKey, Sessions, Staying, Turn},
    stock::{Child, Kept, Stock},
};

/// Launchers with policies of their own that one engine has at the most; those that were used last stay. Runs that go on
/// keep theirs until they end, and there are no more of them than sessions.
const MOST_POLICIES: usize = 4;

/// A launcher could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the engine {engine} cannot be started: {why}")]
pub struct EnginesError {
    /// Which engine.
    pub engine: EngineKind,
    /// One sentence.
    pub why: String,
}

/// What a launcher that is ready says of its jail, for status and doctor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Limits that cannot be enforced, in words; empty when all hold.
    pub degraded: Vec<String>,
    /// Whether runs have a host id of their own.
    pub own_ids: bool,
    /// Landlock ABI in force.
    pub landlock_abi: u32,
}

/// How many children wait for runs, for status and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Locked, and without a run.
    pub now: usize,
    /// Runs that were given to a child that waited.
    pub taken: usize,
}

/// What is said of refusals where several runs went on.
const OF_ONE_OF_SEVERAL: &str = "a destination of this run or of one beside it";

/// What a process never changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) engine: EngineKind,
    pub(crate) mode: Mode,
    policy: Digest,
    /// Command, environment, mounts, network, ids and limits as the launcher is told them.
    told: Digest,
    packages: Digest,
}

#[cfg(test)]
impl Key {
    /// With nothing special.
    pub(crate) fn of(engine: EngineKind, mode: Mode) -> Self {
        let nothing = Digest::of(b"");
        Self {
            engine,
            mode,
            policy: nothing,
            told: nothing,
            packages: nothing,
        }
    }
}

/// All engines of this node. Dropping it ends everything that runs in its jails.
pub struct Engines {
    config: EnginesConfig,
    control_plane: Arc<ControlPlane>,
    stocks: Mutex<HashMap<Key, Kept>>,
    /// One id for each run, whichever launcher has it.
    ids: Option<Arc<Ids>>,
    sessions: Arc<Sessions>,
}

impl std::fmt::Debug for Engines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engines")
    }
}

impl Engines {
    /// No launcher is started before it is needed; see [`warm`](Self::warm).
    pub fn new(config: EnginesConfig) -> Self {
        Self::with(config, None)
    }

    /// The engines under other settings. Runs may go on under `before`; none here gets a user id that one of them has,
    /// while the range of ids is the same.
    pub fn after(config: EnginesConfig, before: &Self) -> Self {
        Self::with(config, before.ids.as_ref())
    }

    fn with(config: EnginesConfig, before: Option<&Arc<Ids>>) -> Self {
        let sessions = EngineKind::ALL.map(|kind| config.services.of(kind).sessions);
        let ids = (config.ids).map(|range| Ids::after(before, range, sessions.iter().sum()));
        Self {
            control_plane: Arc::new(ControlPlane::new(config.control_plane.clone())),
            sessions: Sessions::new(config.services.clone()),
            config,
            stocks: Mutex::default(),
            ids,
        }
    }

    /// Engines of another configuration that share the ids for runs with these.
    pub(crate) fn beside(&self, config: EnginesConfig) -> Self {
        Self {
            sessions: Sessions::new(config.services.clone()),
            config,
            stocks: Mutex::default(),
            ids: self.ids.clone(),
            control_plane: Arc::clone(&self.control_plane),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &EnginesConfig {
        &self.config
    }

    /// Has a launcher ready and children that wait, so that the first run waits for nothing. An unrestricted one has the
    /// policy of the node's own file.
    pub async fn warm(&self, engine: EngineKind, mode: Mode) -> Result<Standing, EnginesError> {
        self.warm_under(engine, mode, &self.config.unrestricted).await
    }

    /// As [`warm`](Self::warm), under this policy.
    pub async fn warm_under(
        &self,
        engine: EngineKind,
        mode: Mode,
        policy: &RunPolicy,
    ) -> Result<Standing, EnginesError> {
        let failed = |why| EnginesError { engine, why };
        let (_, stock) = self.stock(engine, mode, policy).map_err(failed)?;
        stock.fill().await.map_err(failed)?;
        let launcher = stock.launcher().await.map_err(failed)?;
        Ok(launcher.standing())
    }

    /// The children of an engine that wait at this moment.
    pub fn waiting(&self, engine: EngineKind, mode: Mode) -> Waiting {
        let stocks = locked(&self.stocks);
        let counts = stocks
            .iter()
            .filter(|(key, _)| (key.engine, key.mode) == (engine, mode))
            .map(|(_, kept)| kept.stock.counts());
        let (now, taken) = counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        Waiting { now, taken }
    }

    /// Looks after everything that waits as its keepers do by themselves now and then: what was used last is filled, the
    /// others end when nobody has used them for ten minutes until `now`.
    pub async fn tend(&self, now: Instant) {
        self.sessions.sweep(now);
        let stocks: Vec<_> = locked(&self.stocks)
            .values()
            .map(|kept| Arc::clone(&kept.stock))
            .collect();
        for stock in stocks {
            if let Err(why) = stock.tend(now).await {
                tracing::warn!(why, "no child waits for the next run");
            }
        }
    }

    /// Ends the launchers that show this package set and wait; runs keep theirs until they end.
    pub fn forget(&self, set: &Path) {
        self.sessions.forget(set);
        locked(&self.stocks).retain(|_, kept| kept.stock.package_set() != Some(set));
    }

    /// Sessions of an engine that wait for their next run.
    pub fn sessions(&self, engine: EngineKind) -> usize {
        self.sessions.waiting(engine)
    }

    /// Ends all sessions of this mode, or of both; those with a run at work end with it.
    pub fn end_sessions(&self, mode: Option<Mode>) {
        self.sessions
            .end(|key| mode.is_none_or(|mode| mode == key.mode()));
    }

    /// Executes one run to its end. Dropping the future ends the run as cancelling does.
    pub async fn run(&self, order: &RunOrder, cancel: &CancellationToken) -> RunEnding {
        let ending = self.run_if(order, cancel, || true).await;
        ending.unwrap_or_else(|| cancelled(order))
    }

    /// As [`run`](Self::run), but asks `may_begin` when the run has its child, and its turn in its session: nothing is
    /// waited for between that word and the begin. `None`: it may not, and nothing of it was executed.
    pub async fn run_if(
        &self,
        order: &RunOrder,
        cancel: &CancellationToken,
        may_begin: impl Fn() -> bool,
    ) -> Option<RunEnding> {
        let mut limits = order.limits.least(self.config.services.of(order.engine).limits);
        if let (Mode::Unrestricted, Some(policy)) = (order.mode, order.policy.limits) {
            limits = limits.least(policy);
        }
        let _at_work = self.sessions.at_work(order.engine);
        let (mut why, mut turn) = (String::new(), None);
        // As long as nothing of the run was executed, another child may try: one that died while it waited, or whose
        // fork failed, has seen nothing of it.
        for _ in 0..4 {
            let (key, stock) = match self.stock(order.engine, order.mode, &order.policy) {
                Ok(found) => found,
                Err(why) => return Some(RunEnding::refused(order.mode, why)),
            };
            turn = tokio::select! {
                turn = self.turn(order, key, limits, turn) => turn,
                () = cancel.cancelled() => return Some(cancelled(order)),
            };
            let waited = turn
                .as_ref()
                .and_then(|turn| self.sessions.take(turn, Instant::now()));
            let known = waited.is_some();
            let staying = if let Some(staying) = waited {
                staying
            } else {
                self.sessions.make_room(order.engine);
                let child = tokio::select! {
                    child = stock.child(limits) => child,
                    () = cancel.cancelled() => return Some(cancelled(order)),
                };
                match child {
                    Ok(child) => Staying::fresh(child, stock.package_set()),
                    Err(error) => {
                        why = error;
                        // One that was changed was taken away, and whoever builds sets must be asked.
                        if stock.package_set().is_some_and(|set| !set.exists()) {
                            break;
                        }
                        continue;
                    }
                }
            };
            // The child ends here, also that of a session: what does not hold for this run holds for none of it.
            if !may_begin() {
                stock.ended();
                return None;
            }
            let Staying {
                child: Child { sockets, launcher },
                since,
                runs,
                set,
            } = staying;
            let _going = launcher.going();
            // Sessions that wait may have memory of the same launcher.
            let beside = launcher.count_going() > 1 || self.sessions.waiting(order.engine) > 0;
            let asked = launcher.runs();
            let refused = launcher.count_refused();
            let stays = turn.is_some();
            let executed = execute(order, limits, self.config.printed_bytes, sockets, stays, cancel).await;
            stock.ended();
            let Ok((mut ending, stayed)) = executed else {
                // The end of a session says nothing of the launcher.
                if !known {
                    launcher.fail();
                }
                "the child that it was given to ended".clone_into(&mut why);
                continue;
            };
            // Also one that came and went meanwhile.
            ending.shared_memory = beside || launcher.runs() > asked;
            ending.limits_degraded.clone_from(&launcher.degraded);
            ending.network_refused = match launcher.count_refused() > refused {
                // Whose it was is not known: connections of one launcher look alike.
                true if ending.shared_memory => vec![OF_ONE_OF_SEVERAL.to_owned()],
                true => launcher.refused_since(refused).into_iter().collect(),
                false => Vec::new(),
            };
            if let Some(turn) = &turn {
                ending.session_run = runs + 1;
                if let Some(sockets) = stayed.filter(|sockets| sockets.has_time(limits)) {
                    let child = Child { sockets, launcher };
                    let runs = runs + 1;
                    self.sessions.put(
                        turn,
                        Staying {
                            child,
                            since,
                            runs,
                            set,
                        },
                        Instant::now(),
                    );
                }
            }
            return Some(ending);
        }
        Some(RunEnding::refused(order.mode, why))
    }

    /// The turn of a run in its session, if it has one.
    async fn turn(&self, order: &RunOrder, key: Key, limits: Limits, had: Option<Turn>) -> Option<Turn> {
        let owner = order.session.as_deref().filter(|_| !order.traced())?;
        let key = SessionKey::new(key, limits, owner);
        match had {
            Some(had) if had.key == key => Some(had),
            _ => Some(self.sessions.turn(key).await),
        }
    }

    fn stock(&self, engine: EngineKind, mode: Mode, policy: &RunPolicy) -> Result<(Key, Arc<Stock>), String> {
        let plan = plan::plan(&self.config, engine, mode, policy)?;
        let told = serde_json::to_vec(&plan.start).map_err(|error| error.to_string())?;
        let key = Key {
            engine,
            mode,
            policy: match mode {
                Mode::Restricted => RunPolicy {
                    packages: policy.packages.clone(),
                    ..RunPolicy::default()
                }
                .digest(),
                Mode::Unrestricted => policy.digest(),
            },
            told: Digest::of(&told),
            packages: plan.packages,
        };
        let mut stocks = locked(&self.stocks);
        // Launchers of packages that are no longer installed go; their runs keep them until they end.
        stocks.retain(|other, _| {
            (other.engine, other.mode, other.policy) != (engine, mode, key.policy) || *other == key
        });
        let kept = stocks.entry(key.clone()).or_insert_with(|| {
            let jail = self.config.jail.clone();
            let destinations = self.destinations(mode, policy);
            let queue = self.config.services.of(engine).queue;
            let ids = self.ids.clone();
            let runner = (plan.runner, self.config.runners.clone());
            let (start, recycle) = (plan.start, self.config.recycle);
            Kept::new(jail, runner, start, destinations, (queue, recycle), ids)
        });
        let stock = Arc::clone(&kept.stock);
        let mut beside: Vec<_> = stocks
            .iter()
            .filter(|(other, _)| (other.engine, other.mode) == (engine, mode) && **other != key)
            .map(|(other, kept)| (kept.stock.used(), other.clone()))
            .collect();
        // What was used last stays warm; the others end when nobody uses them.
        stock.set_lasting(true);
        for (_, other) in &beside {
            if let Some(kept) = stocks.get(other) {
                kept.stock.set_lasting(false);
            }
        }
        beside.sort_by_key(|(used, _)| std::cmp::Reverse(*used));
        for (_, oldest) in beside.into_iter().skip(MOST_POLICIES - 1) {
            stocks.remove(&oldest);
        }
        Ok((key, stock))
    }

    /// What the broker of a launcher may connect to.
    fn destinations(&self, mode: Mode, policy: &RunPolicy) -> Option<Arc<Policy>> {
        match (mode, &policy.network) {
            (Mode::Unrestricted, NetworkPolicy::Brokered(listed)) => {
                let control_plane = Arc::clone(&self.control_plane);
                Some(Arc::new(Policy::new(listed.clone(), control_plane)))
            }
            _ => None,
        }
    }

    /// Launchers that there are or can be at any time, for tests.
    pub fn policies(&self, engine: EngineKind, mode: Mode) -> usize {
        let stocks = locked(&self.stocks);
        let same = stocks
            .keys()
            .filter(|key| (key.engine, key.mode) == (engine, mode));
        same.count()
    }
}

fn cancelled(order: &RunOrder) -> RunEnding {
    RunEnding {
        outcome: Outcome::Cancelled,
        ..RunEnding::refused(order.mode, "")
    }
}
