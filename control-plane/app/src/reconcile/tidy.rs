//! What is over is removed.

use muster_model::join::REQUEST_LIFETIME_MS;

use crate::{App, Error};

/// How long answers to repeated requests are kept.
const IDEMPOTENCY_MS: i64 = 24 * 60 * 60 * 1000;

/// How long the end of a join and of a token can be looked up.
const JOINS_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// How long the end of a long log, which its outcome does not hold, and a last progress message can be read.
const OUTPUT_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// The most joins without a node that are kept: a flood of requests must not fill the disk.
const MOST_JOINS: u32 = 10_000;

impl App {
    /// Removes sessions that ended, answers that nobody will ask for again, joins and tokens that ended long ago, what
    /// ended runs have printed beyond their outcomes, and tombstones of what is over anyway.
    pub async fn reconcile_tidy(&self) -> Result<(), Error> {
        let now = self.now();
        self.store().sessions_delete_expired(now).await?;
        self.store()
            .idempotency_delete_before(now - IDEMPOTENCY_MS)
            .await?;
        self.store()
            .joins_tidy(now - JOINS_MS, now - REQUEST_LIFETIME_MS, MOST_JOINS)
            .await?;
        self.store().run_output_delete_before(now - OUTPUT_MS).await?;
        self.store().join_tokens_delete_before(now - JOINS_MS).await?;
        self.reconcile_tombstones().await
    }
}
