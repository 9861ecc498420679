//! The audit log: append-only chains, one a writer, so that control planes do not wait for each other.
//!
//! Invariant: `hash = SHA-256("muster-audit/1" ‖ writer ‖ sequence ‖ previous hash ‖ record)`, where `‖` joins
//! length-prefixed parts, the sequence is eight big-endian bytes counted from 1, the previous hash of the first row
//! is 32 zero bytes, and the record is its JSON text as stored. A row that was changed, removed or put in breaks the
//! chain at that row; removed last rows show against `audit_heads` and against signed heads kept elsewhere.

use muster_ids::{AuditWriter, Digest};
use muster_model::audit::{Event, Record};

use crate::{
    dialect::locking,
    error::StoreError,
    store::Store,
    tx::Tx,
    value::{Row, args, counter, json},
};

mod verify;

pub use verify::{AuditReport, BadRow};

/// One thing to be recorded; time and actor come from the transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// What happened.
    pub event: Event,
    /// On what, as people name it.
    pub subject: String,
    /// Further facts; never secrets.
    pub detail: serde_json::Value,
}

impl Draft {
    /// `event` happened to `subject`.
    pub fn new(event: Event, subject: impl Into<String>, detail: serde_json::Value) -> Self {
        Self {
            event,
            subject: subject.into(),
            detail,
        }
    }

    /// This and then `other`.
    pub fn and(self, other: Self) -> Records {
        Records::from(self).and(other)
    }
}

/// At least one draft, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Records {
    first: Draft,
    rest: Vec<Draft>,
}

impl Records {
    /// `first` and then `rest`.
    pub fn new(first: Draft, rest: Vec<Draft>) -> Self {
        Self { first, rest }
    }

    /// What the first one is about: the name of the change.
    pub(crate) fn event(&self) -> Event {
        self.first.event
    }

    /// Whether they say what became of runs, and nothing else: such a change gives nobody a right and takes none.
    pub(crate) fn are_of_runs(&self) -> bool {
        std::iter::once(&self.first)
            .chain(&self.rest)
            .all(|draft| draft.event.is_of_run())
    }

    /// These and then `other`.
    pub fn and(mut self, other: Draft) -> Self {
        self.rest.push(other);
        self
    }
}

impl From<Draft> for Records {
    fn from(first: Draft) -> Self {
        Self {
            first,
            rest: Vec::new(),
        }
    }
}

/// The end of one writer's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditHead {
    /// Whose chain.
    pub writer: AuditWriter,
    /// Of the last row, 0 before the first.
    pub sequence: u64,
    /// Of the last row.
    pub hash: Digest,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Whose chain.
    pub writer: AuditWriter,
    /// Place in the chain, from 1.
    pub sequence: u64,
    /// Hash of the row before.
    pub previous: Digest,
    /// What is recorded.
    pub record: Record,
    /// Hash of this row.
    pub hash: Digest,
}

/// A place in the log of all writers, ordered by time, then writer, then sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditCursor {
    /// Milliseconds since 1970, UTC.
    pub at: i64,
    /// Whose chain.
    pub writer: AuditWriter,
    /// Place in the chain.
    pub sequence: u64,
}

impl AuditEntry {
    /// Where this row stands.
    pub fn cursor(&self) -> AuditCursor {
        AuditCursor {
            at: self.record.at,
            writer: self.writer,
            sequence: self.sequence,
        }
    }
}

/// From where a list goes in which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditFrom {
    /// The newest row first.
    Newest,
    /// The rows older than this one, newest first.
    Before(AuditCursor),
    /// The rows newer than this one, oldest first.
    After(AuditCursor),
}

/// What a list is about; `None` does not limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// This event only.
    pub event: Option<Event>,
    /// This actor only, as recorded.
    pub actor: Option<String>,
    /// This subject only, as recorded.
    pub subject: Option<String>,
    /// Not before, in milliseconds.
    pub since: Option<i64>,
    /// Before, in milliseconds.
    pub until: Option<i64>,
}

impl Tx {
    /// The end of this control plane's chain, which stays the end until the commit: the next record gets the next
    /// sequence. For what is signed together with its audit position. Ask for it last: other changes wait.
    pub async fn audit_head(&mut self) -> Result<AuditHead, StoreError> {
        self.first(
            locking!(
                "SELECT h.writer, h.sequence, h.hash FROM meta m JOIN audit_heads h ON h.writer = m.writer",
                " FOR UPDATE OF h"
            ),
            args![],
        )
        .await?
        .ok_or(StoreError::NotInitialised)
        .and_then(|row| head(&row))
    }
}

