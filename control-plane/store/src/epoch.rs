//! Epochs: which copy of the database this is, how it came to be, and which nodes have handed in what they knew.
//!
//! Invariant: identity of the copy, epoch, audit writer, trust head and the signed bump change together, in one
//! transaction. The number of the trust state goes on; only the line that it counts in is another.

use muster_ids::{AuditWriter, Incarnation, NodeId};

use crate::{
    audit::{AuditHead, origin},
    error::StoreError,
    store::Store,
    trust::TrustHead,
    tx::Tx,
    value::{args, counter},
    wake::Topic,
};

/// What a new epoch begins with.
#[derive(Debug, Clone)]
pub struct NewEpoch {
    /// Its number, above that of the database.
    pub epoch: u64,
    /// This copy from now on.
    pub incarnation: Incarnation,
    /// Who writes its audit chain.
    pub writer: AuditWriter,
    /// The signed bump, JSON text.
    pub bump: String,
}

/// What ended when an epoch began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochBegun {
    /// Join requests that waited.
    pub joins: u64,
    /// Join tokens.
    pub tokens: u64,
    /// Sessions of people.
    pub sessions: u64,
    /// The end of the audit chain of the epoch before.
    pub audit: AuditHead,
}

impl Store {
    /// The signed bump that led to the epoch of this database; none in the first one.
    pub async fn epoch_bump(&self) -> Result<Option<String>, StoreError> {
        let row = self
            .first(
                "SELECT e.bump FROM epochs e JOIN meta m ON m.epoch = e.epoch",
                args![],
            )
            .await?;
        row.map(|row| row.text("bump")).transpose()
    }

    /// Whether this node has handed in what it knew, in this epoch.
    pub async fn epoch_reported(&self, epoch: u64, node: NodeId) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM epoch_reports WHERE epoch = $1 AND node_id = $2";
        let row = self.first(sql, args![counter(epoch)?, node]).await?;
        Ok(row.is_some())
    }

    /// Whether the state of this version was read in this epoch already, or is what the epoch began with.
    pub async fn epoch_has_read(&self, epoch: u64, state: &TrustHead) -> Result<bool, StoreError> {
        let of_state = args![
            counter(epoch)?,
            state.incarnation,
            counter(state.epoch)?,
            counter(state.number)?,
            state.digest
        ];
        let row = self
            .first(
                "SELECT 1 FROM epoch_reports WHERE epoch = $1 AND incarnation = $2 AND state_epoch = $3 \
                 AND number = $4 AND digest = $5 \
                 UNION ALL \
                 SELECT 1 FROM epochs WHERE epoch = $1 AND from_incarnation = $2 AND from_epoch = $3 \
                 AND number = $4 AND digest = $5",
                of_state,
            )
            .await?;
        Ok(row.is_some())
    }

    /// How many nodes have handed in what they knew, in this epoch.
    pub async fn epoch_report_count(&self, epoch: u64) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(*) AS reports FROM epoch_reports WHERE epoch = $1";
        match self.first(sql, args![counter(epoch)?]).await? {
            Some(row) => row.counter("reports"),
            None => Ok(0),
        }
    }

    /// Notes that a node has nothing to add to what is known. Not audited: it changes nothing.
    pub async fn epoch_report_nothing(&self, epoch: u64, node: NodeId, now: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO epoch_reports (epoch, node_id, reported_at) VALUES ($1, $2, $3) \
                   ON CONFLICT (epoch, node_id) DO NOTHING";
        self.write(sql, args![counter(epoch)?, node, now]).await.map(drop)
    }
}

impl Tx {
    /// Begins an epoch: waiting join requests, join tokens and sessions end, and this copy of the database is another one. The
    /// caller sets the join key and commits with the record, which is the first of the new audit chain.
    pub async fn epoch_begin(&mut self, new: &NewEpoch, now: i64) -> Result<EpochBegun, StoreError> {
        let head = self.trust_head().await?;
        if new.epoch <= head.epoch {
            return Err(StoreError::conflict("an epoch that is not above the present one"));
        }
        let joins = self
            .execute(
                "UPDATE joins SET state = 'expired', reason = 'a new epoch began', version = version + 1 \
                 WHERE state IN ('pending', 'approved')",
                args![],
            )
            .await?;
        let tokens = self.join_tokens_void(now, "a new epoch began").await?;
        let sessions = self.execute("DELETE FROM sessions", args![]).await?;
        // As in every change the last lock, but before another chain begins.
        let audit = self.audit_head().await?;
        let named = "this epoch";
        self.insert(
            "INSERT INTO epochs (epoch, incarnation, from_epoch, from_incarnation, number, digest, bump, begun_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            args![
                counter(new.epoch)?,
                new.incarnation,
                counter(head.epoch)?,
                head.incarnation,
                counter(head.number)?,
                head.digest,
                &new.bump,
                now
            ],
            named,
            named,
        )
        .await?;
        self.execute(
            "INSERT INTO audit_heads (writer, sequence, hash) VALUES ($1, 0, $2)",
            args![new.writer, origin()],
        )
        .await?;
        self.execute(
            "UPDATE meta SET incarnation = $1, epoch = $2, writer = $3",
            args![new.incarnation, counter(new.epoch)?, new.writer],
        )
        .await?;
        self.execute(
            "UPDATE trust_head SET incarnation = $1, epoch = $2",
            args![new.incarnation, counter(new.epoch)?],
        )
        .await?;
        self.touch(Topic::Trust);
        self.touch(Topic::Joins);
        Ok(EpochBegun {
            joins,
            tokens,
            sessions,
            audit,
        })
    }

    /// Notes that the state of this version was read from `node` in this epoch.
    pub async fn epoch_report(
        &mut self,
        epoch: u64,
        node: NodeId,
        state: &TrustHead,
        now: i64,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO epoch_reports (epoch, node_id, incarnation, state_epoch, number, digest, reported_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (epoch, node_id) DO NOTHING";
        let values = args![
            counter(epoch)?,
            node,
            state.incarnation,
            counter(state.epoch)?,
            counter(state.number)?,
            state.digest,
            now
        ];
        self.execute(sql, values).await.map(drop)
    }
}
