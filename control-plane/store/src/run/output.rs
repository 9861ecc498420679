//! The end of what runs print while they go on, and their last progress messages.
//!
//! Invariant: of each stream at most about [`KEPT`] bytes are kept, however much is printed. What an outcome holds is
//! not kept twice: it is removed in the transaction of the outcome.

use muster_ids::{NodeId, RunId};
use muster_model::run::Stream;

use crate::{
    dialect::locking,
    error::StoreError,
    store::Store,
    tx::Tx,
    value::{Row, args, counter},
};

/// Bytes of one stream of one run; a piece is removed when it ends so far before the newest.
const KEPT: u64 = 256 * 1024;

/// What came of one claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOutput {
    /// The run.
    pub run: RunId,
    /// The claim.
    pub fence: i64,
    /// Pieces of its streams.
    pub pieces: Vec<Piece>,
    /// Its last message.
    pub progress: Option<ProgressRow>,
}

/// A piece of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Which stream.
    pub stream: Stream,
    /// Where in it, in bytes.
    pub begins: u64,
    /// What was printed.
    pub bytes: Vec<u8>,
}

/// What a script said about how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgressRow {
    /// From 0 to a million, where it is known.
    pub millionths: Option<i64>,
    /// In its own words.
    pub words: String,
}

impl Piece {
    fn ends(&self) -> u64 {
        self.begins.saturating_add(self.bytes.len() as u64)
    }
}

impl Store {
    /// Keeps what a node's runs have printed; says which of them the node does not hold. Not audited: it decides
    /// nothing. The same piece may come twice, and longer the second time.
    pub async fn run_output_add(
        &self,
        node: NodeId,
        runs: &[NewOutput],
        now: i64,
    ) -> Result<Vec<RunId>, StoreError> {
        let mut not_held = Vec::new();
        let mut conn = self.db.begin().await?;
        for output in runs {
            // Locked against the outcome, after which nothing may be added.
            let held = locking!(
                "SELECT id FROM runs WHERE id = $1 AND fence = $2 AND node_id = $3 AND state = 'running'",
                " FOR KEY SHARE"
            );
            if conn
                .first(held, args![output.run, output.fence, node])
                .await?
                .is_none()
            {
                not_held.push(output.run);
                continue;
            }
            for piece in &output.pieces {
                let (begins, ends) = (counter(piece.begins)?, counter(piece.ends())?);
                let stream = piece.stream.as_str();
                conn.execute(
                    "INSERT INTO run_output (run_id, stream, begins, ends, at, bytes) VALUES ($1, $2, $3, $4, $5, $6) \
                     ON CONFLICT (run_id, stream, begins) DO UPDATE SET ends = excluded.ends, bytes = excluded.bytes \
                     WHERE excluded.ends > run_output.ends",
                    args![output.run, stream, begins, ends, now, &piece.bytes],
                )
                .await?;
                conn.execute(
                    "DELETE FROM run_output WHERE run_id = $1 AND stream = $2 AND ends <= $3",
                    args![output.run, stream, counter(piece.ends().saturating_sub(KEPT))?],
                )
                .await?;
            }
            if let Some(progress) = &output.progress {
                conn.execute(
                    "INSERT INTO run_progress (run_id, millionths, words, at) VALUES ($1, $2, $3, $4) \
                     ON CONFLICT (run_id) DO UPDATE SET millionths = excluded.millionths, words = excluded.words, \
                     at = excluded.at",
                    args![output.run, progress.millionths, progress.words.as_str(), now],
                )
                .await?;
            }
        }
        conn.commit().await?;
        Ok(not_held)
    }

    /// The pieces of a run that end after these places of its standard output and standard error, oldest first; at
    /// most `limit`.
    pub async fn run_output(
        &self,
        run: RunId,
        (stdout, stderr): (u64, u64),
        limit: u32,
    ) -> Result<Vec<Piece>, StoreError> {
        let rows = self
            .all(
                "SELECT stream, begins, bytes FROM run_output WHERE run_id = $1 \
                 AND ((stream = 'stdout' AND ends > $2) OR (stream = 'stderr' AND ends > $3)) \
                 ORDER BY at, stream DESC, begins LIMIT $4",
                args![run, counter(stdout)?, counter(stderr)?, i64::from(limit)],
            )
            .await?;
        let piece = |row: &Row| {
            Ok(Piece {
                stream: row.parsed("stream")?,
                begins: row.counter("begins")?,
                bytes: row.bytes("bytes")?,
            })
        };
        rows.iter().map(piece).collect()
    }

    /// What a run's script said last.
    pub async fn run_progress(&self, run: RunId) -> Result<Option<ProgressRow>, StoreError> {
        let row = self
            .first(
                "SELECT millionths, words FROM run_progress WHERE run_id = $1",
                args![run],
            )
            .await?;
        row.map(|row| {
            Ok(ProgressRow {
                millionths: row.optional_int("millionths")?,
                words: row.text("words")?,
            })
        })
        .transpose()
    }

    /// Forgets what came before `at`, of runs that have ended.
    pub async fn run_output_delete_before(&self, at: i64) -> Result<(), StoreError> {
        const ENDED: [&str; 2] = [
            "DELETE FROM run_output WHERE at < $1 AND run_id IN (SELECT id FROM runs WHERE finished_at IS NOT NULL)",
            "DELETE FROM run_progress WHERE at < $1 AND run_id IN (SELECT id FROM runs WHERE finished_at IS NOT NULL)",
        ];
        for sql in ENDED {
            self.write(sql, args![at]).await?;
        }
        Ok(())
    }
}

impl Tx {
    /// Forgets what an outcome holds: it keeps the first bytes of each stream, so many of standard output and of
    /// standard error.
    pub async fn run_output_settle(
        &mut self,
        run: RunId,
        (stdout, stderr): (u64, u64),
    ) -> Result<(), StoreError> {
        if (stdout, stderr) == (0, 0) {
            return Ok(());
        }
        self.execute(
            "DELETE FROM run_output WHERE run_id = $1 \
             AND ((stream = 'stdout' AND ends <= $2) OR (stream = 'stderr' AND ends <= $3))",
            args![run, counter(stdout)?, counter(stderr)?],
        )
        .await
        .map(drop)
    }
}
