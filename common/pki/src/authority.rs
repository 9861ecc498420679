//! What a certification authority's certificate says, read strictly.
//!
//! Invariant: [`AuthorityFacts`] exist only for a certificate of the shape that the root and issuing profiles
//! give: a CA with a path length, keyCertSign, on P-256, whose one name is the collective.

use muster_ids::CollectiveId;
use rustls_pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate, der_parser::oid, extensions::GeneralName, prelude::FromDer as _,
};

use crate::{PublicKey, PublicKeyError, Validity, facts::seconds_to_validity, identity::parse_trust_domain};

/// Why a certificate is not one of a collective's authorities.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// Not a certificate at all.
    #[error("the authority's certificate is not readable as X.509 DER; export it again")]
    Unreadable,
    /// Not a certification authority.
    #[error(
        "the certificate may not sign certificates with a limited path; expected a root or issuing intermediate"
    )]
    NotAuthority,
    /// Its name is not that of a collective.
    #[error("the authority's certificate does not name exactly one collective (spiffe://<collective>)")]
    Name,
    /// Another kind of key.
    #[error("the authority's certificate has a key that is not accepted")]
    Key(#[from] PublicKeyError),
}

/// What a root or issuing intermediate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityFacts {
    /// The collective whose certificates it signs.
    pub collective: CollectiveId,
    /// How many intermediates may follow below it: 1 for a root, 0 for an issuing intermediate.
    pub path_length: u32,
    /// Its key.
    pub public_key: PublicKey,
    /// Its validity, which no certificate below it may exceed.
    pub validity: Validity,
    /// Whether it signed itself.
    pub self_signed: bool,
}

impl AuthorityFacts {
    /// Reads `certificate` (DER). Nothing is verified but a signature by its own key, where it claims to have
    /// signed itself.
    pub fn of(certificate: &[u8]) -> Result<Self, AuthorityError> {
        let Ok((&[], x509)) = X509Certificate::from_der(certificate) else {
            return Err(AuthorityError::Unreadable);
        };
        let path_length = path_length(&x509).ok_or(AuthorityError::NotAuthority)?;
        let public_key = PublicKey::from_spki(x509.public_key().raw)?;
        let self_signed =
            x509.subject().as_raw() == x509.issuer().as_raw() && signed_by(certificate, &public_key);
        Ok(Self {
            collective: collective(&x509).ok_or(AuthorityError::Name)?,
            path_length,
            public_key,
            validity: seconds_to_validity(x509.validity()),
            self_signed,
        })
    }
}

/// Whether two certificates (DER) are those of one authority: the same name and the same key.
pub(crate) fn same_authority(one: &[u8], other: &[u8]) -> bool {
    match (X509Certificate::from_der(one), X509Certificate::from_der(other)) {
        (Ok((&[], one)), Ok((&[], other))) => {
            one.subject().as_raw() == other.subject().as_raw()
                && one.public_key().raw == other.public_key().raw
        }
        _ => false,
    }
}

/// Whether the authority with the certificate `issuer` signed `certificate` (both DER).
pub fn is_signed_by(certificate: &[u8], issuer: &[u8]) -> bool {
    AuthorityFacts::of(issuer).is_ok_and(|issuer| signed_by(certificate, &issuer.public_key))
}

/// Whether the key `issuer` signed `certificate` (DER, and exactly that: what is outside of the signature is
/// held to it by the stricter of two parsers).
pub(crate) fn signed_by(certificate: &[u8], issuer: &PublicKey) -> bool {
    if webpki::EndEntityCert::try_from(&CertificateDer::from(certificate)).is_err() {
        return false;
    }
    let Ok((&[], x509)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    // The algorithm stands twice, once outside of what is signed (RFC 5280 4.1.1.2).
    let algorithm = &x509.signature_algorithm;
    if algorithm.algorithm != oid!(1.2.840.10045.4.3.2)
        || *algorithm != x509.tbs_certificate.signature
        || x509.signature_value.unused_bits != 0
    {
        return false;
    }
    let tbs: &[u8] = x509.tbs_certificate.as_ref();
    issuer.verify(tbs, &x509.signature_value.data).is_ok()
}

fn path_length(x509: &X509Certificate<'_>) -> Option<u32> {
    let constraints = x509.basic_constraints().ok()??;
    let usage = x509.key_usage().ok()??;
    let signs = constraints.critical && constraints.value.ca && usage.value.key_cert_sign();
    constraints.value.path_len_constraint.filter(|_| signs)
}

fn collective(x509: &X509Certificate<'_>) -> Option<CollectiveId> {
    match x509
        .subject_alternative_name()
        .ok()??
        .value
        .general_names
        .as_slice()
    {
        [GeneralName::URI(uri)] => parse_trust_domain(uri).ok(),
        _ => None,
    }
}
