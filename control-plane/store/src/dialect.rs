//! All that differs between SQLite and PostgreSQL.
//!
//! | | SQLite | PostgreSQL |
//! | --- | --- | --- |
//! | writers | one connection, `BEGIN IMMEDIATE`: the whole database is the lock | `SELECT … FOR UPDATE` locks the rows that decide |
//! | queue | as above | `SKIP LOCKED` |
//! | durability | WAL, `synchronous = FULL`: synced at each commit, which changes that come together share | `synchronous_commit = on`, whatever the server's default |
//! | statements | where they are asked for, `sqlite.rs`; lists that may be long by sqlx's threads | sent to the server by sqlx |
//! | wake | within the process | `NOTIFY`, delivered at commit |

use std::{sync::Arc, time::Duration};

use sqlx::{
    AssertSqlSafe, Database, Encode, PgPool, Postgres, SqlSafeStr as _, SqlStr, Sqlite, Transaction, Type,
    database::HasStatementCache, pool::PoolOptions, postgres::PgConnectOptions, query::Query,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::sqlite::{Change, Lite};
use crate::{
    error::{DbError, StoreError},
    store::{Address, StoreConfig},
    value::{Row, Value},
};

pub(crate) mod sqlite;

/// How long a statement waits for a connection, a lock or the single writer before it gives up.
const PATIENCE: Duration = Duration::from_secs(20);
/// The channel of PostgreSQL's notifications.
pub(crate) const CHANNEL: &str = "muster";

/// The number of the lock of what people may do, among PostgreSQL's advisory locks.
const RIGHTS: i64 = 0x6d75_7374_6572_0001;

/// One statement, in the words of each database.
pub(crate) enum Sql {
    Same(&'static str),
    Each {
        sqlite: &'static str,
        postgres: &'static str,
    },
    /// Made of our own text and `$n` only; see [`rows`].
    Built(String),
}

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Self::Same(text)
    }
}

/// A query whose rows stay as they are until the transaction ends.
macro_rules! locking {
    ($text:expr) => {
        locking!($text, " FOR UPDATE")
    };
    ($text:expr, $lock:literal) => {
        crate::dialect::Sql::Each {
            sqlite: $text,
            postgres: concat!($text, $lock),
        }
    };
}
pub(crate) use locking;

/// `VALUES` lists of `count` rows with `width` parameters each, numbered on from `first`: `($1, $2), ($3, $4)`.
pub(crate) fn rows(first: usize, width: usize, count: usize) -> String {
    let row = |row: usize| {
        let parameters: Vec<_> = (0..width)
            .map(|column| format!("${}", first + row * width + column))
            .collect();
        format!("({})", parameters.join(", "))
    };
    (0..count).map(row).collect::<Vec<_>>().join(", ")
}

/// The open database.
pub(crate) enum Db {
    Sqlite(Arc<Lite>),
    /// Transactions get half of the connections: whoever is in one and reads beside it finds another, however many
    /// transactions begin at once.
    Postgres {
        pool: PgPool,
        transactions: Arc<Semaphore>,
    },
}

/// How the database treats a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durability {
    /// The settings that matter, by the database's own names, as they are now.
    pub settings: Vec<(&'static str, String)>,
    /// Whether a change that was answered survives a power cut.
    pub safe: bool,
}

/// An open transaction.
pub(crate) enum Conn {
    Sqlite(Change),
    Postgres(
        Transaction<'static, Postgres>,
        #[expect(dead_code, reason = "held until the transaction has ended")] OwnedSemaphorePermit,
    ),
}

