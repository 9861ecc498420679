//! The control connection: one long response that tells the node what to do, and small requests beside it.

use muster_ids::RunId;
use serde::{Deserialize, Serialize};

use super::{
    Envelope,
    trust_state::{TrustStateReply, TrustVersion},
};

/// `POST`: opens the stream; the answer is one [`ControlMessage`] a line.
pub const CONTROL_PATH: &str = "/node/v1/control";
/// `POST`: [`Heartbeat`], answered by [`HeartbeatReply`].
pub const HEARTBEAT_PATH: &str = "/node/v1/heartbeat";
/// `POST`: a [`Heartbeat`] a line, without end; the answer is a [`HeartbeatReply`] a line, where there is something to
/// say. Since version 2 of the protocol.
pub const HEARTBEATS_PATH: &str = "/node/v1/heartbeats";
/// `POST`: [`ReceiptKey`], answered by [`ReceiptCertificate`].
pub const RECEIPT_KEY_PATH: &str = "/node/v1/receipt-key";
/// `POST` with an empty object: the node leaves the collective.
pub const LEAVE_PATH: &str = "/node/v1/leave";

/// The first request on a control connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenControl {
    /// Protocol versions that the node speaks.
    pub protocols: Vec<u32>,
    /// Drawn when the agent started (base64 of 16 bytes); grants name it, so they die with the process.
    pub boot_nonce: String,
    /// The version of the agent.
    pub agent_version: String,
    /// What the node holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<TrustVersion>,
    /// For the first beacon.
    pub challenge: String,
}

/// What the control plane says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ControlMessage {
    /// The first line.
    Welcome {
        /// The version that both speak.
        protocol: u32,
        /// Seconds between heartbeats.
        heartbeat_seconds: u64,
        /// Whether the node must hand in what it knows of earlier epochs before anything is granted to it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        report_known: bool,
    },
    /// Signed [`super::beacon::Beacon`].
    Beacon {
        /// The envelope.
        envelope: Envelope,
    },
    /// The trust state has at least this number; fetch it, unless it comes along.
    Trust {
        /// The number.
        number: u64,
        /// What changed since the number that was told before, where that is little; since version 5 of the protocol.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reply: Option<Box<TrustStateReply>>,
    },
    /// There may be a run to claim.
    RunAvailable,
    /// End this run.
    Cancel {
        /// The run.
        run: RunId,
        /// The claim.
        fence: i64,
    },
    /// Where the node is, at the beginning and after each change: settings are set for a pool or a site.
    Placement {
        /// Identifier of its pool.
        pool: String,
        /// Identifier of its site.
        site: String,
    },
}

/// Every ten seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// As in [`OpenControl`].
    pub boot_nonce: String,
    /// For the next beacon.
    pub challenge: String,
    /// What the node is like now; absent while only measured values differ from what was said within the last minute.
    /// Version 1 of the protocol demands it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Inventory>,
    /// Claims that it works on.
    pub running: Vec<Claimed>,
}

/// One claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claimed {
    /// The run.
    pub run: RunId,
    /// The claim's fence.
    pub fence: i64,
}

/// How a condition begins that keeps a node from taking any run while it lasts.
pub const NO_RUN_CONDITION: &str = "degraded: no run is taken";

/// What is true of the node now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// Version of the agent.
    pub agent_version: String,
    /// Operating system and kernel, in words.
    pub os: String,
    /// Logical processors.
    pub cpus: u64,
    /// Load average of one minute.
    pub load: f64,
    /// Bytes.
    pub memory_total: u64,
    /// Bytes.
    pub memory_available: u64,
    /// Bytes, of the file system with the agent's state.
    pub disk_total: u64,
    /// Bytes.
    pub disk_available: u64,
    /// The engines as they really are.
    pub engines: Vec<EngineInfo>,
    /// What is not as it should be: `stale`, `degraded: …`; see also [`NO_RUN_CONDITION`].
    pub conditions: Vec<String>,
    /// Number of the trust state that it holds.
    pub trust_number: Option<u64>,
    /// Fingerprints of the roots that it accepts; absent from older agents.
    #[serde(default)]
    pub roots: Vec<String>,
}

impl Inventory {
    /// Whether the node says that it takes no run.
    pub fn takes_no_run(&self) -> bool {
        (self.conditions.iter()).any(|condition| condition.starts_with(NO_RUN_CONDITION))
    }

    /// Whether `other` says the same but for what is measured: load, free memory, free disk.
    pub fn differs_in_measures_only(&self, other: &Self) -> bool {
        let measured = Self {
            load: self.load,
            memory_available: self.memory_available,
            disk_available: self.disk_available,
            ..other.clone()
        };
        *self == measured
    }
}

/// One engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EngineInfo {
    /// `terr`, `r` or `python`.
    pub engine: String,
    /// For example `terr (GNU R 4.2.2 standing in)`.
    pub description: String,
}

/// What the node should stop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatReply {
    /// Claims that do not hold any more, or that a person wants ended.
    pub stop: Vec<RunId>,
    /// The certificate that this heartbeat came with should be renewed, at a random moment within this many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_within: Option<u64>,
}

/// Asks for a certificate for the key that will sign receipts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptKey {
    /// PKCS#10, base64 of DER.
    pub csr: String,
}

/// The certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptCertificate {
    /// Leaf first, base64 of DER.
    pub chain: Vec<String>,
}
