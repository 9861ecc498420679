//! What an operator must hear of: counted for the metrics, and kept for the status.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use muster_ids::NodeId;
use muster_model::{
    audit::Event,
    permission::{Caller, Operation},
};
use muster_store::Draft;
use serde_json::json;

use crate::{App, Error};

/// An alarm about one node is repeated after this time at the earliest, milliseconds.
const REPEAT_MS: i64 = 60 * 60 * 1000;

/// Alarms of this life of the control plane.
#[derive(Default)]
pub struct Alarms {
    clones: AtomicU64,
    duplicates: AtomicU64,
    /// When each node was last refused beside another of its identity, and with an old key.
    seen: Mutex<BTreeMap<(&'static str, NodeId), i64>>,
}

impl Alarms {
    pub(crate) fn clone_detected(&self) {
        self.clones.fetch_add(1, Ordering::Relaxed);
    }

    /// How many identities were found to have two holders.
    pub fn clones(&self) -> u64 {
        self.clones.load(Ordering::Relaxed)
    }

    /// How many agents were refused because another one of the same identity is connected.
    pub fn duplicates(&self) -> u64 {
        self.duplicates.load(Ordering::Relaxed)
    }

    /// Whether an alarm of this kind about `node` is due, and not the repetition of one.
    pub(crate) fn is_due(&self, kind: &'static str, node: NodeId, now: i64) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, at| now - *at < REPEAT_MS);
        let due = !seen.contains_key(&(kind, node));
        if due {
            seen.insert((kind, node), now);
        }
        due
    }

    /// The nodes of which two agents were connected within the last hour.
    pub(crate) fn duplicated(&self, now: i64) -> Vec<NodeId> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = seen
            .iter()
            .filter(|((kind, _), at)| *kind == DUPLICATE && now - **at < REPEAT_MS);
        recent.map(|((_, node), _)| *node).collect()
    }
}

const DUPLICATE: &str = "duplicate";

impl App {
    /// An agent at `address` was refused because another agent of the same identity is connected, and has been heard
    /// of since: there are two machines.
    pub async fn duplicate_node(&self, id: NodeId, address: std::net::IpAddr) -> Result<(), Error> {
        let authorized = self.authorize(&Caller::Node(id), Operation::ActAsNode).await?;
        let now = self.now();
        if !self.alarms().is_due(DUPLICATE, id, now) {
            return Ok(());
        }
        self.alarms().duplicates.fetch_add(1, Ordering::Relaxed);
        let name = self.store().node(id).await?.map(|node| node.name.to_string());
        let name = name.unwrap_or_else(|| id.to_string());
        tracing::error!(
            node.id = %id, node.name = name, refused = %address,
            "two machines use the identity of one node: the second is refused"
        );
        let detail = json!({ "node": id.to_string(), "refused": address.to_string() });
        let tx = self.store().begin(&authorized).await?;
        tx.commit(Draft::new(Event::NodeDuplicateRefused, name, detail), now)
            .await?;
        Ok(())
    }
}
