//! The messages of the exchange: what this node says, and which offers it accepts.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_ids::Digest;
use muster_pki::{
    CertificateDer, CrossRoot, PublicKey, Purpose, Roots, RootsError, SignError, Signer,
    join::{self, Nonce, SUITE},
};
use muster_wire::node::v1::join::{Hello, HelloReply, Offer, OfferedCross, Poll, Reveal};

use crate::credentials::{Exchange, Joining};

/// How long a hello may be used; the protocol's upper bound.
const HELLO_LIFETIME_MS: i64 = 24 * 60 * 60 * 1000;

/// Why an offer is refused.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// Not what an offer is.
    #[error(
        "the control plane's offer cannot be understood ({0}); install the muster-node of the control plane's version, or check the address"
    )]
    Format(String),
    /// It answers another hello.
    #[error("the control plane's offer answers another hello; somebody may be tampering with the connection")]
    OtherHello,
    /// Its roots are none.
    #[error("the control plane's offer holds root certificates that are not accepted")]
    Roots(#[from] RootsError),
    /// None of its roots is the pinned one.
    #[error("the control plane showed the CA fingerprint {}, but {} is pinned here; check join.ca_fingerprint against the output of muster-server init, and the address", list(.offered), list(.pinned))]
    Pin {
        /// What it showed.
        offered: Vec<Digest>,
        /// What is pinned.
        pinned: Vec<Digest>,
    },
}

/// An offer that may be answered.
pub struct Accepted {
    /// As they came.
    pub bytes: Vec<u8>,
    /// The pinned roots only, and those that they vouch for, where there are pins.
    pub roots: Roots,
}

/// The hello for this join.
pub(super) fn hello(joining: &Joining, key: &PublicKey, csr: &[u8], r_n: &Nonce, now_ms: i64) -> Hello {
    Hello {
        kind: "hello".to_owned(),
        suite: SUITE.to_owned(),
        csr: STANDARD.encode(csr),
        name: joining.name.clone(),
        capabilities: joining.capabilities.iter().map(ToString::to_string).collect(),
        pool: joining.pool.clone(),
        site: joining.site.clone(),
        addresses: joining.addresses.clone(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        created: now_ms,
        expires: now_ms.saturating_add(HELLO_LIFETIME_MS),
        token_id: None,
        commit: join::commit(key, r_n),
    }
}

/// The offer in `reply`, if it answers `hello` and shows a root that `pins` name.
pub fn accept(hello: &[u8], reply: &HelloReply, pins: &[Digest]) -> Result<Accepted, OfferError> {
    let bytes = decode(&reply.offer)?;
    let offer: Offer =
        serde_json::from_slice(&bytes).map_err(|error| OfferError::Format(error.to_string()))?;
    if offer.kind != "offer" || offer.suite != SUITE {
        return Err(OfferError::Format(format!(
            "type \"{}\", suite \"{}\"",
            offer.kind.escape_default(),
            offer.suite.escape_default()
        )));
    }
    if offer.hello != Digest::of(hello) {
        return Err(OfferError::OtherHello);
    }
    if decode(&offer.r_s)?.len() != 32 {
        return Err(OfferError::Format("r_s does not have 32 bytes".to_owned()));
    }
    let mut certificates = Vec::new();
    for root in &offer.roots {
        certificates.push(CertificateDer::from(decode(root)?));
    }
    let roots = Roots::new(certificates)?;
    if pins.is_empty() {
        return Ok(Accepted { bytes, roots });
    }
    let offered = roots.fingerprints();
    let hello: Hello =
        serde_json::from_slice(hello).map_err(|error| OfferError::Format(error.to_string()))?;
    let roots = roots
        .pinned_across(pins, &crosses(&offer)?, hello.created)
        .ok_or_else(|| OfferError::Pin {
            offered,
            pinned: pins.to_vec(),
        })?;
    Ok(Accepted { bytes, roots })
}

/// Which older roots vouch for the offered ones.
fn crosses(offer: &Offer) -> Result<Vec<CrossRoot>, OfferError> {
    let cross = |cross: &OfferedCross| {
        Ok(CrossRoot {
            root: CertificateDer::from(decode(&cross.root)?),
            certificate: CertificateDer::from(decode(&cross.certificate)?),
        })
    };
    offer.cross.iter().map(cross).collect()
}

/// The reveal of `exchange`, signed; `proof` is that of the token that its hello names.
pub(super) async fn reveal(
    exchange: &Exchange,
    proof: Option<Vec<u8>>,
    key: &dyn Signer,
) -> Result<Vec<u8>, SignError> {
    let input = exchange.transcript().reveal_input();
    let reveal = Reveal {
        kind: "reveal".to_owned(),
        hello: STANDARD.encode(&exchange.hello),
        offer: STANDARD.encode(&exchange.offer),
        mac: exchange.mac.clone(),
        r_n: STANDARD.encode(exchange.nonce()),
        token_proof: proof.map(|proof| STANDARD.encode(proof)),
        signature: STANDARD.encode(key.sign(Purpose::JoinReveal, &input).await?),
    };
    Ok(serde_json::to_vec(&reveal).expect("a reveal has no maps"))
}

/// The poll number `counter` of `exchange`, signed.
pub(super) async fn poll(exchange: &Exchange, counter: u64, key: &dyn Signer) -> Result<Vec<u8>, SignError> {
    let transcript = exchange.transcript();
    let input = transcript.poll_input(counter);
    let poll = Poll {
        kind: "poll".to_owned(),
        id: transcript.join_id(),
        counter,
        signature: STANDARD.encode(key.sign(Purpose::JoinPoll, &input).await?),
    };
    Ok(serde_json::to_vec(&poll).expect("a poll has no maps"))
}

fn decode(text: &str) -> Result<Vec<u8>, OfferError> {
    STANDARD
        .decode(text)
        .map_err(|error| OfferError::Format(error.to_string()))
}

fn list(digests: &[Digest]) -> String {
    digests
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" or ")
}
