//! The collective and this copy of its database: written once by `init`, changed by a restore.

use muster_ids::{AuditWriter, CollectiveId, Digest, GroupId, Incarnation, Name, PoolId, SiteId};
use muster_model::permission::{ADMINISTRATOR, AUTHOR_SCRIPTS, EVERYONE, SCRIPT_AUTHOR};

use crate::{
    audit::origin,
    error::StoreError,
    group::Group,
    place::{Pool, Site},
    store::Store,
    trust::trust_digest,
    tx::Tx,
    value::args,
};

/// The pool and the site that every node is in unless it is put elsewhere.
const DEFAULT: &str = "default";
/// The group whose members may write queries of their own.
const CUSTOM_QUERY_AUTHOR: &str = "Custom Query Author";

/// The collective, and which copy of its database this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collective {
    /// The trust domain of every identity.
    pub collective: CollectiveId,
    /// This copy of the database.
    pub incarnation: Incarnation,
    /// Counts restores and failovers, from 1.
    pub epoch: u64,
    /// Who writes the audit chain in this epoch.
    pub writer: AuditWriter,
}

/// The identifiers that a new collective begins with.
#[derive(Debug, Clone)]
pub struct NewCollective {
    /// The trust domain.
    pub collective: CollectiveId,
    /// This copy of the database.
    pub incarnation: Incarnation,
    /// The writer of epoch 1.
    pub writer: AuditWriter,
    /// The pool `default`.
    pub pool: PoolId,
    /// The site `default`.
    pub site: SiteId,
    /// The groups that cannot be deleted.
    pub groups: BuiltinGroups,
}

/// The groups that every collective has.
#[derive(Debug, Clone, Copy)]
pub struct BuiltinGroups {
    /// `Everyone`.
    pub everyone: GroupId,
    /// `Administrator`.
    pub administrator: GroupId,
    /// `Script Author`, with the license feature `Author Scripts`.
    pub script_author: GroupId,
    /// `Custom Query Author`.
    pub custom_query_author: GroupId,
}

impl Store {
    /// The collective, or `None` before `init`.
    pub async fn collective(&self) -> Result<Option<Collective>, StoreError> {
        let row = self
            .first("SELECT collective, incarnation, epoch, writer FROM meta", args![])
            .await?;
        row.map(|row| {
            Ok(Collective {
                collective: row.parsed("collective")?,
                incarnation: row.parsed("incarnation")?,
                epoch: row.counter("epoch")?,
                writer: row.parsed("writer")?,
            })
        })
        .transpose()
    }
}

impl Tx {
    /// Makes the collective with epoch 1, an empty trust state, the pool and the site `default` and the built-in
    /// groups.
    pub async fn init(&mut self, new: &NewCollective, now: i64) -> Result<(), StoreError> {
        let one = "the collective of this database";
        self.insert(
            "INSERT INTO meta (single, collective, incarnation, epoch, writer, created_at) \
             VALUES (1, $1, $2, 1, $3, $4)",
            args![new.collective, new.incarnation, new.writer, now],
            one,
            one,
        )
        .await?;
        self.execute(
            "INSERT INTO audit_heads (writer, sequence, hash) VALUES ($1, 0, $2)",
            args![new.writer, origin()],
        )
        .await?;
        self.execute(
            "INSERT INTO trust_head (single, incarnation, epoch, number, digest, previous) \
             VALUES (1, $1, 1, 0, $2, $3)",
            args![
                new.incarnation,
                trust_digest(&std::collections::BTreeMap::new()),
                Digest::from_bytes([0; 32])
            ],
        )
        .await?;
        let (name, builtin, created_at) = (builtin_name(DEFAULT)?, true, now);
        self.pool_insert(&Pool {
            id: new.pool,
            name: name.clone(),
            builtin,
            created_at,
        })
        .await?;
        self.site_insert(&Site {
            id: new.site,
            name,
            builtin,
            created_at,
        })
        .await?;
        for (id, name) in [
            (new.groups.everyone, EVERYONE),
            (new.groups.administrator, ADMINISTRATOR),
            (new.groups.script_author, SCRIPT_AUTHOR),
            (new.groups.custom_query_author, CUSTOM_QUERY_AUTHOR),
        ] {
            self.group_insert(&Group {
                id,
                name: builtin_name(name)?,
                builtin,
            })
            .await?;
        }
        self.group_add_feature(new.groups.script_author, AUTHOR_SCRIPTS)
            .await
            .map(drop)
    }
}

fn builtin_name(text: &str) -> Result<Name, StoreError> {
    text.parse()
        .map_err(|error: muster_ids::NameError| StoreError::conflict(error.to_string()))
}
