//! Problem documents (RFC 9457): what every refused or failed request answers.

use serde::{Deserialize, Serialize};

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// One problem. `type` is stable and names the kind; programs branch on it, people read `detail`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// `urn:muster:problem:<kind>`, listed in docs/reference/errors.md.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// One sentence: what was attempted, on what, why it failed, what to do.
    pub detail: String,
    /// The request or thing that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// The beginning of every [`Problem::kind`].
pub const KIND_PREFIX: &str = "urn:muster:problem:";
