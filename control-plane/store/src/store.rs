//! The open database, shared by all parts of a control plane.

use std::{str::FromStr as _, sync::Arc};

use muster_model::permission::Authorized;
use sqlx::postgres::PgConnectOptions;

use crate::{
    dialect::{Db, Durability, Sql},
    error::StoreError,
    schema::{self, Schema},
    tx::Tx,
    value::{Row, Value},
    wake::{Hub, Topic, WakeListener},
};

/// Which database.
#[derive(Clone)]
pub struct StoreConfig {
    /// `sqlite:///absolute/path` or `postgres://user:password@host/name`.
    pub url: String,
    /// Whether a SQLite file is made when it is missing; only `muster-server init` wants that.
    pub create_if_missing: bool,
    /// The most connections that are open at once, 1 to some tens; SQLite's single writer comes on top.
    pub max_connections: u32,
}

impl StoreConfig {
    /// The database at `url`, which must exist, with 8 connections.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            create_if_missing: false,
            max_connections: 8,
        }
    }
}

/// Which database an address names.
pub(crate) enum Address<'a> {
    /// A file, by its absolute path.
    Sqlite(&'a str),
    Postgres(Box<PgConnectOptions>),
}

impl StoreConfig {
    /// Refuses an address that names no database; opens nothing.
    pub fn check(&self) -> Result<(), StoreError> {
        self.address().map(drop)
    }

    pub(crate) fn address(&self) -> Result<Address<'_>, StoreError> {
        let refused = |what: &str| StoreError::Address { what: what.into() };
        match self.url.split_once("://") {
            Some(("sqlite", path)) if path.starts_with('/') => Ok(Address::Sqlite(path)),
            Some(("sqlite", _)) => Err(refused("the path is not absolute")),
            Some(("postgres" | "postgresql", _)) => PgConnectOptions::from_str(&self.url)
                .map(|options| Address::Postgres(Box::new(options)))
                .map_err(|_| refused("it is not a PostgreSQL address")),
            _ => Err(refused("it begins with neither")),
        }
    }
}

impl std::fmt::Debug for StoreConfig {
    /// Without the address, which may carry a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreConfig")
            .field("create_if_missing", &self.create_if_missing)
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}

/// The open database. Copies share one set of connections.
#[derive(Clone)]
pub struct Store {
    pub(crate) db: Arc<Db>,
    pub(crate) hub: Arc<Hub>,
}

impl Store {
    /// Opens the database; its schema may still be missing or old, see [`Store::schema`].
    pub async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        let db = Arc::new(Db::open(config).await?);
        let hub = Arc::new(Hub::start(&db));
        Ok(Self { db, hub })
    }

    /// Brings the schema to the newest version that this program knows; does nothing when it is there already.
    pub async fn migrate(&self) -> Result<Schema, StoreError> {
        schema::migrate(&self.db).await?;
        self.schema().await
    }

    /// Which schema the database has.
    pub async fn schema(&self) -> Result<Schema, StoreError> {
        schema::read(&self.db).await
    }

    /// Begins a change on behalf of a caller who may make it.
    pub async fn begin(&self, authorized: &Authorized) -> Result<Tx, StoreError> {
        let conn = self.db.begin().await?;
        Ok(Tx::new(conn, self.hub.clone(), authorized.caller().to_string()))
    }

    /// As [`Self::begin`], for changes that come in crowds: several may be synced together. What such a change reads may
    /// be of one before it that is not on the disk yet, so it must not say that something is so already.
    pub async fn begin_shared(&self, authorized: &Authorized) -> Result<Tx, StoreError> {
        let conn = self.db.begin_as(true).await?;
        Ok(Tx::new(conn, self.hub.clone(), authorized.caller().to_string()))
    }

    /// Hints that something has changed. Hints may be lost or come twice; whoever acts on them reads the truth.
    pub fn wake_listener(&self) -> WakeListener {
        self.hub.listen()
    }

    /// How many changes this process has committed, if no other process changes this database: whatever was read while
    /// this number is the same still holds, except of runs. `None` also while such a change is being committed. Signs of
    /// life and poll counters are no such changes.
    pub fn commits(&self) -> Option<u64> {
        self.hub.commits().filter(|_| self.db.is_own())
    }

    /// How often `topic` was hinted at. What was read before the number moved may be over.
    pub fn hints(&self, topic: Topic) -> u64 {
        self.hub.hints(topic)
    }

    /// Whether the database answers now.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.db.first("SELECT 1", Vec::new()).await.map(drop)
    }

    /// Whether a commit survives a power cut, as the database itself says: a server may have been told not to sync.
    pub async fn durability(&self) -> Result<Durability, StoreError> {
        self.db.durability().await
    }

    /// What the clock of the database says, milliseconds since 1970, UTC; `None` where it is that of this machine.
    /// Nothing but `doctor` asks: times in the database are those of control planes.
    pub async fn machine_ms(&self) -> Result<Option<i64>, StoreError> {
        self.db.machine_ms().await
    }

    /// Closes all connections, waiting for those in use.
    pub async fn close(&self) {
        self.db.close().await;
    }

    pub(crate) async fn all(&self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.db.all(sql, values).await
    }

    pub(crate) async fn few(&self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.db.few(sql, values).await
    }

    pub(crate) async fn first(
        &self,
        sql: impl Into<Sql>,
        values: Vec<Value>,
    ) -> Result<Option<Row>, StoreError> {
        self.db.first(sql, values).await
    }

    pub(crate) async fn write(&self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<u64, StoreError> {
        self.db.write(sql, values).await
    }
}
