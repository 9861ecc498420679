//! Use cases of the control plane: one public function for one thing that a person or a node can ask.
//!
//! Each reads: authorize → load → decide → save with audit → wake. Invariants: nothing is written without
//! [`Authorized`](muster_model::permission::Authorized); a change, its audit record and its trust-state number
//! commit together; nothing here knows HTTP.

#![forbid(unsafe_code)]

pub mod alarm;
mod attempts;
pub mod audit;
pub mod authority;
mod authorize;
pub mod certificate;
pub mod crl;
pub mod epoch;
mod error;
pub mod expiry;
#[cfg(test)]
mod fixture;
mod fleet;
pub mod function;
pub mod group;
pub mod idempotency;
pub mod init;
pub mod join;
pub mod join_token;
mod known;
pub mod library;
pub mod node;
mod page;
pub mod place;
mod preference;
pub mod reconcile;
pub mod renewal;
pub mod run;
pub mod session;
pub mod setting;
pub mod signing;
pub mod status;
mod text;
pub mod trust;
pub mod user;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use muster_daemon::{clock::Clock, random::Random};
use muster_ids::{CollectiveId, Incarnation};
use muster_model::join::approval::ApprovalRule;
use muster_store::{BlobStore, Store};
use tokio::sync::watch;

use self::{
    alarm::Alarms,
    attempts::Attempts,
    authority::{Authority, AuthorityKeys},
    crl::Published,
    fleet::Fleet,
    join::{JoinKey, auto_trust::AutoTrust, budget::OfferBudget, refusals::Refusals, token::LiveTokens},
    known::Known,
    node::Liveness,
};
pub use self::{
    error::Error,
    run::{Content, LogPlace, Submission, blob_failure},
    text::object,
};

/// What every use case works with. Cheap to clone.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

/// The parts that [`App::new`] is made of.
pub struct Parts {
    /// The database.
    pub store: Store,
    /// Inputs and outputs of runs.
    pub blobs: BlobStore,
    /// Where the keys of authorities are kept.
    pub keys: Arc<dyn AuthorityKeys>,
    /// Makes offers.
    pub join_key: JoinKey,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub random: Random,
    /// What may be configured.
    pub options: Options,
}

/// What may be configured.
#[derive(Debug, Clone)]
pub struct Options {
    /// `host:port` of the back ends; an empty host stands for the one by which the node came.
    pub back_ends: Vec<String>,
    /// How long a session lasts.
    pub session_lifetime: Duration,
    /// Join offers in all, a second.
    pub offers_per_second: u64,
    /// Join offers to nodes that name a live token, a second.
    pub token_offers_per_second: u64,
    /// Joins that several people must approve.
    pub approvals: Vec<ApprovalRule>,
    /// Requests that may wait at once.
    pub quotas: Quotas,
    /// Nodes that are trusted without a person; nobody is when absent.
    pub auto_trust: Option<AutoTrust>,
    /// Largest single input of a run, bytes.
    pub max_input: u64,
    /// Runs that may wait at once.
    pub queues: Queues,
    /// How long certificates of nodes are valid, and what may come after them.
    pub certificates: Certificates,
    /// From where certificates of other authorities may be fetched by whoever imports one that is signed by them.
    pub allowed_issuers: Vec<String>,
}

/// How many runs may wait at once.
#[derive(Debug, Clone, Copy)]
pub struct Queues {
    /// In one queue: for one capability in one pool and site.
    pub per_queue: u32,
    /// Of one user, in all queues together.
    pub per_user: u32,
}

impl Default for Queues {
    /// More than a day's work of a node, and a tenth of it for one person.
    fn default() -> Self {
        Self {
            per_queue: 10_000,
            per_user: 1_000,
        }
    }
}

/// How long certificates of nodes are valid, and what may come after them.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// A node's own certificate.
    pub node_lifetime: Duration,
    /// The certificate of a node's receipt key.
    pub receipt_lifetime: Duration,
    /// Whether a known node whose certificate has ended is let in again without a person.
    pub expired_renewal: ExpiredRenewal,
    /// For how long after its end, milliseconds.
    pub expired_renewal_ms: i64,
}

