//! Whether the chains are whole.

use muster_ids::{AuditWriter, Digest};
use muster_model::audit::Record;

use super::{AuditHead, link, origin};
use crate::{
    error::StoreError,
    store::Store,
    value::{Row, args, counter},
};

/// Rows read at once.
const PAGE: i64 = 1_000;

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditReport {
    /// How many rows were good before the first bad one.
    pub rows: u64,
    /// The first bad row, in the order of writers.
    pub bad: Option<BadRow>,
}

/// The first row at which a chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {sequence} of the audit writer {writer} {why}")]
pub struct BadRow {
    /// Whose chain.
    pub writer: AuditWriter,
    /// Which row.
    pub sequence: u64,
    /// What is wrong with it, as the rest of a sentence.
    pub why: &'static str,
}

impl Store {
    /// Reads every chain from its first row to its end as it is now, and names the first bad row.
    pub async fn audit_verify(&self) -> Result<AuditReport, StoreError> {
        let mut report = AuditReport { rows: 0, bad: None };
        for head in self.audit_heads().await? {
            report.bad = self.verify_chain(&head, &mut report.rows).await?;
            if report.bad.is_some() {
                break;
            }
        }
        Ok(report)
    }

    async fn verify_chain(&self, head: &AuditHead, good: &mut u64) -> Result<Option<BadRow>, StoreError> {
        let writer = head.writer;
        let (mut sequence, mut hash) = (0, origin());
        loop {
            let rows = self
                .all(
                    "SELECT sequence, previous, record, hash, at, actor, event, subject FROM audit \
                     WHERE writer = $1 AND sequence > $2 AND sequence <= $3 ORDER BY sequence LIMIT $4",
                    args![writer, counter(sequence)?, counter(head.sequence)?, PAGE],
                )
                .await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                sequence += 1;
                match verify_row(row, writer, sequence, hash) {
                    Ok(next) => hash = next,
                    Err(why) => {
                        return Ok(Some(BadRow {
                            writer,
                            sequence,
                            why,
                        }));
                    }
                }
                *good += 1;
            }
        }
        let why = match (sequence == head.sequence, hash == head.hash) {
            (true, true) => return Ok(None),
            (true, false) => "is not the row that the end of the chain names",
            (false, _) => {
                sequence += 1;
                "is missing"
            }
        };
        Ok(Some(BadRow {
            writer,
            sequence,
            why,
        }))
    }
}

/// The hash of the row, or what is wrong with it.
fn verify_row(
    row: &Row,
    writer: AuditWriter,
    sequence: u64,
    previous: Digest,
) -> Result<Digest, &'static str> {
    let unreadable = |_: StoreError| "cannot be read";
    if row.counter("sequence").map_err(unreadable)? != sequence {
        return Err("is missing");
    }
    let stored: Digest = row.parsed("hash").map_err(unreadable)?;
    if row.parsed::<Digest>("previous").map_err(unreadable)? != previous {
        return Err("does not follow the row before it");
    }
    if link(
        writer,
        sequence,
        previous,
        &row.text("record").map_err(unreadable)?,
    ) != stored
    {
        return Err("was changed after it was written");
    }
    let record: Record = row.json("record").map_err(unreadable)?;
    let columns = (
        row.int("at").map_err(unreadable)?,
        row.text("actor").map_err(unreadable)?,
        row.text("event").map_err(unreadable)?,
        row.text("subject").map_err(unreadable)?,
    );
    if columns
        != (
            record.at,
            record.actor,
            record.event.as_str().to_owned(),
            record.subject,
        )
    {
        return Err("is filed under another time, actor, event or subject than it records");
    }
    Ok(stored)
}
