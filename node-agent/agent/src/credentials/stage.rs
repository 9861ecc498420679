//! How far a node's join is, with what each stage needs.

use std::fmt;

use muster_ids::{CollectiveId, Digest, Name, NodeId, TokenId};
use muster_pki::{
    CertificateDer, Roots, RootsError,
    join::{Nonce, Transcript},
};
use muster_wire::node::v1::join::Hello;
use serde::{Deserialize, Serialize};

use super::form::{der_list, standard};
use crate::capability::Capability;

/// The stage of a join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a process holds one or two of them")]
pub enum Stage {
    /// The key exists; a request may be on its way.
    Joining(Joining),
    /// A certificate was issued, but nothing has proved the control plane yet: nothing is dialled.
    Unconfirmed(Member),
    /// A member of the collective.
    Trusted(Member),
    /// An administrator said no.
    Rejected(Rejected),
}

/// What the node asks for, whom, and the exchange that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joining {
    /// Registration listeners, `host:port`.
    pub registration: Vec<String>,
    /// Fingerprints of which the collective's roots must have one; empty where a person will compare.
    pub pins: Vec<Digest>,
    /// The name that it asks for.
    pub name: Name,
    /// What it offers.
    pub capabilities: Vec<Capability>,
    /// The pool that it asks for.
    pub pool: Option<Name>,
    /// The site that it asks for.
    pub site: Option<Name>,
    /// Addresses for the approver to see.
    pub addresses: Vec<String>,
    /// The exchange whose code is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Exchange>,
    /// The one before, until the control plane has accepted the reveal of the present one: it may have been
    /// approved in between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Exchange>,
    /// Why this node, a member already, joins again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal: Option<String>,
    /// The membership whose certificate has ended: it holds again if the clock was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Box<Member>>,
}

fn first_generation() -> u64 {
    1
}

/// One hello, its offer and the nonce between them. Stored before the nonce is revealed; the nonce is never
/// used with another offer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    #[serde(
        serialize_with = "standard::serialize",
        deserialize_with = "standard::deserialize_nonce"
    )]
    r_n: Nonce,
    /// The bytes that were sent.
    #[serde(with = "standard")]
    pub hello: Vec<u8>,
    /// The bytes that came.
    #[serde(with = "standard")]
    pub offer: Vec<u8>,
    /// What came beside the offer and proves to control planes that one of them made it.
    pub mac: String,
    /// The roots of the offer that answers may lead to: the pinned ones where there are pins.
    #[serde(with = "der_list")]
    pub roots: Vec<CertificateDer<'static>>,
    /// When the offer came, milliseconds since 1970, UTC.
    pub begun: i64,
    /// Whether the control plane has accepted the reveal.
    pub revealed: bool,
    /// The largest poll counter that was used.
    pub counter: u64,
}

impl Exchange {
    /// An exchange whose offer came at `begun`.
    pub fn new(r_n: &Nonce, hello: Vec<u8>, offer: Vec<u8>, mac: String, roots: &Roots, begun: i64) -> Self {
        Self {
            r_n: *r_n,
            hello,
            offer,
            mac,
            roots: roots.certificates().to_vec(),
            begun,
            revealed: false,
            counter: 0,
        }
    }

    /// The nonce.
    pub fn nonce(&self) -> Nonce {
        self.r_n
    }

    /// The join token that the hello names.
    pub fn token(&self) -> Option<TokenId> {
        serde_json::from_slice::<Hello>(&self.hello).ok()?.token_id
    }

    /// T.
    pub fn transcript(&self) -> Transcript {
        Transcript::new(&self.hello, &self.offer, &self.nonce())
    }

    /// The roots that answers may lead to.
    pub fn roots(&self) -> Result<Roots, RootsError> {
        Roots::new(self.roots.clone())
    }
}

impl fmt::Debug for Exchange {
    /// Neither the nonce nor anything that the code follows from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("begun", &self.begun)
            .field("revealed", &self.revealed)
            .field("counter", &self.counter)
            .finish_non_exhaustive()
    }
}

/// What the control plane issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The node's identity.
    pub node: NodeId,
    /// The collective.
    pub collective: CollectiveId,
    /// The name that was granted.
    pub name: Name,
    /// The capabilities that were granted.
    pub capabilities: Vec<Capability>,
    /// The pool.
    pub pool: Name,
    /// The site.
    pub site: Name,
    /// Certificate and intermediate, leaf first.
    #[serde(with = "der_list")]
    pub chain: Vec<CertificateDer<'static>>,
    /// The generation of the certificate: 1 for the first of this node, then one more with each renewal.
    #[serde(default = "first_generation")]
    pub generation: u64,
    /// The roots of everything that the control plane shows or signs.
    #[serde(with = "der_list")]
    pub roots: Vec<CertificateDer<'static>>,
    /// Keys of intermediates that were left for ever: nothing of them is accepted, whoever certified them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<Digest>,
    /// Back ends, `host:port`.
    pub back_ends: Vec<String>,
    /// Registration listeners, for the day on which the certificate has run out.
    pub registration: Vec<String>,
    /// The epoch of the database that issued it.
    pub epoch: u64,
}

impl Member {
    /// The roots.
    pub fn roots(&self) -> Result<Roots, RootsError> {
        Ok(Roots::new(self.roots.clone())?.denying(self.denied.clone()))
    }

    /// What a person compares before `confirm`.
    pub fn ca_fingerprints(&self) -> Vec<Digest> {
        self.roots
            .iter()
            .map(|certificate| Digest::of(certificate))
            .collect()
    }
}

/// That an administrator said no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejected {
    /// Why, in the administrator's words.
    pub reason: Option<String>,
    /// When the node heard of it, milliseconds since 1970, UTC.
    pub at: i64,
}
