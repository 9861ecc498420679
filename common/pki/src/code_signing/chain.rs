//! Whether the certificate of somebody who signed leads to a root.
//!
//! Invariant: only certificates that are handed in are used. No address that stands in one is ever asked. Nothing but an
//! authority issues, and what one root issued is never taken for what another did.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::VerifiedPath;

use super::{CodeCertificate, CodeCertificateError};

/// The algorithms of certificates and signatures of other authorities: what they sign code with today. Not Ed25519: with a
/// key of small order one signature fits every message.
pub(super) static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::aws_lc_rs::ECDSA_P256_SHA256,
    webpki::aws_lc_rs::ECDSA_P256_SHA384,
    webpki::aws_lc_rs::ECDSA_P384_SHA256,
    webpki::aws_lc_rs::ECDSA_P384_SHA384,
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

/// How a leaf leads to a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodePath {
    /// The place of the root among those that were asked about.
    pub root: usize,
    /// What is between both, the issuer of the leaf first.
    pub between: Vec<CertificateDer<'static>>,
}

/// Which of `roots` the leaf of `chain` (leaf first, then what leads on from it) leads to at `at_ms`, milliseconds since
/// 1970, UTC, and by what. Of several the first counts, and no certificate with the key of one of them leads
/// on to another: whoever issues one for a root that is accepted here could speak for that root otherwise.
pub fn verify_code_chain(
    chain: &[CertificateDer<'_>],
    roots: &[CertificateDer<'_>],
    usage: CodeUsage,
    at_ms: i64,
) -> Result<CodePath, ChainError> {
    let (leaf, others) = chain.split_first().ok_or(ChainError::Missing)?;
    let facts = CodeCertificate::of(leaf)?;
    let fits = match usage {
        CodeUsage::Signing => facts.signs_code,
        CodeUsage::TimeStamping => facts.stamps_times,
    };
    if !fits {
        return Err(ChainError::Usage);
    }
    let (mut known, mut anchors) = (Vec::new(), Vec::new());
    for (place, root) in roots.iter().enumerate() {
        // What may not sign certificates is no root, whoever handed it in.
        if let (Ok(facts), Ok(anchor)) = (CodeCertificate::of(root), webpki::anchor_from_trusted_cert(root))
            && facts.is_authority
        {
            known.push((place, facts));
            anchors.push(anchor);
        }
    }
    let root_of = |path: &VerifiedPath<'_>| {
        let place = anchors
            .iter()
            .position(|anchor| std::ptr::eq(anchor, path.anchor()));
        place
            .and_then(|place| known.get(place))
            .ok_or(webpki::Error::UnknownIssuer)
    };
    let allowed = |path: &VerifiedPath<'_>| {
        let mut between = 0;
        for certificate in path.intermediate_certificates() {
            let facts = CodeCertificate::of(&certificate.der()).map_err(|_| webpki::Error::BadDer)?;
            if !facts.is_authority {
                return Err(webpki::Error::EndEntityUsedAsCa);
            }
            if known.iter().any(|(_, root)| root.spki == facts.spki) {
                return Err(webpki::Error::UnknownIssuer);
            }
            between += 1;
        }
        // The rules for paths take a root for valid whenever, and for as long a path as there is.
        let (_, root) = root_of(path)?;
        if root.path_length.is_some_and(|most| between > most) {
            return Err(webpki::Error::PathLenConstraintViolated);
        }
        let (time, not_after) = (unix_time(at_ms), unix_time(root.validity.not_after_ms()));
        if at_ms < root.validity.not_before_ms() || at_ms > root.validity.not_after_ms() {
            return Err(webpki::Error::CertExpired { time, not_after });
        }
        Ok(())
    };
    let key_usage = match usage {
        CodeUsage::Signing => webpki::KeyUsage::required_if_present(&CODE_SIGNING),
        CodeUsage::TimeStamping => webpki::KeyUsage::required_if_present(&TIME_STAMPING),
    };
    let end_entity = webpki::EndEntityCert::try_from(leaf).map_err(named)?;
    let path = end_entity
        .verify_for_usage(
            ALGORITHMS,
            &anchors,
            others,
            unix_time(at_ms),
            key_usage,
            None,
            Some(&allowed),
        )
        .map_err(named)?;
    let (root, _) = root_of(&path).map_err(named)?;
    Ok(CodePath {
        root: *root,
        between: path
            .intermediate_certificates()
            .map(|certificate| certificate.der().into_owned())
            .collect(),
    })
}

/// A clock before 1970 becomes 1970, where no certificate is valid yet.
fn unix_time(ms: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(
        u64::try_from(ms.div_euclid(1000)).unwrap_or(0),
    ))
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
