//! Children that wait for a run: forked, locked and used once. One stock for each key of the pool.
//!
//! ```text
//! launcher ──fork──> child ──Locked──> waits ──taken──> a run
//!     ^                                  │
//!     └── replaced before it is spent    └── dead, or its launcher failed or grew old: dropped, and another forked
//! ```
//!
//! Invariant: a child that waits was made with the limits of the node, has said that it is locked, and has seen nothing
//! of any run. Who wants a scratch folder of another size gets a fork of its own.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use muster_sandbox::protocol::{Limits, Start};
use tokio::{
    sync::{Mutex as AsyncMutex, Notify},
    task::AbortHandle,
    time::{Instant, timeout},
};

use crate::{
    Recycle,
    broker::Policy,
    ids::Ids,
    launcher::{Launcher, RunSockets, locked},
    packages,
    runners::Runner,
};

/// How often a stock is looked at when nothing happens.
const LOOK: Duration = Duration::from_secs(30);
/// After a failure the stock is looked at again in this time, then in twice of it, and so on.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// A fork takes a processor from the run that has just taken a child; it waits for the end of a short run.
const COURTESY: Duration = Duration::from_millis(20);
/// How long a result takes to the client on a machine at rest: a fork on the same processors holds it up.
const LAST_WORD: Duration = Duration::from_millis(8);
/// So long no run was begun before one more is forked beside others that wait.
const REST: Duration = Duration::from_millis(25);
/// Who is not the engine's last policy ends after so long without a run.
const IDLE: Duration = Duration::from_mins(10);
/// A fork that is not locked by then never will be; a start-up hook is part of it.
const LOCK_DEADLINE: Duration = Duration::from_mins(1);

