//! Signed messages in DSSE envelopes (Dead Simple Signing Envelope, version 1), one payload type a purpose.
//!
//! ```text
//! {"payloadType": T, "payload": base64(P), "signatures": [{"keyid": D, "sig": base64(S), "chain": [C, I…]}]}
//! S = ECDSA P-256 SHA-256 over  "DSSEv1" SP len(T) SP T SP len(P) SP P      (lengths in decimal, of bytes)
//! D = the digest of the leaf C; C, I… = base64 DER of the leaf and of its issuing intermediate, which has a
//! second certificate while the roots are exchanged
//! ```
//!
//! Invariant: [`Verified`] payloads were signed, over exactly these bytes and this
//! type, by a key whose certificate leads to the roots in the role that the type demands. Nothing of an
//! envelope is left unverified but that second certificate, so no other byte of it can be changed.

pub(crate) mod base64;
mod payload_type;

use muster_ids::Digest;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use self::base64::Base64;
use crate::{
    AuthorityFacts, BadSignature, Facts, FactsError, Purpose, Role, Roots, SignError, Signer, VerifyError,
};

pub use payload_type::PayloadType;

/// Room for the signatures of an envelope: each has about 2 KiB with its chain.
const MAX_SIGNATURES_BYTES: usize = 16 * 1024;

/// A signed message as it travels. Its payload is not to be used before it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: PayloadType,
    payload: Base64,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    keyid: Digest,
    sig: Base64,
    chain: Vec<Base64>,
}

/// What an envelope with one valid signature said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The signed bytes.
    pub payload: Vec<u8>,
    /// Whose key signed them.
    pub signer: Facts,
}

