//! Which agent speaks for a node: one at a time, so that a copied machine does not work beside the original.
//!
//! ```text
//!   (nobody) ──stream of agent A──► A ──last stream of A ends──► (nobody)
//!                                   │ ▲
//!                agent B: refused ◄─┘ └─ A is heard of again: there are two machines
//!                                   └─── A silent for [`SILENCE`]; agent B ──► B
//! ```
//!
//! Invariant: an agent that was restarted is never taken for a second one for longer than [`SILENCE`], and an alarm
//! is raised only once the first has been heard of after the second.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use muster_ids::NodeId;

/// After two heartbeats and a half an agent has been cut off, and another life of it may speak.
const SILENCE: Duration = Duration::from_secs(25);

/// The agents that speak for nodes at this control plane.
#[derive(Default)]
pub struct Presence(Mutex<HashMap<NodeId, Agent>>);

struct Agent {
    boot_nonce: String,
    /// Control streams that it has open.
    streams: u32,
    heard: Duration,
    refused: Option<IpAddr>,
}

/// What it means that an agent was heard of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is the one that speaks for the node.
    Alone,
    /// Another one speaks for the node.
    Elsewhere,
    /// It is the one, and since it was last heard of another one was refused that came from this address.
    Contested(IpAddr),
}

impl Presence {
    /// The agent of `boot_nonce` opens a control stream.
    pub(super) fn open(&self, node: NodeId, boot_nonce: &str, from: IpAddr, now: Duration) -> Heard {
        let mut agents = self.lock();
        let agent = agents.entry(node).or_insert_with(|| Agent::new(boot_nonce, now));
        if agent.boot_nonce != boot_nonce {
            if now.saturating_sub(agent.heard) < SILENCE {
                agent.refused = Some(from);
                return Heard::Elsewhere;
            }
            *agent = Agent::new(boot_nonce, now);
        }
        agent.streams += 1;
        agent.hear(now)
    }

    /// The agent of `boot_nonce` sends a heartbeat.
    pub(super) fn beat(&self, node: NodeId, boot_nonce: &str, from: IpAddr, now: Duration) -> Heard {
        match self.lock().get_mut(&node) {
            None => Heard::Alone,
            Some(agent) if agent.boot_nonce == boot_nonce => agent.hear(now),
            Some(agent) => {
                agent.refused = Some(from);
                Heard::Elsewhere
            }
        }
    }

    /// A control stream of the agent of `boot_nonce` has ended.
    pub(super) fn close(&self, node: NodeId, boot_nonce: &str) {
        let mut agents = self.lock();
        if let Some(agent) = agents.get_mut(&node)
            && agent.boot_nonce == boot_nonce
        {
            agent.streams = agent.streams.saturating_sub(1);
            if agent.streams == 0 {
                agents.remove(&node);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<NodeId, Agent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Agent {
    fn new(boot_nonce: &str, now: Duration) -> Self {
        Self {
            boot_nonce: boot_nonce.to_owned(),
            streams: 0,
            heard: now,
            refused: None,
        }
    }

    fn hear(&mut self, now: Duration) -> Heard {
        self.heard = now;
        self.refused.take().map_or(Heard::Alone, Heard::Contested)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_second_agent_is_refused_and_the_first_one_tells_of_it() {
        let (presence, node) = (Presence::default(), NodeId::new(1, [1; 10]));
        assert_eq!(presence.open(node, "a", HERE, seconds(0)), Heard::Alone);
        assert_eq!(presence.open(node, "b", THERE, seconds(5)), Heard::Elsewhere);
        assert_eq!(
            presence.beat(node, "a", HERE, seconds(10)),
            Heard::Contested(THERE)
        );
        assert_eq!(presence.beat(node, "a", HERE, seconds(20)), Heard::Alone);
        assert_eq!(presence.beat(node, "b", THERE, seconds(21)), Heard::Elsewhere);
    }

    #[test]
    fn an_agent_that_was_restarted_comes_back_without_an_alarm() {
        let (presence, node) = (Presence::default(), NodeId::new(1, [1; 10]));
        presence.open(node, "a", HERE, seconds(0));
        presence.close(node, "a");
        assert_eq!(presence.open(node, "b", HERE, seconds(1)), Heard::Alone);
        // A machine that lost its power says no goodbye.
        assert_eq!(presence.open(node, "c", HERE, seconds(20)), Heard::Elsewhere);
        assert_eq!(presence.open(node, "c", HERE, seconds(26)), Heard::Alone);
        assert_eq!(presence.beat(node, "c", HERE, seconds(36)), Heard::Alone);
    }

    #[test]
    fn one_agent_may_have_an_old_and_a_new_stream() {
        let (presence, node) = (Presence::default(), NodeId::new(1, [1; 10]));
        presence.open(node, "a", HERE, seconds(0));
        assert_eq!(presence.open(node, "a", HERE, seconds(1)), Heard::Alone);
        presence.close(node, "a");
        assert_eq!(presence.open(node, "b", THERE, seconds(2)), Heard::Elsewhere);
    }
}
