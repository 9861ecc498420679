//! The certificate authority and what it issued.

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

/// One certificate: `GET /api/v1/certificates`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Hexadecimal.
    pub serial: String,
    /// What it is for.
    pub purpose: String,
    /// Whose it is.
    pub subject: String,
    /// `valid`, `expired` or `revoked`.
    pub state: String,
    /// When it begins.
    pub not_before: String,
    /// When it ends.
    pub not_after: String,
}
