use muster_store::StoreError;

use crate::world::{Kind, World, on_both};

on_both! {
    migrating_twice_is_migrating_once
    a_newer_schema_is_refused_only_where_it_says_so
    a_collective_is_made_once
    durability_is_stated_for_each_connection
}

mod cases {
    use muster_store::{Collective, Schema, StoreError};

    use crate::world::{Kind, NOW, World};

    pub(super) async fn migrating_twice_is_migrating_once(world: World) {
        let before = world.store.collective().await.expect("read");
        let schema = world.store.migrate().await.expect("nothing to do");
        assert_eq!(
            schema,
            Schema {
                current: super::newest(),
                min_compatible: 14,
                known: super::newest()
            }
        );
        schema.check().expect("compatible");
        assert_eq!(world.store.collective().await.expect("read"), before);
    }

    pub(super) async fn a_newer_schema_is_refused_only_where_it_says_so(world: World) {
        world.meddle("UPDATE schema_info SET current = 97").await;
        world
            .store
            .schema()
            .await
            .expect("read")
            .check()
            .expect("still compatible");
        world.meddle("UPDATE schema_info SET min_compatible = 96").await;
        let error = world
            .store
            .schema()
            .await
            .expect("read")
            .check()
            .expect_err("too new");
        assert!(
            matches!(error, StoreError::SchemaTooNew { needed: 96, known } if known == super::newest()),
            "{error}"
        );
    }

    pub(super) async fn durability_is_stated_for_each_connection(world: World) {
        let durability = world.store.durability().await.expect("read");
        let (name, value, safe) = match world.kind {
            Kind::Sqlite => ("synchronous", "2", true),
            // The server of these tests is told not to sync; the connection overrides what it can, and the rest is
            // told.
            Kind::Postgres => ("synchronous_commit", "on", false),
        };
        let found = durability.settings.iter().find(|setting| setting.0 == name);
        assert_eq!(found, Some(&(name, value.to_owned())));
        assert_eq!(durability.safe, safe, "{durability:?}");
    }

    pub(super) async fn a_collective_is_made_once(world: World) {
        let expected = Collective {
            collective: world.new.collective,
            incarnation: world.new.incarnation,
            epoch: 1,
            writer: world.new.writer,
        };
        assert_eq!(world.store.collective().await.expect("read"), Some(expected));
        let mut tx = world.begin().await;
        let error = tx.init(&world.new, NOW).await.expect_err("there is one");
        assert_eq!(
            error.to_string(),
            "the collective of this database exists already"
        );
    }
}

#[tokio::test]
async fn an_empty_database_says_what_to_do() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let world = World::empty(kind).await;
        let schema = world.store.schema().await.expect("readable");
        assert_eq!(schema.current, 0);
        let error = schema.check().expect_err("too old");
        assert!(
            error.to_string().ends_with("run muster-server migrate"),
            "{error}"
        );
        world.store.migrate().await.expect("migrates");
        assert_eq!(world.store.collective().await.expect("readable"), None);
        let error = world.store.trust_head().await.expect_err("no collective");
        assert!(matches!(error, StoreError::NotInitialised), "{error}");
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_without_repeating_it() {
    for url in ["mysql://secret@host/x", "sqlite://relative.db", "muster.db"] {
        let error = muster_store::Store::open(&muster_store::StoreConfig::new(url))
            .await
            .err()
            .expect("refused");
        assert!(
            matches!(error, StoreError::Address { .. }) && !error.to_string().contains("secret"),
            "{error}"
        );
    }
    let config = muster_store::StoreConfig::new("postgres://muster:secret@host/x");
    assert!(!format!("{config:?}").contains("secret"));
}

#[tokio::test]
async fn a_missing_file_is_made_by_init_only_and_for_the_server_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("muster.db");
    let url = format!("sqlite://{}", file.display());
    let error = muster_store::Store::open(&muster_store::StoreConfig::new(&url))
        .await
        .err()
        .expect("missing");
    assert!(matches!(error, StoreError::File { .. }), "{error}");
    assert!(!file.exists());

    let store = crate::world::open(&url).await;
    store.migrate().await.expect("migrates");
    for name in ["muster.db", "muster.db-wal", "muster.db-shm"] {
        let mode = std::fs::metadata(folder.path().join(name))
            .expect(name)
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

/// The migrations of one database, in order.
fn names(folder: &str) -> Vec<String> {
    let path = format!("{}/../migrations/{folder}", env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<_> = std::fs::read_dir(path)
        .expect(folder)
        .map(|entry| entry.expect("entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

/// The number of the last migration: the schema that this program knows.
fn newest() -> i64 {
    let names = names("sqlite");
    names.last().expect("some")[..4].parse().expect("a number")
}

#[test]
fn both_databases_have_migrations_of_the_same_names() {
    assert_eq!(names("sqlite"), names("postgres"));
}

#[tokio::test]
async fn the_schemas_are_the_reviewed_ones() {
    let sqlite = World::new(Kind::Sqlite).await;
    let pool = sqlx::SqlitePool::connect(&sqlite.url).await.expect("connects");
    let tables: Vec<(String,)> = sqlx::query_as(
        "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND tbl_name <> '_sqlx_migrations' ORDER BY name",
    )
    .fetch_all(&pool)
    .await
    .expect("schema");
    let dump = tables
        .iter()
        .map(|(sql,)| sql.as_str())
        .collect::<Vec<_>>()
        .join(";\n")
        + ";\n";
    compare("schema.sqlite.sql", &dump);

    let postgres = World::new(Kind::Postgres).await;
    compare("schema.postgres.sql", &crate::postgres::schema(&postgres.url));
}

/// With `MUSTER_BLESS` in the environment the file is written instead (`make bless`).
fn compare(name: &str, found: &str) {
    let golden = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("MUSTER_BLESS").is_some() {
        std::fs::write(&golden, found).expect("writes");
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    let line = std::iter::zip(expected.lines(), found.lines()).find(|(expected, found)| expected != found);
    assert!(
        expected == found,
        "{name} differs, first at {line:?}; when the change is right: make bless"
    );
}
