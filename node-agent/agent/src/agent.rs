//! A running agent: what its parts share, and how they are started and stopped.
//!
//! ```text
//!   identity.json ──► Membership ──► link ──┬─ control stream ─► trust, runs
//!        ▲                                  ├─ heartbeat
//!        └── watched                        ├─ claims ─► run ─► spool ─┐
//!                                           └─ reports ◄───────────────┘
//! ```
//!
//! Invariant: everything that one life of the agent must not share with the next (boot nonce, freshness, used grants,
//! receipt key) lives here and nowhere on disk.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_code_trust::Place;
use muster_daemon::{Clock, Random};
use muster_engines::{Engines, PackageSets, Probe};
use muster_ids::{Name, PoolId, SiteId};
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::Config,
    engines::engines,
    home::Home,
    inventory::{Conditions, Machine},
    link::LinkState,
    membership::Membership,
    receipt::Receipts,
    renew::Schedule,
    run::{Running, admit::Used, payload::Payloads},
    spool::{Spool, SpoolError},
    trust::Trust,
};

/// How long runs may go on after the agent was told to stop.
const FINISH: Duration = Duration::from_secs(20);
/// How long the results of the last runs may take to be sent.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the parts of an agent share.
#[derive(Debug)]
pub struct Agent {
    settings: watch::Sender<Arc<Settings>>,
    /// Paths.
    pub home: Home,
    /// Time.
    pub clock: Clock,
    /// Random numbers.
    pub random: Random,
    /// This life: grants name it, so they die with the process.
    pub boot_nonce: String,
    /// Whom to dial and believe; replaced when the identity changes.
    pub membership: watch::Sender<Arc<Membership>>,
    /// What is trusted.
    pub trust: Trust,
    /// Package sets.
    pub packages: PackageSets,
    /// Results that are not acknowledged.
    pub spool: Spool,
    /// The runs of this moment.
    pub running: Running,
    /// Grants that were used.
    pub used: Mutex<Used>,
    /// Connections for payloads.
    pub payloads: Payloads,
    /// The receipt key.
    pub receipts: Receipts,
    /// When the certificate is to be renewed.
    pub renewal: Schedule,
    /// What is not as it should be.
    pub conditions: Conditions,
    /// The machine.
    pub machine: Mutex<Machine>,
    /// Where this node is placed, if the control plane said so.
    pub placement: Mutex<Placement>,
    /// How the connection is.
    pub link: watch::Sender<LinkState>,
    /// How many runs were handed back in this life.
    pub put_backs: AtomicU64,
    /// How many restricted calls runs have tried in this life.
    pub oversteps: AtomicU64,
    /// The authority of the certificate is no longer accepted.
    pub left: AtomicBool,
    /// There may be something to claim.
    pub available: Notify,
    /// There is something to report.
    pub spooled: Notify,
    /// A run begins, which may print.
    pub begun: Notify,
    /// There is a newer trust state.
    pub trust_wanted: Notify,
    /// No new work.
    pub stop: CancellationToken,
    /// The runs.
    pub tasks: TaskTracker,
}

/// What follows from node.toml; replaced as a whole when the file changes.
#[derive(Debug)]
pub struct Settings {
    config: Arc<Config>,
    engines: Arc<Engines>,
    probe: Arc<Probe>,
}

/// Pool and site by identifier: settings are set by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Placement {
    /// The pool.
    pub pool: Option<PoolId>,
    /// The site.
    pub site: Option<SiteId>,
}

/// Why an agent's work is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkEnd {
    /// It was told to stop.
    Stopped,
    /// Its certificate is over; it must join again.
    Expired,
}

/// What an agent is started with.
#[derive(Debug)]
pub struct Start {
    /// Settings.
    pub config: Config,
    /// Paths.
    pub home: Home,
    /// Time.
    pub clock: Clock,
    /// Random numbers.
    pub random: Random,
    /// Whom to dial and believe.
    pub membership: Membership,
    /// Which engines there are.
    pub probe: Probe,
    /// Cancelled when the agent shall stop.
    pub stop: CancellationToken,
}

impl Agent {
    /// Opens the state of the node.
    pub fn open(start: Start) -> Result<Arc<Self>, SpoolError> {
        let Start {
            config,
            home,
            clock,
            random,
            membership,
            probe,
            stop,
        } = start;
        let trust = Trust::load(
            home.trust_state(),
            &membership.roots,
            membership.member.epoch,
            config.trust.max_staleness,
            clock.unix_ms(),
        );
        let conditions = Conditions::default();
        log_notices(&config);
        conditions.set("trust", "stale");
        note_missing(&conditions, &membership, &probe);
        Ok(Arc::new(Self {
            spool: Spool::open(&home.spool())?,
            settings: watch::Sender::new(Arc::new(Settings {
                engines: Arc::new(engines(&config, &home, &membership, None)),
                probe: Arc::new(probe),
                config: Arc::new(config),
            })),
            boot_nonce: STANDARD.encode(random.bytes::<16>()),
            membership: watch::Sender::new(Arc::new(membership)),
            trust,
            running: Running::default(),
            used: Mutex::default(),
            payloads: Payloads::default(),
            packages: PackageSets::default(),
            receipts: Receipts::default(),
            renewal: Schedule::default(),
            conditions,
            machine: Mutex::new(Machine::new()),
            placement: Mutex::default(),
            link: watch::Sender::new(LinkState::Connecting),
            put_backs: AtomicU64::new(0),
            oversteps: AtomicU64::new(0),
            left: AtomicBool::new(false),
            available: Notify::new(),
            spooled: Notify::new(),
            begun: Notify::new(),
            trust_wanted: Notify::new(),
            stop,
            tasks: TaskTracker::new(),
            home,
            clock,
            random,
        }))
    }

