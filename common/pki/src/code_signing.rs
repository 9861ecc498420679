//! Certificates of those who sign code, and the authority that issues them: apart from everything on the back end.
//!
//! ```text
//! code-signing root ── users' signing certificates (codeSigning; the user's name, and the identifier of the account)
//!                   └─ the key that stamps times (timeStamping)
//! imported roots ── … ── leaf certificates of other authorities (codeSigning)
//! ```
//!
//! Invariant: no certificate of this authority is accepted on the back end, nor the reverse: its root has no name of a
//! collective, and chains are verified against the roots that are given here only.

mod chain;
mod external;
mod facts;
mod message;

use muster_ids::{CollectiveId, UserId, UserName};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose};
use rustls_pki_types::CertificateDer;

use crate::{
    PublicKey, Purpose, Serial, SignError, Signer, Validity,
    issue::{IssueError, encode},
    profile::{ProfileError, base, subject, uri},
};

pub use chain::{ChainError, CodePath, CodeUsage, verify_code_chain};
pub use external::{ExternalKey, ExternalKeyError};
pub use facts::{Account, CodeCertificate, CodeCertificateError, issuer_addresses};
pub use message::{CodeMessage, CodeMessageError, CodeSigned, MOST_CHAIN};

/// Whom a certificate of the code-signing authority is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodeHolder {
    /// A user, who signs items.
    User {
        /// The name.
        name: UserName,
        /// The account: another one of the same name is another signer.
        id: UserId,
    },
    /// The control planes of the collective, which say when something was signed.
    TimeStamp(CollectiveId),
}

/// What the name of an account begins with in a certificate.
pub(crate) const ACCOUNT: &str = "urn:uuid:";

/// A new code-signing root of `collective`, signed by its own key `signer`.
pub async fn create_code_root(
    collective: CollectiveId,
    signer: &dyn Signer,
    serial: &Serial,
    validity: &Validity,
) -> Result<CertificateDer<'static>, IssueError> {
    let mut params = base(serial, validity)?;
    params.distinguished_name = subject(&format!("Muster code signing {collective}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    encode(signer, |key| params.self_signed(key)).await
}

/// A certificate for the key `holder_key` of `holder` under the code-signing root whose key `signer` holds.
pub async fn issue_code_certificate(
    holder: &CodeHolder,
    holder_key: &PublicKey,
    root: &CertificateDer<'_>,
    signer: &dyn Signer,
    serial: &Serial,
    validity: &Validity,
) -> Result<CertificateDer<'static>, IssueError> {
    let issuer = CodeCertificate::of(root).map_err(|_| IssueError::Level)?;
    if issuer.spki != signer.public_key().spki() {
        return Err(SignError::OtherKey {
            purpose: Purpose::Certificate,
        }
        .into());
    }
    if !issuer.is_authority {
        return Err(IssueError::Level);
    }
    if validity.not_after_ms() > issuer.validity.not_after_ms() {
        return Err(IssueError::OutlivesIssuer);
    }
    let params = params(holder, serial, validity)?;
    encode(signer, |key| {
        params.signed_by(holder_key, &Issuer::from_ca_cert_der(root, key)?)
    })
    .await
}

fn params(
    holder: &CodeHolder,
    serial: &Serial,
    validity: &Validity,
) -> Result<CertificateParams, ProfileError> {
    let mut params = base(serial, validity)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    match holder {
        CodeHolder::User { name, id } => {
            params.distinguished_name = subject(name.as_str());
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
            params.subject_alt_names = vec![uri(&format!("{ACCOUNT}{id}"))?];
        }
        CodeHolder::TimeStamp(collective) => {
            params.distinguished_name = subject(&format!("Muster time stamps {collective}"));
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::TimeStamping];
        }
    }
    Ok(params)
}
