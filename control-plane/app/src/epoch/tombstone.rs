//! Tombstones: what was taken away for ever stands in the trust state, so that nodes know it too.

use muster_code_trust::{Entry, Gone, Moment, Tombstone};
use muster_ids::{BlockId, Digest, NodeId, StampId};
use muster_model::audit::Event;
use muster_store::{Certificate, Draft, Tx};
use serde_json::json;

use crate::{App, Error, trust::locked};

/// One change of the trust state.
pub(crate) type Change = (String, Option<String>);

fn entry(gone: Gone, now: i64) -> Change {
    let entry = Entry::Tombstone(Tombstone {
        gone,
        at: Moment::from_unix_ms(now),
    });
    (entry.key(), Some(entry.value()))
}

/// That a stamp was removed.
pub(crate) fn of_stamp(stamp: StampId, now: i64) -> Change {
    entry(Gone::Stamp(stamp), now)
}

/// That what this act blocked was unblocked.
pub(crate) fn of_block(block: BlockId, now: i64) -> Change {
    entry(Gone::Block(block), now)
}

/// That a node was untrusted; its certificates go with it.
pub(crate) fn of_node(node: NodeId, now: i64) -> Change {
    entry(Gone::Node(node), now)
}

/// That a root of signatures was removed.
pub(crate) fn of_root(fingerprint: &Digest, now: i64) -> Result<Change, Error> {
    Ok(entry(
        Gone::Root(fingerprint.to_string().parse().map_err(Error::bug)?),
        now,
    ))
}

/// That a single certificate was revoked.
pub(crate) fn of_certificate(certificate: &Certificate, now: i64) -> Result<Change, Error> {
    let gone = Gone::Certificate {
        serial: certificate.serial.parse().map_err(Error::bug)?,
        until: Moment::from_unix_ms(certificate.not_after),
    };
    Ok(entry(gone, now))
}

/// Writes tombstones; what has one already keeps it.
pub(crate) async fn bury(tx: &mut Tx, mut tombstones: Vec<Change>, now: i64) -> Result<(), Error> {
    let entries = locked(tx).await?;
    tombstones.retain(|(key, _)| !entries.contains_key(key));
    tx.trust_change(&tombstones, now).await?;
    Ok(())
}

impl App {
    /// Lets tombstones go that nothing depends on any more.
    pub(crate) async fn reconcile_tombstones(&self) -> Result<(), Error> {
        let now = self.now();
        let over: Vec<Change> = self
            .trust_state()
            .await?
            .tombstones()
            .filter(|tombstone| tombstone.is_over(Moment::from_unix_ms(now)))
            .map(|tombstone| (Entry::Tombstone(tombstone).key(), None))
            .collect();
        if over.is_empty() {
            return Ok(());
        }
        let mut tx = self.store().begin(&Self::system()).await?;
        tx.trust_change(&over, now).await?;
        let detail = json!({ "certificates": over.len() });
        tx.commit(Draft::new(Event::TombstonesExpired, "trust state", detail), now)
            .await?;
        Ok(())
    }
}
