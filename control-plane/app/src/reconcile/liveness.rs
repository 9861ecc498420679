//! Signs of life go to the database in batches.

use crate::{App, Error};

impl App {
    /// Writes what was heard of nodes since the last time.
    pub async fn reconcile_liveness(&self) -> Result<(), Error> {
        let mut observed = Vec::new();
        for (node, seen_at, inventory) in self.liveness().take_unflushed() {
            let inventory = inventory
                .map(|inventory| serde_json::to_string(&inventory))
                .transpose();
            observed.push((node, seen_at, inventory.map_err(Error::bug)?));
        }
        if !observed.is_empty() {
            self.store().flush_liveness(&observed).await?;
        }
        Ok(())
    }
}
