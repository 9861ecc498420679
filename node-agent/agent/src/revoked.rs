//! That this node was revoked, kept on disk, so that it is known also while no agent runs.
//!
//! Invariant: what is kept names the node that was refused, so it says nothing of another membership of this machine. It
//! is kept before the agent says it, and goes when a control plane lets that node in again, or with the membership.

use muster_daemon::{
    clock::format_rfc3339,
    file::{self, Access},
};
use muster_ids::NodeId;
use serde::{Deserialize, Serialize};

use crate::{agent::Agent, home::Home, sentence};

/// The longest file; a reason is a sentence.
const MAX_FILE: u64 = 64 * 1024;

/// What a control plane said of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// Which node it refused.
    pub node: NodeId,
    /// When it did so first, milliseconds since 1970.
    pub since: i64,
    /// Its words.
    pub why: String,
}

impl Revoked {
    /// What is known of the node `node`; a file that cannot be read says nothing.
    pub fn read(home: &Home, node: NodeId) -> Option<Self> {
        let bytes = file::read(&home.revoked(), Access::Private, MAX_FILE).ok()?;
        let kept: Self = serde_json::from_slice(&bytes).ok()?;
        (kept.node == node).then_some(kept)
    }

    /// What this means and what to do, for people.
    pub fn sentence(&self) -> String {
        let since = format_rfc3339(self.since);
        // As muster shows times: 2026-11-28 23:51:51Z.
        let since = since.split('.').next().unwrap_or(&since).replace('T', " ");
        format!(
            "The collective does not trust this node any more, as a control plane said first at {since}Z: ask an \
             administrator, or run muster-node leave and join again."
        )
    }
}

/// A control plane refuses this node.
pub(crate) fn note(agent: &Agent, why: &str) {
    let node = agent.member().node();
    if Revoked::read(&agent.home, node).is_some() {
        return;
    }
    let kept = Revoked {
        node,
        since: agent.clock.unix_ms(),
        why: why.to_owned(),
    };
    let bytes = serde_json::to_vec(&kept).expect("it has no maps");
    if let Err(error) = file::write(&agent.home.revoked(), &bytes, 0o600, "revoked") {
        tracing::warn!(error = %sentence(&error), "that this node was revoked is not kept for the time when no agent runs");
    }
}

/// A control plane takes this node.
pub(crate) fn clear(agent: &Agent) {
    if let Err(error) = file::remove(&agent.home.revoked()) {
        tracing::warn!(error = %sentence(&error), "muster-node status goes on to say that this node was revoked");
    }
}