pub(crate) async fn append(tx: &mut Tx, records: Records, now: i64) -> Result<AuditHead, StoreError> {
    let mut head = tx.audit_head().await?;
    for draft in std::iter::once(records.first).chain(records.rest) {
        let record = Record {
            at: now,
            actor: tx.actor().to_owned(),
            event: draft.event,
            subject: draft.subject,
            detail: draft.detail,
        };
        let text = json(&record)?;
        let (previous, sequence) = (head.hash, head.sequence + 1);
        head = AuditHead {
            sequence,
            hash: link(head.writer, sequence, previous, &text),
            ..head
        };
        tx.execute(
            "INSERT INTO audit (writer, sequence, previous, record, hash, at, actor, event, subject) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            args![
                head.writer,
                counter(sequence)?,
                previous,
                text,
                head.hash,
                now,
                record.actor,
                record.event.as_str(),
                record.subject
            ],
        )
        .await?;
    }
    tx.execute(
        "UPDATE audit_heads SET sequence = $2, hash = $3 WHERE writer = $1",
        args![head.writer, counter(head.sequence)?, head.hash],
    )
    .await?;
    Ok(head)
}

/// The hash of one row.
fn link(writer: AuditWriter, sequence: u64, previous: Digest, record: &str) -> Digest {
    Digest::of_framed(&[
        b"muster-audit/1",
        writer.to_string().as_bytes(),
        &sequence.to_be_bytes(),
        previous.as_bytes(),
        record.as_bytes(),
    ])
}

/// The hash before the first row.
pub(crate) fn origin() -> Digest {
    Digest::from_bytes([0; 32])
}

impl Store {
    /// The end of every writer's chain, in the order of writers.
    pub async fn audit_heads(&self) -> Result<Vec<AuditHead>, StoreError> {
        let rows = self
            .all(
                "SELECT writer, sequence, hash FROM audit_heads ORDER BY writer",
                args![],
            )
            .await?;
        rows.iter().map(head).collect()
    }

    /// The end of this control plane's chain.
    pub async fn audit_head(&self) -> Result<AuditHead, StoreError> {
        self.first(
            "SELECT h.writer, h.sequence, h.hash FROM meta m JOIN audit_heads h ON h.writer = m.writer",
            args![],
        )
        .await?
        .ok_or(StoreError::NotInitialised)
        .and_then(|row| head(&row))
    }

    /// At most `limit` rows of all writers.
    pub async fn audit_list(
        &self,
        filter: &AuditFilter,
        from: AuditFrom,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        macro_rules! list {
            ($than:literal, $order:literal) => {
                concat!(
                    "SELECT writer, sequence, previous, record, hash FROM audit \
                     WHERE ($1 IS NULL OR event = $1) AND ($2 IS NULL OR actor = $2) \
                     AND ($3 IS NULL OR subject = $3) AND at >= $4 AND at < $5 \
                     AND ($6 IS NULL OR (at, writer, sequence) ",
                    $than,
                    " ($6, $7, $8)) ORDER BY at ",
                    $order,
                    ", writer ",
                    $order,
                    ", sequence ",
                    $order,
                    " LIMIT $9"
                )
            };
        }
        let (sql, cursor) = match from {
            AuditFrom::Newest => (list!("<", "DESC"), None),
            AuditFrom::Before(cursor) => (list!("<", "DESC"), Some(cursor)),
            AuditFrom::After(cursor) => (list!(">", "ASC"), Some(cursor)),
        };
        let sequence = cursor.map(|cursor| counter(cursor.sequence)).transpose()?;
        let values = args![
            filter.event.map(Event::as_str),
            &filter.actor,
            &filter.subject,
            filter.since.unwrap_or(i64::MIN),
            filter.until.unwrap_or(i64::MAX),
            cursor.map(|cursor| cursor.at),
            cursor.map(|cursor| cursor.writer),
            sequence,
            i64::from(limit),
        ];
        self.all(sql, values).await?.iter().map(entry).collect()
    }
}

fn head(row: &Row) -> Result<AuditHead, StoreError> {
    Ok(AuditHead {
        writer: row.parsed("writer")?,
        sequence: row.counter("sequence")?,
        hash: row.parsed("hash")?,
    })
}

fn entry(row: &Row) -> Result<AuditEntry, StoreError> {
    Ok(AuditEntry {
        writer: row.parsed("writer")?,
        sequence: row.counter("sequence")?,
        previous: row.parsed("previous")?,
        record: row.json("record")?,
        hash: row.parsed("hash")?,
    })
}
