//! SQLite: statements run where they are asked for, and changes that come at the same time are synced together.
//!
//! Lists that may be long go through a pool of sqlx, which has a thread for each connection.
//!
//! There is one writer, and its lock is a queue. A change is a savepoint within the open transaction, the round:
//!
//! ```text
//!  [no round] ─ first change: BEGIN IMMEDIATE ─► [open] ─ SAVEPOINT … RELEASE, and again for whoever waits ─► [open]
//!       ▲                                          │ a released change gets its turn once more, or the round is full
//!       └──────────── all are told ◄── COMMIT, synced once
//! ```
//!
//! Only changes that say so share a round (approvals, which come in crowds); any other one begins after a `COMMIT`.
//!
//! Invariants: a change is answered after the `COMMIT` that holds it, and with its outcome. A change that fails takes
//! back itself and nothing else. Every released change stands in the queue for the `COMMIT` itself, in a task that
//! nobody cancels, so none is left behind. Where SQLite gave up the whole transaction, all of the round fail.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, Statement, ffi, types::Value as Cell};
use sqlx::{
    ConnectOptions as _, Connection as _, SqlitePool,
    migrate::{MigrateError, Migrator},
    pool::PoolOptions,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};
use tokio::{
    sync::{Mutex as Queue, OwnedMappedMutexGuard, OwnedMutexGuard, SetOnce},
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{PATIENCE, Sql};
use crate::value::Value;

/// Changes that are synced together at the most: whoever came first waits for the work of the others.
const MOST: usize = 32;
/// How often the file is tried again while another process changes it.
const RETRY: Duration = Duration::from_millis(5);
/// Statements that each connection keeps prepared; there are some 250.
const PREPARED: usize = 300;

/// What SQLite said.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message} (SQLite's code {code})")]
pub(crate) struct LiteError {
    /// The extended code.
    pub(crate) code: i32,
    /// In SQLite's words; names the columns of a constraint.
    pub(crate) message: String,
}

impl LiteError {
    fn new(code: i32, message: &str) -> Self {
        let message = message.to_owned();
        Self { code, message }
    }

    fn closed() -> Self {
        Self::new(ffi::SQLITE_MISUSE, "the database is closed")
    }
}

impl From<rusqlite::Error> for LiteError {
    fn from(error: rusqlite::Error) -> Self {
        let code = error
            .sqlite_error()
            .map_or(ffi::SQLITE_ERROR, |error| error.extended_code);
        Self::new(code, &error.to_string())
    }
}

/// One row, with the names of its columns.
pub(crate) struct LiteRow {
    columns: Arc<[String]>,
    cells: Vec<Cell>,
}

impl LiteRow {
    pub(crate) fn cell(&self, column: &str) -> Option<&Cell> {
        let at = self.columns.iter().position(|name| name == column)?;
        self.cells.get(at)
    }
}

/// The open file.
pub(crate) struct Lite {
    path: PathBuf,
    /// `None` once it is closed.
    writer: Arc<Queue<Option<Writer>>>,
    /// Connections for short reads that nobody uses now; `None` once it is closed.
    readers: Mutex<Option<Vec<Connection>>>,
    /// Connections for short reads that are kept.
    kept: usize,
    /// Connections with threads of their own: for what would hold up the thread that asks.
    pool: SqlitePool,
}

/// The connection that changes the file.
struct Writer {
    conn: Connection,
    round: Option<Arc<Round>>,
    /// Changes of the round that were released.
    released: usize,
    /// The round is of changes that may share it.
    shared: bool,
}

/// Changes that are committed together.
#[derive(Default)]
struct Round {
    outcome: SetOnce<Result<(), LiteError>>,
}

/// The writer, for whoever's turn it is.
type Turn = OwnedMappedMutexGuard<Option<Writer>, Writer>;

/// A change that is under way. Dropped, it takes itself back.
pub(crate) struct Change {
    lite: Arc<Lite>,
    round: Arc<Round>,
    turn: Option<Turn>,
}

impl Lite {
    pub(super) fn open(path: &str, connections: u32) -> Result<Arc<Self>, LiteError> {
        let path = PathBuf::from(path);
        let kept = usize::try_from(connections).unwrap_or(1);
        let conn = connect(&path)?;
        conn.execute_batch(
            // FULL syncs the log at every commit: what was answered survives a power cut. Old pages of savepoints
            // stay in memory, and 8 MiB of the file do.
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
             PRAGMA temp_store = MEMORY; PRAGMA cache_size = -8192",
        )?;
        // From here on it waits without holding a thread.
        conn.busy_timeout(Duration::ZERO)?;
        let writer = Writer {
            conn,
            round: None,
            released: 0,
            shared: false,
        };
        Ok(Arc::new(Self {
            pool: pool(&path, connections),
            path,
            writer: Arc::new(Queue::new(Some(writer))),
            readers: Mutex::new(Some(Vec::new())),
            kept,
        }))
    }

    /// Applies what is missing, over a connection of its own: those of the pool read only.
    pub(crate) async fn migrate(&self, migrator: &Migrator) -> Result<(), MigrateError> {
        let mut conn = options(&self.path).connect().await?;
        migrator.run(&mut conn).await?;
        conn.close().await?;
        Ok(())
    }

    /// The pool of sqlx, for lists that may be long. It changes nothing: whatever does passes the one writer.
    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    async fn turn(&self) -> Result<Turn, LiteError> {
        let writer = self.writer.clone().lock_owned().await;
        OwnedMutexGuard::try_map(writer, Option::as_mut).map_err(|_| LiteError::closed())
    }

    /// Begins a change. One that `shares` joins the open round of others that do; any other one waits until what was
    /// released is on the disk, so that what it reads, here or beside it, is true whatever it answers.
    pub(super) async fn begin(self: &Arc<Self>, shares: bool) -> Result<Change, LiteError> {
        let begun = timeout(PATIENCE, async {
            let mut turn = self.turn().await?;
            if turn.released > 0 && !(shares && turn.shared) {
                let synced = spawn_blocking(move || {
                    // Those whom it concerns are told.
                    let _ = turn.sync();
                    turn
                });
                turn = synced.await.map_err(|_| LiteError::closed())?;
            }
            turn.shared = shares;
            let round = loop {
                match turn.enter() {
                    Err(busy) if busy.code & 0xff == ffi::SQLITE_BUSY => sleep(RETRY).await,
                    entered => break entered?,
                }
            };
            let (lite, turn) = (self.clone(), Some(turn));
            Ok(Change { lite, round, turn })
        });
        let busy = || LiteError::new(ffi::SQLITE_BUSY, "the queue of changes did not move");
        begun.await.unwrap_or_else(|_| Err(busy()))
    }

    /// At most `most` rows, read at once: for what takes no longer than to hand it to another thread.
    pub(super) fn read(&self, sql: &Sql, values: &[Value], most: usize) -> Result<Vec<LiteRow>, LiteError> {
        let idle = self.readers().as_mut().ok_or_else(LiteError::closed)?.pop();
        let conn = match idle {
            Some(conn) => conn,
            None => self.reader()?,
        };
        let found = rows(&conn, sql, values, most);
        if let Some(idle) = self.readers().as_mut()
            && idle.len() < self.kept
        {
            idle.push(conn);
        }
        found
    }

    fn reader(&self) -> Result<Connection, LiteError> {
        let conn = connect(&self.path)?;
        conn.execute_batch("PRAGMA query_only = ON")?;
        Ok(conn)
    }

    fn readers(&self) -> MutexGuard<'_, Option<Vec<Connection>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
        let mut writer = self.writer.clone().lock_owned().await;
        drop(self.readers().take());
        // A task that cannot be waited for was never started, and then nothing was left open.
        let _ = spawn_blocking(move || {
            if let Some(mut writer) = writer.take()
                && writer.round.is_some()
            {
                let _ = writer.sync();
            }
        })
        .await;
    }
}

