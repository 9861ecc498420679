//! Why the store could not do it.

use sqlx::error::{DatabaseError, ErrorKind};

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

    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if let Some(database) = error.as_database_error() {
            if let Some(known) = from_database(database) {
                return known;
            }
            let kind = Failure::of(database);
            let source = Box::new(error);
            return match kind {
                Failure::Passing => Self::Unavailable { source },
                Failure::Full => Self::Full { source },
                Failure::Other => Self::Refused { source },
            };
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
        ErrorKind::UniqueViolation => Some(StoreError::Duplicate {
            what: "such a thing".into(),
        }),
        ErrorKind::ForeignKeyViolation => Some(StoreError::conflict(
            "something that this refers to is gone, or something still refers to this",
        )),
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
    /// SQLite's codes are numbers whose low byte tells the kind; PostgreSQL's have five characters, of which two tell
    /// the class.
    fn of(error: &dyn DatabaseError) -> Self {
        let code = error.code().unwrap_or_default();
        match code.parse::<i64>() {
            Ok(number) if code.len() != 5 => match number & 0xff {
                // SQLITE_BUSY, SQLITE_LOCKED.
                5 | 6 => Self::Passing,
                // SQLITE_FULL.
                13 => Self::Full,
                _ => Self::Other,
            },
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
}

/// What a unique constraint protected: `named` when it was the name, else `otherwise`. Both databases say which
/// column it was in their message only.
pub(crate) fn duplicate(error: sqlx::Error, named: &str, otherwise: &str) -> StoreError {
    let is_name = match error.as_database_error() {
        Some(database) if database.is_unique_violation() => database.message().contains("name_key"),
        _ => return error.into(),
    };
    StoreError::Duplicate {
        what: if is_name { named } else { otherwise }.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};

    use super::*;

    #[tokio::test]
    async fn a_full_disk_is_named() {
        // A database that may not grow meets the same refusal as one on a full disk.
        let options = SqliteConnectOptions::new()
            .in_memory(true)
            .pragma("max_page_count", "2");
        let mut conn = options.connect().await.expect("opens");
        sqlx::query("CREATE TABLE t (b BLOB)")
            .execute(&mut conn)
            .await
            .expect("fits");
        let insert = sqlx::query("INSERT INTO t VALUES (zeroblob(100000))");
        let error = StoreError::from(insert.execute(&mut conn).await.expect_err("full"));
        assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    }
}
