//! Who is who in a collective, and how they prove it: identities, certificate profiles, TLS configurations,
//! signed envelopes and the join transcript.
//!
//! Invariant: everything here is a function of its parameters. Time, serial numbers and nonces are passed in;
//! only keys and signatures draw random numbers, inside the cryptographic library. A type of this crate that
//! names a verified thing ([`Facts`], [`Verified`], [`Roots`]) is made by verification only.

#![forbid(unsafe_code)]

mod authority;
mod chain;
pub mod code_signing;
mod crl;
pub mod csr;
pub mod envelope;
mod facts;
mod identity;
mod issue;
pub mod join;
pub mod pem;
mod profile;
mod public_key;
mod serial;
mod signer;
mod software_signer;
pub mod tls;
mod two_pass;
mod validity;
mod verify;

pub use authority::{AuthorityError, AuthorityFacts, is_signed_by};
pub use chain::{CrossRoot, Roots, RootsError};
pub use crl::{CrlError, CrlHead, ReasonError, RevocationReason, RevokedCertificate, issue_crl};
pub use envelope::{Envelope, EnvelopeError, PayloadType, Verified};
pub use facts::{Facts, FactsError, Outline, not_after_ms};
pub use identity::{IdentityError, Role, SpiffeId, Subject};
pub use issue::{IssueError, create_root, issue};
pub use profile::{Profile, ProfileError};
pub use public_key::{BadSignature, PublicKey, PublicKeyError};
pub use serial::{Serial, SerialError};
pub use signer::{Purpose, SignError, SignFuture, Signer};
pub use software_signer::{KeyError, KeyUse, SoftwareSigner};
pub use validity::Validity;
pub use verify::VerifyError;

pub use rustls::{ClientConfig, ServerConfig};
pub use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
