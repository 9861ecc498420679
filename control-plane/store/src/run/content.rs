//! Small blobs of runs, which came in their outcomes: rows, so that they cost no sync of their own.
//!
//! Invariant: they are added in the transaction of the outcome that names them, and never change.

use muster_ids::{Digest, RunId};

use crate::{error::StoreError, store::Store, tx::Tx, value::args};

impl Store {
    /// A small blob that the outcome of this run brought along.
    pub async fn run_content(&self, run: RunId, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT bytes FROM run_contents WHERE run_id = $1 AND digest = $2";
        let row = self.first(sql, args![run, *digest]).await?;
        row.map(|row| row.bytes("bytes")).transpose()
    }
}

impl Tx {
    /// Keeps a small blob with the outcome of its run.
    pub async fn run_content_insert(
        &mut self,
        run: RunId,
        digest: Digest,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let named = "a blob of this run";
        self.insert(
            "INSERT INTO run_contents (run_id, digest, bytes) VALUES ($1, $2, $3)",
            args![run, digest, bytes],
            named,
            named,
        )
        .await
    }
}
