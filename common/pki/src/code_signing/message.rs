//! Signed messages about code, in DSSE envelopes of the form that all signed messages here have.
//!
//! Invariant: the signature of a [`CodeSigned`] was made over exactly this type and these bytes, by the key of the first
//! certificate beside it. Whose that is, and whether it leads anywhere, is asked apart ([`verify_code_chain`](super::verify_code_chain)).

use muster_ids::Digest;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::{CodeCertificate, ExternalKey, chain::ALGORITHMS};
use crate::{
    Purpose, SignError, Signer,
    envelope::{base64::Base64, pre_authentication},
};

/// The most certificates beside a signature.
pub const MOST_CHAIN: usize = 8;
/// The longest message, bytes.
const MOST_BYTES: usize = 256 * 1024;

/// What a message about code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeMessage {
    /// That somebody signed one version of an item.
    ItemSignature,
    /// That something was there at a time.
    TimeStamp,
}

impl CodeMessage {
    /// The media type.
    pub fn name(self) -> &'static str {
        match self {
            Self::ItemSignature => "application/vnd.muster.item-signature+json",
            Self::TimeStamp => "application/vnd.muster.time-stamp+json",
        }
    }

    pub(super) fn purpose(self) -> Purpose {
        match self {
            Self::ItemSignature => Purpose::ItemSignature,
            Self::TimeStamp => Purpose::TimeStamp,
        }
    }
}

/// Why a message is none, or was not signed by whom it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeMessageError {
    /// Another type, no signature or several, or a chain of no or too many certificates.
    #[error(
        "it is not a signed message of the type that was expected, with one signature and its certificates"
    )]
    Form,
    /// The message was changed, or another key signed it.
    #[error("it was changed after it was signed, or signed by another key than its certificate's")]
    Signature,
}

/// A signed message as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeSigned {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: Base64,
    signatures: Vec<CodeSignature>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeSignature {
    keyid: Digest,
    sig: Base64,
    chain: Vec<Base64>,
}

impl CodeSigned {
    /// Signs `payload`. `chain` is the signer's certificate and what leads on from it, without the root.
    pub async fn sign(
        message: CodeMessage,
        payload: Vec<u8>,
        signer: &dyn Signer,
        chain: &[CertificateDer<'_>],
    ) -> Result<Self, SignError> {
        let (purpose, length) = (message.purpose(), payload.len());
        if length > MOST_BYTES {
            return Err(SignError::TooLong {
                purpose,
                length,
                max: MOST_BYTES,
            });
        }
        let own = chain.first().filter(|leaf| {
            CodeCertificate::of(leaf).is_ok_and(|facts| facts.spki == signer.public_key().spki())
        });
        own.ok_or(SignError::OtherKey { purpose })?;
        let bytes = pre_authentication(message.name(), &payload);
        let sig = signer.sign(purpose, &bytes).await?;
        Ok(Self::of(message, payload, sig, chain))
    }

    /// Signs `payload` with the key of somebody whom another authority certified. `chain` is as for [`CodeSigned::sign`].
    pub fn sign_externally(
        message: CodeMessage,
        payload: Vec<u8>,
        key: &ExternalKey,
        chain: &[CertificateDer<'_>],
    ) -> Result<Self, SignError> {
        let sig = key.sign(message, &pre_authentication(message.name(), &payload))?;
        let signed = Self::of(message, payload, sig, chain);
        match signed.verify(message) {
            Ok(_) => Ok(signed),
            // Whatever else is wrong, readers would say the same of it.
            Err(_) => Err(SignError::OtherKey {
                purpose: message.purpose(),
            }),
        }
    }

    fn of(message: CodeMessage, payload: Vec<u8>, sig: Vec<u8>, chain: &[CertificateDer<'_>]) -> Self {
        let leaf = chain.first().map_or(&[][..], |leaf| leaf);
        let signature = CodeSignature {
            keyid: Digest::of(leaf),
            sig: Base64(sig),
            chain: chain
                .iter()
                .map(|certificate| Base64(certificate.to_vec()))
                .collect(),
        };
        Self {
            payload_type: message.name().to_owned(),
            payload: Base64(payload),
            signatures: vec![signature],
        }
    }

    /// What a time stamp is about: type, payload, whose certificate, and the bytes of the one signature, each part after its
    /// length. The bytes alone could be those of a signature over something else.
    pub fn digest(&self) -> Digest {
        let keyid = self
            .signatures
            .first()
            .map_or(&[][..], |signature| signature.keyid.as_bytes());
        let parts = [
            self.payload_type.as_bytes(),
            &self.payload.0,
            keyid,
            self.signature(),
        ];
        Digest::of_framed(&parts)
    }

    /// The bytes of the one signature; empty where there is none.
    fn signature(&self) -> &[u8] {
        self.signatures.first().map_or(&[], |signature| &signature.sig.0)
    }

    /// The certificates beside the signature, the signer's first.
    pub fn chain(&self) -> Vec<CertificateDer<'_>> {
        let chain = self
            .signatures
            .first()
            .map_or(&[][..], |signature| &signature.chain);
        chain
            .iter()
            .map(|der| CertificateDer::from(der.0.as_slice()))
            .collect()
    }

    /// The payload, as far as its form goes; unverified.
    pub fn unverified(&self, message: CodeMessage) -> Result<&[u8], CodeMessageError> {
        let [signature] = self.signatures.as_slice() else {
            return Err(CodeMessageError::Form);
        };
        let fits = self.payload_type == message.name()
            && self.payload.0.len() <= MOST_BYTES
            && (1..=MOST_CHAIN).contains(&signature.chain.len())
            && Digest::of(&signature.chain[0].0) == signature.keyid;
        if fits {
            Ok(&self.payload.0)
        } else {
            Err(CodeMessageError::Form)
        }
    }

    /// The payload, signed by the key of the first certificate.
    pub fn verify(&self, message: CodeMessage) -> Result<&[u8], CodeMessageError> {
        let payload = self.unverified(message)?;
        let bytes = pre_authentication(message.name(), payload);
        let chain = self.chain();
        let leaf = webpki::EndEntityCert::try_from(&chain[0]).map_err(|_| CodeMessageError::Form)?;
        let signed = ALGORITHMS.iter().any(|algorithm| {
            leaf.verify_signature(*algorithm, &bytes, self.signature())
                .is_ok()
        });
        if signed {
            Ok(payload)
        } else {
            Err(CodeMessageError::Signature)
        }
    }
}
