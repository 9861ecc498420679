//! Sessions: children that stay between the runs of one user and analysis, as the documented services keep their engines.
//!
//! ```text
//! no child ──a run succeeds──> waits ──the next run takes it──> at work ──succeeds──> waits
//!     ^                          │                                 │
//!     └── idle, old, no room, ended by the agent                   └── every other ending: no child
//! ```
//!
//! Invariant: the runs of one key have one child, one after the other, and no child ever comes under another key.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use muster_sandbox::protocol::{Limits, Mode};
use tokio::{
    sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard},
    task::AbortHandle,
    time::Instant,
};

use crate::{EngineKind, Services, launcher::locked, pool::Key, stock::Child};

/// How long and how many sessions may wait, of one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruning {
    /// `engine.prune`: a session that has waited so long may be ended.
    pub idle: Duration,
    /// `dynamic.prune.threshold`: from so many percent of the sessions on they are; from 100 on never.
    pub threshold: u8,
    /// `engine.session.maxtime`: a session of this age takes no further run; `None` for ever.
    pub age: Option<Duration>,
}

impl Default for Pruning {
    /// As documented.
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(10),
            threshold: 60,
            age: Some(Duration::from_mins(30)),
        }
    }
}

/// What two runs of one session have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey {
    key: Key,
    /// Limits are those of the child, but for wall time and outputs, which each run has its own of.
    limits: [u64; 5],
    owner: String,
}

impl SessionKey {
    pub(crate) fn new(key: Key, limits: Limits, owner: &str) -> Self {
        let limits = [
            limits.memory_bytes,
            u64::from(limits.processes),
            u64::from(limits.open_files),
            limits.scratch_bytes,
            limits.cpu_seconds,
        ];
        Self {
            key,
            limits,
            owner: owner.to_owned(),
        }
    }

    fn engine(&self) -> EngineKind {
        self.key.engine
    }

    pub(crate) fn mode(&self) -> Mode {
        self.key.mode
    }
}

/// A child that stays, with what its session needs to know.
pub(crate) struct Staying<C> {
    pub(crate) child: C,
    /// When its first run began.
    pub(crate) since: Instant,
    /// How many runs it has had.
    pub(crate) runs: u64,
    /// The package set that it shows.
    pub(crate) set: Option<PathBuf>,
}

impl<C> Staying<C> {
    /// A child that has had no run.
    pub(crate) fn fresh(child: C, set: Option<&Path>) -> Self {
        Self {
            child,
            since: Instant::now(),
            runs: 0,
            set: set.map(Path::to_owned),
        }
    }
}

/// A turn in a session: as long as this is held, no other run of it begins.
pub(crate) struct Turn {
    pub(crate) key: SessionKey,
    _alone: OwnedMutexGuard<()>,
}

/// All sessions of a node. Of what kind the children are means nothing here.
pub(crate) struct Sessions<C = Child> {
    services: Services,
    state: Mutex<State<C>>,
    changed: Arc<Notify>,
    sweeper: Mutex<Option<AbortHandle>>,
}

struct State<C> {
    places: HashMap<SessionKey, Place<C>>,
    /// Runs that go on, of sessions or not.
    at_work: HashMap<EngineKind, usize>,
}

struct Place<C> {
    turn: Arc<AsyncMutex<()>>,
    waits: Option<(Staying<C>, Instant)>,
    /// It was ended since the run began that is at work in it, whose child is not kept then.
    ended: bool,
}

/// A run that goes on.
pub(crate) struct AtWork<C: Send + 'static> {
    sessions: Arc<Sessions<C>>,
    engine: EngineKind,
}

impl<C: Send + 'static> Drop for AtWork<C> {
    fn drop(&mut self) {
        if let Some(count) = locked(&self.sessions.state).at_work.get_mut(&self.engine) {
            *count = count.saturating_sub(1);
        }
    }
}

