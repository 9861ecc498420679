//! Public keys: ECDSA on P-256, the one algorithm of a collective's own certificates.
//!
//! Invariant: a [`PublicKey`] is a point on the curve in the one accepted encoding, so equal keys have equal
//! bytes and one fingerprint.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey, UnparsedPublicKey};
use muster_ids::Digest;

/// The DER of a SubjectPublicKeyInfo with id-ecPublicKey and prime256v1 (RFC 5480 2.1.1), up to and including
/// the head of the bit string that holds the point.
const SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// An uncompressed point (SEC 1 2.3.3): 0x04 and two coordinates of 32 bytes.
const POINT: usize = 65;
const SPKI: usize = SPKI_HEAD.len() + POINT;

/// A key that is not ECDSA on P-256, or not a point on that curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the public key is not an ECDSA key on P-256 with an uncompressed point, the one kind that is accepted"
)]
pub struct PublicKeyError;

/// A signature that the key did not make over the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not belong to this key and message")]
pub struct BadSignature;

/// An ECDSA public key on P-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; SPKI]);

impl PublicKey {
    /// The key in the DER of a SubjectPublicKeyInfo.
    pub fn from_spki(spki: &[u8]) -> Result<Self, PublicKeyError> {
        let spki: [u8; SPKI] = spki.try_into().map_err(|_| PublicKeyError)?;
        let key = Self(spki);
        if !spki.starts_with(&SPKI_HEAD) || key.point()[0] != 0x04 {
            return Err(PublicKeyError);
        }
        ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.point()).map_err(|_| PublicKeyError)?;
        Ok(key)
    }

    /// The key of an uncompressed point.
    pub(crate) fn from_point(point: &[u8]) -> Result<Self, PublicKeyError> {
        Self::from_spki(&[&SPKI_HEAD[..], point].concat())
    }

    /// The DER of the SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.0
    }

    /// The uncompressed point.
    pub(crate) fn point(&self) -> &[u8] {
        &self.0[SPKI_HEAD.len()..]
    }

    /// SHA-256 of the SubjectPublicKeyInfo: the key fingerprint that people compare.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.0)
    }

    /// Whether `signature` (ECDSA with SHA-256, ASN.1) was made by this key over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.point())
            .verify(message, signature)
            .map_err(|_| BadSignature)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

impl rcgen::PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        self.point()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyUse, Signer as _, SoftwareSigner};

    #[test]
    fn only_a_point_on_the_curve_in_its_one_encoding_is_a_key() {
        let key = *SoftwareSigner::generate(KeyUse::Tls).expect("key").public_key();
        assert_eq!(PublicKey::from_spki(key.spki()), Ok(key));
        assert_eq!(rcgen::PublicKeyData::subject_public_key_info(&key), key.spki());

        let mut off_curve = key.spki().to_vec();
        off_curve[SPKI - 1] ^= 1;
        let mut other_curve = key.spki().to_vec();
        other_curve[22] = 0x08;
        let compressed = [&SPKI_HEAD[..], &[2 + (key.point()[64] & 1)], &key.point()[1..33]].concat();
        let trailing = [key.spki(), &[0]].concat();
        for spki in [
            &off_curve[..],
            &other_curve,
            &compressed,
            &trailing,
            &key.spki()[1..],
            &[],
        ] {
            assert_eq!(PublicKey::from_spki(spki), Err(PublicKeyError));
        }
    }

    #[test]
    fn keys_of_other_algorithms_are_refused() {
        for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            let key = rcgen::KeyPair::generate_for(algorithm).expect("key");
            let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
            assert_eq!(PublicKey::from_spki(&spki), Err(PublicKeyError));
        }
    }
}
