//! The kinds of signed messages: for each its media type, who may sign it, and how long it may be.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Purpose, Role};

/// The type of a signed payload. Each has one purpose and one role that may sign it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PayloadType {
    /// The answer to a join.
    #[serde(rename = "application/vnd.muster.join-answer+json")]
    JoinAnswer,
    /// What is trusted, and what is not.
    #[serde(rename = "application/vnd.muster.trust-state+json")]
    TrustState,
    /// The trust state is still this one.
    #[serde(rename = "application/vnd.muster.beacon+json")]
    Beacon,
    /// The permission to run one function once.
    #[serde(rename = "application/vnd.muster.run-grant+json")]
    RunGrant,
    /// The head of the audit log.
    #[serde(rename = "application/vnd.muster.audit-head+json")]
    AuditHead,
    /// What a node did: an in-toto statement.
    #[serde(rename = "application/vnd.in-toto+json")]
    Receipt,
    /// When a control plane took a receipt, and where its audit log says so.
    #[serde(rename = "application/vnd.muster.countersignature+json")]
    Countersignature,
    /// That an older database was put back on purpose: a new epoch.
    #[serde(rename = "application/vnd.muster.epoch-bump+json")]
    EpochBump,
}

impl PayloadType {
    /// Every type, for tests and listings.
    pub const ALL: [Self; 8] = [
        Self::JoinAnswer,
        Self::TrustState,
        Self::Beacon,
        Self::RunGrant,
        Self::AuditHead,
        Self::Receipt,
        Self::Countersignature,
        Self::EpochBump,
    ];

    /// The media type.
    pub fn name(self) -> &'static str {
        match self {
            Self::JoinAnswer => "application/vnd.muster.join-answer+json",
            Self::TrustState => "application/vnd.muster.trust-state+json",
            Self::Beacon => "application/vnd.muster.beacon+json",
            Self::RunGrant => "application/vnd.muster.run-grant+json",
            Self::AuditHead => "application/vnd.muster.audit-head+json",
            Self::Receipt => "application/vnd.in-toto+json",
            Self::Countersignature => "application/vnd.muster.countersignature+json",
            Self::EpochBump => "application/vnd.muster.epoch-bump+json",
        }
    }

    /// The role of the signer; `None` for what a root itself signs.
    pub fn role(self) -> Option<Role> {
        match self {
            Self::EpochBump => None,
            Self::Receipt => Some(Role::Receipt),
            Self::JoinAnswer
            | Self::TrustState
            | Self::Beacon
            | Self::RunGrant
            | Self::AuditHead
            | Self::Countersignature => Some(Role::Policy),
        }
    }

    /// What the signer is asked to sign it for.
    pub fn purpose(self) -> Purpose {
        match self {
            Self::JoinAnswer => Purpose::JoinAnswer,
            Self::TrustState => Purpose::TrustState,
            Self::Beacon => Purpose::Beacon,
            Self::RunGrant => Purpose::RunGrant,
            Self::AuditHead => Purpose::AuditHead,
            Self::Receipt => Purpose::Receipt,
            Self::Countersignature => Purpose::Countersignature,
            Self::EpochBump => Purpose::EpochBump,
        }
    }

    /// The longest payload in bytes: generous for honest messages, small enough that no message exhausts a
    /// node's memory. A trust state holds the global entries of a whole collective.
    pub(crate) fn max_bytes(self) -> usize {
        const KIB: usize = 1024;
        match self {
            Self::Beacon | Self::AuditHead | Self::Countersignature | Self::EpochBump => 64 * KIB,
            Self::JoinAnswer => 256 * KIB,
            Self::RunGrant | Self::Receipt => 1024 * KIB,
            Self::TrustState => 64 * 1024 * KIB,
        }
    }
}

impl fmt::Display for PayloadType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::JoinAnswer => "join answer",
            Self::TrustState => "trust state",
            Self::Beacon => "beacon",
            Self::RunGrant => "run grant",
            Self::AuditHead => "audit head",
            Self::Receipt => "receipt",
            Self::Countersignature => "countersignature",
            Self::EpochBump => "epoch bump",
        })
    }
}