impl<C: Send + 'static> Sessions<C> {
    pub(crate) fn new(services: Services) -> Arc<Self> {
        Arc::new(Self {
            services,
            state: Mutex::new(State {
                places: HashMap::new(),
                at_work: HashMap::new(),
            }),
            changed: Arc::default(),
            sweeper: Mutex::default(),
        })
    }

    /// Counts a run as long as the answer is held.
    pub(crate) fn at_work(self: &Arc<Self>, engine: EngineKind) -> AtWork<C> {
        *locked(&self.state).at_work.entry(engine).or_default() += 1;
        self.changed.notify_one();
        AtWork {
            sessions: Arc::clone(self),
            engine,
        }
    }

    /// Waits for the turn of a run.
    pub(crate) async fn turn(&self, key: SessionKey) -> Turn {
        let turn = {
            let mut state = locked(&self.state);
            state.tidy();
            let place = state.places.entry(key.clone()).or_insert_with(|| Place {
                turn: Arc::default(),
                waits: None,
                ended: false,
            });
            Arc::clone(&place.turn)
        };
        Turn {
            key,
            _alone: turn.lock_owned().await,
        }
    }

    /// The child that waits in this session, unless it is too old.
    pub(crate) fn take(&self, turn: &Turn, now: Instant) -> Option<Staying<C>> {
        let mut state = locked(&self.state);
        let place = state.places.get_mut(&turn.key)?;
        place.ended = false;
        let (staying, _) = place.waits.take()?;
        drop(state);
        let rules = self.services.of(turn.key.engine()).pruning;
        let old = rules
            .age
            .is_some_and(|age| now.duration_since(staying.since) >= age);
        (!old).then_some(staying)
    }

    /// Before another child is taken: as long as there are more sessions than may be, the one goes that waits longest.
    pub(crate) fn make_room(&self, engine: EngineKind) {
        let most = self.services.of(engine).sessions;
        let mut state = locked(&self.state);
        while state.count(engine) > most {
            let waiting = state.places.iter().filter(|(key, _)| key.engine() == engine);
            let waiting = waiting.filter_map(|(key, place)| Some((place.waits.as_ref()?.1, key)));
            let Some((_, key)) = waiting.min_by_key(|(idle, _)| *idle) else {
                return;
            };
            let key = key.clone();
            state.leave(&key);
        }
    }

    /// Keeps the child for the next run, unless sessions were ended meanwhile.
    pub(crate) fn put(self: &Arc<Self>, turn: &Turn, staying: Staying<C>, now: Instant) {
        {
            let mut state = locked(&self.state);
            match state.places.get_mut(&turn.key) {
                Some(place) if !place.ended => place.waits = Some((staying, now)),
                _ => return,
            }
        }
        let mut sweeper = locked(&self.sweeper);
        if sweeper.is_none() {
            let sweeping = sweep(Arc::downgrade(self), Arc::clone(&self.changed));
            *sweeper = Some(tokio::spawn(sweeping).abort_handle());
        }
        self.changed.notify_one();
    }

    /// Ends the sessions that wait and are of this kind; those with a run at work end with it.
    pub(crate) fn end(&self, which: impl Fn(&SessionKey) -> bool) {
        let mut state = locked(&self.state);
        for (_, place) in state.places.iter_mut().filter(|(key, _)| which(key)) {
            place.waits = None;
            place.ended = true;
        }
    }

    /// Ends the sessions that show this package set and wait; any may be at work with it.
    pub(crate) fn forget(&self, set: &Path) {
        let mut state = locked(&self.state);
        for place in state.places.values_mut() {
            place.ended = true;
            place
                .waits
                .take_if(|(staying, _)| staying.set.as_deref() == Some(set));
        }
    }

    /// Ends what has waited too long or is too old. Says when to look again.
    pub(crate) fn sweep(&self, now: Instant) -> Option<Instant> {
        let mut state = locked(&self.state);
        let mut again: Option<Instant> = None;
        for engine in EngineKind::ALL {
            let service = self.services.of(engine);
            let rules = service.pruning;
            let used = state.count(engine).saturating_mul(100);
            let pruned = rules.threshold < 100 && used >= service.sessions * usize::from(rules.threshold);
            let ends = |staying: &Staying<C>, idle: Instant| {
                let old = rules.age.and_then(|age| staying.since.checked_add(age));
                let idle = idle.checked_add(rules.idle).filter(|_| pruned);
                old.into_iter().chain(idle).min()
            };
            let mut over = Vec::new();
            for (key, place) in state.places.iter().filter(|(key, _)| key.engine() == engine) {
                if let Some((staying, idle)) = &place.waits
                    && let Some(end) = ends(staying, *idle)
                {
                    if end <= now {
                        over.push(key.clone());
                    } else {
                        again = Some(again.map_or(end, |again| again.min(end)));
                    }
                }
            }
            for key in &over {
                state.leave(key);
            }
        }
        state.tidy();
        again
    }

    /// Sessions that wait for a run.
    pub(crate) fn waiting(&self, engine: EngineKind) -> usize {
        let state = locked(&self.state);
        let of_engine = state.places.iter().filter(|(key, _)| key.engine() == engine);
        of_engine.filter(|(_, place)| place.waits.is_some()).count()
    }
}

impl<C> State<C> {
    /// Sessions that wait, and runs.
    fn count(&self, engine: EngineKind) -> usize {
        let of_engine = self.places.iter().filter(|(key, _)| key.engine() == engine);
        let waiting = of_engine.filter(|(_, place)| place.waits.is_some()).count();
        waiting + self.at_work.get(&engine).copied().unwrap_or(0)
    }

    /// Forgets the places where nobody has or wants a turn.
    fn tidy(&mut self) {
        self.places
            .retain(|_, place| place.waits.is_some() || Arc::strong_count(&place.turn) > 1);
    }

    fn leave(&mut self, key: &SessionKey) {
        if let Some(place) = self.places.get_mut(key) {
            place.waits = None;
        }
    }
}

impl<C> Drop for Sessions<C> {
    fn drop(&mut self) {
        if let Some(sweeper) = locked(&self.sweeper).take() {
            sweeper.abort();
        }
    }
}

/// Looks after sessions whenever something may have become due.
async fn sweep<C: Send + 'static>(sessions: Weak<Sessions<C>>, changed: Arc<Notify>) {
    loop {
        let Some(sessions) = sessions.upgrade() else {
            return;
        };
        let again = sessions.sweep(Instant::now());
        drop(sessions);
        let due = async {
            match again {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = changed.notified() => {}
        }
    }
}
