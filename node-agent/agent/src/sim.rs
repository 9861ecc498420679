//! Nodes without engines, many in one process, to see what a fleet does to a control plane (feature `sim`).
//!
//! Invariant: nothing here speaks to a control plane; it starts what `muster-node run` starts, and leaves out the
//! engines, the operations listener and the files that people look at. A node names an engine that it does not have, so
//! that it asks for work as often as others do; what it is granted fails.

use std::{path::Path, sync::Arc};

use muster_daemon::{Clock, Random, config::ConfigErrors};
use muster_engines::{Engine, EngineKind, Probe};
use muster_ids::{Digest, JoinId};
use tokio_util::sync::CancellationToken;

use crate::{
    agent::{Agent, Start},
    applicant::applicant,
    config::Config,
    credentials::{Credentials, Stage},
    home::Home,
    join::{Joiner, News},
    link::LinkState,
    membership::Membership,
    service::ServiceError,
};

/// What a simulated node is made of.
#[derive(Debug, Clone)]
pub struct Simulated {
    config: Config,
    home: Home,
    clock: Clock,
    random: Random,
}

impl Simulated {
    /// A node of this name whose state is below `folder`; `settings` are variables such as `MUSTER_JOIN__TOKEN_FILE`.
    pub fn new(
        name: &str,
        folder: &Path,
        settings: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SimError> {
        let named = [
            ("MUSTER_NODE__NAME".to_owned(), name.to_owned()),
            ("MUSTER_NODE__CAPABILITIES".to_owned(), "TERR".to_owned()),
        ];
        let nowhere = folder.join("node.toml");
        let config = Config::load(&nowhere, false, named.into_iter().chain(settings))?;
        Ok(Self {
            config,
            home: Home::create(&folder.join(name)).map_err(ServiceError::from)?,
            clock: Clock::system(),
            random: Random::system(),
        })
    }

    /// Joins, unless it has; `waits` is told which request waits for an approval, with the fingerprint of its key.
    pub async fn join(&self, mut waits: impl FnMut(JoinId, Digest)) -> Result<Credentials, SimError> {
        let kept = Credentials::load(&self.home, self.clock.unix_ms()).map_err(ServiceError::from)?;
        let credentials = if let Some(credentials) = kept {
            credentials
        } else {
            let joining = applicant(&self.config, &self.home)
                .await
                .map_err(ServiceError::from)?;
            Credentials::create(&self.home, joining).map_err(ServiceError::from)?
        };
        if !matches!(credentials.stage(), Stage::Joining(_)) {
            return Ok(credentials);
        }
        let token = self.config.join.token_file.clone();
        let mut joiner = Joiner::new(credentials, token, self.clock.clone(), self.random.clone());
        joiner
            .run(|news| {
                if let News::Code { fingerprint, .. } = news
                    && let Some(id) = self.join_id()
                {
                    waits(id, fingerprint);
                }
            })
            .await
            .map_err(ServiceError::from)?;
        Ok(joiner.into_credentials())
    }

    /// Works until `stop`.
    pub fn work(&self, credentials: &Credentials, stop: CancellationToken) -> Result<Arc<Agent>, SimError> {
        let membership = Membership::of(credentials, &self.config, &self.clock)
            .ok_or(SimError::NoMember)?
            .map_err(ServiceError::from)?;
        let agent = Agent::open(Start {
            config: self.config.clone(),
            home: self.home.clone(),
            clock: self.clock.clone(),
            random: self.random.clone(),
            membership,
            probe: Probe {
                engines: vec![Engine {
                    kind: EngineKind::Terr,
                    description: "none (simulated)".to_owned(),
                    version: "0".to_owned(),
                }],
                missing: Vec::new(),
            },
            stop,
        })
        .map_err(ServiceError::from)?;
        let working = agent.clone();
        tokio::spawn(async move { working.work().await });
        Ok(agent)
    }

    fn join_id(&self) -> Option<JoinId> {
        match Credentials::peek(&self.home).ok()??.stage() {
            Stage::Joining(joining) => Some(joining.exchange.as_ref()?.transcript().join_id()),
            _ => None,
        }
    }
}

/// Whether the control connection of `agent` works.
pub fn is_connected(agent: &Agent) -> bool {
    matches!(*agent.link.borrow(), LinkState::Connected(_))
}

/// Why a simulated node does not work.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// Its settings.
    #[error("the settings of a simulated node are wrong")]
    Config(#[from] ConfigErrors),
    /// What stops every node.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// It did not become a trusted member.
    #[error("a simulated node is no trusted member; name the fingerprint of the CA or a token")]
    NoMember,
}
