//! The control connection: dials the control plane, listens to it, and tells it how this node is.
//!
//! ```text
//!                    ┌── certificate replaced: the next one first ──┐
//!                    ▼                                              │
//!   Connecting ──► Connected ───────────────────────────────────────┘
//!        │              ├──► Lost ──(full jitter)──► Connecting
//!        └──────────────┴──► Revoked ──(5 min)──► Connecting
//! ```
//!
//! Invariant: whatever ends a session ends all of its parts; what must outlive it (runs, results, trust) does not
//! belong to it. A revoked node works on nothing.

mod session;

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use muster_client::{ClientError, Connection};
use muster_daemon::Backoff;
use muster_wire::{node::v1::epoch::MAX_KNOWN, problem::KIND_PREFIX};
use tokio_util::sync::CancellationToken;

use self::session::Session;
use crate::{agent::Agent, membership::Membership, receipt::ReceiptError, revoked, run::Why, sentence};

/// Waits between two tries to connect: at first below a second, at the most below 20, so that a fleet is back within
/// half a minute however long its control plane was away, and spread over the whole of that time.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(20));
/// How long a revoked node waits before it asks again whether it still is.
const REVOKED: Duration = Duration::from_mins(5);
/// How long what is under way on a session may take after the next one was opened.
const DRAIN: Duration = Duration::from_secs(10);
/// A session that lasted this long was a success: the next failure begins the waits anew.
const LASTING: Duration = Duration::from_secs(30);

/// A control connection that works.
#[derive(Clone)]
pub struct Control {
    /// The connection.
    pub connection: Connection,
    /// The version of the node protocol that both sides speak.
    pub protocol: u32,
}

/// How the connection is.
#[derive(Clone)]
pub enum LinkState {
    /// For the first time, or after it was lost.
    Connecting,
    /// It works.
    Connected(Control),
    /// It does not; for people.
    Lost(String),
    /// The control plane no longer knows this node.
    Revoked(String),
}

impl LinkState {
    /// Whether the control plane no longer knows this node.
    pub fn is_revoked(&self) -> bool {
        matches!(self, Self::Revoked(_))
    }
}

impl fmt::Debug for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("Connecting"),
            Self::Connected(control) => write!(f, "Connected({})", control.connection.endpoint()),
            Self::Lost(why) => write!(f, "Lost({why})"),
            Self::Revoked(why) => write!(f, "Revoked({why})"),
        }
    }
}

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The connection failed, or a request on it was refused.
    #[error(transparent)]
    Client(ClientError),
    /// The control plane's database does not know this node: an older one was put back.
    #[error(transparent)]
    Unknown(ClientError),
    /// The control plane works on another database than the present one.
    #[error("this control plane does not work on the present database: {0}")]
    Database(String),
    /// The control plane refuses this node as such, and not a request of it.
    #[error(transparent)]
    Denied(ClientError),
    /// The control plane does not know the authority of this node's certificate: it was left while the node was away.
    #[error("the control plane no longer accepts the authority of this node's certificate")]
    Left,
    /// The receipt key was not certified.
    #[error("the control plane does not certify the receipt key of this node")]
    Receipt(#[source] ReceiptError),
    /// What this node knows of earlier epochs is too large to be handed in, so it is granted nothing.
    #[error(
        "this node cannot hand in what it knows of earlier epochs: that has {size} bytes, and a control plane takes at \
         most {MAX_KNOWN}; untrust, revoke and block again what was since the backup, and then run muster-node leave and join again"
    )]
    TooMuchKnown {
        /// Of the report, bytes.
        size: usize,
    },
    /// The other side said something that it must not say.
    #[error(
        "the control plane does not speak the protocol of this version: {0}; update the older of the two"
    )]
    Protocol(String),
    /// The other side ended it, as when it stops.
    #[error("the control plane ended the connection")]
    Ended,
    /// The certificate that it was opened with is over.
    #[error("the certificate of this node is over")]
    Expired,
}

impl From<ReceiptError> for LinkError {
    fn from(error: ReceiptError) -> Self {
        match error {
            ReceiptError::Client(error) => Self::of_member(error),
            other => Self::Receipt(other),
        }
    }
}

