//! `muster-node run`: whatever stage the node is in, takes it from there until it is told to stop.
//!
//! ```text
//!   no identity ──(pin, token, or accept_unverified_ca)──► joining ──► unconfirmed ──(confirm)──► trusted: works
//!        └── else: refused                                    ▲                                        │
//!                                                             └────────── certificate over ────────────┘
//! ```
//!
//! Invariant: this process holds the lock of the state folder, except while it waits for `muster-node confirm`.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use muster_daemon::{Clock, FolderLock, Random, config::ConfigErrors, shutdown::Signals, systemd, watch};
use tokio::sync::watch::Receiver;

use crate::{
    agent::{Agent, Start, WorkEnd},
    applicant::{ApplicantError, applicant},
    config::Config,
    credentials::{Credentials, CredentialsError, Joining, Member, Stage},
    engines::engines_config,
    home::{Home, HomeError},
    join::{JoinError, Joiner, News},
    membership::{Membership, MembershipError},
    operations, renew, sentence,
    spool::SpoolError,
    status, warm,
};

/// How often a node whose certificate seems over looks whether its clock was set.
const CLOCK_LOOK: Duration = Duration::from_secs(5);

/// Why the service ended.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The state folder.
    #[error("cannot run")]
    Home(#[from] HomeError),
    /// The identity.
    #[error("cannot run")]
    Credentials(#[from] CredentialsError),
    /// The join.
    #[error("cannot run")]
    Join(#[from] JoinError),
    /// The membership.
    #[error("cannot run")]
    Membership(#[from] MembershipError),
    /// The spool.
    #[error("cannot run")]
    Spool(#[from] SpoolError),
    /// Nothing may begin by itself.
    #[error("{0}")]
    Unattended(&'static str),
    /// What would be asked for is not complete.
    #[error(transparent)]
    Applicant(#[from] ApplicantError),
    /// It was rejected before.
    #[error("an administrator rejected the join of this node{0}; ask, then run muster-node join again")]
    Rejected(String),
    /// The operations listener.
    #[error("cannot listen on {address}; another program may use it: see operations.listen in node.toml")]
    Operations {
        /// Where.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What the service needs from its surroundings.
pub struct Service {
    /// Settings.
    pub config: Config,
    /// Reads them again.
    pub reload: Box<dyn Fn() -> Result<Config, ConfigErrors> + Send>,
    /// The folder with node.toml.
    pub config_folder: Option<PathBuf>,
    /// Paths.
    pub home: Home,
    /// Time.
    pub clock: Clock,
    /// Random numbers.
    pub random: Random,
    /// Stop and reload.
    pub signals: Signals,
}

impl Service {
    /// Runs until told to stop.
    pub async fn run(mut self) -> Result<(), ServiceError> {
        let mut changes = watch::folders(
            std::iter::once(self.home.root().to_owned())
                .chain(self.config_folder.clone())
                .chain(self.config.service_folders())
                .collect(),
            watch::Timing::default(),
        );
        let mut lock = Some(self.home.lock()?);
        systemd::ready("starting");
        tokio::spawn(systemd::feed_watchdog(self.signals.stop.clone()));
        while !self.signals.stop.is_cancelled() {
            if lock.is_none() {
                lock = self.lock_again(&mut changes).await?;
                continue;
            }
            let credentials = match Credentials::load(&self.home, self.clock.unix_ms())? {
                Some(credentials) => credentials,
                None => self.begin().await?,
            };
            match credentials.stage() {
                Stage::Joining(_) => self.join(credentials).await?,
                Stage::Rejected(rejected) => {
                    let reason = rejected.reason.as_ref();
                    let reason = reason.map(|reason| format!(" (\"{}\")", reason.escape_debug()));
                    return Err(ServiceError::Rejected(reason.unwrap_or_default()));
                }
                Stage::Unconfirmed(member) => {
                    let shown: Vec<String> =
                        member.ca_fingerprints().iter().map(ToString::to_string).collect();
                    tracing::warn!(
                        ca_fingerprint = shown.join(" or "),
                        "approved, but the control plane is not proved: compare its CA fingerprint, then run muster-node confirm"
                    );
                    systemd::status("waits for muster-node confirm");
                    lock = None;
                }
                Stage::Trusted(_) => self.work(credentials, &mut changes).await?,
            }
        }
        systemd::stopping();
        Ok(())
    }

    /// A new identity, where something will prove the control plane or an administrator does without.
    async fn begin(&self) -> Result<Credentials, ServiceError> {
        if !self.home.quarantined().is_empty() {
            return Err(ServiceError::Unattended(
                "the identity of this node was damaged and lies aside in the state folder; put a backup of it back in place, or run muster-node join to join anew",
            ));
        }
        let config = &self.config;
        if config.join.ca_fingerprint.is_empty()
            && config.join.token_file.is_none()
            && !config.join.accept_unverified_ca
        {
            return Err(ServiceError::Unattended(
                "this node has not joined, and nothing here would prove the control plane; run muster-node join http://HOST:9080, or set join.token_file or join.ca_fingerprint in node.toml",
            ));
        }
        let joining = applicant(config, &self.home).await?;
        Ok(Credentials::create(&self.home, joining)?)
    }

    async fn join(&self, credentials: Credentials) -> Result<(), ServiceError> {
        systemd::status("joining");
        let former = match credentials.stage() {
            Stage::Joining(joining) => joining.former.clone(),
            _ => None,
        };
        let token = self.config.join.token_file.clone();
        let mut joiner = Joiner::new(credentials, token, self.clock.clone(), self.random.clone());
        tokio::select! {
            joined = joiner.run(log_news) => {
                joined?;
                tracing::info!("the join was approved");
                return Ok(());
            }
            () = self.holds_again(former.as_deref()) => {}
            () = self.signals.stop.cancelled() => return Ok(()),
        }
        // The clock was wrong: the certificate has not ended.
        let mut credentials = joiner.into_credentials();
        if let Some(member) = former {
            tracing::warn!(
                "the clock of this node was set, and its certificate is valid: it is a member as before"
            );
            credentials.advance(Stage::Trusted(*member), "join.resumed")?;
        }
        Ok(())
    }

    /// Waits until the certificate of a membership that was given up is valid: the clock was wrong.
    async fn holds_again(&self, former: Option<&Member>) {
        let facts = former.and_then(|member| muster_pki::tls::peer(&member.chain).ok());
        let Some(facts) = facts else {
            return std::future::pending().await;
        };
        loop {
            let now = self.clock.unix_ms();
            let validity = facts.validity;
            if validity.not_before_ms() <= now && now <= validity.not_after_ms() {
                return;
            }
            tokio::time::sleep(CLOCK_LOOK).await;
        }
    }

    /// Waits for somebody to change the identity, then takes the lock.
    async fn lock_again(&self, changes: &mut Receiver<u64>) -> Result<Option<FolderLock>, ServiceError> {
        tokio::select! {
            () = self.signals.stop.cancelled() => return Ok(None),
            _ = changes.changed() => {}
        }
        let unconfirmed = Credentials::peek(&self.home)
            .ok()
            .flatten()
            .is_some_and(|credentials| matches!(credentials.stage(), Stage::Unconfirmed(_)));
        if unconfirmed {
            return Ok(None);
        }
        match self.home.lock() {
            Ok(lock) => Ok(Some(lock)),
            // Another command has it for a moment more.
            Err(HomeError::Lock(muster_daemon::lock::LockError::Held { .. })) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn work(
        &mut self,
        credentials: Credentials,
        changes: &mut Receiver<u64>,
    ) -> Result<(), ServiceError> {
        let Some(membership) = Membership::of(&credentials, &self.config, &self.clock) else {
            return Ok(());
        };
        let membership = membership?;
        if membership.has_expired(self.clock.unix_ms()) {
            return self.rejoin(credentials, false);
        }
        let probe = muster_engines::probe(&engines_config(&self.config, &self.home)).await;
        for engine in &probe.engines {
            tracing::info!(engine = engine.description, "found an engine");
        }
        let agent = Agent::open(Start {
            config: self.config.clone(),
            home: self.home.clone(),
            clock: self.clock.clone(),
            random: self.random.clone(),
            membership,
            probe,
            stop: self.signals.stop.clone(),
        })?;
        let mut helpers = tokio::task::JoinSet::new();
        helpers.spawn(status::keep(Arc::clone(&agent)));
        let looking = Arc::clone(&agent);
        helpers.spawn(async move { looking.note_limits().await });
        helpers.spawn(warm::keep(Arc::clone(&agent)));
        helpers.spawn(renew::keep(Arc::clone(&agent), credentials));
        if let Some(address) = self.config.operations {
            let listener = operations::listen(address)
                .await
                .map_err(|source| ServiceError::Operations { address, source })?;
            helpers.spawn(operations::serve(Arc::clone(&agent), listener));
        }
        let end = {
            let mut work = std::pin::pin!(agent.work());
            loop {
                tokio::select! {
                    end = &mut work => break end,
                    _ = changes.changed() => {}
                    _ = self.signals.reload.changed() => {}
                }
                look_again(&mut self.config, &self.reload, &agent).await;
            }
        };
        helpers.shutdown().await;
        if end == WorkEnd::Expired
            && let Some(credentials) = Credentials::load(&self.home, self.clock.unix_ms())?
        {
            return self.rejoin(credentials, agent.left.load(Ordering::SeqCst));
        }
        Ok(())
    }

    /// The certificate is over, or its authority was `left` by the collective: the same key asks again, and only the
    /// collective that it belongs to.
    fn rejoin(&self, mut credentials: Credentials, left: bool) -> Result<(), ServiceError> {
        let Some(member) = credentials.trusted().cloned() else {
            return Ok(());
        };
        let registration = if self.config.registration.is_empty() {
            member.registration.clone()
        } else {
            self.config.registration.clone()
        };
        tracing::warn!(
            "the certificate of this node no longer counts; it asks to be let in again with the same key"
        );
        let joining = Joining {
            registration,
            pins: member.ca_fingerprints(),
            name: member.name.clone(),
            capabilities: member.capabilities.clone(),
            pool: Some(member.pool.clone()),
            site: Some(member.site.clone()),
            addresses: self.config.addresses.iter().map(ToString::to_string).collect(),
            exchange: None,
            previous: None,
            renewal: Some(if left {
                "the authority of its certificate was left".to_owned()
            } else {
                "its certificate is over".to_owned()
            }),
            // One whose authority was left does not become good again.
            former: (!left).then(|| Box::new(member)),
        };
        Ok(credentials.advance(Stage::Joining(joining), "join.renewal")?)
    }
}

/// Takes over what has changed in node.toml and in the identity, if it is good.
async fn look_again(
    config: &mut Config,
    reload: &(dyn Fn() -> Result<Config, ConfigErrors> + Send),
    agent: &Arc<Agent>,
) {
    match reload() {
        Ok(new) => {
            agent.conditions.clear("configuration");
            let changed = new != *config;
            if changed || agent.lacks_engine() {
                if new.state_dir != config.state_dir
                    || new.operations != config.operations
                    || (&new.log_level, new.log_format) != (&config.log_level, config.log_format)
                {
                    tracing::warn!(
                        "a changed state folder, log or operations listener needs a restart of muster-node"
                    );
                }
                let probe = muster_engines::probe(&engines_config(&new, &agent.home)).await;
                if changed || probe != *agent.probe() {
                    agent.configure(new.clone(), probe);
                    let looking = Arc::clone(agent);
                    tokio::spawn(async move { looking.note_limits().await });
                    tracing::info!("took the changed settings and engines");
                }
                *config = new;
            }
        }
        Err(errors) => {
            tracing::error!(%errors, "node.toml has errors; the settings stay as they were");
            agent.conditions.set(
                "configuration",
                format!("degraded: node.toml has errors: {errors}"),
            );
        }
    }
    match Credentials::peek(&agent.home) {
        Ok(Some(credentials)) => match Membership::of(&credentials, config, &agent.clock) {
            Some(Ok(membership)) => {
                let current = agent.member();
                // The file may have been read just before a renewal wrote it.
                let older = membership.member.node == current.member.node
                    && membership.member.generation < current.member.generation;
                if !older
                    && (membership.member != current.member || membership.back_ends != current.back_ends)
                {
                    agent.membership.send_replace(Arc::new(membership));
                }
                agent.conditions.clear("identity");
            }
            Some(Err(error)) => {
                agent
                    .conditions
                    .set("identity", format!("degraded: {}", sentence(&error)));
            }
            None => {}
        },
        Ok(None) => {
            agent.conditions.set(
                "identity",
                "degraded: the identity file of this node is gone; put it back from a backup",
            );
        }
        Err(error) => agent
            .conditions
            .set("identity", format!("degraded: {}", sentence(&error))),
    }
}

/// What a person would be told stands in the log.
fn log_news(news: News) {
    match news {
        News::Code {
            code,
            fingerprint,
            roots,
            pinned,
        } => {
            let roots: Vec<String> = roots.iter().map(ToString::to_string).collect();
            let roots = roots.join(" or ");
            tracing::info!(
                %code,
                key_fingerprint = %fingerprint,
                ca_fingerprint = roots,
                pinned,
                "waits for approval: an administrator runs muster join approve --code {code}"
            );
        }
        News::Token { token, fingerprint } => tracing::info!(
            %token,
            key_fingerprint = %fingerprint,
            "asks to be let in by a join token"
        ),
        News::Approved => tracing::info!("approved; the certificate is on its way"),
        News::Clock(difference_ms) => tracing::warn!(
            seconds = difference_ms / 1000,
            "the clock of this node differs from the control plane's; set up a time service"
        ),
        News::Again { why, wait } => tracing::warn!(?wait, "{why}"),
    }
}
