//! A change that is under way.
//!
//! Invariant: it commits only together with at least one audit record whose actor is the authorized caller.
//! Dropping it changes nothing. After an error of the database it can only be dropped. On SQLite it is the only
//! writer while it lives: whoever holds one commits or drops it before waiting for anything else, other writes of the
//! store included.

use std::{collections::BTreeSet, sync::Arc};

use muster_daemon::file::write_point;
use muster_model::permission::Authorized;

use crate::{
    audit::{self, AuditHead, Records},
    dialect::{Conn, Sql},
    error::{DbError, StoreError, duplicate},
    value::{Row, Value},
    wake::{Hub, Topic, payload},
};

/// A change that is under way; see the module documentation. Made by [`Store::begin`](crate::Store::begin).
pub struct Tx {
    conn: Conn,
    hub: Arc<Hub>,
    actor: String,
    touched: BTreeSet<Topic>,
    failed: bool,
}

impl Tx {
    pub(crate) fn new(conn: Conn, hub: Arc<Hub>, actor: String) -> Self {
        Self {
            conn,
            hub,
            actor,
            touched: BTreeSet::new(),
            failed: false,
        }
    }

    /// Commits the change with its audit records at `now`, then hints at what it touched. Gives the end of the audit
    /// chain after these records.
    pub async fn commit(mut self, records: impl Into<Records>, now: i64) -> Result<AuditHead, StoreError> {
        if self.failed {
            return Err(StoreError::RolledBack);
        }
        let records = records.into();
        let name = records.event().as_str();
        let of_runs = records.are_of_runs();
        // Last, because writers of one chain queue here.
        let head = audit::append(&mut self, records, now).await?;
        self.conn.notify(&payload(&self.touched)).await?;
        write_point(name, "ready");
        let change = (!of_runs).then(|| self.hub.change());
        let Self {
            conn, hub, touched, ..
        } = self;
        conn.commit_then(move |committed| {
            drop(change);
            if committed {
                write_point(name, "committed");
                hub.hint(&touched);
            }
        })
        .await?;
        Ok(head)
    }

    /// From here on until this ends nobody changes users, groups or the trust state. Whatever is read of them after this,
    /// by other connections too, is what holds at the commit.
    pub async fn hold_rights(&mut self) -> Result<(), StoreError> {
        let result = self.conn.rights(false).await;
        self.noting(result).map_err(StoreError::from)
    }

    /// Waits for whoever decides by users, groups or the trust state, and keeps others from it until this ends: every
    /// change of them begins with it.
    pub async fn change_rights(&mut self) -> Result<(), StoreError> {
        let result = self.conn.rights(true).await;
        self.noting(result).map_err(StoreError::from)
    }

    /// The same change, of somebody else: who asked for it turned out not to be who decides.
    pub fn by(self, authorized: &Authorized) -> Self {
        Self {
            actor: authorized.caller().to_string(),
            ..self
        }
    }

    /// Who makes the change, as the audit names them.
    pub(crate) fn actor(&self) -> &str {
        &self.actor
    }

    /// Whoever waits for `topic` is woken after the commit.
    pub(crate) fn touch(&mut self, topic: Topic) {
        self.touched.insert(topic);
    }

    pub(crate) async fn all(
        &mut self,
        sql: impl Into<Sql>,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        let result = self.conn.all(sql, values).await;
        self.noting(result).map_err(StoreError::from)
    }

    pub(crate) async fn first(
        &mut self,
        sql: impl Into<Sql>,
        values: Vec<Value>,
    ) -> Result<Option<Row>, StoreError> {
        let result = self.conn.first(sql, values).await;
        self.noting(result).map_err(StoreError::from)
    }

    pub(crate) async fn execute(
        &mut self,
        sql: impl Into<Sql>,
        values: Vec<Value>,
    ) -> Result<u64, StoreError> {
        let result = self.conn.execute(sql, values).await;
        self.noting(result).map_err(StoreError::from)
    }

    /// Adds a row. `named` is what exists already when the name is taken, `otherwise` when another key is.
    pub(crate) async fn insert(
        &mut self,
        sql: impl Into<Sql>,
        values: Vec<Value>,
        named: &str,
        otherwise: &str,
    ) -> Result<(), StoreError> {
        let result = self.conn.execute(sql, values).await;
        self.noting(result)
            .map(drop)
            .map_err(|error| duplicate(error, named, otherwise))
    }

    /// Changes the one row that still has the version which the caller read; `what` names it.
    pub(crate) async fn swap(
        &mut self,
        sql: impl Into<Sql>,
        values: Vec<Value>,
        what: &str,
    ) -> Result<(), StoreError> {
        let result = self.conn.execute(sql, values).await;
        match self
            .noting(result)
            .map_err(|error| duplicate(error, what, what))?
        {
            0 => Err(StoreError::changed(what)),
            _ => Ok(()),
        }
    }

    /// PostgreSQL ends a transaction at its first error and SQLite does not; here it always ends.
    fn noting<T>(&mut self, result: Result<T, DbError>) -> Result<T, DbError> {
        self.failed |= result.is_err();
        result
    }
}
