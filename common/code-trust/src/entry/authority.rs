//! The authorities of the collective itself: which roots lead to it, and which it has left for ever.
//!
//! There are such entries from the first rotation of the authority on; until then the roots of the join hold. What is
//! accepted carries its root, so that a node which knows another one learns it. What was left names the key of its
//! intermediate, which the other root may have certified too.

use muster_ids::Digest;
use serde::{Deserialize, Serialize};

use crate::Label;

/// One authority of the collective.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// SHA-256 of the root.
    pub fingerprint: Digest,
    /// Digest of the public key of its issuing intermediate.
    pub issuing: Digest,
    /// The root, base64 of DER, as long as it is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Label>,
}
