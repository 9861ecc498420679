//! The key that signs what this node did, certified by the control plane.
//!
//! Invariant: the key lives in memory only and signs receipts only; it is certified before the first run is claimed,
//! so that no run can end without a receipt.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_client::{ClientError, Connection, Request};
use muster_ids::NodeId;
use muster_pki::{
    CertificateDer, Envelope, Facts, KeyError, KeyUse, PayloadType, Role, Roots, SignError, Signer as _,
    SoftwareSigner, SpiffeId, Subject, VerifyError,
};
use muster_wire::node::v1::{
    control::{RECEIPT_KEY_PATH, ReceiptCertificate, ReceiptKey},
    outcome::Statement,
};

/// Why there is no usable receipt key.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The control plane could not be asked, or refused.
    #[error("cannot have the receipt key of this node certified")]
    Client(#[from] ClientError),
    /// No key.
    #[error("cannot make a receipt key")]
    Key(#[from] KeyError),
    /// No request.
    #[error("cannot request a certificate for the receipt key")]
    Request(#[from] muster_pki::csr::RequestError),
    /// The certificate is not one for it.
    #[error("the certificate of the receipt key is not accepted")]
    Certificate(#[from] VerifyError),
    /// It is for somebody or something else.
    #[error("the certificate of the receipt key is for another key or node")]
    Other,
    /// Not certified yet.
    #[error("the receipt key of this node is not certified yet")]
    Missing,
    /// The key did not sign.
    #[error("cannot sign a receipt")]
    Sign(#[from] SignError),
}

/// A certified key.
#[derive(Debug)]
struct Certified {
    key: SoftwareSigner,
    chain: Vec<CertificateDer<'static>>,
    facts: Facts,
    /// That of the node's own certificate.
    generation: u64,
}

/// The first version of the protocol in which a receipt names all of the version of the trust state.
const WITH_VERSION: u32 = 6;

/// The receipt key of this life of the agent.
#[derive(Debug, Default)]
pub struct Receipts {
    certified: Mutex<Option<Arc<Certified>>>,
    /// Whether the control plane understands the version of the trust state.
    with_version: AtomicBool,
}

impl Receipts {
    /// Receipts are for a control plane that speaks this version of the protocol, from now on.
    pub fn are_read_with(&self, protocol: u32) {
        self.with_version
            .store(protocol >= WITH_VERSION, Ordering::Relaxed);
    }

    /// Has a key certified unless there is one that came with the certificate of this `generation` of the node and
    /// has more than half of its time left.
    pub async fn ensure(
        &self,
        connection: &Connection,
        roots: &Roots,
        (node, generation): (NodeId, u64),
        now_ms: i64,
    ) -> Result<(), ReceiptError> {
        if self.current().is_some_and(|current| {
            let validity = current.facts.validity;
            current.generation == generation
                && now_ms < i64::midpoint(validity.not_before_ms(), validity.not_after_ms())
        }) {
            return Ok(());
        }
        let key = SoftwareSigner::generate(KeyUse::Receipt)?;
        let csr = STANDARD.encode(muster_pki::csr::request(&key).await?);
        let reply: ReceiptCertificate = connection
            .send(Request::post(RECEIPT_KEY_PATH).json(&ReceiptKey { csr }))
            .await?
            .json()?;
        let chain: Vec<CertificateDer<'static>> = reply
            .chain
            .iter()
            .map(|text| STANDARD.decode(text).map(CertificateDer::from))
            .collect::<Result<_, _>>()
            .map_err(|_| ReceiptError::Other)?;
        let facts = roots.verify(&chain, Role::Receipt, now_ms)?;
        let expected = SpiffeId::new(roots.collective(), Subject::Receipt(node));
        if facts.public_key != *key.public_key() || facts.id != expected {
            return Err(ReceiptError::Other);
        }
        *self.lock() = Some(Arc::new(Certified {
            key,
            chain,
            facts,
            generation,
        }));
        Ok(())
    }

    /// Whether receipts can be signed.
    pub fn is_ready(&self) -> bool {
        self.current().is_some()
    }

    /// `statement` in a signed envelope.
    pub async fn sign(&self, statement: &Statement) -> Result<Envelope, ReceiptError> {
        let current = self.current().ok_or(ReceiptError::Missing)?;
        let mut statement = statement.clone();
        if !self.with_version.load(Ordering::Relaxed) {
            statement.predicate.trust = None;
        }
        let payload = serde_json::to_vec(&statement).expect("every map of a statement has text for keys");
        Ok(Envelope::sign(PayloadType::Receipt, payload, &current.key, &current.chain).await?)
    }

    /// A receipt that an earlier key of this node signed, signed by the present one; `None` where that did. The
    /// certificate of a key that is gone may be over or revoked, and the result of a run must not wait for it.
    pub async fn sign_again(&self, receipt: &Envelope) -> Result<Option<Envelope>, ReceiptError> {
        let current = self.current().ok_or(ReceiptError::Missing)?;
        let leaf = current.chain.first().ok_or(ReceiptError::Other)?;
        let (statement, by_current) = receipt.unverified(leaf);
        if by_current {
            return Ok(None);
        }
        let statement = statement.to_vec();
        let again = Envelope::sign(PayloadType::Receipt, statement, &current.key, &current.chain);
        Ok(Some(again.await?))
    }

    fn current(&self) -> Option<Arc<Certified>> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Certified>>> {
        // A panic elsewhere leaves the option whole.
        self.certified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
