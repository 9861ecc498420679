//! The answer of the control plane: which is believed, and what membership an issued one makes.
//!
//! Invariant: a membership begins with roots that each prove the answer by itself. So whoever trusts one of them, by a
//! pin or by comparing what is shown, trusts who signed the answer, and nobody else comes in beside it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_pki::{
    CertificateDer, Envelope, EnvelopeError, PayloadType, PublicKey, Role, Roots, RootsError, SpiffeId,
    Subject, VerifyError,
};
use muster_wire::node::v1::join::{Answer, Issued};

use crate::{
    capability::Capability,
    config,
    credentials::{Exchange, Member},
};

/// Why an answer is not believed.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Not signed under the roots of the offer.
    #[error("the answer to the join is not accepted")]
    Envelope(#[from] EnvelopeError),
    /// The stored roots are unusable.
    #[error("the roots of the offer are not accepted")]
    Roots(#[from] RootsError),
    /// Signed, but not readable.
    #[error(
        "the answer to the join cannot be read; are this program and the control plane of like versions?"
    )]
    Format(#[from] serde_json::Error),
    /// About another exchange, or an old answer.
    #[error("the answer to the join is about another question; somebody may be repeating old answers")]
    OtherQuestion,
    /// The certificate is not one for this node.
    #[error("the issued certificate is not accepted")]
    Certificate(#[from] VerifyError),
    /// Something in it does not belong to the rest.
    #[error("what was issued is not accepted: {0}")]
    Issued(&'static str),
}

/// An answer that was signed under the roots of the offer.
#[derive(Debug)]
pub struct Opened {
    /// What it says.
    pub answer: Answer,
    envelope: Envelope,
}

impl Opened {
    /// Whether this root alone proves who signed the answer.
    fn is_proved_by(&self, root: &CertificateDer<'static>, now_ms: i64) -> bool {
        Roots::new(vec![root.clone()]).is_ok_and(|root| {
            let envelope = self.envelope.clone();
            envelope.verify(PayloadType::JoinAnswer, &root, now_ms).is_ok()
        })
    }
}

/// The answer in `reply`, if it was signed under the roots of the offer and answers `counter`.
pub fn open(reply: &[u8], exchange: &Exchange, counter: u64, now_ms: i64) -> Result<Opened, AnswerError> {
    let envelope = Envelope::from_json(reply, PayloadType::JoinAnswer)?;
    let verified = envelope
        .clone()
        .verify(PayloadType::JoinAnswer, &exchange.roots()?, now_ms)?;
    let answer: Answer = serde_json::from_slice(&verified.payload)?;
    if answer.transcript != exchange.transcript().digest() || answer.counter != counter {
        return Err(AnswerError::OtherQuestion);
    }
    Ok(Opened { answer, envelope })
}

/// The membership that the answer `opened` issued to the holder of `key`.
pub fn member(
    mut opened: Opened,
    exchange: &Exchange,
    key: &PublicKey,
    registration: &[String],
    now_ms: i64,
) -> Result<Member, AnswerError> {
    let issued: Issued = opened
        .answer
        .issued
        .take()
        .ok_or(AnswerError::Issued("the certificate is missing"))?;
    let accepted = exchange.roots()?;
    let chain = certificates(&issued.chain)?;
    let facts = accepted.verify(&chain, Role::Node, now_ms)?;
    if facts.public_key != *key {
        return Err(AnswerError::Issued("the certificate is for another key"));
    }
    if issued.role != "node"
        || issued.collective != accepted.collective()
        || facts.id != SpiffeId::new(issued.collective, Subject::Node(issued.node))
    {
        return Err(AnswerError::Issued(
            "the certificate names somebody else than the answer",
        ));
    }
    if issued.server_identity != format!("spiffe://{}/control-plane/", issued.collective) {
        return Err(AnswerError::Issued(
            "the back end is to have an identity outside the collective",
        ));
    }
    // Other roots that it names may be as good, but whoever compares fingerprints at this node has one in mind: without
    // a pin a forger could name it beside his own. The trust state, which the same signer signs, brings the others.
    let named = Roots::new(certificates(&issued.anchors)?)?;
    if named.collective() != accepted.collective() {
        return Err(AnswerError::Issued("its roots are those of another collective"));
    }
    let proving = named
        .certificates()
        .iter()
        .filter(|root| opened.is_proved_by(root, now_ms))
        .cloned();
    let roots: Vec<_> = proving.collect();
    if roots.is_empty() {
        return Err(AnswerError::Issued("it names no root that proves who signed it"));
    }
    let mut back_ends = Vec::new();
    for address in &issued.back_ends {
        let address = config::back_end_address(address)
            .map_err(|_| AnswerError::Issued("a back end's address is not HOST:PORT"))?;
        back_ends.push(address);
    }
    let mut capabilities: Vec<Capability> = Vec::new();
    for capability in &issued.capabilities {
        capabilities.push(
            capability
                .parse()
                .map_err(|_| AnswerError::Issued("it grants an unknown capability; update muster-node"))?,
        );
    }
    Ok(Member {
        node: issued.node,
        collective: issued.collective,
        name: issued.name,
        capabilities,
        pool: issued.pool,
        site: issued.site,
        chain,
        generation: issued.generation,
        roots,
        denied: Vec::new(),
        back_ends,
        registration: registration.to_vec(),
        epoch: issued.epoch,
    })
}

fn certificates(list: &[String]) -> Result<Vec<CertificateDer<'static>>, AnswerError> {
    list.iter()
        .map(|text| STANDARD.decode(text).map(CertificateDer::from))
        .collect::<Result<_, _>>()
        .map_err(|_| AnswerError::Issued("a certificate is not base64"))
}

#[cfg(test)]
mod tests;
