//! The engines of this node: a launcher and children that wait for each (engine, mode, policy, packages).
//!
//! Invariant: a run gets a child of exactly its mode, and each child one run; a launcher never changes mode, policy or
//! packages.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use muster_ids::Digest;
use muster_sandbox::protocol::Mode;
use tokio_util::sync::CancellationToken;

use crate::{
    EngineKind, EnginesConfig, Outcome, RunEnding, RunOrder,
    execute::execute,
    launcher::locked,
    plan,
    stock::{Child, Kept, Stock},
};

/// A launcher could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the engine {engine} cannot be started: {why}")]
pub struct EnginesError {
    /// Which engine.
    pub engine: EngineKind,
    /// One sentence.
    pub why: String,
}

/// A launcher that is ready, for status and doctor.
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

/// What a process never changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    engine: EngineKind,
    mode: Mode,
    /// Command, environment, mounts, network, ids and limits: the policy as the launcher is told it.
    policy: Digest,
    packages: Digest,
}

/// All engines of this node. Dropping it ends everything that runs in its jails.
pub struct Engines {
    config: EnginesConfig,
    stocks: Mutex<HashMap<Key, Kept>>,
}

impl Engines {
    /// No launcher is started before it is needed; see [`warm`](Self::warm).
    pub fn new(config: EnginesConfig) -> Self {
        Self {
            config,
            stocks: Mutex::default(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &EnginesConfig {
        &self.config
    }

    /// Has a launcher ready and children that wait, so that the first run waits for nothing.
    pub async fn warm(&self, engine: EngineKind, mode: Mode) -> Result<Standing, EnginesError> {
        let failed = |why| EnginesError { engine, why };
        let stock = self.stock(engine, mode).map_err(failed)?;
        stock.fill().await.map_err(failed)?;
        let launcher = stock.launcher().await.map_err(failed)?;
        Ok(Standing {
            degraded: launcher.degraded.clone(),
            own_ids: launcher.own_ids,
            landlock_abi: launcher.landlock_abi,
        })
    }

    /// The children of an engine that wait at this moment.
    pub fn waiting(&self, engine: EngineKind, mode: Mode) -> Waiting {
        let stocks = locked(&self.stocks);
        let mut counts = stocks
            .iter()
            .filter(|(key, _)| (key.engine, key.mode) == (engine, mode))
            .map(|(_, kept)| kept.stock.counts());
        let (now, taken) = counts.next().unwrap_or((0, 0));
        Waiting { now, taken }
    }

    /// Executes one run to its end. Dropping the future ends the run as cancelling does.
    pub async fn run(&self, order: &RunOrder, cancel: &CancellationToken) -> RunEnding {
        let limits = order.limits.least(self.config.services.of(order.engine).limits);
        let mut why = String::new();
        // As long as nothing of the run was executed, another child may try: one that died while it waited, or whose
        // fork failed, has seen nothing of it.
        for _ in 0..3 {
            let stock = match self.stock(order.engine, order.mode) {
                Ok(stock) => stock,
                Err(why) => return RunEnding::refused(order.mode, why),
            };
            let child = tokio::select! {
                child = stock.child(limits) => child,
                () = cancel.cancelled() => return cancelled(order),
            };
            let Child { sockets, launcher } = match child {
                Ok(child) => child,
                Err(error) => {
                    why = error;
                    continue;
                }
            };
            let _going = launcher.going();
            let (beside, asked) = (launcher.count_going() > 1, launcher.runs());
            let executed = execute(order, limits, self.config.printed_bytes, sockets, cancel).await;
            stock.ended();
            let Ok(mut ending) = executed else {
                launcher.fail();
                "the child that it was given to ended".clone_into(&mut why);
                continue;
            };
            // Also one that came and went meanwhile.
            ending.shared_memory = beside || launcher.runs() > asked;
            ending.limits_degraded.clone_from(&launcher.degraded);
            return ending;
        }
        RunEnding::refused(order.mode, why)
    }

    fn stock(&self, engine: EngineKind, mode: Mode) -> Result<Arc<Stock>, String> {
        let plan = plan::plan(&self.config, engine, mode)?;
        let told = serde_json::to_vec(&plan.start).map_err(|error| error.to_string())?;
        let key = Key {
            engine,
            mode,
            policy: Digest::of(&told),
            packages: plan.packages,
        };
        let mut stocks = locked(&self.stocks);
        // Launchers of packages that are no longer installed go; their runs keep them until they end.
        stocks.retain(|other, _| (other.engine, other.mode) != (engine, mode) || *other == key);
        let kept = stocks.entry(key).or_insert_with(|| {
            let jail = self.config.jail.clone();
            Kept::new(jail, plan.start, self.queue(engine), self.config.recycle)
        });
        Ok(Arc::clone(&kept.stock))
    }

    /// Children that wait have ids too; those of running ones come first.
    fn queue(&self, engine: EngineKind) -> usize {
        let service = self.config.services.of(engine);
        let queue = service.queue;
        self.config.ids.map_or(queue, |ids| {
            let ids = usize::try_from(ids.count).unwrap_or(usize::MAX).saturating_sub(1);
            queue.min(ids.saturating_sub(service.sessions))
        })
    }
}

fn cancelled(order: &RunOrder) -> RunEnding {
    RunEnding {
        outcome: Outcome::Cancelled,
        ..RunEnding::refused(order.mode, "")
    }
}
