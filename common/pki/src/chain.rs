//! The roots of one collective, how they are pinned, and how a pinned one vouches for its successor.
//!
//! Invariant: there is at least one root; all are self-signed authorities of the same collective, so whoever
//! knows the roots knows the collective.

use std::fmt;

use muster_ids::{CollectiveId, Digest};
use rustls_pki_types::{CertificateDer, TrustAnchor};

use crate::{AuthorityError, AuthorityFacts, PublicKey, authority::signed_by};

/// More bridges than rotations that one collective ever makes; a stranger could send as many as fit.
const MOST_CROSSES: usize = 16;

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
    denied: Vec<Digest>,
}

/// That an older root certified the key of a newer one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrossRoot {
    /// The older root.
    pub root: CertificateDer<'static>,
    /// The key of the newer root, certified by the older one.
    pub certificate: CertificateDer<'static>,
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
            denied: Vec::new(),
        })
    }

    /// The same roots, but nothing that was issued with one of the intermediates' keys `denied` (their
    /// fingerprints) is accepted, whoever certified it.
    pub fn denying(self, denied: Vec<Digest>) -> Self {
        Self { denied, ..self }
    }

    /// The fingerprints of the intermediates' keys that are not accepted.
    pub fn denied(&self) -> &[Digest] {
        &self.denied
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

    /// As [`Roots::pinned`], and also the roots that a named one vouches for, directly or through others: it
    /// certified their keys in one of `crosses`, which is valid at `at_ms` (milliseconds since 1970, UTC).
    ///
    /// All of it may come from a peer that is not yet verified: what counts is the pinned root's signature.
    pub fn pinned_across(&self, pins: &[Digest], crosses: &[CrossRoot], at_ms: i64) -> Option<Self> {
        let crosses = &crosses[..crosses.len().min(MOST_CROSSES)];
        let mut keys = Vec::new();
        // Each round that finds anything uses up a bridge.
        for _ in crosses {
            let vouched = |root: &CertificateDer<'_>| {
                pins.contains(&Digest::of(root))
                    || AuthorityFacts::of(root).is_ok_and(|facts| keys.contains(&facts.public_key))
            };
            let found: Vec<PublicKey> = crosses
                .iter()
                .filter(|cross| vouched(&cross.root))
                .filter_map(|cross| self.bridge(cross, at_ms))
                .filter(|key| !keys.contains(key))
                .collect();
            if found.is_empty() {
                break;
            }
            keys.extend(found);
        }
        let accepted = self.certificates.iter().filter(|root| {
            pins.contains(&Digest::of(root))
                || AuthorityFacts::of(root).is_ok_and(|facts| keys.contains(&facts.public_key))
        });
        Self::new(accepted.cloned().collect()).ok()
    }

    /// The key that `cross` vouches for, if its older root is one of this collective and signed it.
    fn bridge(&self, cross: &CrossRoot, at_ms: i64) -> Option<PublicKey> {
        let root = AuthorityFacts::of(&cross.root).ok()?;
        let facts = AuthorityFacts::of(&cross.certificate).ok()?;
        let is_root = |facts: &AuthorityFacts| facts.path_length == 1 && facts.collective == self.collective;
        let valid = facts.validity.not_before_ms() <= at_ms && at_ms <= facts.validity.not_after_ms();
        (root.self_signed
            && is_root(&root)
            && is_root(&facts)
            && valid
            && signed_by(&cross.certificate, &root.public_key))
        .then_some(facts.public_key)
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
