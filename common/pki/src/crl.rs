//! Certificate revocation lists (RFC 5280 5), for others who verify certificates of the collective.
//!
//! Nodes and control planes do not read them: they ask the database about each request. Invariant: a list is
//! signed by the authority that issued the certificates on it, names that authority's key, and says until when it
//! holds.

use std::{fmt, str::FromStr};

use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, RevocationReason as Code, RevokedCertParams,
    SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use crate::{
    AuthorityError, AuthorityFacts, Outline, Purpose, Serial, SignError, Signer,
    two_pass::{self, TwoPassError},
};

/// Why a certificate is revoked (RFC 5280 5.3.1). Those that a collective has no use for are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RevocationReason {
    /// Nobody said.
    Unspecified,
    /// The key may be in other hands.
    KeyCompromise,
    /// Its holder belongs elsewhere now.
    AffiliationChanged,
    /// Another certificate took its place.
    Superseded,
    /// Its holder needs it no longer.
    CessationOfOperation,
    /// Its holder may no longer.
    PrivilegeWithdrawn,
}

impl RevocationReason {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::AffiliationChanged => "affiliation-changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
            Self::PrivilegeWithdrawn => "privilege-withdrawn",
        }
    }

    fn code(self) -> Code {
        match self {
            Self::Unspecified => Code::Unspecified,
            Self::KeyCompromise => Code::KeyCompromise,
            Self::AffiliationChanged => Code::AffiliationChanged,
            Self::Superseded => Code::Superseded,
            Self::CessationOfOperation => Code::CessationOfOperation,
            Self::PrivilegeWithdrawn => Code::PrivilegeWithdrawn,
        }
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is no reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the reason of a revocation is unspecified, key-compromise, affiliation-changed, superseded, \
     cessation-of-operation or privilege-withdrawn"
)]
pub struct ReasonError;

impl FromStr for RevocationReason {
    type Err = ReasonError;
    fn from_str(text: &str) -> Result<Self, ReasonError> {
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str() == text)
            .ok_or(ReasonError)
    }
}

/// One certificate on a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedCertificate {
    /// Which.
    pub serial: Serial,
    /// When it was revoked, milliseconds since 1970, UTC.
    pub revoked_at_ms: i64,
    /// Why.
    pub reason: RevocationReason,
}

/// What a list says beside the certificates on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrlHead {
    /// Grows with each list of one authority, from 1.
    pub number: u64,
    /// When it was made, milliseconds since 1970, UTC.
    pub this_update_ms: i64,
    /// Until when it holds: the next one comes before.
    pub next_update_ms: i64,
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum CrlError {
    /// The issuer is none.
    #[error("cannot issue a revocation list: the issuer's certificate is not accepted")]
    Issuer(#[from] AuthorityError),
    /// X.509 ends with the year 9999, and nothing ends before it begins.
    #[error("cannot issue a revocation list: its times are not those of a list")]
    Times,
    /// The key did not sign.
    #[error("cannot issue a revocation list: signing failed")]
    Sign(#[from] SignError),
    /// The encoder refused.
    #[error("cannot issue a revocation list: it could not be encoded")]
    Encode(#[source] rcgen::Error),
}

/// A list (DER) of `revoked` under the authority `issuer`, whose key `signer` holds.
pub async fn issue_crl(
    revoked: &[RevokedCertificate],
    head: &CrlHead,
    issuer: &CertificateDer<'_>,
    signer: &dyn Signer,
) -> Result<Vec<u8>, CrlError> {
    let authority = AuthorityFacts::of(issuer)?;
    if authority.public_key != *signer.public_key() {
        return Err(SignError::OtherKey {
            purpose: Purpose::RevocationList,
        }
        .into());
    }
    let key_identifier = Outline::of(issuer)
        .and_then(|outline| outline.key_identifier)
        .ok_or(AuthorityError::Unreadable)?;
    let moment =
        |ms: i64| OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)).map_err(|_| CrlError::Times);
    let mut revoked_certs = Vec::with_capacity(revoked.len());
    for certificate in revoked {
        revoked_certs.push(RevokedCertParams {
            serial_number: SerialNumber::from_slice(certificate.serial.as_bytes()),
            revocation_time: moment(certificate.revoked_at_ms)?,
            reason_code: Some(certificate.reason.code()),
            invalidity_date: None,
        });
    }
    let params = CertificateRevocationListParams {
        this_update: moment(head.this_update_ms)?,
        next_update: moment(head.next_update_ms)?,
        crl_number: SerialNumber::from(head.number),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: KeyIdMethod::PreSpecified(key_identifier),
    };
    let signed = two_pass::sign(signer, Purpose::RevocationList, |key| {
        params.signed_by(&Issuer::from_ca_cert_der(issuer, key)?)
    })
    .await;
    match signed {
        Ok(list) => Ok(list.der().to_vec()),
        Err(TwoPassError::Encode(rcgen::Error::InvalidCrlNextUpdate)) => Err(CrlError::Times),
        Err(TwoPassError::Encode(error)) => Err(CrlError::Encode(error)),
        Err(TwoPassError::Sign(error)) => Err(CrlError::Sign(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_survive_their_names() {
        for reason in RevocationReason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(reason));
        }
        assert_eq!("disk stolen".parse::<RevocationReason>(), Err(ReasonError));
    }
}
