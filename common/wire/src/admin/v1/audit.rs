//! The audit log.

use serde::{Deserialize, Serialize};

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AuditRow {
    /// The chain.
    pub writer: String,
    /// The place in the chain.
    pub sequence: i64,
    /// When.
    pub time: String,
    /// Who.
    pub actor: String,
    /// What.
    pub event: String,
    /// On what.
    pub subject: String,
    /// Further facts.
    pub detail: serde_json::Value,
    /// Hash of the row, which the next one names.
    pub hash: String,
}

/// `GET /api/v1/audit/verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AuditVerification {
    /// Rows that were checked.
    pub rows: u64,
    /// The first row that does not hold, in words; absent when all hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
}
