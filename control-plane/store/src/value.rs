//! Values on their way into a statement and rows on their way out, in the few types that both databases share.

use std::str::FromStr;

use muster_ids::{
    AuditWriter, CollectiveId, ControlPlaneId, Digest, FunctionId, GroupId, Incarnation, JoinId,
    LibraryItemId, NodeId, PoolId, RunId, SiteId, TokenId, UserId,
};
use rusqlite::types::Value as Cell;
use serde::de::DeserializeOwned;
use sqlx::{Row as _, postgres::PgRow, sqlite::SqliteRow};

use crate::{dialect::sqlite::LiteRow, error::StoreError};

/// One parameter of a statement.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Names, identifiers, digests, JSON.
    Text(Option<String>),
    /// Times and counters.
    Int(Option<i64>),
    /// Yes or no.
    Flag(bool),
    /// Keys and certificates.
    Bytes(Vec<u8>),
}

/// A list of parameters.
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$(crate::value::Value::from($value)),*] };
}
pub(crate) use args;

macro_rules! values {
    ($($from:ty => |$value:ident| $into:expr;)+) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self { $into }
        }
    )+};
}

values! {
    &str => |text| Self::Text(Some(text.to_owned()));
    &String => |text| Self::Text(Some(text.clone()));
    String => |text| Self::Text(Some(text));
    Option<String> => |text| Self::Text(text);
    &Option<String> => |text| Self::Text(text.clone());
    Option<&str> => |text| Self::Text(text.map(str::to_owned));
    i64 => |number| Self::Int(Some(number));
    Option<i64> => |number| Self::Int(number);
    bool => |flag| Self::Flag(flag);
    &[u8] => |bytes| Self::Bytes(bytes.to_vec());
    &Vec<u8> => |bytes| Self::Bytes(bytes.clone());
}

macro_rules! text_values {
    ($($id:ty),+) => {$(
        impl From<$id> for Value {
            fn from(id: $id) -> Self { Self::Text(Some(id.to_string())) }
        }
        impl From<Option<$id>> for Value {
            fn from(id: Option<$id>) -> Self { Self::Text(id.map(|id| id.to_string())) }
        }
    )+};
}

text_values!(
    AuditWriter,
    CollectiveId,
    ControlPlaneId,
    Digest,
    FunctionId,
    GroupId,
    Incarnation,
    JoinId,
    LibraryItemId,
    NodeId,
    PoolId,
    RunId,
    SiteId,
    TokenId,
    UserId
);

/// A counter, in the type that both databases have.
pub(crate) fn counter(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::conflict("a counter has reached its end"))
}

/// JSON text of `value`.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::conflict(format!("this cannot be written as JSON: {error}")))
}

/// One row of a result.
pub(crate) enum Row {
    Sqlite(LiteRow),
    /// Of SQLite too, out of the pool.
    Pooled(SqliteRow),
    Postgres(PgRow),
}

/// What a column of SQLite holds, if it is of this type.
trait FromCell: Sized {
    fn from_cell(cell: &Cell) -> Option<Self>;
}

macro_rules! cells {
    ($($type:ty: $($pattern:pat => $value:expr),+;)+) => {$(
        impl FromCell for $type {
            fn from_cell(cell: &Cell) -> Option<Self> {
                match cell {
                    $($pattern => Some($value),)+
                    _ => None,
                }
            }
        }
    )+};
}

cells! {
    String: Cell::Text(text) => text.clone();
    Option<String>: Cell::Null => None, Cell::Text(text) => Some(text.clone());
    i64: Cell::Integer(number) => *number;
    Option<i64>: Cell::Null => None, Cell::Integer(number) => Some(*number);
    bool: Cell::Integer(number) => *number != 0;
    Vec<u8>: Cell::Blob(bytes) => bytes.clone();
}

macro_rules! columns {
    ($($(#[$doc:meta])* $name:ident -> $type:ty;)+) => {$(
        $(#[$doc])*
        pub(crate) fn $name(&self, column: &str) -> Result<$type, StoreError> {
            Ok(match self {
                Self::Sqlite(row) => {
                    let cell = row.cell(column).ok_or_else(|| StoreError::no_column(column))?;
                    FromCell::from_cell(cell).ok_or_else(|| wrong(column))?
                }
                Self::Pooled(row) => row.try_get(column)?,
                Self::Postgres(row) => row.try_get(column)?,
            })
        }
    )+};
}

impl Row {
    columns! {
        text -> String;
        optional_text -> Option<String>;
        int -> i64;
        optional_int -> Option<i64>;
        flag -> bool;
        bytes -> Vec<u8>;
    }

    /// A counter, which is never negative.
    pub(crate) fn counter(&self, column: &str) -> Result<u64, StoreError> {
        u64::try_from(self.int(column)?).map_err(|_| wrong(column))
    }

    /// A text that is one of our types.
    pub(crate) fn parsed<T: FromStr>(&self, column: &str) -> Result<T, StoreError> {
        self.text(column)?.parse().map_err(|_| wrong(column))
    }

    /// A text that may be missing.
    pub(crate) fn optional<T: FromStr>(&self, column: &str) -> Result<Option<T>, StoreError> {
        self.optional_text(column)?
            .map(|text| text.parse().map_err(|_| wrong(column)))
            .transpose()
    }

    /// A structured value.
    pub(crate) fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        serde_json::from_str(&self.text(column)?).map_err(|_| wrong(column))
    }
}

fn wrong(column: &str) -> StoreError {
    StoreError::corrupt(format!("a wrong value in the column {column}"))
}
