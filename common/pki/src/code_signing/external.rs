//! The key of somebody whom another authority certified, as it lies in a file.
//!
//! Invariant: the key never leaves this type, is never shown, and signs items only.

use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256,
    },
};

use super::CodeMessage;
use crate::SignError;

/// Why bytes are no key that signs items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the private key is not one of ECDSA on P-256 or P-384, or of RSA with 2048 to 8192 bits, in PKCS#8 without a \
     password; openssl pkcs8 -topk8 -nocrypt writes it so"
)]
pub struct ExternalKeyError;

/// A private key of a kind that other authorities certify.
pub struct ExternalKey(Kind);

enum Kind {
    Ecdsa(EcdsaKeyPair),
    Rsa(rsa::KeyPair),
}

impl ExternalKey {
    /// A key in PKCS#8 DER.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, ExternalKeyError> {
        let curves = [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING];
        let ecdsa = curves
            .into_iter()
            .find_map(|curve| EcdsaKeyPair::from_pkcs8(curve, pkcs8).ok());
        let rsa = || rsa::KeyPair::from_pkcs8(pkcs8).ok().map(Kind::Rsa);
        ecdsa
            .map(Kind::Ecdsa)
            .or_else(rsa)
            .map(Self)
            .ok_or(ExternalKeyError)
    }

    /// Signs the bytes of `message`: ECDSA with the hash of the curve's size, or RSA (PKCS #1 v1.5) with SHA-256.
    pub(super) fn sign(&self, message: CodeMessage, bytes: &[u8]) -> Result<Vec<u8>, SignError> {
        let purpose = message.purpose();
        if message != CodeMessage::ItemSignature {
            return Err(SignError::Purpose { purpose });
        }
        let failed = |error: aws_lc_rs::error::Unspecified| SignError::Failed {
            purpose,
            source: Some(Box::new(error)),
        };
        let random = SystemRandom::new();
        match &self.0 {
            Kind::Ecdsa(key) => Ok(key.sign(&random, bytes).map_err(failed)?.as_ref().to_vec()),
            Kind::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, bytes, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
        }
    }
}

impl fmt::Debug for ExternalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::Ecdsa(_) => "ECDSA",
            Kind::Rsa(_) => "RSA",
        };
        f.debug_tuple("ExternalKey").field(&kind).finish()
    }
}