    /// Says when [`config`](Self::config), [`engines`](Self::engines) or [`probe`](Self::probe) are others.
    pub fn settings(&self) -> watch::Receiver<Arc<Settings>> {
        self.settings.subscribe()
    }

    /// The settings in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.settings.borrow().config)
    }

    /// The engines in use.
    pub fn engines(&self) -> Arc<Engines> {
        Arc::clone(&self.settings.borrow().engines)
    }

    /// Which engines there are.
    pub fn probe(&self) -> Arc<Probe> {
        Arc::clone(&self.settings.borrow().probe)
    }

    /// Whether an engine that this node was granted is not there.
    pub fn lacks_engine(&self) -> bool {
        let member = self.member();
        let probe = self.probe();
        (member.member.capabilities.iter()).any(|capability| {
            !probe
                .engines
                .iter()
                .any(|engine| engine.kind.name() == capability.engine())
        })
    }

    /// Puts other settings in force; what runs goes on under the old ones.
    pub fn configure(&self, config: Config, probe: Probe) {
        log_notices(&config);
        self.trust.tighten(config.trust.max_staleness);
        note_missing(&self.conditions, &self.member(), &probe);
        let engines = engines(&config, &self.home, &self.member(), Some(&self.engines()));
        self.settings.send_replace(Arc::new(Settings {
            engines: Arc::new(engines),
            probe: Arc::new(probe),
            config: Arc::new(config),
        }));
        self.available.notify_one();
    }

    /// Works until told to stop, or until the certificate is over; then ends what runs and sends what can be sent.
    pub async fn work(self: &Arc<Self>) -> WorkEnd {
        let cut = CancellationToken::new();
        let mut link = tokio::spawn(
            cut.clone()
                .run_until_cancelled_owned(crate::link::run(Arc::clone(self))),
        );
        let end = tokio::select! {
            () = self.stop.cancelled() => WorkEnd::Stopped,
            _ = &mut link => WorkEnd::Expired,
        };
        self.tasks.close();
        if end == WorkEnd::Expired {
            self.running.stop_all(crate::run::Why::Stopping);
            let _ = tokio::time::timeout(FINISH, self.tasks.wait()).await;
            return end;
        }
        if tokio::time::timeout(FINISH, self.tasks.wait()).await.is_err() {
            self.running.stop_all(crate::run::Why::Stopping);
            let _ = tokio::time::timeout(FINISH, self.tasks.wait()).await;
        }
        let _ = tokio::time::timeout(FAREWELL, self.all_reported()).await;
        cut.cancel();
        let _ = link.await;
        end
    }

    async fn all_reported(&self) {
        self.spooled.notify_one();
        while !self.spool.is_empty() && !self.link.borrow().is_revoked() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The membership in use.
    pub fn member(&self) -> Arc<Membership> {
        Arc::clone(&self.membership.borrow())
    }

    /// Where this node is, for settings.
    pub fn place(&self) -> Place {
        let member = self.member();
        let placement = *lock(&self.placement);
        let named = |name: &Name| name.clone();
        Place {
            node: Some((member.node(), named(&member.member.name))),
            pool: placement.pool.map(|id| (id, named(&member.member.pool))),
            site: placement.site.map(|id| (id, named(&member.member.site))),
        }
    }

    /// Says which limits the jail cannot enforce, in the conditions. A jail that does not stand is said by the doctor
    /// and by each run that it refuses.
    pub async fn note_limits(&self) {
        match muster_engines::look(self.engines().config()).await {
            Ok(standing) => self.conditions.note_limits(&standing.degraded),
            Err(why) => tracing::warn!(why, "the jail does not stand; see muster-node doctor"),
        }
    }

    /// Says whether the trust state is stale, in the conditions.
    pub fn note_freshness(&self) {
        if self.trust.is_fresh(self.clock.boot()) {
            self.conditions.clear("trust");
        } else {
            self.conditions.set("trust", "stale");
        }
    }
}

fn log_notices(config: &Config) {
    for notice in &config.services.notices {
        tracing::warn!("{}", notice.sentence);
    }
}

fn note_missing(conditions: &Conditions, membership: &Membership, probe: &Probe) {
    for engine in &probe.engines {
        conditions.clear(&format!("engine {}", engine.kind));
    }
    let granted = &membership.member.capabilities;
    for missing in &probe.missing {
        if granted
            .iter()
            .any(|capability| capability.engine() == missing.kind.name())
        {
            conditions.set(
                format!("engine {}", missing.kind),
                format!(
                    "degraded: the engine {} is missing: {}",
                    missing.kind, missing.why
                ),
            );
        }
    }
}

/// A lock whose holder cannot have left half a change.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
