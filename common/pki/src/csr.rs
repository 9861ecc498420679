//! Certificate signing requests: a proof of possession of a key, and nothing else.
//!
//! Invariant: of a foreign request only the public key is taken. What else it asks for is not even parsed
//! into anything that an issuer could use.

use rcgen::{CertificateParams, DistinguishedName};
use x509_parser::{certification_request::X509CertificationRequest, der_parser::oid, prelude::FromDer as _};

use crate::{
    PublicKey, PublicKeyError, Purpose, SignError, Signer,
    two_pass::{self, TwoPassError},
};

/// The longest request that is looked at, in bytes. One with a P-256 key and no attributes has about 200.
const MAX_BYTES: usize = 8 * 1024;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Longer than any honest request.
    #[error("the certificate request has {0} bytes; at most {MAX_BYTES} are accepted")]
    TooLong(usize),
    /// Not a request at all.
    #[error("the certificate request is not readable as PKCS#10 DER")]
    Unreadable,
    /// Another kind of key.
    #[error("the certificate request has a key that is not accepted")]
    Key(#[from] PublicKeyError),
    /// The sender does not hold the key, or the request was changed on its way.
    #[error("the certificate request is not signed by its own key with ECDSA and SHA-256")]
    Signature,
}

/// Why there is no request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The key did not sign.
    #[error("cannot make a certificate request: signing failed")]
    Sign(#[source] SignError),
    /// The encoder refused.
    #[error("cannot make a certificate request: it could not be encoded")]
    Encode(#[source] rcgen::Error),
}

/// A request (PKCS#10 DER) for the key of `signer`: empty subject, no attributes.
pub async fn request(signer: &dyn Signer) -> Result<Vec<u8>, RequestError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let build = |key: &two_pass::Pass<'_>| params.serialize_request(key);
    match two_pass::sign(signer, Purpose::CertificateRequest, build).await {
        Ok(csr) => Ok(csr.der().to_vec()),
        Err(TwoPassError::Encode(error)) => Err(RequestError::Encode(error)),
        Err(TwoPassError::Sign(error)) => Err(RequestError::Sign(error)),
    }
}

/// The public key of a foreign request (PKCS#10 DER) whose sender holds the private half.
pub fn public_key(csr: &[u8]) -> Result<PublicKey, CsrError> {
    if csr.len() > MAX_BYTES {
        return Err(CsrError::TooLong(csr.len()));
    }
    let Ok((&[], request)) = X509CertificationRequest::from_der(csr) else {
        return Err(CsrError::Unreadable);
    };
    let info = &request.certification_request_info;
    let key = PublicKey::from_spki(info.subject_pki.raw)?;
    // ecdsa-with-SHA256, RFC 5758 3.2.
    if request.signature_algorithm.algorithm != oid!(1.2.840.10045.4.3.2) {
        return Err(CsrError::Signature);
    }
    key.verify(info.raw, &request.signature_value.data)
        .map_err(|_| CsrError::Signature)?;
    Ok(key)
}
