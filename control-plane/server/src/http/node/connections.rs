//! Live connections of nodes, cut on revocation, and what each node last asked to be told.
//!
//! Invariant: one node holds at most [`MOST_CONNECTIONS`] connections and [`MOST_STREAMS`] control streams, so that a
//! node out of order takes nothing from the others.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use muster_ids::NodeId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Connections of one node at once: the agent keeps one for control and opens a few for payloads.
pub const MOST_CONNECTIONS: usize = 64;
/// Control streams, and streams of heartbeats, of one node at once: the agent has one; those that it has lost may linger until a ping fails.
pub const MOST_STREAMS: usize = 4;

/// The connections of all nodes that speak to this control plane.
#[derive(Default)]
pub struct Connections(Mutex<HashMap<NodeId, Node>>);

struct Node {
    live: HashMap<u64, Live>,
    streams: Arc<Semaphore>,
    heartbeats: Arc<Semaphore>,
    challenge: Option<String>,
    heard: Arc<Notify>,
    /// Since boot.
    wake_from: Duration,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            live: HashMap::new(),
            streams: Arc::new(Semaphore::new(MOST_STREAMS)),
            heartbeats: Arc::new(Semaphore::new(MOST_STREAMS)),
            challenge: None,
            heard: Arc::default(),
            wake_from: Duration::ZERO,
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

    /// As [`Self::stream`], for a stream of heartbeats.
    pub fn heartbeats(&self, node: NodeId) -> Option<OwnedSemaphorePermit> {
        let streams = self.lock().entry(node).or_default().heartbeats.clone();
        streams.try_acquire_owned().ok()
    }

    /// What the next beacon must answer.
    pub fn set_challenge(&self, node: NodeId, challenge: String, now: Duration) {
        let mut nodes = self.lock();
        let entry = nodes.entry(node).or_default();
        entry.challenge = Some(challenge);
        if now >= entry.wake_from {
            entry.heard.notify_waiters();
        }
    }

    /// Nobody needs to be woken for `node` before `time`, which like all times here counts from boot.
    pub fn wake_from(&self, node: NodeId, time: Duration) {
        self.lock().entry(node).or_default().wake_from = time;
    }

    /// Wakes whoever waits for it when `node` has sent another challenge, from the time of [`Self::wake_from`] on.
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

    #[tokio::test]
    async fn whoever_waits_for_a_challenge_is_woken_only_from_the_time_that_it_named() {
        let connections = Connections::default();
        let heard = connections.heard(node(1));
        let second = Duration::from_secs(1);
        connections.wake_from(node(1), 10 * second);
        let mut waits = std::pin::pin!(heard.notified());
        let mut woken = async || tokio::time::timeout(Duration::ZERO, waits.as_mut()).await.is_ok();
        assert!(!woken().await);
        connections.set_challenge(node(1), "early".to_owned(), 9 * second);
        assert!(!woken().await);
        assert_eq!(connections.challenge(node(1)).as_deref(), Some("early"));
        connections.set_challenge(node(1), "due".to_owned(), 10 * second);
        assert!(woken().await);
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
