//! Which tables there are: migrations, and which program may work on which schema.
//!
//! Invariant: a migration first expands and only two releases later contracts, and says in `schema_info` the
//! oldest schema that a program must know to work on the result.

use sqlx::{
    SqlSafeStr as _,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use crate::{dialect::Db, error::StoreError};

/// Number, name, SQLite, PostgreSQL.
type Step = (i64, &'static str, &'static str, &'static str);

/// Every migration in order; the texts are compiled in.
const STEPS: &[Step] = &[
    (
        1,
        "spine",
        include_str!("../../migrations/sqlite/0001_spine.sql"),
        include_str!("../../migrations/postgres/0001_spine.sql"),
    ),
    (
        2,
        "join",
        include_str!("../../migrations/sqlite/0002_join.sql"),
        include_str!("../../migrations/postgres/0002_join.sql"),
    ),
    (
        3,
        "certificates",
        include_str!("../../migrations/sqlite/0003_certificates.sql"),
        include_str!("../../migrations/postgres/0003_certificates.sql"),
    ),
    (
        4,
        "authorities",
        include_str!("../../migrations/sqlite/0004_authorities.sql"),
        include_str!("../../migrations/postgres/0004_authorities.sql"),
    ),
    (
        5,
        "epochs",
        include_str!("../../migrations/sqlite/0005_epochs.sql"),
        include_str!("../../migrations/postgres/0005_epochs.sql"),
    ),
    (
        6,
        "revocation",
        include_str!("../../migrations/sqlite/0006_revocation.sql"),
        include_str!("../../migrations/postgres/0006_revocation.sql"),
    ),
    (
        7,
        "run_output",
        include_str!("../../migrations/sqlite/0007_run_output.sql"),
        include_str!("../../migrations/postgres/0007_run_output.sql"),
    ),
    (
        8,
        "joins_by_name",
        include_str!("../../migrations/sqlite/0008_joins_by_name.sql"),
        include_str!("../../migrations/postgres/0008_joins_by_name.sql"),
    ),
    (
        9,
        "run_contents",
        include_str!("../../migrations/sqlite/0009_run_contents.sql"),
        include_str!("../../migrations/postgres/0009_run_contents.sql"),
    ),
    (
        10,
        "trust_reasons",
        include_str!("../../migrations/sqlite/0010_trust_reasons.sql"),
        include_str!("../../migrations/postgres/0010_trust_reasons.sql"),
    ),
    (
        11,
        "library",
        include_str!("../../migrations/sqlite/0011_library.sql"),
        include_str!("../../migrations/postgres/0011_library.sql"),
    ),
    (
        12,
        "signing",
        include_str!("../../migrations/sqlite/0012_signing.sql"),
        include_str!("../../migrations/postgres/0012_signing.sql"),
    ),
    (
        13,
        "library_versions",
        include_str!("../../migrations/sqlite/0013_library_versions.sql"),
        include_str!("../../migrations/postgres/0013_library_versions.sql"),
    ),
    (
        14,
        "preferences",
        include_str!("../../migrations/sqlite/0014_preferences.sql"),
        include_str!("../../migrations/postgres/0014_preferences.sql"),
    ),
    (
        15,
        "versions_by_digest",
        include_str!("../../migrations/sqlite/0015_versions_by_digest.sql"),
        include_str!("../../migrations/postgres/0015_versions_by_digest.sql"),
    ),
];

/// Which schema a database has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// The schema of the database, 0 for an empty one.
    pub current: i64,
    /// The oldest schema that a program must know to work on it, 0 for an empty one.
    pub min_compatible: i64,
    /// The newest schema that this program knows.
    pub known: i64,
}

impl Schema {
    /// Whether this program may work on the database.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.current < self.known {
            return Err(StoreError::SchemaTooOld {
                current: self.current,
                known: self.known,
            });
        }
        if self.known < self.min_compatible {
            return Err(StoreError::SchemaTooNew {
                needed: self.min_compatible,
                known: self.known,
            });
        }
        Ok(())
    }
}

pub(crate) async fn read(db: &Db) -> Result<Schema, StoreError> {
    let known = STEPS.last().map_or(0, |step| step.0);
    let (exists, values) = match db {
        Db::Sqlite { .. } => (
            "SELECT 1 FROM sqlite_schema WHERE name = 'schema_info'",
            Vec::new(),
        ),
        Db::Postgres { .. } => (
            "SELECT 1 FROM pg_class WHERE oid = to_regclass('schema_info')",
            Vec::new(),
        ),
    };
    if db.first(exists, values).await?.is_none() {
        return Ok(Schema {
            current: 0,
            min_compatible: 0,
            known,
        });
    }
    let row = db
        .first("SELECT current, min_compatible FROM schema_info", Vec::new())
        .await?
        .ok_or_else(|| StoreError::corrupt("no row in schema_info"))?;
    Ok(Schema {
        current: row.int("current")?,
        min_compatible: row.int("min_compatible")?,
        known,
    })
}

pub(crate) async fn migrate(db: &Db) -> Result<(), StoreError> {
    let steps = STEPS.iter().map(|(version, name, sqlite, postgres)| {
        let text = match db {
            Db::Sqlite { .. } => sqlite,
            Db::Postgres { .. } => postgres,
        };
        Migration::new(
            *version,
            (*name).into(),
            MigrationType::Simple,
            text.into_sql_str(),
            false,
        )
    });
    let mut migrator = Migrator::with_migrations(steps.collect());
    // Migrations of a newer program are judged by min_compatible, not by being unknown.
    migrator.set_ignore_missing(true);
    match db {
        Db::Sqlite(lite) => lite.migrate(&migrator).await,
        Db::Postgres { pool, .. } => migrator.run(pool).await,
    }
    .map_err(|error| match error {
        MigrateError::Execute(source) => source.into(),
        other => StoreError::Refused {
            source: Box::new(other),
        },
    })
}