impl Db {
    pub(crate) async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        match config.address()? {
            Address::Sqlite(path) => open_sqlite(path, config),
            Address::Postgres(options) => open_postgres(*options, config).await,
        }
    }

    /// Whether this process alone changes the database.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self, Self::Sqlite { .. })
    }

    pub(crate) async fn begin(&self) -> Result<Conn, StoreError> {
        self.begin_as(false).await
    }

    /// As [`Self::begin`]; one that `shares` may be committed together with others that do.
    pub(crate) async fn begin_as(&self, shares: bool) -> Result<Conn, StoreError> {
        Ok(match self {
            Self::Sqlite(lite) => Conn::Sqlite(lite.begin(shares).await.map_err(DbError::from)?),
            Self::Postgres { pool, transactions } => {
                let turn = transactions.clone().acquire_owned();
                let turn = tokio::time::timeout(PATIENCE, turn).await;
                let turn = turn
                    .map_err(|_| sqlx::Error::PoolTimedOut)?
                    .map_err(|_| sqlx::Error::PoolClosed)?;
                Conn::Postgres(pool.begin().await?, turn)
            }
        })
    }

    /// All rows, however many.
    pub(crate) async fn all(&self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        Ok(match self {
            Self::Sqlite(lite) => sqlite(sql.into(), values)
                .fetch_all(lite.pool())
                .await?
                .into_iter()
                .map(Row::Pooled)
                .collect(),
            Self::Postgres { pool, .. } => postgres(sql.into(), values)
                .fetch_all(pool)
                .await?
                .into_iter()
                .map(Row::Postgres)
                .collect(),
        })
    }

    /// All rows where these are few and found by an index: what takes no longer than to ask another thread.
    pub(crate) async fn few(&self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(lite) => Ok(lite
                .read(&sql.into(), &values, usize::MAX)
                .map_err(DbError::from)?
                .into_iter()
                .map(Row::Sqlite)
                .collect()),
            Self::Postgres { .. } => self.all(sql, values).await,
        }
    }

    pub(crate) async fn first(
        &self,
        sql: impl Into<Sql>,
        values: Vec<Value>,
    ) -> Result<Option<Row>, StoreError> {
        Ok(match self {
            Self::Sqlite(lite) => lite
                .read(&sql.into(), &values, 1)
                .map_err(DbError::from)?
                .pop()
                .map(Row::Sqlite),
            Self::Postgres { pool, .. } => postgres(sql.into(), values)
                .fetch_optional(pool)
                .await?
                .map(Row::Postgres),
        })
    }

    /// One statement that changes something, as a transaction of its own; how many rows it touched.
    pub(crate) async fn write(&self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<u64, StoreError> {
        if let Self::Postgres { pool, .. } = self {
            return Ok(postgres(sql.into(), values).execute(pool).await?.rows_affected());
        }
        let mut conn = self.begin().await?;
        let touched = conn.execute(sql, values).await?;
        conn.commit().await?;
        Ok(touched)
    }

    /// What the writing connections really do, by the database's own names, and whether a commit survives a power cut.
    pub(crate) async fn durability(&self) -> Result<Durability, StoreError> {
        let mut settings = Vec::new();
        let mut conn = self.begin().await?;
        let expected: [(&'static str, &'static str, &'static str); 3] = match self {
            Self::Sqlite { .. } => [
                ("journal_mode", "PRAGMA journal_mode", "wal"),
                // 2 is FULL.
                (
                    "synchronous",
                    "SELECT CAST(synchronous AS TEXT) AS synchronous FROM pragma_synchronous",
                    "2",
                ),
                (
                    "foreign_keys",
                    "SELECT CAST(foreign_keys AS TEXT) AS foreign_keys FROM pragma_foreign_keys",
                    "1",
                ),
            ],
            Self::Postgres { .. } => [
                ("synchronous_commit", "SHOW synchronous_commit", "on"),
                ("fsync", "SHOW fsync", "on"),
                ("full_page_writes", "SHOW full_page_writes", "on"),
            ],
        };
        let mut safe = true;
        for (name, sql, right) in expected {
            let value = match conn.first(sql, Vec::new()).await? {
                Some(row) => row.text(name)?,
                None => "unknown".into(),
            };
            safe &= value == right;
            settings.push((name, value));
        }
        Ok(Durability { settings, safe })
    }

    /// The time on the machine of the database, milliseconds since 1970, UTC; `None` where that is this machine.
    pub(crate) async fn machine_ms(&self) -> Result<Option<i64>, StoreError> {
        match self {
            Self::Sqlite { .. } => Ok(None),
            Self::Postgres { .. } => {
                let sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) AS now";
                let row = self.first(sql, Vec::new()).await?;
                row.map(|row| row.int("now")).transpose()
            }
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(lite) => lite.close().await,
            Self::Postgres { pool, .. } => pool.close().await,
        }
    }
}

