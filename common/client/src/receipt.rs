//! The receipt of a run, verified from its own bytes and from roots that the reader trusts, or that it brings along and
//! the reader compares: no control plane is asked.
//!
//! ```text
//! roots ─┬─ intermediate ── policy key ─── countersignature: digest of the receipt, time, place in the audit log
//!        └─ intermediate ── receipt key ── receipt: run, node, what decided, inputs, outputs, ending
//! ```
//!
//! Invariant: [`Proven`] exists only where a control plane signed that it took this very receipt at its time, and the
//! receipt key of the node that the receipt names signed the receipt; both certificates were valid at that time and lead
//! to the roots that it names. Revocation is not part of it: who asks nobody knows no list.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_ids::{ControlPlaneId, Digest, NodeId};
use muster_pki::{
    CertificateDer, Envelope, EnvelopeError, PayloadType, Roots, RootsError, Subject, Verified,
};
use muster_wire::node::v1::outcome::{Countersignature, PREDICATE_TYPE, Receipt, STATEMENT_TYPE, Statement};
use serde_json::Value;

/// The longest file of a receipt, in bytes: a payload of 1 MiB in base64, its countersignature, chains and roots.
pub const MOST_RECEIPT: usize = 2 * 1024 * 1024;

/// Whom the reader trusts.
#[derive(Debug, Clone)]
pub enum Anchors {
    /// These roots.
    Roots(Roots),
    /// Those roots of the file that have one of these fingerprints.
    Pins(Vec<Digest>),
    /// The roots of the file. Whoever forges a receipt forges a root as well: what is proved is as good as the
    /// comparison of [`Proven::roots`] with those of the control plane.
    Bundle,
}

/// What a receipt proves.
#[derive(Debug, Clone, PartialEq)]
pub struct Proven {
    /// What the node said.
    pub statement: Statement,
    /// What the control plane said of it.
    pub countersignature: Countersignature,
    /// Which control plane.
    pub control_plane: ControlPlaneId,
    /// The fingerprints of the roots that were trusted; of [`Anchors::Bundle`] the one that both signatures lead to, if
    /// there is one.
    pub roots: Vec<Digest>,
}

