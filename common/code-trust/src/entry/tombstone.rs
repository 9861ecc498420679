//! What was taken away: stamps, acts of blocking, nodes, certificates of the collective, for ever; roots until people accept
//! them again.
//!
//! A database that was put back from an older copy has forgotten what was taken away since. The tombstones in the
//! states that nodes hold remember it, so that it can be taken away again.
//!
//! Invariant: identifiers and serial numbers are random and never used twice, so a tombstone takes nothing away that
//! was given later. A root has one name for ever: its tombstone goes when it is accepted again, and where a node remembers
//! one, the root waits for people.

use muster_ids::{BlockId, NodeId, StampId};
use serde::{Deserialize, Serialize};

use crate::{Label, Moment, Serial};

/// That something was taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "TombstoneForm", into = "TombstoneForm")]
pub struct Tombstone {
    /// What.
    pub gone: Gone,
    /// When.
    pub at: Moment,
}

/// What was taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gone {
    /// A stamp was removed.
    Stamp(StampId),
    /// What this act blocked was unblocked.
    Block(BlockId),
    /// A node was untrusted.
    Node(NodeId),
    /// A root that signatures led to was removed; its name is its digest.
    Root(Label),
    /// A certificate of the collective was revoked.
    Certificate {
        /// Its serial number.
        serial: Serial,
        /// Its own end: nobody accepts it afterwards, and the tombstone may go.
        until: Moment,
    },
}

impl Tombstone {
    /// The key under which it stands in the state.
    pub(super) fn key(&self) -> String {
        match &self.gone {
            Gone::Stamp(id) => format!("tombstone/stamp/{id}"),
            Gone::Block(id) => format!("tombstone/block/{id}"),
            Gone::Node(id) => format!("tombstone/node/{id}"),
            Gone::Root(name) => format!("tombstone/root/{name}"),
            Gone::Certificate { serial, .. } => format!("tombstone/certificate/{serial}"),
        }
    }

    /// Whether nothing depends on it any more at `now`.
    pub fn is_over(&self, now: Moment) -> bool {
        matches!(&self.gone, Gone::Certificate { until, .. } if *until <= now)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TombstoneForm {
    at: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block: Option<BlockId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<Serial>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<NodeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stamp: Option<StampId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Moment>,
}

impl TryFrom<TombstoneForm> for Tombstone {
    type Error = &'static str;
    fn try_from(form: TombstoneForm) -> Result<Self, Self::Error> {
        let TombstoneForm {
            stamp,
            block,
            node,
            root,
            certificate,
            until,
            at: _,
        } = form;
        let gone = match (stamp, block, node, root, certificate, until) {
            (Some(stamp), None, None, None, None, None) => Gone::Stamp(stamp),
            (None, Some(block), None, None, None, None) => Gone::Block(block),
            (None, None, Some(node), None, None, None) => Gone::Node(node),
            (None, None, None, Some(root), None, None) => Gone::Root(root),
            (None, None, None, None, Some(serial), Some(until)) => Gone::Certificate { serial, until },
            _ => {
                return Err(
                    "a tombstone names exactly one: a stamp, a block, a node, a root, or a certificate with its end",
                );
            }
        };
        Ok(Self { gone, at: form.at })
    }
}

impl From<Tombstone> for TombstoneForm {
    fn from(Tombstone { gone, at }: Tombstone) -> Self {
        let mut form = Self {
            at,
            block: None,
            certificate: None,
            node: None,
            root: None,
            stamp: None,
            until: None,
        };
        match gone {
            Gone::Stamp(stamp) => form.stamp = Some(stamp),
            Gone::Block(block) => form.block = Some(block),
            Gone::Node(node) => form.node = Some(node),
            Gone::Root(root) => form.root = Some(root),
            Gone::Certificate { serial, until } => {
                form.certificate = Some(serial);
                form.until = Some(until);
            }
        }
        form
    }
}
