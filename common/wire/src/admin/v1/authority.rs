//! The certificate authority.

use serde::{Deserialize, Serialize};

/// `GET /api/v1/authority`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// Fingerprints of the roots, `sha256:…`; nodes pin one of them.
    pub root_fingerprints: Vec<String>,
    /// The roots in PEM.
    pub roots_pem: String,
    /// When the issuing intermediate ends.
    pub intermediate_expires: String,
    /// The collective.
    pub collective: String,
}
