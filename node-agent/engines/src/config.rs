//! What the node's administrator decides about engines.

use std::{path::PathBuf, sync::Arc, time::Duration};

use muster_sandbox::protocol::{IdRange, Limits};

use crate::{EngineKind, Pruning, RunPolicy};

/// Where engines and the jail are, and what runs may use. The caller has resolved every path.
#[derive(Debug, Clone)]
pub struct EnginesConfig {
    /// The program `muster-jail`, or the socket behind which it is started (packages: a unit of its own).
    pub jail: PathBuf,
    /// `libmuster_lock.so`, as the engines load it.
    pub lock_library: PathBuf,
    /// A private folder of the agent; the runners are written here.
    pub runners: PathBuf,
    /// R's home, the folder with `bin` (documented name of the setting: `rhome.path`).
    pub r_home: PathBuf,
    /// The virtual environment of the Python engine.
    pub python: PathBuf,
    /// The program of the original TERR engine. Without it GNU R stands in, and every run says so.
    pub terr: Option<PathBuf>,
    /// R packages that are loaded before the fork, besides jsonlite, which the runner needs.
    pub r_packages: Vec<String>,
    /// Python packages that are imported before the fork.
    pub python_packages: Vec<String>,
    /// Host ids for the jail; `None` (quickstart only) lets runs share the agent's.
    pub ids: Option<IdRange>,
    /// What unrestricted runs get where nobody set a policy.
    pub unrestricted: Arc<RunPolicy>,
    /// Files and folders of the agent: what no policy may show, nor anything around it.
    pub guarded: Vec<PathBuf>,
    /// Names and addresses of hosts of the control plane, which no name of a brokered network may lead to.
    pub control_plane: Vec<String>,
    /// What holds for each language.
    pub services: Services,
    /// Kept of standard output and of standard error each, in bytes; the head is kept.
    pub printed_bytes: usize,
    /// When a launcher is replaced.
    pub recycle: Recycle,
}

/// What holds for one language.
#[derive(Debug, Clone)]
pub struct Service {
    /// At most this for one run; an order may ask for less.
    pub limits: Limits,
    /// How many children of each mode and policy in use wait, forked and locked (`engine.queue.size`).
    pub queue: usize,
    /// Runs at a time (`engine.session.max`); ids are kept for them.
    pub sessions: usize,
    /// When sessions end that wait (`engine.prune`, `dynamic.prune.threshold`, `engine.session.maxtime`).
    pub pruning: Pruning,
    /// A package library that unrestricted runs see (`packagePath`).
    pub package_path: Option<PathBuf>,
    /// A shell script that each child runs before it is locked; it keeps what the script exports
    /// (`startup.hook.script`).
    pub startup_hook: Option<PathBuf>,
}

/// What holds for all languages.
#[derive(Debug, Clone)]
pub struct Services {
    /// GNU R.
    pub r: Service,
    /// Python.
    pub python: Service,
    /// TERR, or GNU R standing in.
    pub terr: Service,
}

impl Services {
    /// What holds for `engine`.
    pub fn of(&self, engine: EngineKind) -> &Service {
        match engine {
            EngineKind::R => &self.r,
            EngineKind::Python => &self.python,
            EngineKind::Terr => &self.terr,
        }
    }
}

/// When a launcher is replaced by a fresh one.
#[derive(Debug, Clone, Copy)]
pub struct Recycle {
    /// After so many runs.
    pub runs: u64,
    /// At this age.
    pub age: Duration,
}

impl Default for Recycle {
    /// Siblings share their parent's address layout and Python's hash secret; these bound for how long.
    fn default() -> Self {
        Self {
            runs: 1000,
            age: Duration::from_hours(1),
        }
    }
}

/// The limits of a run where nobody said others. Wall and CPU time are the documented default of
/// `engine.execution.timeout`; memory is twice that of `ram.limit`, because the scratch folder counts too.
pub fn default_limits() -> Limits {
    Limits {
        memory_bytes: 2000 << 20,
        processes: 64,
        open_files: 256,
        scratch_bytes: 1000 << 20,
        cpu_seconds: 600,
        wall_ms: 600_000,
        output_bytes: 500 << 20,
    }
}
