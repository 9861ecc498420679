//! Signing what `rcgen` encodes with a [`Signer`] that answers later.
//!
//! `rcgen` asks for its signature in the middle of encoding and cannot wait. So everything is encoded twice:
//! the first pass records what is to be signed, then the signer is awaited, and the second pass is given the
//! signature. Invariant: the signature is used only for exactly the bytes that were signed.

use std::cell::RefCell;

use crate::{PublicKey, Purpose, SignError, Signer};

/// A key as `rcgen` sees it in one of the two passes.
pub(crate) struct Pass<'a> {
    key: &'a PublicKey,
    step: RefCell<Step>,
}

enum Step {
    Record { message: Vec<u8> },
    Replay { message: Vec<u8>, signature: Vec<u8> },
}

/// Why nothing was encoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TwoPassError {
    #[error(transparent)]
    Encode(#[from] rcgen::Error),
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// What `build` encodes, signed by `signer` for `purpose`.
pub(crate) async fn sign<T>(
    signer: &dyn Signer,
    purpose: Purpose,
    build: impl Fn(&Pass<'_>) -> Result<T, rcgen::Error>,
) -> Result<T, TwoPassError> {
    let message = record(signer.public_key(), &build)?;
    let signature = signer.sign(purpose, &message).await?;
    // A device that answers with another key's signature is found out here, not by a peer weeks later.
    if signer.public_key().verify(&message, &signature).is_err() {
        return Err(SignError::Failed {
            purpose,
            source: None,
        }
        .into());
    }
    let replay = Pass {
        key: signer.public_key(),
        step: RefCell::new(Step::Replay { message, signature }),
    };
    Ok(build(&replay)?)
}

fn record<T>(
    key: &PublicKey,
    build: &impl Fn(&Pass<'_>) -> Result<T, rcgen::Error>,
) -> Result<Vec<u8>, rcgen::Error> {
    let pass = Pass {
        key,
        step: RefCell::new(Step::Record { message: Vec::new() }),
    };
    build(&pass)?;
    match pass.step.into_inner() {
        Step::Record { message } | Step::Replay { message, .. } => Ok(message),
    }
}

impl rcgen::PublicKeyData for Pass<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.key.point()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Pass<'_> {
    fn sign(&self, to_sign: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        match &mut *self.step.borrow_mut() {
            Step::Record { message } => {
                *message = to_sign.to_vec();
                Ok(Vec::new())
            }
            Step::Replay { message, signature } if message == to_sign => Ok(signature.clone()),
            Step::Replay { .. } => Err(rcgen::Error::RemoteKeyError),
        }
    }
}
