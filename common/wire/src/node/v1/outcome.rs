//! How a run ended, with the signed receipt.

use std::collections::BTreeMap;

use muster_ids::Digest;
use serde::{Deserialize, Serialize};

use super::{Envelope, trust_state::TrustVersion};
use crate::function::{BlobRef, Blobs};

/// The type of the statement that a receipt is (in-toto Statement v1).
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The type of its predicate.
pub const PREDICATE_TYPE: &str = "urn:muster:run-receipt:1";

/// `POST /node/v1/runs/{run}/outcome`. Sending it twice is the same as once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The claim.
    pub fence: i64,
    /// `succeeded`, `failed`, `refused`, `cancelled` or `timed_out`.
    pub state: String,
    /// What happened.
    pub ending: Ending,
    /// Outputs; their blobs were uploaded before, unless they are among `contents`.
    pub outputs: Blobs,
    /// Small blobs that this outcome names. Since version 3 of the protocol.
    #[serde(default, skip_serializing_if = "Contents::is_empty")]
    pub contents: Contents,
    /// [`Statement`], signed by the node.
    pub receipt: Envelope,
}

/// Bytes in base64, by digest: at most [`MAX_CONTENT`] bytes each and [`MAX_CONTENTS`] in all.
pub type Contents = BTreeMap<Digest, String>;
/// The longest blob that travels in an outcome, in bytes; longer ones are uploaded …
pub const MAX_CONTENT: u64 = 4 * 1024;
/// … as are those beyond so many bytes in all.
pub const MAX_CONTENTS: u64 = 64 * 1024;

/// What people see of an ending.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Ending {
    /// Kind of the problem, for example `restricted-call`; absent when the run succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// First line: what happened. Next lines: what to do.
    pub message: String,
    /// `restricted` or `unrestricted`; absent when nothing was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The rule that decided on the node.
    pub rule: String,
    /// The trust entry or setting that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// The engine as it really was.
    pub engine: String,
    /// Digest of the content of the package set that the run had; absent where it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packages: Option<Digest>,
    /// Standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<Captured>,
    /// Standard error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<Captured>,
    /// Milliseconds.
    pub timings: BTreeMap<String, u64>,
    /// Bytes of the largest process.
    pub peak_bytes: u64,
    /// Limits that could not be enforced, in words.
    #[serde(default)]
    pub limits_degraded: Vec<String>,
    /// What a traced run did although restricted scripts may not, each once for a line of the script:
    /// `Native[file], line 3`. At most [`MOST_OVERSTEPS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub oversteps: Vec<String>,
}

/// Oversteps that a run may list.
pub const MOST_OVERSTEPS: usize = 1000;

/// A captured stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Captured {
    /// Where it is kept.
    pub blob: BlobRef,
    /// Whether the end is missing.
    pub truncated: bool,
}

/// A receipt as the control plane keeps it: what the node signed, and the control plane's word about when it
/// was taken and where the audit log says so. With `roots` it is what people keep and verify without a control plane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// [`Statement`], signed by the node.
    pub receipt: Envelope,
    /// [`Countersignature`], signed by the control plane.
    pub countersignature: Envelope,
    /// The roots that the signers' certificates may lead to, in base64 DER, also those that were left since. A reader accepts
    /// those that they know. Absent from what the control plane keeps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<String>,
}

/// The payload of a countersignature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Countersignature {
    /// Digest of the payload that the node signed.
    pub receipt: Digest,
    /// When the control plane took it, milliseconds since 1970, UTC.
    pub time: i64,
    /// The chain of the audit log …
    pub audit_writer: muster_ids::AuditWriter,
    /// … and the place in it of the record about the run's end.
    pub audit_sequence: u64,
}

/// The payload of a receipt: an in-toto statement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub kind: String,
    /// The outputs.
    pub subject: Vec<Subject>,
    /// [`PREDICATE_TYPE`].
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// What happened.
    pub predicate: Predicate,
}

/// One output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// `sha256` to 64 hexadecimal digits, as in-toto writes digests.
    pub digest: BTreeMap<String, String>,
}

/// Who ran what, where, under which rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predicate {
    /// Digest of the grant's payload: it says who asked and what was granted.
    pub grant: Digest,
    /// The run.
    pub run: muster_ids::RunId,
    /// The claim.
    pub fence: i64,
    /// The user.
    pub user: muster_ids::UserName,
    /// Digest of the item.
    pub item: Digest,
    /// The mode that the run ran in; absent when nothing was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The rule.
    pub rule: String,
    /// The trust entry or setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// Digest of the policy that an unrestricted run had; absent where the node's own file was it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Digest>,
    /// The content of the package set that it had; absent where it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packages: Option<Digest>,
    /// The node.
    pub node: muster_ids::NodeId,
    /// Number of the trust state that decided.
    pub trust_number: u64,
    /// All of its version: a number alone names another state in each epoch. Absent where nothing was held yet, and towards
    /// control planes that speak no protocol from 6 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<TrustVersion>,
    /// Digests of the inputs.
    pub inputs: BTreeMap<String, Digest>,
    /// The state that the run ended in.
    pub state: String,
    /// Milliseconds since 1970, UTC.
    pub started: i64,
    /// Milliseconds since 1970, UTC.
    pub finished: i64,
    /// Limits met or degraded.
    pub limits: Vec<String>,
}