/// Keeps a session, until the certificate is over.
pub async fn run(agent: Arc<Agent>) {
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    loop {
        let member = agent.member();
        if member.has_expired(agent.clock.unix_ms()) {
            let why = "the certificate of this node is over; it joins again";
            tracing::warn!(why);
            agent.link.send_replace(LinkState::Lost(why.to_owned()));
            return;
        }
        let mut replaced = agent.membership.subscribe();
        let begun = agent.clock.boot();
        let error = match session::begin(&agent, member).await {
            Ok(session) => Box::pin(keep(&agent, session)).await,
            Err(error) => error,
        };
        if agent.clock.boot().saturating_sub(begun) >= LASTING {
            backoff.reset();
        }
        let wait = match error {
            LinkError::Left => {
                let why = "the authority that certified this node is no longer accepted; it joins again with the same key";
                tracing::warn!(why);
                agent.link.send_replace(LinkState::Lost(why.to_owned()));
                agent.left.store(true, Ordering::SeqCst);
                return;
            }
            LinkError::Expired => continue,
            LinkError::Denied(_) if agent.member().has_expired(agent.clock.unix_ms()) => continue,
            LinkError::Denied(error) => {
                denied(&agent, &error);
                REVOKED.mul_f64(0.75 + agent.random.fraction() / 2.0)
            }
            LinkError::Unknown(error) => {
                unknown(&agent, &error);
                REVOKED.mul_f64(0.75 + agent.random.fraction() / 2.0)
            }
            error => {
                let told = match &error {
                    LinkError::Client(error) => error.retry_after(),
                    _ => None,
                };
                let wait = backoff.next(agent.random.fraction(), told);
                let error = sentence(&error);
                tracing::warn!(error, ?wait, "not connected to the control plane");
                agent.conditions.set("link", format!("degraded: {error}"));
                agent.link.send_replace(LinkState::Lost(error));
                wait
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = replaced.changed() => {}
        }
    }
}

/// What runs goes on: the right database may come back, and then its outcome counts.
fn unknown(agent: &Agent, error: &ClientError) {
    let error = error.to_string();
    tracing::error!(error, "the control plane does not know this node: join again");
    agent
        .conditions
        .set("link", format!("degraded: unknown: join again: {error}"));
    agent.link.send_replace(LinkState::Lost(error));
    muster_daemon::systemd::status("unknown to the control plane: join again");
}

/// Keeps a session. Whenever the membership is replaced, one with the new certificate is opened first, and the one
/// before ends once nothing is under way on it; the first to fail ends it all.
async fn keep(agent: &Arc<Agent>, mut session: Session) -> LinkError {
    loop {
        let leaving = CancellationToken::new();
        let member = Arc::clone(&session.member);
        let mut present = std::pin::pin!(session::run(agent, session, &leaving));
        let next = tokio::select! {
            end = &mut present => return end.err().unwrap_or(LinkError::Ended),
            next = successor(agent, &member) => next,
        };
        leaving.cancel();
        // What is not through by then is done again on the next one.
        let _ = tokio::time::timeout(DRAIN, present).await;
        tracing::info!("the connection goes on with another certificate");
        session = next;
    }
}

/// Waits until the membership is another than `member`, and opens a session with it, however often it must try.
async fn successor(agent: &Arc<Agent>, member: &Arc<Membership>) -> Session {
    let mut replaced = agent.membership.subscribe();
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    loop {
        let newest = Arc::clone(&replaced.borrow_and_update());
        if Arc::ptr_eq(&newest, member) {
            // The sender lives in the agent.
            let _ = replaced.changed().await;
            continue;
        }
        match session::begin(agent, newest).await {
            Ok(session) => {
                agent.conditions.clear("link");
                return session;
            }
            Err(error) => {
                let wait = backoff.next(agent.random.fraction(), None);
                let error = sentence(&error);
                tracing::warn!(error, ?wait, "cannot connect with the new certificate yet");
                agent.conditions.set(
                    "link",
                    format!("degraded: cannot connect with the new certificate: {error}"),
                );
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    _ = replaced.changed() => {}
                }
            }
        }
    }
}

fn denied(agent: &Agent, error: &ClientError) {
    let error = error.to_string();
    tracing::error!(
        error,
        "this node was revoked: it ends all work; ask the administrator, or run muster-node leave and join again"
    );
    agent.running.stop_all(Why::Revoked);
    agent.engines().end_sessions(None);
    revoked::note(agent, &error);
    agent.conditions.set("link", format!("revoked: {error}"));
    agent.link.send_replace(LinkState::Revoked(error));
    muster_daemon::systemd::status("revoked by the control plane");
}

impl LinkError {
    /// The error of a request that every trusted node may make.
    fn of_member(error: ClientError) -> Self {
        let denied = error
            .problem()
            .is_some_and(|problem| matches!(problem.status, 401 | 403));
        if is_unknown_authority(&error) {
            Self::Left
        } else if is_unknown(&error) {
            Self::Unknown(error)
        } else if denied || is_revocation(&error) {
            Self::Denied(error)
        } else {
            Self::Client(error)
        }
    }

    /// The error of any request.
    fn of_request(error: ClientError) -> Self {
        if is_unknown_authority(&error) {
            Self::Left
        } else if is_unknown(&error) {
            Self::Unknown(error)
        } else if is_revocation(&error) {
            Self::Denied(error)
        } else {
            Self::Client(error)
        }
    }
}

/// Whether the control plane says that its database does not know the certificate of this node.
fn is_unknown(error: &ClientError) -> bool {
    let problem = error.problem();
    problem.is_some_and(|problem| problem.kind.strip_prefix(KIND_PREFIX) == Some("node-unknown"))
}

/// Whether the control plane refused the certificate of this node for its authority. In TLS 1.3 it does so after the
/// handshake in which this node has verified it, so the alert cannot come from somebody in between; one that breaks the
/// handshake itself can, and does not count.
fn is_unknown_authority(error: &ClientError) -> bool {
    matches!(error, ClientError::Broken { fault, .. } if fault.to_string().contains("UnknownCA"))
}

/// Whether the control plane says that it no longer knows this node: as a problem, or already in the TLS handshake,
/// where the alert's name is all that is known.
pub fn is_revocation(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { problem, .. } => {
            problem.kind.strip_prefix(KIND_PREFIX) == Some("node-revoked")
        }
        ClientError::AllUnreachable(errors) => errors.iter().any(is_revocation),
        ClientError::Unreachable { fault, .. } | ClientError::Broken { fault, .. } => {
            fault.to_string().contains("CertificateRevoked")
        }
        _ => false,
    }
}
