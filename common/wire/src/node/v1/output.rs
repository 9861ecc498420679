//! What runs print, and how far they say they are, while they go on. The outcome alone is the truth about both.

use muster_ids::RunId;
use serde::{Deserialize, Serialize};

/// `POST`: [`Output`], answered by [`OutputReply`]; at most once a second on one connection.
pub const OUTPUT_PATH: &str = "/node/v1/runs/output";
/// The most bytes of one stream of one run in one request.
pub const MAX_PRINTED: usize = 64 * 1024;
/// The most bytes of all runs together in one request.
pub const MAX_OUTPUT: usize = 256 * 1024;
/// The most runs in one request.
pub const MAX_RUNS: usize = 256;
/// The longest text of a progress message, in bytes.
pub const MAX_TEXT: usize = 1024;

/// What has come since the last request was acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Each run once.
    pub runs: Vec<RunOutput>,
}

/// Of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunOutput {
    /// The run.
    pub run: RunId,
    /// The claim.
    pub fence: i64,
    /// Pieces of its streams.
    #[serde(default)]
    pub printed: Vec<Printed>,
    /// Its last progress message, where there was one since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// A piece of a stream. A piece that begins after the end of the last one says that what lay between was printed too
/// fast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Printed {
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Where in the stream it begins, in bytes.
    pub offset: u64,
    /// Base64: a piece may begin and end within a character.
    pub data: String,
}

/// What the script says about how far it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// From 0 to 1, where the script knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    /// In its own words; one line.
    #[serde(default)]
    pub text: String,
}

/// What became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputReply {
    /// Runs that this node does not hold: nothing more of them is taken.
    pub not_held: Vec<RunId>,
}
