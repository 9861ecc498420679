//! Why a use case did not do what was asked: who is at fault is in the type.
//!
//! Each variant carries one sentence for a person; what a component below said is the source and goes to the
//! log, never to the caller. `server/http/error.rs` alone makes HTTP of it.

use muster_model::permission::Denied;
use muster_store::StoreError;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong.
    #[error("{detail}")]
    Invalid {
        /// The kind of problem, listed in docs/reference/errors.md.
        kind: &'static str,
        /// One sentence.
        detail: String,
    },
    /// Nobody, or nobody we know.
    #[error("{detail}")]
    Unauthenticated {
        /// One sentence.
        detail: String,
    },
    /// Somebody who may not.
    #[error("{detail}")]
    Denied {
        /// The kind of problem.
        kind: &'static str,
        /// One sentence with the cure.
        detail: String,
    },
    /// The thing is not there, or not for this caller.
    #[error("{detail}")]
    NotFound {
        /// One sentence.
        detail: String,
    },
    /// It cannot be done as things stand.
    #[error("{detail}")]
    Conflict {
        /// The kind of problem.
        kind: &'static str,
        /// One sentence.
        detail: String,
    },
    /// Too often.
    #[error("{detail}")]
    TooMany {
        /// One sentence.
        detail: String,
        /// Seconds until it makes sense to ask again.
        retry_after: u64,
    },
    /// As many runs wait as may.
    #[error("{detail}")]
    QueueFull {
        /// One sentence.
        detail: String,
        /// Seconds until it makes sense to ask again.
        retry_after: u64,
    },
    /// Something that we depend on does not answer.
    #[error("{detail}")]
    Unavailable {
        /// One sentence.
        detail: String,
        /// What it said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A mistake of ours.
    #[error("the control plane failed inside; its log says more")]
    Bug {
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// The request is wrong in general.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::Invalid {
            kind: "invalid-request",
            detail: detail.into(),
        }
    }

    /// The caller may not.
    pub fn denied(detail: impl Into<String>) -> Self {
        Self::Denied {
            kind: "denied",
            detail: detail.into(),
        }
    }

    /// The thing is not there.
    pub fn not_found(what: &str, name: impl std::fmt::Display, cure: &str) -> Self {
        Self::NotFound {
            detail: format!("there is no {what} \"{name}\"; {cure}"),
        }
    }

    /// As things stand, no.
    pub fn conflict(kind: &'static str, detail: impl Into<String>) -> Self {
        Self::Conflict {
            kind,
            detail: detail.into(),
        }
    }

    /// A mistake of ours.
    pub fn bug(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Bug {
            source: source.into(),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { what } => Self::conflict("conflict", what),
            StoreError::NotFound { .. } => Self::NotFound {
                detail: error.to_string(),
            },
            StoreError::Duplicate { .. } => Self::conflict("duplicate", error.to_string()),
            StoreError::Unavailable { .. } | StoreError::Full { .. } => Self::Unavailable {
                detail: error.to_string(),
                source: Some(Box::new(error)),
            },
            other => Self::bug(other),
        }
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        Self::denied(denied.to_string())
    }
}
