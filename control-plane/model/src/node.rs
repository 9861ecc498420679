//! A node as the control plane sees it: three fields that never share a type.
//!
//! *Trust* is decided by people, *scheduling* is wished by people, *health* is observed.

use muster_ids::{Digest, Name, NodeId, PoolId, SiteId};

use crate::{authority::Link, join::Capability};

/// A node sends a heartbeat this often (protocols.md 5).
pub const HEARTBEAT_MS: i64 = 10_000;
/// A node not heard of for this long is `suspect` (protocols.md 5).
pub const SUSPECT_MS: i64 = 15_000;
/// A node not heard of for this long is `offline` (protocols.md 5).
pub const OFFLINE_MS: i64 = 45_000;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// The name in the database and on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(format!(concat!("\"{}\" is not ", $what), text)),
                }
            }
        }
    };
}
pub(crate) use words;

words! {
    /// Whether a node may speak at all.
    Trust, "a trust state of a node" {
        /// Approved by an administrator.
        Trusted = "trusted",
        /// Untrusted by an administrator; final.
        Revoked = "revoked",
    }
}

words! {
    /// Whether a node is given work.
    Scheduling, "a scheduling state of a node" {
        /// Takes runs.
        Active = "active",
        /// Takes no new runs.
        Cordoned = "cordoned",
        /// Takes no new runs and finishes those it has.
        Draining = "draining",
    }
}

words! {
    /// Whether a node was heard of lately.
    Health, "a health state of a node" {
        /// Within 15 seconds.
        Online = "online",
        /// Within 45 seconds.
        Suspect = "suspect",
        /// Not for longer.
        Offline = "offline",
    }
}

impl Health {
    /// The health of a node that was last heard of at `seen` (milliseconds).
    pub fn at(seen: Option<i64>, now: i64) -> Self {
        match seen.map(|seen| now - seen) {
            Some(silence) if silence < SUSPECT_MS => Self::Online,
            Some(silence) if silence < OFFLINE_MS => Self::Suspect,
            _ => Self::Offline,
        }
    }
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its identity, in its certificate.
    pub id: NodeId,
    /// Unique among nodes.
    pub name: Name,
    /// Digest of its public key.
    pub key: Digest,
    /// May it speak?
    pub trust: Trust,
    /// Is it given work?
    pub scheduling: Scheduling,
    /// What it runs.
    pub capabilities: Vec<Capability>,
    /// Its pool.
    pub pool: PoolId,
    /// Its site.
    pub site: SiteId,
    /// The addresses that it said it has.
    pub addresses: Vec<String>,
    /// When it was approved.
    pub created_at: i64,
    /// When it was last heard of, as flushed.
    pub seen_at: Option<i64>,
    /// The last inventory, JSON, as flushed.
    pub inventory: Option<String>,
    /// That of the newest certificate that it has used; 1 for the certificate of its join.
    pub generation: u64,
    /// When it first used that certificate.
    pub generation_at: Option<i64>,
    /// Why it was revoked.
    pub reason: Option<String>,
    /// Number of changes.
    pub version: i64,
}

/// Why a node may not change so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeRefused {
    /// A revoked node stays revoked; it joins again under a new key.
    #[error("the node was untrusted; delete it and let it join again with a new key")]
    Revoked,
    /// Only what was untrusted may be deleted.
    #[error("the node is still trusted; run muster node untrust first")]
    Trusted,
}

impl Node {
    /// Where it stands in the lineage of its certificates.
    pub fn link(&self) -> Link {
        Link {
            generation: self.generation,
            key: self.key,
        }
    }

    /// It has used the certificate `link` for the first time.
    pub fn move_on(self, link: Link, now: i64) -> Self {
        Self {
            key: link.key,
            generation: link.generation,
            generation_at: Some(now),
            version: self.version + 1,
            ..self
        }
    }

    /// Takes the node's right to speak, and keeps the first reason. Untrusting twice is the same as once.
    pub fn untrust(self, reason: &str) -> Self {
        Self {
            trust: Trust::Revoked,
            reason: self.reason.or_else(|| Some(reason.to_owned())),
            version: self.version + 1,
            ..self
        }
    }

    /// Whether the row may be deleted.
    pub fn may_be_deleted(&self) -> Result<(), NodeRefused> {
        match self.trust {
            Trust::Revoked => Ok(()),
            Trust::Trusted => Err(NodeRefused::Trusted),
        }
    }

