//! Runs.

use std::collections::BTreeMap;

use muster_ids::{Digest, FunctionId, Name, NodeId, RunId, UserName};
use serde::{Deserialize, Serialize};

use crate::{
    function::{Blobs, Limits},
    node::v1::{
        outcome::Ending,
        output::{Printed, Progress},
    },
};

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Identity.
    pub id: RunId,
    /// `queued`, `running`, `succeeded`, `failed`, `refused`, `cancelled`, `timed_out` or `lost`.
    pub state: String,
    /// The function; absent when the run evaluates an expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionId>,
    /// Its name when the run was queued; `expression` for an expression.
    pub function_name: Name,
    /// The version that runs.
    pub digest: Digest,
    /// `r`, `python` or `terr`.
    pub language: String,
    /// Who asked.
    pub user: UserName,
    /// The pool whose nodes may take it.
    pub pool: Name,
    /// The site whose nodes may take it.
    pub site: Name,
    /// The node that has it or had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// `restricted` or `unrestricted`, once decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Why: the rule and the trust entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// The engine as it really was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// How many runs wait before it in its queue; only while it waits, and not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_before: Option<u64>,
    /// What its script said last about how far it is; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// A person asked to end it.
    pub cancel_requested: bool,
    /// How many times it was claimed.
    pub attempts: i64,
    /// When it was queued.
    pub created: String,
    /// When a node took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<String>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// Outputs, at `GET /api/v1/runs/{id}/outputs/{name}`.
    #[serde(default)]
    pub outputs: Blobs,
}

/// What a run has printed from a place on, and how it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RunLogs {
    /// As in [`Run`].
    pub state: String,
    /// As in [`Run`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_before: Option<u64>,
    /// As in [`Run`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Pieces of both streams. A piece that begins after the end of the one before it says that what lay between is
    /// not kept.
    pub printed: Vec<Printed>,
    /// The place after these pieces, for the next question.
    pub next: String,
    /// The run has ended and nothing follows.
    pub complete: bool,
}

/// The reason of a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Why {
    /// The rule, stable.
    pub rule: String,
    /// Of what is denied: the word that the policy test has for it, such as `no_license` or `blocked_item`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The trust entry or setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// The groups that lead to it.
    #[serde(default)]
    pub group_path: Vec<String>,
    /// Sentences for people.
    pub reasons: Vec<String>,
}

/// The part `request` of `POST /api/v1/functions/{id}/runs` (multipart); further parts are `input:<name>` with
/// a file name whose extension gives the format.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SubmitRun {
    /// Values by input name.
    #[serde(default)]
    pub inputs: BTreeMap<String, serde_json::Value>,
    /// Formats by output name: `csv` or `json`; outputs that are not named come as `json` (values) or `csv`.
    #[serde(default)]
    pub outputs: BTreeMap<String, String>,
    /// The pool; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// The site; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Name>,
    /// Limits below the function's.
    #[serde(default)]
    pub limits: Limits,
    /// Whether what restricted scripts may not do is listed in `ending.oversteps` instead of ending the run. The run is
    /// restricted then, whatever is trusted. For members of Script Author and administrators.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trace: bool,
    /// The analysis that the run belongs to, in words of the caller's, at most 200 bytes: runs of one user and analysis
    /// may share an engine, one after the other, and find the variables that former ones have left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<String>,
}

/// The part `request` of `POST /api/v1/expressions` (multipart); further parts are `input:<name>` with a file name whose
/// extension gives the format, each a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EvaluateExpression {
    /// In TERR's language. It assigns its result to `output`.
    pub expression: String,
    /// Values by the names that the expression uses, for example `input1`.
    #[serde(default)]
    pub inputs: BTreeMap<String, serde_json::Value>,
    /// What the result is: `value` (when absent), `column` or `table`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// `csv` or `json`; a value comes as `json`, anything else as `csv`, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The pool; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// The site; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Name>,
    /// Limits below the node's.
    #[serde(default)]
    pub limits: Limits,
}
