//! Signing without holding the key: the one door to every private key of the product.
//!
//! Invariant: a caller names the purpose of each signature and never sees a key. A signer may refuse a
//! purpose that its key is not for, so a key is of no use outside its purposes. The trait is asynchronous
//! because a key may live in another device.

use std::{fmt, pin::Pin};

use crate::PublicKey;

/// What a signature is for. Every kind of signed message has its own purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A certificate.
    Certificate,
    /// A list of revoked certificates.
    RevocationList,
    /// A certificate signing request, which proves possession of its own key.
    CertificateRequest,
    /// The reveal of a join.
    JoinReveal,
    /// A poll of a join.
    JoinPoll,
    /// The answer to a join.
    JoinAnswer,
    /// A trust state.
    TrustState,
    /// A beacon: the trust state is still this one.
    Beacon,
    /// The permission to run one function once.
    RunGrant,
    /// The head of the audit log.
    AuditHead,
    /// What a node says that it did.
    Receipt,
    /// A control plane's signature beside the node's on a receipt.
    Countersignature,
    /// That an older database was put back on purpose.
    EpochBump,
    /// That somebody signed one version of an item.
    ItemSignature,
    /// That something was there at a time.
    TimeStamp,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Certificate => "certificate",
            Self::RevocationList => "revocation list",
            Self::CertificateRequest => "certificate request",
            Self::JoinReveal => "join reveal",
            Self::JoinPoll => "join poll",
            Self::JoinAnswer => "join answer",
            Self::TrustState => "trust state",
            Self::Beacon => "beacon",
            Self::RunGrant => "run grant",
            Self::AuditHead => "audit head",
            Self::Receipt => "receipt",
            Self::Countersignature => "countersignature",
            Self::EpochBump => "epoch bump",
            Self::ItemSignature => "item signature",
            Self::TimeStamp => "time stamp",
        })
    }
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key is not for this purpose.
    #[error("cannot sign a {purpose}: the key is not for this purpose")]
    Purpose {
        /// What was to be signed.
        purpose: Purpose,
    },
    /// The key, or the device that holds it, failed.
    #[error("cannot sign a {purpose}: the key or the device that holds it failed; see the log of the device")]
    Failed {
        /// What was to be signed.
        purpose: Purpose,
        /// What the device said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Longer than its readers accept.
    #[error("cannot sign a {purpose} of {length} bytes: readers accept at most {max}")]
    TooLong {
        /// What was to be signed.
        purpose: Purpose,
        /// How long it is.
        length: usize,
        /// How long it may be.
        max: usize,
    },
    /// The certificate that was to accompany the signature is for another key.
    #[error("cannot sign a {purpose}: the certificate belongs to another key than the signer's")]
    OtherKey {
        /// What was to be signed.
        purpose: Purpose,
    },
}

/// A signature on its way.
pub type SignFuture<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, SignError>> + Send + 'a>>;

/// Something that signs with one ECDSA key on P-256.
pub trait Signer: fmt::Debug + Send + Sync {
    /// The public half of the key.
    fn public_key(&self) -> &PublicKey;

    /// Signs `message` (ECDSA with SHA-256, ASN.1) for `purpose`.
    fn sign<'a>(&'a self, purpose: Purpose, message: &'a [u8]) -> SignFuture<'a>;
}
