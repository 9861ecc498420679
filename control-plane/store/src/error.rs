//! Why the store could not do it.

use rusqlite::ffi;
use sqlx::error::{DatabaseError, ErrorKind};

use crate::dialect::sqlite::LiteError;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why the store could not do it, as one sentence. What the database itself said is the source.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be done as things stand now: something was changed in between, or is still needed.
    #[error("{what}")]
    Conflict {
        /// The whole sentence.
        what: String,
    },
    /// What should be changed is not there.
    #[error("{what} does not exist")]
    NotFound {
        /// The thing, with its article.
        what: String,
    },
    /// What should be made is there already.
    #[error("{what} exists already")]
    Duplicate {
        /// The thing, with its article.
        what: String,
    },
    /// The database did not answer, or not in time.
    #[error("the database did not answer; try again, and see muster-server doctor if this stays")]
    Unavailable {
        /// What the driver said.
        source: Source,
    },
    /// There is no room for the change.
    #[error("the disk of the database is full and nothing was changed; free some space and try again")]
    Full {
        /// What the database said.
        source: Source,
    },
    /// The database refused a statement that should be right.
    #[error("the database refused a statement; see muster-server doctor")]
    Refused {
        /// What the database said.
        source: Source,
    },
    /// A row holds what no version of this program writes.
    #[error("the database holds {what}; restore it from a backup")]
    Corrupt {
        /// What was found, and where.
        what: String,
    },
    /// The transaction had an error before, so it can only be dropped.
    #[error("nothing was changed because a part of the change failed; see the error before this one")]
    RolledBack,
    /// The collective was not made yet.
    #[error("this database holds no collective yet; run muster-server init")]
    NotInitialised,
    /// The configured address of the database cannot be used.
    #[error("the database address must be sqlite:///path or postgres://user@host/name: {what}")]
    Address {
        /// What is wrong with it, without any password.
        what: String,
    },
    /// The file cannot be opened or made.
    #[error("the database file {path} cannot be opened; check the folder and its owner")]
    File {
        /// Its path.
        path: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// This program is newer than the schema.
    #[error("the database has schema {current} and this program needs {known}; run muster-server migrate")]
    SchemaTooOld {
        /// What the database has.
        current: i64,
        /// What this program knows.
        known: i64,
    },
    /// The schema is too new for this program.
    #[error(
        "the database needs a program that knows schema {needed}, and this one knows {known}; update muster-server"
    )]
    SchemaTooNew {
        /// The oldest schema that a program must know.
        needed: i64,
        /// What this program knows.
        known: i64,
    },
}

impl StoreError {
    /// Somebody else changed `what` between reading and writing.
    pub(crate) fn changed(what: &str) -> Self {
        Self::Conflict {
            what: format!("{what} was changed by somebody else meanwhile; look again and repeat"),
        }
    }

    pub(crate) fn conflict(what: impl Into<String>) -> Self {
        Self::Conflict { what: what.into() }
    }

    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self::NotFound { what: what.into() }
    }

    /// The program asks for a column that its statement does not give.
    pub(crate) fn no_column(column: &str) -> Self {
        Self::Refused {
            source: format!("there is no column {column}").into(),
        }
    }

    fn a_duplicate() -> Self {
        Self::Duplicate {
            what: "such a thing".into(),
        }
    }

    fn dangling() -> Self {
        Self::conflict("something that this refers to is gone, or something still refers to this")
    }

    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }
}

/// What either database said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DbError {
    #[error(transparent)]
    Sqlx(#[from] sqlx::Error),
    #[error(transparent)]
    Sqlite(#[from] LiteError),
}

impl From<DbError> for StoreError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Sqlx(error) => error.into(),
            DbError::Sqlite(error) => error.into(),
        }
    }
}

impl From<LiteError> for StoreError {
    fn from(error: LiteError) -> Self {
        if error.is_duplicate() {
            return Self::a_duplicate();
        }
        if error.code == ffi::SQLITE_CONSTRAINT_FOREIGNKEY {
            return Self::dangling();
        }
        let kind = Failure::of_sqlite(error.code);
        kind.of_source(Box::new(error))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if let Some(database) = error.as_database_error() {
            if let Some(known) = from_database(database) {
                return known;
            }
            let kind = Failure::of(database);
            return kind.of_source(Box::new(error));
        }
        match error {
            sqlx::Error::ColumnDecode { index, .. } => {
                Self::corrupt(format!("a wrong value in the column {index}"))
            }
            sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
                Self::Refused {
                    source: Box::new(error),
                }
            }
            _ => Self::Unavailable {
                source: Box::new(error),
            },
        }
    }
}

fn from_database(error: &dyn DatabaseError) -> Option<StoreError> {
    match error.kind() {
        ErrorKind::UniqueViolation => Some(StoreError::a_duplicate()),
        ErrorKind::ForeignKeyViolation => Some(StoreError::dangling()),
        // PostgreSQL chose this transaction to end a deadlock, or it lost a race: serialization_failure, deadlock_detected.
        _ if matches!(error.code().as_deref(), Some("40001" | "40P01")) => {
            Some(StoreError::changed("what you were working on"))
        }
        _ => None,
    }
}

/// What a failure that is not about the data is about.
enum Failure {
    Passing,
    Full,
    Other,
}

impl Failure {
    /// The low byte tells the kind.
    fn of_sqlite(code: i32) -> Self {
        match code & 0xff {
            ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => Self::Passing,
            ffi::SQLITE_FULL => Self::Full,
            _ => Self::Other,
        }
    }

    /// SQLite's codes are numbers; PostgreSQL's have five characters, of which two tell the class.
    fn of(error: &dyn DatabaseError) -> Self {
        let code = error.code().unwrap_or_default();
        match code.parse() {
            Ok(number) if code.len() != 5 => Self::of_sqlite(number),
            // disk_full.
            _ if code == "53100" => Self::Full,
            // Connection, resources, operator intervention, lock_not_available.
            _ if ["08", "53", "57", "55P03"]
                .iter()
                .any(|class| code.starts_with(class)) =>
            {
                Self::Passing
            }
            _ => Self::Other,
        }
    }

    fn of_source(self, source: Source) -> StoreError {
        match self {
            Self::Passing => StoreError::Unavailable { source },
            Self::Full => StoreError::Full { source },
            Self::Other => StoreError::Refused { source },
        }
    }
}

impl LiteError {
    fn is_duplicate(&self) -> bool {
        matches!(
            self.code,
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID
        )
    }
}

/// What a unique constraint protected: `named` when it was the name, else `otherwise`. Both databases say which
/// column it was in their message only.
pub(crate) fn duplicate(error: DbError, named: &str, otherwise: &str) -> StoreError {
    let message = match &error {
        DbError::Sqlite(error) if error.is_duplicate() => Some(error.message.as_str()),
        DbError::Sqlx(error) => error
            .as_database_error()
            .filter(|error| error.is_unique_violation())
            .map(DatabaseError::message),
        DbError::Sqlite(_) => None,
    };
    let Some(message) = message else {
        return error.into();
    };
    let is_name = message.contains("name_key");
    StoreError::Duplicate {
        what: if is_name { named } else { otherwise }.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named() {
        // A database that may not grow meets the same refusal as one on a full disk.
        let conn = rusqlite::Connection::open_in_memory().expect("opens");
        conn.execute_batch("PRAGMA max_page_count = 2; CREATE TABLE t (b BLOB)")
            .expect("fits");
        let insert = conn.execute("INSERT INTO t VALUES (zeroblob(100000))", ());
        let error = StoreError::from(LiteError::from(insert.expect_err("full")));
        assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    }
}