    /// Sets what an administrator wishes.
    pub fn schedule(self, scheduling: Scheduling) -> Result<Self, NodeRefused> {
        match self.trust {
            Trust::Revoked => Err(NodeRefused::Revoked),
            Trust::Trusted => Ok(Self {
                scheduling,
                version: self.version + 1,
                ..self
            }),
        }
    }

    /// Whether it may be given a run now.
    pub fn takes_runs(&self) -> bool {
        self.trust == Trust::Trusted && self.scheduling == Scheduling::Active
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn health_follows_the_documented_silences() {
        assert_eq!(Health::at(None, 0), Health::Offline);
        for (silence, health) in [
            (0, Health::Online),
            (14_999, Health::Online),
            (15_000, Health::Suspect),
            (44_999, Health::Suspect),
            (45_000, Health::Offline),
        ] {
            assert_eq!(Health::at(Some(1_000), 1_000 + silence), health, "{silence}");
        }
    }

    fn node() -> Node {
        Node {
            id: NodeId::new(1, [1; 10]),
            name: "terr01".parse().expect("a name"),
            key: Digest::of(b"key 1"),
            trust: Trust::Trusted,
            scheduling: Scheduling::Active,
            capabilities: vec![Capability::Terr],
            pool: PoolId::new(1, [1; 10]),
            site: SiteId::new(1, [1; 10]),
            addresses: Vec::new(),
            created_at: 0,
            seen_at: None,
            inventory: None,
            generation: 1,
            generation_at: None,
            reason: None,
            version: 1,
        }
    }

    #[derive(Debug, Clone)]
    enum Event {
        Untrust(u8),
        Schedule(Scheduling),
        MoveOn,
        Heard,
        Wait(i64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            any::<u8>().prop_map(Event::Untrust),
            prop_oneof![
                Just(Scheduling::Active),
                Just(Scheduling::Cordoned),
                Just(Scheduling::Draining)
            ]
            .prop_map(Event::Schedule),
            Just(Event::MoveOn),
            Just(Event::Heard),
            (0..OFFLINE_MS * 2).prop_map(Event::Wait),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order, and whichever changes a crash takes back before they are stored: what was
        /// untrusted stays so, keeps its first reason, and is given nothing.
        #[test]
        fn no_order_of_events_brings_trust_back(events in prop::collection::vec((event(), any::<bool>()), 0..60)) {
            let (mut now, mut current) = (0, node());
            let mut reason = None;
            for (event, crash) in events {
                let before = current.clone();
                let next = match event {
                    Event::Untrust(why) => Ok(before.clone().untrust(&why.to_string())),
                    Event::Schedule(scheduling) => before.clone().schedule(scheduling),
                    Event::MoveOn => {
                        let generation = before.generation + 1;
                        let key = Digest::of(&generation.to_be_bytes());
                        Ok(before.clone().move_on(Link { generation, key }, now))
                    }
                    Event::Heard => Ok(Node { seen_at: Some(now), ..before.clone() }),
                    Event::Wait(ms) => { now += ms; continue; }
                };
                let Ok(next) = next else { prop_assert_eq!(before.trust, Trust::Revoked); continue };
                if crash {
                    continue;
                }
                if next.trust == Trust::Revoked && reason.is_none() {
                    reason.clone_from(&next.reason);
                }
                prop_assert!(before.trust == Trust::Trusted || next.trust == Trust::Revoked);
                prop_assert!(next.trust == Trust::Trusted || (next.reason == reason && reason.is_some()));
                prop_assert!(next.generation >= before.generation && next.version >= before.version);
                prop_assert!(next.key == before.key || next.generation > before.generation);
                prop_assert_eq!(next.may_be_deleted().is_ok(), next.trust == Trust::Revoked);
                prop_assert!(!next.takes_runs() || (next.trust == Trust::Trusted && next.scheduling == Scheduling::Active));
                prop_assert_eq!(
                    Health::at(next.seen_at, now) == Health::Online,
                    next.seen_at.is_some_and(|seen| now - seen < SUSPECT_MS)
                );
                current = next;
            }
        }
    }

    #[test]
    fn words_survive_their_text() {
        for trust in [Trust::Trusted, Trust::Revoked] {
            assert_eq!(trust.as_str().parse(), Ok(trust));
        }
        assert_eq!(
            "maybe".parse::<Trust>(),
            Err("\"maybe\" is not a trust state of a node".to_owned())
        );
    }
}
