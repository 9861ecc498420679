//! Who decided an entry of the trust state, when, and why: what its signed form has no room for.
//!
//! Invariant: a row goes with its entry, in the same transaction.

use std::collections::BTreeMap;

use crate::{
    error::StoreError,
    store::Store,
    tx::Tx,
    value::{Row, args},
};

/// What stands beside an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustReason {
    /// In the words of whoever decided, if they gave any.
    pub reason: Option<String>,
    /// The name of the user.
    pub by: String,
    /// When, milliseconds since 1970, UTC.
    pub at: i64,
}

impl Store {
    /// What stands beside the entries whose keys begin with `prefix`, by key.
    pub async fn trust_reasons(&self, prefix: &str) -> Result<BTreeMap<String, TrustReason>, StoreError> {
        let rows = self
            .all(
                "SELECT entry_key, reason, decided_by, decided_at FROM trust_reasons",
                args![],
            )
            .await?;
        let of_prefix =
            |row: &Row| reason(row).map(|(key, reason)| key.starts_with(prefix).then_some((key, reason)));
        rows.iter().filter_map(|row| of_prefix(row).transpose()).collect()
    }
}

impl Tx {
    /// What stands beside the entry with this key.
    pub async fn trust_reason(&mut self, key: &str) -> Result<Option<TrustReason>, StoreError> {
        let row = self
            .first(
                "SELECT entry_key, reason, decided_by, decided_at FROM trust_reasons WHERE entry_key = $1",
                args![key],
            )
            .await?;
        row.map(|row| Ok(reason(&row)?.1)).transpose()
    }

    /// Puts a reason beside an entry.
    pub async fn trust_reason_put(&mut self, key: &str, reason: &TrustReason) -> Result<(), StoreError> {
        let sql = "INSERT INTO trust_reasons (entry_key, reason, decided_by, decided_at) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (entry_key) DO UPDATE SET reason = excluded.reason, \
                   decided_by = excluded.decided_by, decided_at = excluded.decided_at";
        let values = args![key, &reason.reason, &reason.by, reason.at];
        self.execute(sql, values).await.map(drop)
    }
}

fn reason(row: &Row) -> Result<(String, TrustReason), StoreError> {
    Ok((
        row.text("entry_key")?,
        TrustReason {
            reason: row.optional_text("reason")?,
            by: row.text("decided_by")?,
            at: row.int("decided_at")?,
        },
    ))
}