impl Writer {
    /// Begins a change, and a round where none is open.
    fn enter(&mut self) -> Result<Arc<Round>, LiteError> {
        let round = if let Some(open) = &self.round {
            open.clone()
        } else {
            // A deferred transaction that reads and then writes fails at once when another has written meanwhile.
            self.step("BEGIN IMMEDIATE")?;
            self.round.insert(Arc::default()).clone()
        };
        match self.step("SAVEPOINT change") {
            Ok(()) => Ok(round),
            Err(error) => {
                self.give_up_if_empty();
                Err(error)
            }
        }
    }

    /// One of our own steps, which neither takes nor gives anything.
    fn step(&self, sql: &'static str) -> Result<(), LiteError> {
        self.conn.prepare_cached(sql)?.execute(())?;
        Ok(())
    }

    /// Takes back the change that is under way.
    fn take_back(&mut self) {
        let taken = self
            .step("ROLLBACK TO change")
            .and_then(|()| self.step("RELEASE change"));
        match taken {
            Ok(()) => self.give_up_if_empty(),
            Err(error) => self.give_up(error),
        }
    }

    fn give_up_if_empty(&mut self) {
        if self.released == 0 {
            self.give_up(LiteError::new(ffi::SQLITE_ABORT, "the change was taken back"));
        }
    }

    /// Nothing of the round was done.
    fn give_up(&mut self, error: LiteError) {
        if !self.conn.is_autocommit() {
            // A connection that cannot even do this refuses the next BEGIN.
            let _ = self.step("ROLLBACK");
        }
        self.end(Err(error));
    }

    /// Commits the round: waits for the disk.
    fn sync(&mut self) -> Result<(), LiteError> {
        match self.step("COMMIT") {
            Ok(()) => self.end(Ok(())),
            Err(error) => {
                self.give_up(error.clone());
                return Err(error);
            }
        }
        Ok(())
    }

