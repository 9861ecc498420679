//! The roots of one collective, and how they are pinned.
//!
//! Invariant: there is at least one root; all are self-signed authorities of the same collective, so whoever
//! knows the roots knows the collective.

use std::fmt;

use muster_ids::{CollectiveId, Digest};
use rustls_pki_types::{CertificateDer, TrustAnchor};

use crate::{AuthorityError, AuthorityFacts};

/// Why certificates are not the roots of a collective.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// None at all: nothing could ever be verified.
    #[error("the list of root certificates is empty; give at least one")]
    Empty,
    /// One is not an authority of a collective.
    #[error("a root certificate is not accepted")]
    Authority(#[from] AuthorityError),
    /// One was signed by another, or is damaged.
    #[error("a root certificate is not signed by its own key, or may not sign intermediates")]
    NotRoot,
    /// They belong to different collectives.
    #[error("the root certificates belong to different collectives, {0} and {1}; give those of one")]
    Mixed(CollectiveId, CollectiveId),
}

/// The roots that a collective's certificates must lead to.
#[derive(Clone)]
pub struct Roots {
    collective: CollectiveId,
    certificates: Vec<CertificateDer<'static>>,
    pub(crate) anchors: Vec<TrustAnchor<'static>>,
}

impl Roots {
    /// The roots `certificates`.
    pub fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, RootsError> {
        let mut collective = None;
        let mut anchors = Vec::with_capacity(certificates.len());
        for certificate in &certificates {
            let facts = AuthorityFacts::of(certificate)?;
            if !facts.self_signed || facts.path_length != 1 {
                return Err(RootsError::NotRoot);
            }
            match collective {
                Some(first) if first != facts.collective => {
                    return Err(RootsError::Mixed(first, facts.collective));
                }
                _ => collective = Some(facts.collective),
            }
            let anchor =
                webpki::anchor_from_trusted_cert(certificate).map_err(|_| AuthorityError::Unreadable)?;
            anchors.push(anchor.to_owned());
        }
        let collective = collective.ok_or(RootsError::Empty)?;
        Ok(Self {
            collective,
            certificates,
            anchors,
        })
    }

    /// The collective of all these roots.
    pub fn collective(&self) -> CollectiveId {
        self.collective
    }

    /// The certificates, in the order given.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// SHA-256 of each certificate: what `ca_fingerprint` pins.
    pub fn fingerprints(&self) -> Vec<Digest> {
        self.certificates
            .iter()
            .map(|certificate| Digest::of(certificate))
            .collect()
    }

    /// Only the roots that one of `pins` names; `None` when no pin names any.
    ///
    /// A peer that is not yet verified may send the pinned root, which is public, together with one of its
    /// own. So a match never vouches for the rest of the list.
    pub fn pinned(&self, pins: &[Digest]) -> Option<Self> {
        let named = self
            .certificates
            .iter()
            .filter(|certificate| pins.contains(&Digest::of(certificate)));
        Self::new(named.cloned().collect()).ok()
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots")
            .field("collective", &self.collective)
            .field("fingerprints", &self.fingerprints())
            .finish_non_exhaustive()
    }
}
