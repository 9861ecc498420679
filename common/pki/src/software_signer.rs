//! A key in the memory of this process.
//!
//! Invariant: the key leaves this type only as PKCS#8 in a buffer that is wiped when dropped, for storage in
//! a protected place; it signs only for the purposes of its use; it is never shown.

use std::{fmt, future, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use crate::{PublicKey, Purpose, SignError, SignFuture, Signer};

/// What a key is for. Each use has its own key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// A root or an issuing intermediate.
    Authority,
    /// A node, a control plane or a front end in TLS; a node joins with this key.
    Tls,
    /// A control plane's policy.
    Policy,
    /// A node's receipts.
    Receipt,
    /// Somebody who signs items.
    Code,
    /// The time stamps of control planes.
    TimeStamp,
}

impl KeyUse {
    /// Whether a key of this use signs for `purpose`.
    pub fn allows(self, purpose: Purpose) -> bool {
        match self {
            Self::Authority => matches!(
                purpose,
                Purpose::Certificate | Purpose::RevocationList | Purpose::EpochBump
            ),
            Self::Tls => {
                matches!(
                    purpose,
                    Purpose::CertificateRequest | Purpose::JoinReveal | Purpose::JoinPoll
                )
            }
            Self::Policy => matches!(
                purpose,
                Purpose::JoinAnswer
                    | Purpose::TrustState
                    | Purpose::Beacon
                    | Purpose::RunGrant
                    | Purpose::AuditHead
                    | Purpose::Countersignature
            ),
            Self::Receipt => matches!(purpose, Purpose::CertificateRequest | Purpose::Receipt),
            Self::Code => purpose == Purpose::ItemSignature,
            Self::TimeStamp => purpose == Purpose::TimeStamp,
        }
    }
}

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The bytes are something else.
    #[error(
        "the private key is not an ECDSA key on P-256 in PKCS#8; restore it from a backup or make a new one"
    )]
    Format,
    /// The cryptographic library failed.
    #[error(
        "the cryptographic library could not make or encode a key; the system's random numbers may be missing"
    )]
    Library,
}

/// An ECDSA key on P-256 in the memory of this process.
pub struct SoftwareSigner {
    key: EcdsaKeyPair,
    public: PublicKey,
    key_use: KeyUse,
}

impl SoftwareSigner {
    /// A new key from the system's random numbers.
    pub fn generate(key_use: KeyUse) -> Result<Self, KeyError> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| KeyError::Library)?;
        Self::of(key, key_use)
    }

    /// A stored key in PKCS#8 DER.
    pub fn from_pkcs8(pkcs8: &[u8], key_use: KeyUse) -> Result<Self, KeyError> {
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8).map_err(|_| KeyError::Format)?;
        Self::of(key, key_use)
    }

    fn of(key: EcdsaKeyPair, key_use: KeyUse) -> Result<Self, KeyError> {
        let public = PublicKey::from_point(key.public_key().as_ref()).map_err(|_| KeyError::Format)?;
        Ok(Self { key, public, key_use })
    }

    /// The key in PKCS#8 DER, to be stored where only its owner can read.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let document = self.key.to_pkcs8v1().map_err(|_| KeyError::Library)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// What the key is for.
    pub fn key_use(&self) -> KeyUse {
        self.key_use
    }

    /// The same key for the TLS library, which signs handshakes itself.
    pub(crate) fn tls_key(&self) -> Result<Arc<dyn rustls::sign::SigningKey>, rustls::Error> {
        let pkcs8 = self
            .to_pkcs8()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.as_slice()));
        rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&der)
    }
}

impl Signer for SoftwareSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign<'a>(&'a self, purpose: Purpose, message: &'a [u8]) -> SignFuture<'a> {
        let signature = if self.key_use.allows(purpose) {
            self.key
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|error| SignError::Failed {
                    purpose,
                    source: Some(Box::new(error)),
                })
        } else {
            Err(SignError::Purpose { purpose })
        };
        Box::pin(future::ready(signature))
    }
}

impl fmt::Debug for SoftwareSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftwareSigner")
            .field("key_use", &self.key_use)
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(signer: &dyn Signer, purpose: Purpose, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match signer.sign(purpose, message).as_mut().poll(&mut context) {
            std::task::Poll::Ready(result) => result,
            std::task::Poll::Pending => panic!("a key in memory answers at once"),
        }
    }

    #[test]
    fn a_stored_key_is_the_same_key() {
        let made = SoftwareSigner::generate(KeyUse::Policy).expect("key");
        let read = SoftwareSigner::from_pkcs8(&made.to_pkcs8().expect("DER"), KeyUse::Policy).expect("key");
        assert_eq!(made.public_key(), read.public_key());
        let signature = sign(&read, Purpose::Beacon, b"message").expect("signature");
        assert_eq!(made.public_key().verify(b"message", &signature), Ok(()));
        assert!(made.public_key().verify(b"massage", &signature).is_err());
    }

    #[test]
    fn a_key_signs_for_its_own_use_only() {
        let node = SoftwareSigner::generate(KeyUse::Tls).expect("key");
        for purpose in [
            Purpose::Certificate,
            Purpose::TrustState,
            Purpose::RunGrant,
            Purpose::Receipt,
        ] {
            assert!(
                matches!(sign(&node, purpose, b"m"), Err(SignError::Purpose { .. })),
                "{purpose}"
            );
        }
        assert!(sign(&node, Purpose::JoinReveal, b"m").is_ok());
    }

    #[test]
    fn a_key_is_never_shown() {
        let signer = SoftwareSigner::generate(KeyUse::Tls).expect("key");
        let shown = format!("{signer:?}");
        let pkcs8 = signer.to_pkcs8().expect("DER");
        let secret = &pkcs8[36..68];
        assert!(!shown.contains(&format!("{secret:?}")));
        assert_eq!(
            shown,
            format!(
                "SoftwareSigner {{ key_use: Tls, public: {:?}, .. }}",
                signer.public_key()
            )
        );
    }

    #[test]
    fn keys_of_other_kinds_are_refused() {
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("key");
        for bytes in [p384.serialized_der(), b"", b"garbage"] {
            assert_eq!(
                SoftwareSigner::from_pkcs8(bytes, KeyUse::Tls).err(),
                Some(KeyError::Format)
            );
        }
    }
}
