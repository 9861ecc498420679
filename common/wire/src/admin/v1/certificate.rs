//! Certificates that the collective issued, and revoking them.

use muster_ids::{JoinId, Name};
use serde::{Deserialize, Serialize};

/// One certificate: `GET /api/v1/certificates`. Of one that is only asked for, there is no more than the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// The join request that asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<JoinId>,
    /// What it is for: `node`, `receipt`, `control_plane`, `policy`, `front_end`.
    pub purpose: String,
    /// Whose it is, by identifier.
    pub subject: String,
    /// The name of the node whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Name>,
    /// `valid`, `expired`, `revoked` or `pending`.
    pub state: String,
    /// When it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
    /// Why it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// SHA-256 of the certificate, where one is shown alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The certificate, where one is shown alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pem: Option<String>,
}

/// How to ask for a page of certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct CertificateQuery {
    /// At most this many, 1 to 1000; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// From the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// `valid`, `expired`, `revoked` or `pending`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Only those of this holder, by identifier; a node also by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

/// `POST /api/v1/certificates/{serial}/revoke`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RevokeCertificate {
    /// `unspecified` (the default), `key-compromise`, `affiliation-changed`, `superseded`, `cessation-of-operation` or
    /// `privilege-withdrawn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `certificate` (the default): this one only; `key`: all of its holder for the same key; `lineage`: all of its
    /// holder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extent: Option<String>,
}

/// What was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RevokedCertificates {
    /// The serial numbers, hexadecimal.
    pub serials: Vec<String>,
    /// Runs that are lost, because their node has no certificate any more.
    pub runs_lost: u64,
    /// Valid certificates that the holder still has.
    pub remaining: u64,
}

/// `POST /api/v1/certificates/reset`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ResetTrust {
    /// Whether certificates and nodes are deleted too; they stay revoked all the same.
    #[serde(default)]
    pub delete: bool,
}

/// What a reset has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TrustReset {
    /// Nodes that were trusted before.
    pub nodes: u64,
    /// Certificates that were not revoked before.
    pub certificates: u64,
    /// Runs that are lost.
    pub runs_lost: u64,
}