impl Conn {
    pub(crate) async fn all(&mut self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<Vec<Row>, DbError> {
        Ok(match self {
            Self::Sqlite(change) => change
                .rows(&sql.into(), &values, usize::MAX)?
                .into_iter()
                .map(Row::Sqlite)
                .collect(),
            Self::Postgres(tx, _) => postgres(sql.into(), values)
                .fetch_all(&mut **tx)
                .await?
                .into_iter()
                .map(Row::Postgres)
                .collect(),
        })
    }

    pub(crate) async fn first(
        &mut self,
        sql: impl Into<Sql>,
        values: Vec<Value>,
    ) -> Result<Option<Row>, DbError> {
        Ok(match self {
            Self::Sqlite(change) => change.rows(&sql.into(), &values, 1)?.pop().map(Row::Sqlite),
            Self::Postgres(tx, _) => postgres(sql.into(), values)
                .fetch_optional(&mut **tx)
                .await?
                .map(Row::Postgres),
        })
    }

    pub(crate) async fn execute(&mut self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<u64, DbError> {
        Ok(match self {
            Self::Sqlite(change) => change.execute(&sql.into(), &values)?,
            Self::Postgres(tx, _) => postgres(sql.into(), values)
                .execute(&mut **tx)
                .await?
                .rows_affected(),
        })
    }

    /// Takes the lock of what people may do until the transaction ends: alone to change it, or together with others who
    /// decide by it. On SQLite every transaction has it, because it is the only one.
    pub(crate) async fn rights(&mut self, alone: bool) -> Result<(), DbError> {
        let sql = if alone {
            "SELECT pg_advisory_xact_lock($1)"
        } else {
            "SELECT pg_advisory_xact_lock_shared($1)"
        };
        if let Self::Postgres(tx, _) = self {
            sqlx::query(sql).bind(RIGHTS).execute(&mut **tx).await?;
        }
        Ok(())
    }

    /// Sends a hint that other processes receive when the transaction commits.
    pub(crate) async fn notify(&mut self, payload: &str) -> Result<(), DbError> {
        if let Self::Postgres(tx, _) = self {
            sqlx::query("SELECT pg_notify($1, $2)")
                .bind(CHANNEL)
                .bind(payload)
                .execute(&mut **tx)
                .await?;
        }
        Ok(())
    }

    pub(crate) async fn commit(self) -> Result<(), DbError> {
        self.commit_then(|_| ()).await
    }

    /// Commits, and then calls `told` with whether it is certain that it did. Both happen in a task of their own:
    /// whoever asked may be gone, but others rely on hearing of the change.
    pub(crate) async fn commit_then(self, told: impl FnOnce(bool) + Send + 'static) -> Result<(), DbError> {
        let task = tokio::spawn(async move {
            let committed = match self {
                Self::Sqlite(change) => change.commit().await.map_err(DbError::from),
                Self::Postgres(tx, _) => tx.commit().await.map_err(DbError::from),
            };
            told(committed.is_ok());
            committed
        });
        task.await
            .unwrap_or(Err(DbError::Sqlx(sqlx::Error::WorkerCrashed)))
    }
}

fn open_sqlite(path: &str, config: &StoreConfig) -> Result<Db, StoreError> {
    make_private(path, config.create_if_missing).map_err(|source| StoreError::File {
        path: path.to_owned(),
        source,
    })?;
    Ok(Db::Sqlite(
        Lite::open(path, config.max_connections).map_err(DbError::from)?,
    ))
}

/// The file belongs to the server alone from its first byte; SQLite gives its log the same mode.
fn make_private(path: &str, create: bool) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(create)
        .mode(0o600)
        .open(path)?
        .sync_all()
}

async fn open_postgres(options: PgConnectOptions, config: &StoreConfig) -> Result<Db, StoreError> {
    let patience = PATIENCE.as_millis().to_string();
    let options = options.application_name("muster-server").options([
        ("synchronous_commit", "on"),
        ("default_transaction_isolation", "read committed"),
        ("lock_timeout", &patience),
        // A control plane that hangs in a transaction must not hold its locks for ever.
        ("idle_in_transaction_session_timeout", "60000"),
    ]);
    // One listens for notifications, one is in a transaction, one reads beside it.
    let connections = config.max_connections.max(3);
    let pool = PoolOptions::<Postgres>::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        .connect_with(options)
        .await?;
    let transactions = Arc::new(Semaphore::new(
        usize::try_from(connections / 2).unwrap_or(Semaphore::MAX_PERMITS),
    ));
    Ok(Db::Postgres { pool, transactions })
}

fn sqlite(sql: Sql, values: Vec<Value>) -> Query<'static, Sqlite, <Sqlite as Database>::Arguments> {
    match sql {
        Sql::Same(text) | Sql::Each { sqlite: text, .. } => query(text.into_sql_str(), true, values),
        Sql::Built(text) => query(AssertSqlSafe(text).into_sql_str(), false, values),
    }
}

fn postgres(sql: Sql, values: Vec<Value>) -> Query<'static, Postgres, <Postgres as Database>::Arguments> {
    match sql {
        Sql::Same(text) | Sql::Each { postgres: text, .. } => query(text.into_sql_str(), true, values),
        Sql::Built(text) => query(AssertSqlSafe(text).into_sql_str(), false, values),
    }
}

fn query<D>(sql: SqlStr, keep: bool, values: Vec<Value>) -> Query<'static, D, D::Arguments>
where
    D: Database + HasStatementCache,
    Option<String>: Encode<'static, D> + Type<D>,
    Option<i64>: Encode<'static, D> + Type<D>,
    bool: Encode<'static, D> + Type<D>,
    Vec<u8>: Encode<'static, D> + Type<D>,
{
    let query = sqlx::query(sql).persistent(keep);
    values.into_iter().fold(query, |query, value| match value {
        Value::Text(text) => query.bind(text),
        Value::Int(number) => query.bind(number),
        Value::Flag(flag) => query.bind(flag),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}
