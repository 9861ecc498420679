//! Claiming a run: the grant is the control plane's signed word, the node decides once more.

use std::collections::BTreeMap;

use muster_ids::{Digest, FunctionId, NodeId, RunId, UserName};
use serde::{Deserialize, Serialize};

use super::{Envelope, trust_state::TrustVersion};
use crate::function::{Blobs, FunctionDefinition, Parameter};

/// `POST`: [`Claim`], answered by [`Granted`] or 204.
pub const CLAIM_PATH: &str = "/node/v1/runs/claim";
/// `POST …/{run}/put-back`: [`PutBack`].
pub const RUNS_PATH: &str = "/node/v1/runs";
/// `GET …/{digest}?run=<id>` and `PUT …/{digest}?run=<id>&fence=<n>`, on payload connections.
pub const BLOBS_PATH: &str = "/node/v1/blobs";

/// Asks for the oldest run that fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// As in the control connection.
    pub boot_nonce: String,
    /// Engines with a free slot: `terr`, `r`, `python`.
    pub engines: Vec<String>,
    /// Whether grants may name a session; since version 4 of the protocol.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sessions: bool,
}

/// A claimed run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Granted {
    /// [`RunGrant`], signed.
    pub grant: Envelope,
    /// The function; its digest must be the granted one.
    pub definition: FunctionDefinition,
    /// Small values among the granted inputs, as JSON texts, each with the granted digest; the others are fetched.
    #[serde(default, skip_serializing_if = "Arguments::is_empty")]
    pub arguments: Arguments,
}

/// Values by parameter name, each as its JSON text.
pub type Arguments = BTreeMap<String, String>;

/// The payload of the signed envelope: everything that the node may believe about this run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunGrant {
    /// The run.
    pub run: RunId,
    /// The claim.
    pub fence: i64,
    /// Who runs it.
    pub user: UserName,
    /// What is true of this user: `muster_code_trust::UserFacts` as JSON. The directory itself never comes here.
    pub facts: serde_json::Value,
    /// `web` or `automation`.
    pub client: String,
    /// The library item; absent for an inline expression, which runs restricted whatever is trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionId>,
    /// Digest of the item's canonical form.
    pub item: Digest,
    /// `terr`, `r` or `python`.
    pub engine: String,
    /// Arguments by digest.
    pub inputs: Blobs,
    /// Outputs that are wanted, with their formats.
    pub outputs: Vec<WantedOutput>,
    /// Digest of the list of packages that holds for the run (`muster_ids::PackageList`).
    pub packages: Digest,
    /// `restricted` or `unrestricted`: what the control plane decided.
    pub mode: String,
    /// The rule that decided.
    pub rule: String,
    /// Whether what the run oversteps is listed instead of ending it. Only a restricted run may have this.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trace: bool,
    /// Names the session of the run among those of its user: runs of one session may find what former ones have left in
    /// their engine. Absent for a run of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Digest>,
    /// Limits.
    pub limits: GrantLimits,
    /// `none`, `brokered` or `host`: the widest network that the run may be given.
    pub network: String,
    /// What an unrestricted run may use at the most; absent where the node's own file says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<GrantPolicy>,
    /// The node that it is for.
    pub node: NodeId,
    /// The life of the agent that it is for.
    pub boot_nonce: String,
    /// The trust state that decided.
    pub trust: TrustVersion,
    /// Milliseconds since 1970, UTC.
    pub issued: i64,
    /// Milliseconds since 1970, UTC.
    pub expires: i64,
}

/// The policy of an unrestricted run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantPolicy {
    /// Digest of its canonical form.
    pub digest: Digest,
    /// `muster_code_trust::RunPolicy` as JSON.
    pub policy: serde_json::Value,
}

/// One wanted output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedOutput {
    /// As declared.
    pub parameter: Parameter,
    /// `csv` or `json`.
    pub format: String,
}

/// What the run may use at the most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantLimits {
    /// Wall time in seconds.
    pub wall_seconds: u64,
    /// Memory in MiB; 0 leaves it to the node.
    pub memory_mib: u64,
}

/// Hands a claimed run back unstarted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutBack {
    /// The claim.
    pub fence: i64,
    /// For people.
    pub why: String,
}
