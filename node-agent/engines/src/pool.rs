//! The launchers of this node: one for each (engine, mode, network, packages), replaced when it fails or grows old.
//!
//! Invariant: a run gets a launcher of exactly its mode; a launcher never changes mode, network or packages.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use muster_ids::Digest;
use muster_sandbox::protocol::{Limits, Mode, Network, Start};
use tokio::sync::Mutex as AsyncMutex;
use tokio_util::sync::CancellationToken;

use crate::{
    EngineKind, EnginesConfig, Outcome, RunEnding, RunOrder,
    execute::execute,
    launcher::{Launcher, locked},
    plan,
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

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    engine: EngineKind,
    mode: Mode,
    network: Network,
    packages: Digest,
}

type Slot = Arc<AsyncMutex<Option<Arc<Launcher>>>>;

/// All engines of this node. Dropping it ends everything that runs in its jails.
pub struct Engines {
    config: EnginesConfig,
    slots: Mutex<HashMap<Key, Slot>>,
}

impl Engines {
    /// No launcher is started before it is needed; see [`warm`](Self::warm).
    pub fn new(config: EnginesConfig) -> Self {
        Self {
            config,
            slots: Mutex::default(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &EnginesConfig {
        &self.config
    }

    /// Has a launcher ready, so that the first run does not wait for the packages.
    pub async fn warm(&self, engine: EngineKind, mode: Mode) -> Result<Standing, EnginesError> {
        let launcher = self
            .launcher(engine, mode)
            .await
            .map_err(|why| EnginesError { engine, why })?;
        Ok(Standing {
            degraded: launcher.degraded.clone(),
            own_ids: launcher.own_ids,
            landlock_abi: launcher.landlock_abi,
        })
    }

    /// Executes one run to its end. Dropping the future ends the run as cancelling does.
    pub async fn run(&self, order: &RunOrder, cancel: &CancellationToken) -> RunEnding {
        let limits = least(order.limits, self.config.limits);
        let mut why = String::new();
        // A fork that failed executed nothing, so a fresh launcher may try once more.
        for _ in 0..2 {
            let launcher = tokio::select! {
                launcher = self.launcher(order.engine, order.mode) => launcher,
                () = cancel.cancelled() => return cancelled(order),
            };
            let launcher = match launcher {
                Ok(launcher) => launcher,
                Err(why) => return RunEnding::refused(order.mode, why),
            };
            match launcher.fork(limits).await {
                Ok(sockets) => {
                    let _going = launcher.going();
                    let (beside, asked) = (launcher.count_going() > 1, launcher.runs());
                    let mut ending = execute(order, limits, self.config.printed_bytes, sockets, cancel).await;
                    // Also one that came and went meanwhile.
                    ending.shared_memory = beside || launcher.runs() > asked;
                    ending.limits_degraded.clone_from(&launcher.degraded);
                    return ending;
                }
                Err(error) => why = error,
            }
        }
        RunEnding::refused(order.mode, why)
    }

    async fn launcher(&self, engine: EngineKind, mode: Mode) -> Result<Arc<Launcher>, String> {
        let plan = plan::plan(&self.config, engine, mode)?;
        let key = Key {
            engine,
            mode,
            network: plan.start.network,
            packages: plan.packages,
        };
        let slot = {
            let mut slots = locked(&self.slots);
            // Launchers of packages that are no longer installed go; their runs keep them until they end.
            slots.retain(|other, _| (other.engine, other.mode) != (engine, mode) || *other == key);
            Arc::clone(slots.entry(key).or_default())
        };
        let mut slot = slot.lock().await;
        if let Some(launcher) = slot.as_ref().filter(|launcher| !self.spent(launcher)) {
            return Ok(Arc::clone(launcher));
        }
        *slot = None;
        let launcher = Arc::new(self.start(plan.start).await?);
        *slot = Some(Arc::clone(&launcher));
        Ok(launcher)
    }

    async fn start(&self, start: Start) -> Result<Launcher, String> {
        Launcher::start(&self.config.jail, start).await
    }

    fn spent(&self, launcher: &Launcher) -> bool {
        let recycle = self.config.recycle;
        launcher.failed() || launcher.runs() >= recycle.runs || launcher.age() >= recycle.age
    }
}

fn cancelled(order: &RunOrder) -> RunEnding {
    RunEnding {
        outcome: Outcome::Cancelled,
        ..RunEnding::refused(order.mode, "")
    }
}

/// The smaller of each limit.
fn least(asked: Limits, most: Limits) -> Limits {
    Limits {
        memory_bytes: asked.memory_bytes.min(most.memory_bytes),
        processes: asked.processes.min(most.processes),
        open_files: asked.open_files.min(most.open_files),
        scratch_bytes: asked.scratch_bytes.min(most.scratch_bytes),
        cpu_seconds: asked.cpu_seconds.min(most.cpu_seconds),
        wall_ms: asked.wall_ms.min(most.wall_ms),
        output_bytes: asked.output_bytes.min(most.output_bytes),
    }
}