impl Default for Certificates {
    /// Seven days (interface.md 4), and an administrator's approval within thirty days after that.
    fn default() -> Self {
        Self {
            node_lifetime: Duration::from_hours(7 * 24),
            receipt_lifetime: Duration::from_hours(7 * 24),
            expired_renewal: ExpiredRenewal::Approve,
            expired_renewal_ms: 30 * 24 * 60 * 60 * 1000,
        }
    }
}

/// What happens when a known node whose certificate has ended joins again with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiredRenewal {
    /// An administrator approves it, singly or with others.
    Approve,
    /// It is let in.
    Automatic,
}

/// How many requests may wait at once; the oldest of whoever has most give way.
#[derive(Debug, Clone, Copy)]
pub struct Quotas {
    /// From one address.
    pub per_address: u64,
    /// From one prefix (IPv4 /24, IPv6 /48).
    pub per_prefix: u64,
    /// In all.
    pub total: u64,
}

struct Inner {
    parts: Parts,
    authority: ArcSwap<Authority>,
    authority_changes: watch::Sender<u64>,
    collective: CollectiveId,
    incarnation: Incarnation,
    epoch: u64,
    liveness: Liveness,
    offers: OfferBudget,
    token_offers: OfferBudget,
    live_tokens: LiveTokens,
    refusals: Refusals,
    attempts: Attempts,
    published: Published,
    doubt: epoch::Doubt,
    fleet: Fleet,
    known: Known,
    alarms: Alarms,
}

impl App {
    /// The use cases over these parts. The database must hold a collective.
    pub async fn new(parts: Parts) -> Result<Self, Error> {
        let collective = parts
            .store
            .collective()
            .await?
            .ok_or(muster_store::StoreError::NotInitialised)?;
        let authority = authority::load(&parts.store, &*parts.keys).await?;
        let offers = OfferBudget::new(parts.options.offers_per_second);
        let token_offers = OfferBudget::new(parts.options.token_offers_per_second);
        Ok(Self {
            inner: Arc::new(Inner {
                collective: collective.collective,
                incarnation: collective.incarnation,
                epoch: collective.epoch,
                liveness: Liveness::default(),
                attempts: Attempts::default(),
                published: Published::default(),
                doubt: epoch::Doubt::default(),
                fleet: Fleet::default(),
                known: Known::default(),
                alarms: Alarms::default(),
                offers,
                token_offers,
                live_tokens: LiveTokens::default(),
                refusals: Refusals::default(),
                authority: ArcSwap::from_pointee(authority),
                authority_changes: watch::Sender::new(0),
                parts,
            }),
        })
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.inner.parts.store
    }

    /// Inputs and outputs of runs.
    pub fn blobs(&self) -> &BlobStore {
        &self.inner.parts.blobs
    }

    /// The authority that signs now. It can change at any time: whoever needs two things of one authority asks
    /// once.
    pub fn authority(&self) -> Arc<Authority> {
        self.inner.authority.load_full()
    }

    /// Tells each time after [`App::authority`] has changed.
    pub fn authority_changes(&self) -> watch::Receiver<u64> {
        self.inner.authority_changes.subscribe()
    }

    pub(crate) fn replace_authority(&self, authority: Authority) {
        self.inner.authority.store(Arc::new(authority));
        self.inner.authority_changes.send_modify(|count| *count += 1);
    }

    fn keys(&self) -> &dyn AuthorityKeys {
        &*self.inner.parts.keys
    }

    /// Time.
    pub fn clock(&self) -> &Clock {
        &self.inner.parts.clock
    }

    /// Chance.
    pub fn random(&self) -> &Random {
        &self.inner.parts.random
    }

    /// The collective.
    pub fn collective(&self) -> CollectiveId {
        self.inner.collective
    }

    /// This copy of the database.
    pub fn incarnation(&self) -> Incarnation {
        self.inner.incarnation
    }

    /// The epoch of the database.
    pub fn epoch(&self) -> u64 {
        self.inner.epoch
    }

    /// The last sign of life of each node.
    pub fn liveness(&self) -> &Liveness {
        &self.inner.liveness
    }

    /// What an operator must hear of.
    pub fn alarms(&self) -> &Alarms {
        &self.inner.alarms
    }

    fn options(&self) -> &Options {
        &self.inner.parts.options
    }

    fn now(&self) -> i64 {
        self.inner.parts.clock.unix_ms()
    }
}
