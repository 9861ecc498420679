//! What is over is removed.

use crate::{App, Error};

/// How long answers to repeated requests are kept.
const IDEMPOTENCY_MS: i64 = 24 * 60 * 60 * 1000;

impl App {
    /// Removes sessions that ended, answers that nobody will ask for again and tombstones of what is over anyway.
    pub async fn reconcile_tidy(&self) -> Result<(), Error> {
        let now = self.now();
        self.store().sessions_delete_expired(now).await?;
        self.store()
            .idempotency_delete_before(now - IDEMPOTENCY_MS)
            .await?;
        self.reconcile_tombstones().await
    }
}