/// The launcher of one key and the children that wait.
pub(crate) struct Stock {
    jail: PathBuf,
    /// What the engine executes, and the folder where it is mounted from.
    runner: (&'static Runner, PathBuf),
    start: Start,
    destinations: Option<Arc<Policy>>,
    size: usize,
    recycle: Recycle,
    ids: Option<Arc<Ids>>,
    launcher: AsyncMutex<Option<Arc<Launcher>>>,
    ready: Mutex<VecDeque<Child>>,
    filling: AsyncMutex<()>,
    wanted: Arc<Notify>,
    over: Notify,
    taken_ready: AtomicUsize,
    used: Mutex<Instant>,
    /// Whether it stays when nobody uses it.
    lasting: AtomicBool,
}

/// A forked child and what keeps its jail alive.
pub(crate) struct Child {
    /// Its descriptors.
    pub(crate) sockets: RunSockets,
    /// Where it lives.
    pub(crate) launcher: Arc<Launcher>,
}

/// A stock and the task that fills it, which ends with it.
pub(crate) struct Kept {
    pub(crate) stock: Arc<Stock>,
    keeper: AbortHandle,
}

impl Kept {
    /// Begins to fill a stock of `size` children; `destinations` are those of a brokered network.
    pub(crate) fn new(
        jail: PathBuf,
        runner: (&'static Runner, PathBuf),
        start: Start,
        destinations: Option<Arc<Policy>>,
        (size, recycle): (usize, Recycle),
        ids: Option<Arc<Ids>>,
    ) -> Self {
        let stock = Arc::new(Stock {
            jail,
            runner,
            start,
            destinations,
            size,
            recycle,
            ids,
            launcher: AsyncMutex::default(),
            ready: Mutex::default(),
            filling: AsyncMutex::default(),
            wanted: Arc::default(),
            over: Notify::new(),
            taken_ready: AtomicUsize::new(0),
            used: Mutex::new(Instant::now()),
            lasting: AtomicBool::new(true),
        });
        let keeper = tokio::spawn(keep(Arc::downgrade(&stock), Arc::clone(&stock.wanted))).abort_handle();
        Self { stock, keeper }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Fills the stock whenever somebody took from it, and now and then.
async fn keep(stock: Weak<Stock>, wanted: Arc<Notify>) {
    let mut pause = LOOK;
    loop {
        if let Some(stock) = stock.upgrade() {
            pause = match stock.tend(Instant::now()).await {
                Ok(()) => LOOK,
                Err(why) => {
                    tracing::warn!(
                        why,
                        "no child waits for the next run; it will be forked when it comes"
                    );
                    if pause == LOOK {
                        FIRST_RETRY
                    } else {
                        LOOK.min(pause * 2)
                    }
                }
            };
        } else {
            return;
        }
        tokio::select! {
            () = wanted.notified() => {
                if let Some(stock) = stock.upgrade() {
                    stock.until_quiet().await;
                }
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Stock {
    /// Until a fork disturbs nobody: the run that was begun has ended and its result is on its way, or it takes longer;
    /// and while other children wait, no further run has come for a moment.
    async fn until_quiet(&self) {
        loop {
            let ended = timeout(COURTESY, self.over.notified()).await.is_ok();
            let rest = match (locked(&self.ready).is_empty(), ended) {
                (false, _) => REST,
                (true, true) => LAST_WORD,
                (true, false) => return,
            };
            let more = timeout(rest, self.wanted.notified()).await.is_ok();
            if !more || rest == LAST_WORD {
                return;
            }
        }
    }

    /// Fills it, or lets go of everything that nobody has used for long.
    pub(crate) async fn tend(&self, now: Instant) -> Result<(), String> {
        let idle = now.saturating_duration_since(self.used());
        if self.lasting.load(Ordering::Relaxed) || idle < IDLE {
            return self.fill().await;
        }
        locked(&self.ready).clear();
        *self.launcher.lock().await = None;
        Ok(())
    }

    /// When somebody wanted it last.
    pub(crate) fn used(&self) -> Instant {
        *locked(&self.used)
    }

    /// Whether it stays when nobody uses it.
    pub(crate) fn set_lasting(&self, lasting: bool) {
        self.lasting.store(lasting, Ordering::Relaxed);
    }

    /// A child for one run: one that waits, or a fork of its own. `limits` are within the node's.
    pub(crate) async fn child(&self, limits: Limits) -> Result<Child, String> {
        *locked(&self.used) = Instant::now();
        if limits.scratch_bytes == self.start.limits.scratch_bytes
            && let Some(child) = self.take()
        {
            self.wanted.notify_one();
            return Ok(child);
        }
        let launcher = self.launcher().await?;
        let slot = match &self.ids {
            None => None,
            Some(ids) => Some(ids.take().await?),
        };
        let sockets = launcher.fork(limits, slot).await?;
        self.wanted.notify_one();
        Ok(Child { sockets, launcher })
    }

    /// A launcher that can fork.
    pub(crate) async fn launcher(&self) -> Result<Arc<Launcher>, String> {
        let mut slot = self.launcher.lock().await;
        if let Some(launcher) = slot.as_ref().filter(|launcher| !self.spent(launcher)) {
            return Ok(Arc::clone(launcher));
        }
        *slot = None;
        let launcher = Arc::new(self.begin().await?);
        *slot = Some(Arc::clone(&launcher));
        Ok(launcher)
    }

    /// Forks until as many wait as are wanted. A launcher that is nearly spent is replaced first, while it still serves.
    pub(crate) async fn fill(&self) -> Result<(), String> {
        let _alone = self.filling.lock().await;
        let nearly = {
            let slot = self.launcher.lock().await;
            slot.as_ref()
                .is_some_and(|launcher| !launcher.failed() && self.nearly_spent(launcher))
        };
        if nearly {
            let fresh = Arc::new(self.begin().await?);
            *self.launcher.lock().await = Some(fresh);
        }
        locked(&self.ready).retain(|child| self.usable(child));
        while locked(&self.ready).len() < self.size {
            let slot = match &self.ids {
                None => None,
                Some(ids) => match ids.spare() {
                    None => break,
                    slot => slot,
                },
            };
            let launcher = self.launcher().await?;
            let mut sockets = launcher.fork(self.start.limits, slot).await?;
            timeout(LOCK_DEADLINE, sockets.until_locked())
                .await
                .unwrap_or_else(|_| Err("a fork did not lock itself in time".to_owned()))?;
            locked(&self.ready).push_back(Child { sockets, launcher });
        }
        Ok(())
    }

    /// A run has ended; who waits for it now fills.
    pub(crate) fn ended(&self) {
        self.over.notify_waiters();
    }

    /// How many wait now, and how many of those that waited were taken.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (
            locked(&self.ready).len(),
            self.taken_ready.load(Ordering::Relaxed),
        )
    }

    /// The one that waits longest and still lives.
    fn take(&self) -> Option<Child> {
        let mut ready = locked(&self.ready);
        while let Some(child) = ready.pop_front() {
            if self.usable(&child) {
                self.taken_ready.fetch_add(1, Ordering::Relaxed);
                return Some(child);
            }
        }
        None
    }

    /// The package set that its launchers show.
    pub(crate) fn package_set(&self) -> Option<&Path> {
        let mut mounts = self.start.mounts.iter();
        let shown = mounts.find(|mount| mount.target == Path::new(packages::SHOWN));
        shown.map(|mount| mount.source.as_path())
    }

    async fn begin(&self) -> Result<Launcher, String> {
        if let Some(ids) = &self.ids {
            ids.clear().await;
        }
        if let Some(set) = self.package_set().map(Path::to_owned) {
            tokio::task::spawn_blocking(move || packages::verify(&set))
                .await
                .map_err(|error| error.to_string())??;
        }
        let (runner, folder) = self.runner.clone();
        tokio::task::spawn_blocking(move || {
            let cannot = |error| format!("the runner cannot be written to {}: {error}", folder.display());
            runner.install(&folder).map_err(cannot)
        })
        .await
        .map_err(|error| error.to_string())??;
        let wanted = Arc::clone(&self.wanted);
        let destinations = self.destinations.clone();
        Launcher::start(&self.jail, self.start.clone(), destinations, wanted).await
    }

    fn usable(&self, child: &Child) -> bool {
        !child.launcher.failed() && child.launcher.age() < self.recycle.age && child.sockets.alive()
    }

    fn spent(&self, launcher: &Launcher) -> bool {
        launcher.failed() || launcher.forks() >= self.recycle.runs || launcher.age() >= self.recycle.age
    }

    /// Nine tenths of a launcher's life are over.
    fn nearly_spent(&self, launcher: &Launcher) -> bool {
        launcher.forks().saturating_mul(10) >= self.recycle.runs.saturating_mul(9)
            || launcher.age() * 10 >= self.recycle.age * 9
    }
}
