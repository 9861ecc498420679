//! Verification of a presented chain for one role.
//!
//! Invariant: [`Roots::verify`] is the only way from a foreign certificate to an identity that anything is
//! decided by, in TLS and in envelopes alike. It demands all of: exactly a leaf and one intermediate, valid
//! signatures (ECDSA on P-256 only) up to a root, validity at the given time, the leaf's strict shape, the
//! expected role, and the roots' own collective.
//!
//! While the roots of a collective are exchanged, the intermediate comes in two certificates, each signed by
//! another root, so that whoever knows either root finds a path. Both have one name and one key, and the path
//! still has exactly one intermediate. The certificate that the path does not use stays unverified: it says
//! nothing and decides nothing.

use std::time::Duration;

use muster_ids::CollectiveId;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};

use crate::{AuthorityFacts, Facts, FactsError, Role, Roots, authority::same_authority, profile::Usage};

/// The signature algorithms of the collective's certificates and of its back-end handshakes.
pub(crate) static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] =
    &[webpki::aws_lc_rs::ECDSA_P256_SHA256];

/// Why a chain is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Too few or too many certificates.
    #[error(
        "{0} certificates were presented; expected two, the leaf and its issuing intermediate, or a second certificate of the same intermediate beside them"
    )]
    Length(usize),
    /// Its authority was revoked.
    #[error("the certificate was issued by an authority of the collective that was revoked")]
    Denied,
    /// The roots did not sign it.
    #[error("the certificate does not lead to a known root of the collective")]
    UnknownIssuer,
    /// Its time is over.
    #[error("the certificate has expired; renew it, or check this machine's clock")]
    Expired,
    /// Its time has not come.
    #[error("the certificate is not valid yet; check the clocks of both machines")]
    NotYetValid,
    /// Anything else about the path.
    #[error("the certificate chain is not valid")]
    Path(#[source] webpki::Error),
    /// The leaf is not one of ours.
    #[error("the certificate is not that of a member of a collective")]
    Leaf(#[from] FactsError),
    /// A member, but not in the role that is needed here.
    #[error("the certificate is that of a {found}; here a {expected} is needed")]
    Role {
        /// The role that was needed.
        expected: Role,
        /// The role that the certificate names.
        found: Role,
    },
    /// A member of another collective.
    #[error("the certificate names the collective {found}; expected {expected}")]
    Collective {
        /// The collective of the roots.
        expected: CollectiveId,
        /// The collective that the certificate names.
        found: CollectiveId,
    },
}

impl Roots {
    /// Verifies `chain` (the leaf, then its issuing intermediate in one or two certificates) for `role` at `at_ms`, milliseconds since
    /// 1970, UTC. Revocation is not part of it: the caller asks its own list, by identity and serial number.
    pub fn verify(&self, chain: &[CertificateDer<'_>], role: Role, at_ms: i64) -> Result<Facts, VerifyError> {
        let (leaf, intermediate) = match chain {
            [leaf, intermediate] => (leaf, intermediate),
            [leaf, intermediate, other] if same_authority(intermediate, other) => (leaf, intermediate),
            _ => return Err(VerifyError::Length(chain.len())),
        };
        self.verify_path(leaf, &chain[1..], Usage::of_role(role), at_ms)?;
        self.refuse_denied(intermediate)?;
        let facts = Facts::of(leaf)?;
        if facts.id.role() != role {
            return Err(VerifyError::Role {
                expected: role,
                found: facts.id.role(),
            });
        }
        if facts.id.collective != self.collective() {
            return Err(VerifyError::Collective {
                expected: self.collective(),
                found: facts.id.collective,
            });
        }
        Ok(facts)
    }

    fn verify_path(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: Usage,
        at_ms: i64,
    ) -> Result<(), VerifyError> {
        // A clock before 1970 becomes 1970, where no certificate is valid yet.
        let seconds = u64::try_from(at_ms.div_euclid(1000)).unwrap_or(0);
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let end_entity = webpki::EndEntityCert::try_from(leaf).map_err(named)?;
        let path = end_entity
            .verify_for_usage(
                ALGORITHMS,
                &self.anchors,
                intermediates,
                time,
                usage.path_check(),
                None,
                None,
            )
            .map_err(named)?;
        // A leaf under the root itself would leave the second certificate unverified.
        if path.intermediate_certificates().count() == 1 {
            Ok(())
        } else {
            Err(VerifyError::Length(1))
        }
    }

    fn refuse_denied(&self, intermediate: &CertificateDer<'_>) -> Result<(), VerifyError> {
        if self.denied().is_empty() {
            return Ok(());
        }
        match AuthorityFacts::of(intermediate) {
            Ok(facts) if !self.denied().contains(&facts.public_key.fingerprint()) => Ok(()),
            _ => Err(VerifyError::Denied),
        }
    }
}

fn named(error: webpki::Error) -> VerifyError {
    match error {
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
            VerifyError::UnknownIssuer
        }
        webpki::Error::CertExpired { .. } => VerifyError::Expired,
        webpki::Error::CertNotValidYet { .. } => VerifyError::NotYetValid,
        other => VerifyError::Path(other),
    }
}
