//! Live connections of nodes, cut on revocation, and what each node last asked to be told.
//!
//! Invariant: one node holds at most [`MOST_CONNECTIONS`] connections and [`MOST_STREAMS`] control streams, so that a
//! node out of order takes nothing from the others.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use muster_ids::NodeId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Connections of one node at once: the agent keeps one for control and opens a few for payloads.
pub const MOST_CONNECTIONS: usize = 64;
/// Control streams of one node at once: the agent has one; those that it has lost may linger until a ping fails.
pub const MOST_STREAMS: usize = 4;

/// The connections of all nodes that speak to this control plane.
#[derive(Default)]
pub struct Connections(Mutex<HashMap<NodeId, Node>>);

struct Node {
    live: HashMap<u64, Live>,
    streams: Arc<Semaphore>,
    challenge: Option<String>,
    heard: Arc<Notify>,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            live: HashMap::new(),
            streams: Arc::new(Semaphore::new(MOST_STREAMS)),
            challenge: None,
            heard: Arc::default(),
        }
    }
}

struct Live {
    serial: String,
    cut: CancellationToken,
}

impl Connections {
    /// Remembers the connection with this number, opened with the certificate `serial`, until it is dropped; false
    /// when the node has too many already.
    pub fn register(&self, node: NodeId, serial: &str, number: u64, cut: &CancellationToken) -> bool {
        let mut nodes = self.lock();
        let entry = nodes.entry(node).or_default();
        if entry.live.contains_key(&number) {
            return true;
        }
        if entry.live.len() >= MOST_CONNECTIONS {
            return false;
        }
        let live = Live {
            serial: serial.to_owned(),
            cut: cut.clone(),
        };
        entry.live.insert(number, live);
        true
    }

    /// Forgets a connection that has ended.
    pub fn forget(&self, node: NodeId, number: u64) {
        let mut nodes = self.lock();
        if let Some(entry) = nodes.get_mut(&node) {
            entry.live.remove(&number);
            if entry.live.is_empty() {
                nodes.remove(&node);
            }
        }
    }

    /// How many nodes are connected.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// A place for a control stream of `node`, given back when dropped; `None` when it has too many already.
    pub fn stream(&self, node: NodeId) -> Option<OwnedSemaphorePermit> {
        let streams = self.lock().entry(node).or_default().streams.clone();
        streams.try_acquire_owned().ok()
    }

    /// What the next beacon must answer.
    pub fn set_challenge(&self, node: NodeId, challenge: String) {
        let mut nodes = self.lock();
        let entry = nodes.entry(node).or_default();
        entry.challenge = Some(challenge);
        entry.heard.notify_waiters();
    }

    /// Wakes whoever waits for it whenever `node` has sent another challenge.
    pub fn heard(&self, node: NodeId) -> Arc<Notify> {
        self.lock().entry(node).or_default().heard.clone()
    }

    /// What the next beacon must answer.
    pub fn challenge(&self, node: NodeId) -> Option<String> {
        self.lock().get(&node).and_then(|node| node.challenge.clone())
    }

    /// Cuts the connections that were opened with one of the certificates `revoked`. A node that was untrusted has no
    /// other ones. Says how many connections that were.
    pub fn cut_revoked(&self, revoked: &HashSet<String>) -> usize {
        let mut cut = 0;
        self.lock().retain(|node, entry| {
            let before = entry.live.len();
            entry.live.retain(|_, live| {
                let holds = !revoked.contains(&live.serial);
                if !holds {
                    live.cut.cancel();
                }
                holds
            });
            let ended = before - entry.live.len();
            if ended > 0 {
                tracing::info!(node.id = %node, connections = ended, "connections cut: their certificate was revoked");
            }
            cut += ended;
            !entry.live.is_empty()
        });
        cut
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<NodeId, Node>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::new(1, [number; 10])
    }

    #[test]
    fn only_connections_with_a_revoked_certificate_are_cut() {
        let connections = Connections::default();
        let cuts = [(); 3].map(|()| CancellationToken::new());
        assert!(connections.register(node(1), "aa", 1, &cuts[0]));
        assert!(connections.register(node(1), "bb", 2, &cuts[1]));
        assert!(connections.register(node(2), "cc", 3, &cuts[2]));
        let cut = connections.cut_revoked(&HashSet::from(["aa".to_owned(), "zz".to_owned()]));
        assert_eq!(cut, 1);
        assert_eq!(cuts.map(|cut| cut.is_cancelled()), [true, false, false]);
        assert_eq!(connections.count(), 2);
        connections.cut_revoked(&HashSet::from(["bb".to_owned()]));
        assert_eq!(connections.count(), 1);
    }

    #[test]
    fn one_node_has_a_bounded_number_of_connections_and_streams() {
        let connections = Connections::default();
        let cut = CancellationToken::new();
        for number in 0..MOST_CONNECTIONS as u64 {
            assert!(connections.register(node(1), "aa", number, &cut));
        }
        assert!(!connections.register(node(1), "aa", 1_000, &cut));
        assert!(connections.register(node(1), "aa", 0, &cut), "known already");
        assert!(
            connections.register(node(2), "bb", 2_000, &cut),
            "others have theirs"
        );
        let mut streams: Vec<_> = (0..MOST_STREAMS).map(|_| connections.stream(node(1))).collect();
        assert!(streams.iter().all(Option::is_some));
        assert!(connections.stream(node(1)).is_none());
        streams.pop();
        assert!(connections.stream(node(1)).is_some());
    }
}