/// Why an envelope is refused.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Longer than a message of this type can be.
    #[error("the signed {expected} has {length} bytes; at most {max} are accepted")]
    TooLong {
        /// What was expected.
        expected: PayloadType,
        /// The length found.
        length: usize,
        /// The longest accepted.
        max: usize,
    },
    /// Not an envelope, or one with unknown fields.
    #[error("the signed {expected} is not a readable envelope")]
    Format {
        /// What was expected.
        expected: PayloadType,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Another kind of message.
    #[error("a signed {expected} was expected, but this is a {found}")]
    Type {
        /// What was expected.
        expected: PayloadType,
        /// What it says it is.
        found: PayloadType,
    },
    /// Too few or too many signatures.
    #[error("the signed {payload_type} has {found} signatures; expected {expected}")]
    Signatures {
        /// What it is.
        payload_type: PayloadType,
        /// How many it has.
        found: usize,
        /// How many it must have.
        expected: usize,
    },
    /// The key identifier names another certificate.
    #[error("a signature of the {0} names another key than its certificate's")]
    KeyId(PayloadType),
    /// The signer may not sign this.
    #[error("the signer of the {payload_type} is not accepted")]
    Signer {
        /// What it is.
        payload_type: PayloadType,
        /// What is wrong with the signer.
        #[source]
        source: VerifyError,
    },
    /// The message was changed, or someone else signed it.
    #[error("the {0} was changed after it was signed, or signed by another key")]
    Signature(PayloadType, #[source] BadSignature),
}

impl Envelope {
    /// Signs `payload` as a message of `payload_type`. `chain` is the signer's certificate and its issuing
    /// intermediate (in one or two certificates), or the root alone for what a root signs.
    pub async fn sign(
        payload_type: PayloadType,
        payload: Vec<u8>,
        signer: &dyn Signer,
        chain: &[CertificateDer<'_>],
    ) -> Result<Self, SignError> {
        let (purpose, length, max) = (payload_type.purpose(), payload.len(), payload_type.max_bytes());
        if length > max {
            return Err(SignError::TooLong { purpose, length, max });
        }
        let mut envelope = Self {
            payload_type,
            payload: Base64(payload),
            signatures: Vec::new(),
        };
        envelope.add_signature(purpose, signer, chain).await?;
        Ok(envelope)
    }

    async fn add_signature(
        &mut self,
        purpose: Purpose,
        signer: &dyn Signer,
        chain: &[CertificateDer<'_>],
    ) -> Result<(), SignError> {
        let leaf = chain
            .first()
            .filter(|leaf| holds(leaf, signer.public_key().spki()));
        let keyid = Digest::of(leaf.ok_or(SignError::OtherKey { purpose })?);
        let sig = Base64(signer.sign(purpose, &self.signed_bytes()).await?);
        let chain = chain
            .iter()
            .map(|certificate| Base64(certificate.to_vec()))
            .collect();
        self.signatures.push(Signature { keyid, sig, chain });
        Ok(())
    }

    /// The envelope as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an envelope has no map with keys that are not strings")
    }

    /// Reads an envelope that must be of type `expected`.
    pub fn from_json(json: &[u8], expected: PayloadType) -> Result<Self, EnvelopeError> {
        let max = expected.max_bytes() / 3 * 4 + MAX_SIGNATURES_BYTES;
        if json.len() > max {
            return Err(EnvelopeError::TooLong {
                expected,
                length: json.len(),
                max,
            });
        }
        let envelope: Self =
            serde_json::from_slice(json).map_err(|source| EnvelopeError::Format { expected, source })?;
        envelope.require(expected)?;
        Ok(envelope)
    }

    /// The payload, unverified, and whether all signatures name `certificate`: for whoever signed it, to sign it again.
    pub fn unverified(&self, certificate: &CertificateDer<'_>) -> (&[u8], bool) {
        let keyid = Digest::of(certificate);
        let named = self.signatures.iter().all(|signature| signature.keyid == keyid);
        (&self.payload.0, named)
    }

    /// The payload, unverified: for a message that says itself at which time its signer must have been valid.
    pub fn claimed(&self) -> &[u8] {
        &self.payload.0
    }

    /// Verifies an envelope that must be of type `expected` and have one signature, valid at `at_ms`
    /// (milliseconds since 1970, UTC). Revocation of the signer is the caller's question.
    pub fn verify(self, expected: PayloadType, roots: &Roots, at_ms: i64) -> Result<Verified, EnvelopeError> {
        self.require(expected)?;
        let [signature] = self.signatures.as_slice() else {
            return Err(self.wrong_count(1));
        };
        // What a root signs names no member, see verify_by_root.
        let role = expected.role().ok_or(EnvelopeError::Signer {
            payload_type: expected,
            source: FactsError::Missing.into(),
        })?;
        let signer = self.verify_signature(signature, role, roots, at_ms)?;
        Ok(Verified {
            payload: self.payload.0,
            signer,
        })
    }

    /// Verifies an envelope that must be of type `expected` and be signed by one of `roots` itself, which must be valid
    /// at `at_ms` (milliseconds since 1970, UTC). Gives the signed bytes.
    pub fn verify_by_root(
        self,
        expected: PayloadType,
        roots: &Roots,
        at_ms: i64,
    ) -> Result<Vec<u8>, EnvelopeError> {
        self.require(expected)?;
        let payload_type = self.payload_type;
        let refused = |source| EnvelopeError::Signer { payload_type, source };
        let [signature] = self.signatures.as_slice() else {
            return Err(self.wrong_count(1));
        };
        let [root] = signature.chain.as_slice() else {
            return Err(refused(VerifyError::Length(signature.chain.len())));
        };
        if expected.role().is_some() || !roots.certificates().iter().any(|known| **known == *root.0) {
            return Err(refused(VerifyError::UnknownIssuer));
        }
        if Digest::of(&root.0) != signature.keyid {
            return Err(EnvelopeError::KeyId(payload_type));
        }
        let facts = AuthorityFacts::of(&root.0).map_err(|_| refused(VerifyError::UnknownIssuer))?;
        if at_ms > facts.validity.not_after_ms() {
            return Err(refused(VerifyError::Expired));
        }
        if at_ms < facts.validity.not_before_ms() {
            return Err(refused(VerifyError::NotYetValid));
        }
        facts
            .public_key
            .verify(&self.signed_bytes(), &signature.sig.0)
            .map_err(|bad| EnvelopeError::Signature(payload_type, bad))?;
        Ok(self.payload.0)
    }

    fn verify_signature(
        &self,
        signature: &Signature,
        role: Role,
        roots: &Roots,
        at_ms: i64,
    ) -> Result<Facts, EnvelopeError> {
        let payload_type = self.payload_type;
        let refused = |source| EnvelopeError::Signer { payload_type, source };
        let chain: Vec<CertificateDer<'_>> = signature
            .chain
            .iter()
            .map(|der| CertificateDer::from(der.0.as_slice()))
            .collect();
        let leaf = chain.first().ok_or_else(|| refused(FactsError::Missing.into()))?;
        if Digest::of(leaf) != signature.keyid {
            return Err(EnvelopeError::KeyId(payload_type));
        }
        let facts = roots.verify(&chain, role, at_ms).map_err(refused)?;
        facts
            .public_key
            .verify(&self.signed_bytes(), &signature.sig.0)
            .map_err(|bad| EnvelopeError::Signature(payload_type, bad))?;
        Ok(facts)
    }

    /// The pre-authentication encoding of DSSE.
    fn signed_bytes(&self) -> Vec<u8> {
        pre_authentication(self.payload_type.name(), &self.payload.0)
    }

    fn require(&self, expected: PayloadType) -> Result<(), EnvelopeError> {
        if self.payload_type != expected {
            return Err(EnvelopeError::Type {
                expected,
                found: self.payload_type,
            });
        }
        let (length, max) = (self.payload.0.len(), expected.max_bytes());
        if length > max {
            Err(EnvelopeError::TooLong {
                expected,
                length,
                max,
            })
        } else {
            Ok(())
        }
    }

    fn wrong_count(&self, expected: usize) -> EnvelopeError {
        EnvelopeError::Signatures {
            payload_type: self.payload_type,
            found: self.signatures.len(),
            expected,
        }
    }
}

/// What DSSE signs for a payload of this type.
pub(crate) fn pre_authentication(name: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {name} {} ", name.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Whether a certificate of ours holds this key: who signs by mistake with another certificate than its own is told so.
/// Verifiers read the whole certificate; a signer, once for each of thousands of nodes, only looks.
fn holds(certificate: &[u8], spki: &[u8]) -> bool {
    certificate.windows(spki.len()).any(|part| part == spki)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signed_bytes_are_those_of_the_dsse_protocol() {
        let envelope = Envelope {
            payload_type: PayloadType::Receipt,
            payload: Base64(b"hello world".to_vec()),
            signatures: Vec::new(),
        };
        assert_eq!(
            envelope.signed_bytes(),
            b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"
        );
    }
}
