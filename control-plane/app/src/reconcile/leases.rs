//! Runs whose node has vanished become lost.

use muster_model::run::LEASE_MS;
use muster_store::Records;

use crate::{App, Error};

/// Runs looked at in one round.
const BATCH: u32 = 100;

/// How long nodes have to be heard of again after a start: a node dials anew within a minute.
const AFTER_START_MS: i64 = 2 * LEASE_MS;

impl App {
    /// Called once before nodes are listened to: nobody could hear them meanwhile, so that silence does not count.
    pub async fn forgive_silence(&self) -> Result<(), Error> {
        let until = self.now().saturating_add(AFTER_START_MS);
        self.store().leases_extend(until).await?;
        self.forgive_nodes().await
    }

    /// Declares runs lost whose lease is over; says how many.
    pub async fn reconcile_leases(&self) -> Result<usize, Error> {
        let now = self.now();
        let expired = self.store().runs_expired(now, BATCH).await?;
        let mut lost = 0;
        for row in expired {
            let mut tx = self.store().begin(&Self::system()).await?;
            let why = "its node was not heard of for 45 seconds";
            // Its node may have been heard of since it was read.
            if let Some(draft) = self.lose_run(&mut tx, row.run.id, (now, now), why).await? {
                tx.commit(Records::from(draft), now).await?;
                tracing::warn!(run.id = %row.run.id, node.id = ?row.run.node, "run lost");
                lost += 1;
            }
        }
        Ok(lost)
    }
}