    fn end(&mut self, outcome: Result<(), LiteError>) {
        if let Some(round) = self.round.take() {
            // It is told once: whoever tells it takes the round away.
            let _ = round.outcome.set(outcome);
        }
        self.released = 0;
    }
}

impl Change {
    /// At most `most` rows.
    pub(super) fn rows(
        &mut self,
        sql: &Sql,
        values: &[Value],
        most: usize,
    ) -> Result<Vec<LiteRow>, LiteError> {
        self.step(|conn| rows(conn, sql, values, most))
    }

    /// How many rows were touched.
    pub(super) fn execute(&mut self, sql: &Sql, values: &[Value]) -> Result<u64, LiteError> {
        self.step(|conn| {
            prepared(conn, sql, values, |statement| {
                let mut rows = statement.raw_query();
                while rows.next()?.is_some() {}
                Ok(())
            })?;
            Ok(conn.changes())
        })
    }

    fn step<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T, LiteError>) -> Result<T, LiteError> {
        // Without its transaction a statement would count at once and by itself.
        if let Some(Err(error)) = self.round.outcome.get() {
            return Err(error.clone());
        }
        let turn = self.turn.as_mut().ok_or_else(LiteError::closed)?;
        let result = work(&turn.conn);
        if let Err(error) = &result
            && turn.conn.is_autocommit()
        {
            turn.give_up(error.clone());
        }
        result
    }

    /// Returns when the change is on the disk, or why it is not. Not to be cancelled.
    pub(super) async fn commit(mut self) -> Result<(), LiteError> {
        self.step(|conn| {
            conn.prepare_cached("RELEASE change")?.execute(())?;
            Ok(())
        })?;
        let mut turn = self.turn.take().ok_or_else(LiteError::closed)?;
        turn.released += 1;
        if turn.released < MOST {
            // Whoever waits goes first and joins the round.
            drop(turn);
            turn = tokio::select! {
                biased;
                outcome = self.round.outcome.wait() => return outcome.clone(),
                turn = self.lite.turn() => turn?,
            };
            if let Some(outcome) = self.round.outcome.get() {
                return outcome.clone();
            }
        }
        spawn_blocking(move || turn.sync())
            .await
            .map_err(|_| LiteError::closed())?
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        if let Some(turn) = &mut self.turn
            && self.round.outcome.get().is_none()
        {
            turn.take_back();
        }
    }
}

/// Opens its connections when they are needed. Nothing is done to those that idle: no timer wakes an idle process.
fn pool(path: &Path, connections: u32) -> SqlitePool {
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_lazy_with(options(path).pragma("query_only", "ON"))
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(PATIENCE)
}

fn connect(path: &Path) -> Result<Connection, LiteError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(PATIENCE)?;
    conn.set_prepared_statement_cache_capacity(PREPARED);
    Ok(conn)
}

fn rows(conn: &Connection, sql: &Sql, values: &[Value], most: usize) -> Result<Vec<LiteRow>, LiteError> {
    prepared(conn, sql, values, |statement| {
        let columns: Arc<[String]> = statement.column_names().into_iter().map(str::to_owned).collect();
        let mut found = Vec::new();
        let mut rows = statement.raw_query();
        while found.len() < most
            && let Some(row) = rows.next()?
        {
            let cells: Result<_, _> = (0..columns.len()).map(|at| row.get(at)).collect();
            found.push(LiteRow {
                columns: columns.clone(),
                cells: cells?,
            });
        }
        Ok(found)
    })
}

/// Does `work` with the statement, whose parameters have their values.
fn prepared<T>(
    conn: &Connection,
    sql: &Sql,
    values: &[Value],
    work: impl FnOnce(&mut Statement<'_>) -> rusqlite::Result<T>,
) -> Result<T, LiteError> {
    let done = match sql {
        Sql::Same(text) | Sql::Each { sqlite: text, .. } => {
            let mut statement = conn.prepare_cached(text)?;
            bind(&mut statement, values)?;
            work(&mut statement)
        }
        Sql::Built(text) => {
            let mut statement = conn.prepare(text)?;
            bind(&mut statement, values)?;
            work(&mut statement)
        }
    };
    Ok(done?)
}

/// To SQLite `$1` is a name, and it counts names in the order in which they come.
fn bind(statement: &mut Statement<'_>, values: &[Value]) -> Result<(), LiteError> {
    for at in 1..=statement.parameter_count() {
        let value = statement
            .parameter_name(at)
            .and_then(|name| name.strip_prefix('$')?.parse::<usize>().ok())
            .and_then(|number| values.get(number.checked_sub(1)?))
            .ok_or_else(|| LiteError::new(ffi::SQLITE_RANGE, "a parameter of a statement has no value"))?;
        match value {
            Value::Text(text) => statement.raw_bind_parameter(at, text.as_deref()),
            Value::Int(number) => statement.raw_bind_parameter(at, number),
            Value::Flag(flag) => statement.raw_bind_parameter(at, flag),
            Value::Bytes(bytes) => statement.raw_bind_parameter(at, bytes.as_slice()),
        }?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
