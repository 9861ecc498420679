//! The trust state: what nodes need to decide, as keys and values, with its numbered history.
//!
//! Invariant: the head names the state that the entries make. It moves in the transaction of the change itself, and
//! its row is locked from the first change of a transaction on, so numbers have no gaps and no twins. Locks are taken in
//! one order: rows of nodes, certificates and runs, then the rights, then the head.

use std::collections::BTreeMap;

use muster_ids::{Digest, Incarnation};

mod reason;

pub use reason::TrustReason;

use crate::{
    dialect::locking,
    error::StoreError,
    store::Store,
    tx::Tx,
    value::{Row, args, counter},
    wake::Topic,
};

/// Which trust state this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustHead {
    /// The copy of the database.
    pub incarnation: Incarnation,
    /// Counts restores and failovers, from 1.
    pub epoch: u64,
    /// Counts changes; 0 is the empty state of a new collective.
    pub number: u64,
    /// Of the state, see [`trust_digest`].
    pub digest: Digest,
    /// Of the state before; 32 zero bytes at number 0.
    pub previous: Digest,
}

/// What one change did to one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustChange {
    /// The number of the state that came out of it.
    pub number: u64,
    /// Which entry.
    pub key: String,
    /// The new value, or `None` when the entry was removed.
    pub value: Option<String>,
    /// When.
    pub at: i64,
    /// Who, as the audit names them.
    pub by: String,
}

/// The digest of a state: over key, value, key, value … in the byte order of the keys, each part length-prefixed.
pub fn trust_digest(entries: &BTreeMap<String, String>) -> Digest {
    let parts: Vec<&[u8]> = entries
        .iter()
        .flat_map(|(key, value)| [key.as_bytes(), value.as_bytes()])
        .collect();
    Digest::of_framed(&parts)
}

impl Store {
    /// The head, read from the primary database.
    pub async fn trust_head(&self) -> Result<TrustHead, StoreError> {
        self.first(
            "SELECT incarnation, epoch, number, digest, previous FROM trust_head",
            args![],
        )
        .await?
        .ok_or(StoreError::NotInitialised)
        .and_then(|row| head(&row))
    }

    /// Every entry. A change may fall between this and [`Store::trust_head`]: compare the digest, see
    /// [`Store::trust_state`].
    pub async fn trust_entries(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let rows = self
            .all("SELECT entry_key, value FROM trust_entries", args![])
            .await?;
        rows.iter().map(entry).collect()
    }

    /// The head together with the entries that it names, read by one statement.
    pub async fn trust_state(&self) -> Result<(TrustHead, BTreeMap<String, String>), StoreError> {
        let rows = self
            .all(
                "SELECT h.incarnation, h.epoch, h.number, h.digest, h.previous, e.entry_key, e.value \
                 FROM trust_head h LEFT JOIN trust_entries e ON 1 = 1",
                args![],
            )
            .await?;
        let head = head(rows.first().ok_or(StoreError::NotInitialised)?)?;
        let is_entry = |row: &&Row| !matches!(row.optional_text("entry_key"), Ok(None));
        let entries = rows
            .iter()
            .filter(is_entry)
            .map(entry)
            .collect::<Result<_, _>>()?;
        Ok((head, entries))
    }

    /// The last changes up to the state `number`, at most `limit`, in their order. The first of them may be cut short by
    /// the limit.
    pub async fn trust_changes_until(&self, number: u64, limit: u32) -> Result<Vec<TrustChange>, StoreError> {
        let rows = self
            .all(
                "SELECT number, entry_key, value, at, changed_by FROM trust_changes WHERE number <= $1 \
                 ORDER BY number DESC, entry_key DESC LIMIT $2",
                args![counter(number)?, i64::from(limit)],
            )
            .await?;
        rows.iter().rev().map(change).collect()
    }
}

impl Tx {
    /// The head, locked until the commit, and with it who may do what: what is read of the entries after this is what
    /// holds at the commit. Always in this order, so that of two changes one waits and none is given up.
    pub async fn trust_head(&mut self) -> Result<TrustHead, StoreError> {
        self.change_rights().await?;
        self.first(
            locking!("SELECT incarnation, epoch, number, digest, previous FROM trust_head"),
            args![],
        )
        .await?
        .ok_or(StoreError::NotInitialised)
        .and_then(|row| head(&row))
    }

    /// Every entry as this transaction sees it. Whoever decides by them takes [`Tx::trust_head`] first.
    pub async fn trust_entries(&mut self) -> Result<BTreeMap<String, String>, StoreError> {
        let rows = self
            .all("SELECT entry_key, value FROM trust_entries", args![])
            .await?;
        rows.iter().map(entry).collect()
    }

    /// Sets entries to values, and removes those whose value is `None`; of two changes of one key the later holds. What
    /// is so already is no change, and without any change the head stays. Gives the new head.
    pub async fn trust_change(
        &mut self,
        changes: &[(String, Option<String>)],
        now: i64,
    ) -> Result<TrustHead, StoreError> {
        let head = self.trust_head().await?;
        let mut entries = self.trust_entries().await?;
        let wanted: BTreeMap<&String, Option<&String>> =
            changes.iter().map(|(key, value)| (key, value.as_ref())).collect();
        let effective: Vec<_> = wanted
            .into_iter()
            .filter(|(key, value)| entries.get(*key) != *value)
            .collect();
        if effective.is_empty() {
            return Ok(head);
        }
        let number = head.number + 1;
        for (key, value) in effective {
            self.trust_set(key, value).await?;
            self.execute(
                "INSERT INTO trust_changes (number, entry_key, value, at, changed_by) VALUES ($1, $2, $3, $4, $5)",
                args![counter(number)?, key, value.cloned(), now, self.actor().to_owned()],
            )
            .await?;
            match value {
                Some(value) => entries.insert(key.clone(), value.clone()),
                None => entries.remove(key),
            };
        }
        let next = TrustHead {
            number,
            digest: trust_digest(&entries),
            previous: head.digest,
            ..head
        };
        self.execute(
            "UPDATE trust_head SET number = $1, digest = $2, previous = $3",
            args![counter(number)?, next.digest, next.previous],
        )
        .await?;
        self.touch(Topic::Trust);
        Ok(next)
    }

    async fn trust_set(&mut self, key: &String, value: Option<&String>) -> Result<u64, StoreError> {
        if let Some(value) = value {
            let sql = "INSERT INTO trust_entries (entry_key, value) VALUES ($1, $2) \
                       ON CONFLICT (entry_key) DO UPDATE SET value = excluded.value";
            return self.execute(sql, args![key, value]).await;
        }
        self.execute("DELETE FROM trust_reasons WHERE entry_key = $1", args![key])
            .await?;
        self.execute("DELETE FROM trust_entries WHERE entry_key = $1", args![key])
            .await
    }
}

fn head(row: &Row) -> Result<TrustHead, StoreError> {
    Ok(TrustHead {
        incarnation: row.parsed("incarnation")?,
        epoch: row.counter("epoch")?,
        number: row.counter("number")?,
        digest: row.parsed("digest")?,
        previous: row.parsed("previous")?,
    })
}

fn entry(row: &Row) -> Result<(String, String), StoreError> {
    Ok((row.text("entry_key")?, row.text("value")?))
}

fn change(row: &Row) -> Result<TrustChange, StoreError> {
    Ok(TrustChange {
        number: row.counter("number")?,
        key: row.text("entry_key")?,
        value: row.optional_text("value")?,
        at: row.int("at")?,
        by: row.text("changed_by")?,
    })
}
