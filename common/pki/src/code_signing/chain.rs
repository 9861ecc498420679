//! Whether the certificate of somebody who signed leads to a root.
//!
//! Invariant: only certificates that are handed in are used. No address that stands in one is ever asked.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};

use super::{CodeCertificate, CodeCertificateError};

/// The algorithms of certificates and signatures of other authorities: what they sign code with today.
pub(super) static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::aws_lc_rs::ECDSA_P256_SHA256,
    webpki::aws_lc_rs::ECDSA_P256_SHA384,
    webpki::aws_lc_rs::ECDSA_P384_SHA256,
    webpki::aws_lc_rs::ECDSA_P384_SHA384,
    webpki::aws_lc_rs::ED25519,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA384,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA512,
];
/// id-kp-codeSigning, as the content of a DER object identifier.
const CODE_SIGNING: [u8; 8] = [0x2b, 6, 1, 5, 5, 7, 3, 3];
/// id-kp-timeStamping.
const TIME_STAMPING: [u8; 8] = [0x2b, 6, 1, 5, 5, 7, 3, 8];

/// What the leaf of a chain must be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeUsage {
    /// Signing items.
    Signing,
    /// Stamping times.
    TimeStamping,
}

/// Why a chain is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// There is none.
    #[error("there is no certificate beside the signature")]
    Missing,
    /// A certificate of it cannot be used.
    #[error("a certificate beside the signature cannot be used")]
    Certificate(#[from] CodeCertificateError),
    /// The leaf is for something else.
    #[error("the certificate may not sign code, or is that of an authority")]
    Usage,
    /// No root that is accepted issued it.
    #[error(
        "the certificate leads to no root that is accepted here, or a certificate between them is missing"
    )]
    UnknownIssuer,
    /// It was signed outside of the time of a certificate.
    #[error("a certificate was not valid at the time of the signature")]
    Expired,
    /// Anything else that the rules for paths refuse.
    #[error("the certificates do not lead from one to the next")]
    Path(#[source] webpki::Error),
}

/// Which of `roots` the leaf of `chain` (leaf first, then what leads on from it) leads to at `at_ms`, milliseconds since
/// 1970, UTC; by its place among them.
pub fn verify_code_chain(
    chain: &[CertificateDer<'_>],
    roots: &[CertificateDer<'_>],
    usage: CodeUsage,
    at_ms: i64,
) -> Result<usize, ChainError> {
    let (leaf, others) = chain.split_first().ok_or(ChainError::Missing)?;
    let facts = CodeCertificate::of(leaf)?;
    let fits = match usage {
        CodeUsage::Signing => facts.signs_code,
        CodeUsage::TimeStamping => facts.stamps_times,
    };
    if !fits {
        return Err(ChainError::Usage);
    }
    let mut refused = ChainError::UnknownIssuer;
    for (place, root) in roots.iter().enumerate() {
        match leads_to(leaf, others, root, usage, at_ms) {
            Ok(()) => return Ok(place),
            Err(ChainError::UnknownIssuer) => {}
            Err(other) => refused = other,
        }
    }
    Err(refused)
}

fn leads_to(
    leaf: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    root: &CertificateDer<'_>,
    usage: CodeUsage,
    at_ms: i64,
) -> Result<(), ChainError> {
    let anchor = webpki::anchor_from_trusted_cert(root).map_err(named)?;
    // A clock before 1970 becomes 1970, where no certificate is valid yet.
    let seconds = u64::try_from(at_ms.div_euclid(1000)).unwrap_or(0);
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let key_usage = match usage {
        CodeUsage::Signing => webpki::KeyUsage::required_if_present(&CODE_SIGNING),
        CodeUsage::TimeStamping => webpki::KeyUsage::required_if_present(&TIME_STAMPING),
    };
    let end_entity = webpki::EndEntityCert::try_from(leaf).map_err(named)?;
    end_entity
        .verify_for_usage(ALGORITHMS, &[anchor], others, time, key_usage, None, None)
        .map_err(named)?;
    // The rules for paths take a root for valid whenever.
    let validity = CodeCertificate::of(root)?.validity;
    if at_ms < validity.not_before_ms() || at_ms > validity.not_after_ms() {
        return Err(ChainError::Expired);
    }
    Ok(())
}

fn named(error: webpki::Error) -> ChainError {
    match error {
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
            ChainError::UnknownIssuer
        }
        webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => ChainError::Expired,
        other => ChainError::Path(other),
    }
}
