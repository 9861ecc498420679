//! Epochs: a database that was put back becomes the present one by the root's word, and learns from nodes what was
//! taken away meanwhile.
//!
//! ```text
//!   epoch 1 ──(older copy put back)──► new-epoch: bump signed by the root ──► epoch 2
//!                                                                              │ node connects: its head is judged
//!                                                                              ▼
//!                              granted ◄── united ◄── asked for the signed state that it holds
//! ```
//!
//! Invariants: in a later epoch than the first a node is granted nothing before its report was read. A report only
//! takes away, blocks and unblocks, and only what a control plane of this collective had signed: a node can do
//! nothing by its own word.

mod begin;
pub(crate) mod tombstone;
mod union;

use std::sync::{Mutex, PoisonError};

use muster_ids::{Incarnation, NodeId};
use muster_model::permission::{Caller, Operation};
use muster_store::TrustHead;
use muster_wire::node::v1::trust_state::TrustVersion;

pub use begin::{Begun, begin};
pub use union::read_known;

use crate::{App, Error};

/// For how long the word of a node that it knows a newer database is shown, milliseconds.
const SHOWN_MS: i64 = 60 * 60 * 1000;

/// The last word of a node about a newer or another database, for people.
#[derive(Default)]
pub(crate) struct Doubt(Mutex<Option<(i64, String)>>);

impl Doubt {
    fn note(&self, at: i64, what: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, what));
    }

    fn at(&self, now: i64) -> Option<String> {
        let doubt = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        doubt
            .as_ref()
            .filter(|(at, _)| now - at < SHOWN_MS)
            .map(|(_, what)| what.clone())
    }
}

impl App {
    /// Judges the version that a node says it holds: an error when this database is not the present one, else whether
    /// the node must hand in what it knows.
    pub async fn meet(&self, node: NodeId, theirs: Option<&TrustVersion>) -> Result<bool, Error> {
        self.authorize(&Caller::Node(node), Operation::ActAsNode).await?;
        let ours = self.store().trust_head().await?;
        if let Some(theirs) = theirs {
            let theirs = head(theirs);
            if let Err((kind, detail)) = judge(&ours, &theirs) {
                let name = self.store().node(node).await?.map(|node| node.name.to_string());
                tracing::error!(node.id = %node, node.name = name, problem = kind, detail, "a node knows another database");
                let name = name.unwrap_or_default();
                self.inner.doubt.note(
                    self.now(),
                    format!("the node \"{name}\" was turned away: {detail}"),
                );
                return Err(Error::conflict(kind, detail));
            }
            if self.epoch() > 1
                && (theirs.epoch, theirs.incarnation) != self.line()
                && self.store().epoch_has_read(self.epoch(), &theirs).await?
            {
                let (epoch, now) = (self.epoch(), self.now());
                self.store().epoch_report_nothing(epoch, node, now).await?;
            }
        }
        Ok(!self.has_reported(node).await?)
    }

    /// Whether what this node knew of earlier epochs was read, so that it may be granted something.
    pub(crate) async fn has_reported(&self, node: NodeId) -> Result<bool, Error> {
        Ok(self.epoch() == 1 || self.store().epoch_reported(self.epoch(), node).await?)
    }

    /// What an administrator should know about epochs.
    pub(crate) async fn epoch_problems(&self, trusted: usize) -> Result<Vec<String>, Error> {
        let mut problems: Vec<String> = self.inner.doubt.at(self.now()).into_iter().collect();
        if self.epoch() > 1 {
            let heard = self.store().epoch_report_count(self.epoch()).await?;
            let silent = (trusted as u64).saturating_sub(heard);
            if silent > 0 {
                problems.push(format!(
                    "{silent} of {trusted} nodes have not connected since epoch {} began; what was untrusted after the backup may be known to them only",
                    self.epoch()
                ));
            }
        }
        Ok(problems)
    }

    fn line(&self) -> (u64, Incarnation) {
        (self.epoch(), self.incarnation())
    }
}

/// Whether a database with the head `ours` may serve a node that holds `theirs`.
fn judge(ours: &TrustHead, theirs: &TrustHead) -> Result<(), (&'static str, String)> {
    if theirs.epoch > ours.epoch {
        return Err((
            "older-database",
            format!(
                "it knows epoch {}, and this database is of epoch {}: an older database was put back; stop the control plane and run muster-server new-epoch --above {}",
                theirs.epoch, ours.epoch, theirs.epoch
            ),
        ));
    }
    if theirs.epoch < ours.epoch {
        return Ok(());
    }
    if theirs.incarnation != ours.incarnation {
        return Err((
            "second-copy",
            format!(
                "it knows another copy of the database of epoch {}; stop one of the two control planes",
                ours.epoch
            ),
        ));
    }
    if theirs.number > ours.number {
        return Err((
            "older-database",
            format!(
                "it knows number {} of the trust state, and this database has {}: an older database was put back; stop the control plane and run muster-server new-epoch",
                theirs.number, ours.number
            ),
        ));
    }
    if theirs.number == ours.number && theirs.digest != ours.digest {
        return Err((
            "second-copy",
            format!(
                "it knows another trust state with number {}: the database was copied, and both copies run; stop one of the two control planes",
                ours.number
            ),
        ));
    }
    Ok(())
}

fn head(version: &TrustVersion) -> TrustHead {
    TrustHead {
        incarnation: version.incarnation,
        epoch: version.epoch,
        number: version.number,
        digest: version.digest,
        previous: version.previous,
    }
}

#[cfg(test)]
mod tests;
