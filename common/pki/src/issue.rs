//! Issuing certificates: a profile, a key, an authority.
//!
//! Invariant: nothing is issued that the verifier would refuse for its issuer's sake: the signer holds the
//! issuer's key, the issuer is of the same collective and of the right level, and the certificate does not
//! outlive it.

use muster_ids::CollectiveId;
use rcgen::{CertificateParams, Issuer};
use rustls_pki_types::CertificateDer;

use crate::{
    AuthorityError, AuthorityFacts, Profile, PublicKey, Purpose, Serial, SignError, Signer, Validity,
    profile::{ProfileError, root_params},
    two_pass::{self, TwoPassError},
};

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// What was to be issued is not possible.
    #[error("cannot issue a certificate: the profile does not allow it")]
    Profile(#[from] ProfileError),
    /// The issuer is none.
    #[error("cannot issue a certificate: the issuer's certificate is not accepted")]
    Issuer(#[from] AuthorityError),
    /// A root was to sign a leaf, or an intermediate another.
    #[error(
        "cannot issue a certificate: roots sign roots and intermediates only, and intermediates sign leaves only"
    )]
    Level,
    /// The issuer serves others.
    #[error("cannot issue a certificate of the collective {wanted}: the issuer belongs to {issuer}")]
    Collective {
        /// The collective of the profile.
        wanted: CollectiveId,
        /// The collective of the issuer.
        issuer: CollectiveId,
    },
    /// It would be valid when its issuer no longer is.
    #[error("cannot issue a certificate that outlives its issuer; shorten it or renew the issuer first")]
    OutlivesIssuer,
    /// The key did not sign.
    #[error("cannot issue a certificate: signing failed")]
    Sign(#[from] SignError),
    /// The encoder refused.
    #[error("cannot issue a certificate: it could not be encoded")]
    Encode(#[source] rcgen::Error),
}

/// A new root of `collective`, signed by its own key `signer`.
pub async fn create_root(
    collective: CollectiveId,
    signer: &dyn Signer,
    serial: &Serial,
    validity: &Validity,
) -> Result<CertificateDer<'static>, IssueError> {
    let params = root_params(collective, serial, validity)?;
    encode(signer, |key| params.self_signed(key)).await
}

/// A certificate of `profile` for the key `subject`, under the authority `issuer` whose key `signer` holds.
pub async fn issue(
    profile: &Profile,
    subject: &PublicKey,
    issuer: &CertificateDer<'_>,
    signer: &dyn Signer,
    serial: &Serial,
    validity: &Validity,
) -> Result<CertificateDer<'static>, IssueError> {
    let authority = AuthorityFacts::of(issuer)?;
    if authority.public_key != *signer.public_key() {
        return Err(SignError::OtherKey {
            purpose: Purpose::Certificate,
        }
        .into());
    }
    if authority.path_length != profile.issuer_path_length() {
        return Err(IssueError::Level);
    }
    if authority.collective != profile.collective() {
        return Err(IssueError::Collective {
            wanted: profile.collective(),
            issuer: authority.collective,
        });
    }
    if validity.not_after_ms() > authority.validity.not_after_ms() {
        return Err(IssueError::OutlivesIssuer);
    }
    let params: CertificateParams = profile.params(serial, validity)?;
    encode(signer, |key| {
        params.signed_by(subject, &Issuer::from_ca_cert_der(issuer, key)?)
    })
    .await
}

pub(crate) async fn encode(
    signer: &dyn Signer,
    build: impl Fn(&two_pass::Pass<'_>) -> Result<rcgen::Certificate, rcgen::Error>,
) -> Result<CertificateDer<'static>, IssueError> {
    match two_pass::sign(signer, Purpose::Certificate, build).await {
        Ok(certificate) => Ok(certificate.into()),
        Err(TwoPassError::Encode(error)) => Err(IssueError::Encode(error)),
        Err(TwoPassError::Sign(error)) => Err(IssueError::Sign(error)),
    }
}
