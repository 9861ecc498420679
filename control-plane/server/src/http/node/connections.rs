//! Live connections of nodes, cut on revocation, and what each node last asked to be told.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use muster_app::App;
use muster_ids::NodeId;
use muster_model::node::Trust;
use tokio_util::sync::CancellationToken;

/// The connections of all nodes that speak to this control plane.
#[derive(Default)]
pub struct Connections(Mutex<HashMap<NodeId, Node>>);

#[derive(Default)]
struct Node {
    cuts: HashMap<u64, CancellationToken>,
    challenge: Option<String>,
}

impl Connections {
    /// Remembers the connection with this number until it is dropped.
    pub fn register(&self, node: NodeId, number: u64, cut: &CancellationToken) {
        self.lock()
            .entry(node)
            .or_default()
            .cuts
            .entry(number)
            .or_insert_with(|| cut.clone());
    }

    /// Forgets a connection that has ended.
    pub fn forget(&self, node: NodeId, number: u64) {
        let mut nodes = self.lock();
        if let Some(entry) = nodes.get_mut(&node) {
            entry.cuts.remove(&number);
            if entry.cuts.is_empty() {
                nodes.remove(&node);
            }
        }
    }

    /// How many nodes are connected.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// What the next beacon must answer.
    pub fn set_challenge(&self, node: NodeId, challenge: String) {
        self.lock().entry(node).or_default().challenge = Some(challenge);
    }

    /// What the next beacon must answer.
    pub fn challenge(&self, node: NodeId) -> Option<String> {
        self.lock().get(&node).and_then(|node| node.challenge.clone())
    }

    /// Cuts every connection of `node`.
    pub fn cut(&self, node: NodeId) {
        if let Some(node) = self.lock().remove(&node) {
            node.cuts.values().for_each(CancellationToken::cancel);
        }
    }

    /// Cuts the connections of nodes that may no longer speak.
    pub async fn cut_revoked(&self, app: &App) {
        let nodes: Vec<NodeId> = self.lock().keys().copied().collect();
        for node in nodes {
            match app.store().node(node).await {
                Ok(Some(row)) if row.trust == Trust::Trusted => {}
                Ok(_) => {
                    tracing::info!(node.id = %node, "connections of an untrusted node cut");
                    self.cut(node);
                }
                Err(error) => {
                    tracing::warn!(node.id = %node, error = %error, "a node's trust could not be read");
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<NodeId, Node>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