/// Why a file proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// No honest receipt is so long.
    #[error("it has {0} bytes; a receipt has at most {MOST_RECEIPT}")]
    TooLong(usize),
    /// Not a receipt, or one with unknown fields.
    #[error("it is not the receipt of a run, as muster run receipt show writes it")]
    Format(#[source] serde_json::Error),
    /// A root in it is no certificate of base64 DER.
    #[error("a root certificate in it is not base64")]
    RootText(#[from] base64::DecodeError),
    /// The roots in it are not those of one collective.
    #[error("the roots in it are not accepted")]
    Roots(#[from] RootsError),
    /// There is none in it, and no other is trusted.
    #[error("there is no root in it")]
    NoRoot,
    /// None of them is trusted.
    #[error("none of the roots in it has a fingerprint that is trusted; it has {}", listed(.0))]
    Unknown(Vec<Digest>),
    /// One of the two signed messages is not as it should be.
    #[error("its {0} is not accepted")]
    Signed(PayloadType, #[source] EnvelopeError),
    /// Not what such a message says.
    #[error("what its {0} says cannot be read")]
    Payload(PayloadType, #[source] serde_json::Error),
    /// The statement is of another kind.
    #[error("its receipt is a signed statement of another kind: {0:?}")]
    Kind(String),
    /// The two do not belong together.
    #[error("its countersignature is that of another receipt: of {expected}, and this one is {found}")]
    Binding {
        /// What the control plane signed.
        expected: Digest,
        /// What is there.
        found: Digest,
    },
    /// A node signed in the name of another.
    #[error("its receipt speaks of the node {named}, but the node {signed} signed it")]
    Node {
        /// What the receipt says.
        named: NodeId,
        /// Whose key it was.
        signed: NodeId,
    },
    /// The key is that of somebody who signs no such messages.
    #[error("its {0} is signed by somebody else than it must be")]
    Signer(PayloadType),
    /// It contradicts itself.
    #[error("its receipt names two trust states, number {0} and number {1}")]
    TwoStates(u64, u64),
}

/// What the receipt in `file` proves to who trusts `anchors`.
pub fn verify(file: &[u8], anchors: &Anchors) -> Result<Proven, ReceiptError> {
    if file.len() > MOST_RECEIPT {
        return Err(ReceiptError::TooLong(file.len()));
    }
    let bundle: Receipt = serde_json::from_slice(file).map_err(ReceiptError::Format)?;
    let offered = offered(&bundle.roots)?;
    match anchors {
        Anchors::Roots(roots) => proven(&bundle, roots),
        Anchors::Pins(pins) => {
            let named = offered.as_ref().and_then(|offered| offered.pinned(pins));
            let unknown = || offered.map(|roots| roots.fingerprints()).unwrap_or_default();
            proven(&bundle, &named.ok_or_else(|| ReceiptError::Unknown(unknown()))?)
        }
        Anchors::Bundle => {
            let offered = offered.ok_or(ReceiptError::NoRoot)?;
            // While roots are exchanged there are two, and the reader has to compare only the one that matters.
            let one = offered.fingerprints().into_iter().find_map(|root| {
                let alone = offered.pinned(&[root])?;
                proven(&bundle, &alone).ok()
            });
            one.map_or_else(|| proven(&bundle, &offered), Ok)
        }
    }
}

/// What `bundle` proves to who trusts `roots`.
fn proven(bundle: &Receipt, roots: &Roots) -> Result<Proven, ReceiptError> {
    let counter = PayloadType::Countersignature;
    let envelope = opened(&bundle.countersignature, counter)?;
    // The time for which everything is verified is believed once the signature over it is.
    let claimed: Countersignature = read(envelope.claimed(), counter)?;
    let taken = verified(envelope, counter, roots, claimed.time)?;
    let Subject::Policy(control_plane) = taken.signer.id.subject else {
        return Err(ReceiptError::Signer(counter));
    };
    let countersignature: Countersignature = read(&taken.payload, counter)?;

    let receipt = PayloadType::Receipt;
    let envelope = opened(&bundle.receipt, receipt)?;
    let (expected, found) = (countersignature.receipt, Digest::of(envelope.claimed()));
    if expected != found {
        return Err(ReceiptError::Binding { expected, found });
    }
    let said = verified(envelope, receipt, roots, countersignature.time)?;
    let statement: Statement = read(&said.payload, receipt)?;
    for (kind, wanted) in [
        (&statement.kind, STATEMENT_TYPE),
        (&statement.predicate_type, PREDICATE_TYPE),
    ] {
        if kind != wanted {
            return Err(ReceiptError::Kind(kind.clone()));
        }
    }
    let predicate = &statement.predicate;
    match said.signer.id.subject {
        Subject::Receipt(signed) if signed == predicate.node => {}
        Subject::Receipt(signed) => {
            return Err(ReceiptError::Node {
                named: predicate.node,
                signed,
            });
        }
        _ => return Err(ReceiptError::Signer(receipt)),
    }
    if let Some(trust) = &predicate.trust
        && trust.number != predicate.trust_number
    {
        return Err(ReceiptError::TwoStates(predicate.trust_number, trust.number));
    }
    Ok(Proven {
        statement,
        countersignature,
        control_plane,
        roots: roots.fingerprints(),
    })
}

/// The roots of the file. They are read whoever is trusted, so that nothing in it can be damaged.
fn offered(texts: &[String]) -> Result<Option<Roots>, ReceiptError> {
    if texts.is_empty() {
        return Ok(None);
    }
    let certificates = texts
        .iter()
        .map(|text| STANDARD.decode(text).map(CertificateDer::from))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Roots::new(certificates)?))
}

fn opened(envelope: &Value, expected: PayloadType) -> Result<Envelope, ReceiptError> {
    Envelope::from_json(envelope.to_string().as_bytes(), expected)
        .map_err(|error| ReceiptError::Signed(expected, error))
}

fn verified(
    envelope: Envelope,
    expected: PayloadType,
    roots: &Roots,
    at_ms: i64,
) -> Result<Verified, ReceiptError> {
    envelope
        .verify(expected, roots, at_ms)
        .map_err(|error| ReceiptError::Signed(expected, error))
}

fn read<T: serde::de::DeserializeOwned>(payload: &[u8], found: PayloadType) -> Result<T, ReceiptError> {
    serde_json::from_slice(payload).map_err(|error| ReceiptError::Payload(found, error))
}

fn listed(fingerprints: &[Digest]) -> String {
    if fingerprints.is_empty() {
        return "none".to_owned();
    }
    let texts: Vec<_> = fingerprints.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
