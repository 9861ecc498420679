//! What a leaf certificate of the collective says, read strictly.
//!
//! Invariant: [`Facts`] exist only for a certificate of the shape that an identity profile gives: exactly one
//! name, which is an identity; exactly one extended key usage, the one of that identity's role; a signature
//! key on P-256; no authority. Reading verifies no signature: see `Roots::verify`.

use x509_parser::{
    certificate::{Validity as X509Validity, X509Certificate},
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer as _,
};

use crate::{
    IdentityError, PublicKey, PublicKeyError, Role, Serial, SerialError, SpiffeId, Validity, profile::Usage,
};

/// Why a certificate is not that of an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// There is none.
    #[error("no certificate was presented")]
    Missing,
    /// Not a certificate at all.
    #[error("the certificate is not readable as X.509 DER")]
    Unreadable,
    /// No name, several names, or names of other kinds.
    #[error("the certificate does not have exactly one name that is a URI")]
    Names,
    /// The name is not an identity.
    #[error("the certificate's name is not accepted")]
    Identity(#[from] IdentityError),
    /// It may be used for something else than its role says.
    #[error("the certificate names a {role}, but its key usages are not exactly those of a {role}")]
    Usage {
        /// The role of its name.
        role: Role,
    },
    /// Another kind of key.
    #[error("the certificate's key is not accepted")]
    Key(#[from] PublicKeyError),
    /// Not a serial number of ours.
    #[error("the certificate's serial number is not accepted")]
    Serial(#[from] SerialError),
}

/// What a leaf certificate says of its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Who.
    pub id: SpiffeId,
    /// Which of the holder's certificates.
    pub serial: Serial,
    /// The holder's key.
    pub public_key: PublicKey,
    /// From when until when.
    pub validity: Validity,
}

impl Facts {
    /// Reads `certificate` (DER) without verifying who signed it.
    pub fn of(certificate: &[u8]) -> Result<Self, FactsError> {
        let Ok((&[], x509)) = X509Certificate::from_der(certificate) else {
            return Err(FactsError::Unreadable);
        };
        let id = identity(&x509)?;
        if usage(&x509) != Some(Usage::of_role(id.role())) {
            return Err(FactsError::Usage { role: id.role() });
        }
        Ok(Self {
            id,
            serial: Serial::from_der_integer(x509.raw_serial())?,
            public_key: PublicKey::from_spki(x509.public_key().raw)?,
            validity: seconds_to_validity(x509.validity()),
        })
    }
}

/// When any certificate ends (milliseconds since 1970, UTC), be it ours or an administrator's; `None` if it
/// cannot be read. Nothing else about it is looked at.
pub fn not_after_ms(certificate: &[u8]) -> Option<i64> {
    let (_, x509) = X509Certificate::from_der(certificate).ok()?;
    Some(seconds_to_validity(x509.validity()).not_after_ms())
}

/// What any certificate says that an authority must know of it later, be it that of an identity or of a front end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// Which certificate of its issuer.
    pub serial: Serial,
    /// From when until when.
    pub validity: Validity,
    /// Its key, if it is of the one kind of a collective's own certificates.
    pub public_key: Option<PublicKey>,
    /// The identifier of its key.
    pub key_identifier: Option<Vec<u8>>,
    /// The identifier of its issuer's key.
    pub issuer_key_identifier: Option<Vec<u8>>,
}

impl Outline {
    /// Reads `certificate` (DER) without verifying anything; `None` if it cannot be read.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (_, x509) = X509Certificate::from_der(certificate).ok()?;
        let extension = |found: fn(&ParsedExtension<'_>) -> Option<Vec<u8>>| {
            x509.extensions()
                .iter()
                .find_map(|extension| found(extension.parsed_extension()))
        };
        Some(Self {
            serial: Serial::from_der_integer(x509.raw_serial()).ok()?,
            validity: seconds_to_validity(x509.validity()),
            public_key: PublicKey::from_spki(x509.public_key().raw).ok(),
            key_identifier: extension(|parsed| match parsed {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            }),
            issuer_key_identifier: extension(|parsed| match parsed {
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    id.key_identifier.as_ref().map(|id| id.0.to_vec())
                }
                _ => None,
            }),
        })
    }
}

fn identity(x509: &X509Certificate<'_>) -> Result<SpiffeId, FactsError> {
    let names = x509
        .subject_alternative_name()
        .map_err(|_| FactsError::Names)?
        .ok_or(FactsError::Names)?;
    match names.value.general_names.as_slice() {
        [GeneralName::URI(uri)] => Ok(uri.parse()?),
        _ => Err(FactsError::Names),
    }
}

/// The one extended usage of a certificate that signs and is no authority.
fn usage(x509: &X509Certificate<'_>) -> Option<Usage> {
    let key_usage = x509.key_usage().ok()??.value;
    let authority = x509
        .basic_constraints()
        .ok()?
        .is_some_and(|constraints| constraints.value.ca);
    let signs = key_usage.digital_signature() && !key_usage.key_cert_sign() && !key_usage.crl_sign();
    let extended = x509.extended_key_usage().ok()??.value;
    if authority || !signs {
        None
    } else {
        Usage::of_extension(extended)
    }
}

pub(crate) fn seconds_to_validity(validity: &X509Validity) -> Validity {
    let ms = |seconds: i64| seconds.saturating_mul(1000);
    Validity::between(
        ms(validity.not_before.timestamp()),
        ms(validity.not_after.timestamp()),
    )
}
