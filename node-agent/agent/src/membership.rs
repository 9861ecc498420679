//! A membership that can be used: whom to dial, with what, and whom to believe.
//!
//! Invariant: it is made of a trusted identity only, whose certificate and key belong together.

use std::{sync::Arc, time::Duration};

use muster_client::{Endpoint, EndpointError, Limits, Transport};
use muster_daemon::Clock;
use muster_ids::NodeId;
use muster_pki::{
    Facts, FactsError, Roots, RootsError,
    tls::{ControlPlanes, Credential, Now, TlsError, node_client},
};

use crate::{
    config::Config,
    credentials::{Credentials, Member},
};

/// The longest answer of a back end, in bytes; the trust state of a large collective has some MiB.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Why an identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// The stored roots are none.
    #[error(
        "the identity of this node has roots that are not accepted; run muster-node leave and join again"
    )]
    Roots(#[from] RootsError),
    /// Certificate and key do not belong together.
    #[error("the certificate of this node cannot be used; run muster-node leave and join again")]
    Tls(#[from] TlsError),
    /// The certificate cannot be read.
    #[error("the certificate of this node cannot be read; run muster-node leave and join again")]
    Certificate(#[from] FactsError),
    /// A back end has no usable address.
    #[error("a back end of this node has no usable address; check control_plane.back_ends")]
    Address(#[from] EndpointError),
    /// There is none to dial.
    #[error("the control plane named no back end; set control_plane.back_ends in node.toml")]
    NoBackEnd,
}

/// A membership in use.
#[derive(Debug)]
pub struct Membership {
    /// What was granted.
    pub member: Member,
    /// Whom to believe.
    pub roots: Roots,
    /// Whom to dial.
    pub back_ends: Vec<Endpoint>,
    /// How to dial.
    pub transport: Transport,
    /// What the certificate says.
    pub facts: Facts,
}

impl Membership {
    /// The membership of `credentials`; `None` unless they are trusted.
    pub fn of(
        credentials: &Credentials,
        config: &Config,
        clock: &Clock,
    ) -> Option<Result<Self, MembershipError>> {
        let member = credentials.trusted()?;
        Some(Self::new(credentials, member.clone(), config, clock))
    }

    fn new(
        credentials: &Credentials,
        member: Member,
        config: &Config,
        clock: &Clock,
    ) -> Result<Self, MembershipError> {
        let roots = member.roots()?;
        let addresses = if config.back_ends.is_empty() {
            &member.back_ends
        } else {
            &config.back_ends
        };
        let back_ends: Vec<Endpoint> = addresses
            .iter()
            .map(|address| format!("https://{address}").parse())
            .collect::<Result<_, _>>()?;
        if back_ends.is_empty() {
            return Err(MembershipError::NoBackEnd);
        }
        let facts = muster_pki::tls::peer(&member.chain)?;
        let credential = Credential::new(member.chain.clone(), credentials.key())?;
        let clock = clock.clone();
        let now: Now = Arc::new(move || clock.unix_ms());
        let limits = Limits {
            // A whole trust state comes as one answer.
            answer: MAX_ANSWER,
            // Whatever comes counts as a sign of life, and beacons come more often than this.
            ping: Duration::from_secs(35),
            ..Limits::default()
        };
        let tls = node_client(&credential, Arc::new(roots.clone()), ControlPlanes::Any, now)?;
        Ok(Self {
            member,
            roots,
            back_ends,
            transport: Transport::tls(Arc::new(tls), limits),
            facts,
        })
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.member.node
    }

    /// This node, and the generation of its certificate.
    pub fn holder(&self) -> (NodeId, u64) {
        (self.member.node, self.member.generation)
    }

    /// Whether the certificate is over at `now_ms`.
    pub fn has_expired(&self, now_ms: i64) -> bool {
        now_ms > self.facts.validity.not_after_ms()
    }
}
