//! A database with a new collective, and shorthands for what tests put into it.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use muster_ids::{
    AuditWriter, CollectiveId, Digest, FunctionId, GroupId, Incarnation, JoinId, NodeId, PoolId, RunId,
    SiteId, UserId,
};
use muster_model::{
    audit::Event,
    join::{Applicant, Capability, JoinRequest, JoinState},
    node::{Node, Scheduling, Trust},
    permission::{Authorized, Caller, Operation, authorize},
    run::{Run, RunState},
};
use muster_store::{
    BuiltinGroups, Draft, Function, NewCollective, RunRow, Store, StoreConfig, Tx, User, UserState,
};
use serde_json::json;
use tempfile::TempDir;

/// The moment at which everything happens unless a test says otherwise.
pub(crate) const NOW: i64 = 1_700_000_000_000;

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

pub(crate) struct World {
    pub(crate) kind: Kind,
    pub(crate) url: String,
    pub(crate) store: Store,
    pub(crate) new: NewCollective,
    _folder: Option<TempDir>,
}

/// Runs each case on both databases.
macro_rules! on_both {
    ($($case:ident)+) => { $(
        mod $case {
            #[tokio::test(flavor = "multi_thread")]
            async fn on_sqlite() {
                super::cases::$case(crate::world::World::new(crate::world::Kind::Sqlite).await).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn on_postgres() {
                super::cases::$case(crate::world::World::new(crate::world::Kind::Postgres).await).await;
            }
        }
    )+ };
}
pub(crate) use on_both;

impl World {
    /// An initialised database.
    pub(crate) async fn new(kind: Kind) -> Self {
        let world = Self::empty(kind).await;
        world.store.migrate().await.expect("migrates");
        let mut tx = world.begin().await;
        tx.init(&world.new, NOW).await.expect("init");
        commit(tx, Event::CollectiveInit).await;
        world
    }

    /// A database without tables.
    pub(crate) async fn empty(kind: Kind) -> Self {
        let (url, folder) = match kind {
            Kind::Sqlite => {
                let folder = tempfile::tempdir().expect("a folder");
                (
                    format!("sqlite://{}", folder.path().join("muster.db").display()),
                    Some(folder),
                )
            }
            Kind::Postgres => (
                tokio::task::spawn_blocking(crate::postgres::database)
                    .await
                    .expect("starts"),
                None,
            ),
        };
        let store = open(&url).await;
        let new = NewCollective {
            collective: CollectiveId::new(NOW, random()),
            incarnation: Incarnation::new(NOW, random()),
            writer: AuditWriter::new(NOW, random()),
            pool: PoolId::new(NOW, random()),
            site: SiteId::new(NOW, random()),
            groups: BuiltinGroups {
                everyone: GroupId::new(NOW, random()),
                administrator: GroupId::new(NOW, random()),
                script_author: GroupId::new(NOW, random()),
                custom_query_author: GroupId::new(NOW, random()),
            },
        };
        Self {
            kind,
            url,
            store,
            new,
            _folder: folder,
        }
    }

    pub(crate) async fn begin(&self) -> Tx {
        self.store.begin(&system()).await.expect("begins")
    }

    pub(crate) fn file(&self) -> PathBuf {
        PathBuf::from(self.url.trim_start_matches("sqlite://"))
    }

    /// Does behind the store's back what only an attacker or a newer program would do.
    pub(crate) async fn meddle(&self, sql: &'static str) {
        match self.kind {
            Kind::Sqlite => {
                let pool = sqlx::SqlitePool::connect(&self.url).await.expect("connects");
                sqlx::query("PRAGMA foreign_keys = OFF")
                    .execute(&pool)
                    .await
                    .expect("pragma");
                sqlx::query(sql).execute(&pool).await.expect(sql);
                pool.close().await;
            }
            Kind::Postgres => {
                let pool = sqlx::PgPool::connect(&self.url).await.expect("connects");
                sqlx::query(sql).execute(&pool).await.expect(sql);
                pool.close().await;
            }
        }
    }

    pub(crate) fn node(&self, name: &str) -> Node {
        Node {
            id: NodeId::new(NOW, random()),
            name: name.parse().expect("name"),
            key: Digest::of(name.as_bytes()),
            trust: Trust::Trusted,
            scheduling: Scheduling::Active,
            capabilities: vec![Capability::Terr, Capability::R],
            pool: self.new.pool,
            site: self.new.site,
            addresses: vec!["10.0.0.5".into()],
            created_at: NOW,
            seen_at: None,
            inventory: None,
            generation: 1,
            generation_at: None,
            reason: None,
            version: 1,
        }
    }

    /// A queued run of the moment `created_at`.
    pub(crate) fn run(&self, created_at: i64, capability: Capability) -> RunRow {
        RunRow {
            run: Run {
                id: RunId::new(created_at, random()),
                state: RunState::Queued,
                fence: 0,
                node: None,
                lease_until: None,
                cancel_requested: false,
                stale_since: None,
                version: 1,
            },
            function: Some(FunctionId::new(NOW, [1; 10])),
            function_name: "Forecast".parse().expect("name"),
            digest: Digest::of(b"script"),
            engine: "terr".into(),
            user: UserId::new(NOW, [1; 10]),
            user_name: "ann@SPOTFIRE".parse().expect("name"),
            client: "web".into(),
            capability,
            pool: self.new.pool,
            site: self.new.site,
            request: r#"{"arguments":{"n":1e400}}"#.into(),
            mode: None,
            verdict: None,
            engine_description: None,
            created_at,
            started_at: None,
            finished_at: None,
            ending: None,
            outputs: None,
            receipt: None,
        }
    }

    /// Adds a queued run.
    pub(crate) async fn queue(&self, created_at: i64, capability: Capability) -> RunRow {
        let row = self.run(created_at, capability);
        let mut tx = self.begin().await;
        tx.run_insert(&row).await.expect("queued");
        commit(tx, Event::RunSubmitted).await;
        row
    }

    pub(crate) async fn add_user(&self, name: &str) -> User {
        let user = User {
            id: UserId::new(NOW, random()),
            name: name.parse().expect("name"),
            state: UserState::Active,
            created_at: NOW,
            version: 1,
        };
        let mut tx = self.begin().await;
        tx.user_insert(&user).await.expect("added");
        commit(tx, Event::UserCreated).await;
        user
    }

    pub(crate) async fn add_node(&self, name: &str) -> Node {
        let node = self.node(name);
        let mut tx = self.begin().await;
        tx.node_insert(&node).await.expect("added");
        commit(tx, Event::JoinApproved).await;
        node
    }
}

pub(crate) async fn open(url: &str) -> Store {
    let config = StoreConfig {
        create_if_missing: true,
        ..StoreConfig::new(url)
    };
    Store::open(&config).await.expect("opens")
}

pub(crate) fn system() -> Authorized {
    authorize(&Caller::System, Operation::Maintain).expect("the system may")
}

pub(crate) fn draft(event: Event) -> Draft {
    Draft::new(event, "something", json!({ "why": "a test" }))
}

pub(crate) async fn commit(tx: Tx, event: Event) {
    tx.commit(draft(event), NOW).await.expect("commits");
}

/// Bytes that no other call in this process gives.
pub(crate) fn random() -> [u8; 10] {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let mut bytes = [0; 10];
    bytes[6..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    bytes
}

pub(crate) fn join_request(name: &str, revealed_at: i64) -> JoinRequest {
    let transcript = Digest::of_framed(&[name.as_bytes(), &revealed_at.to_be_bytes()]);
    let mut id = [0; 16];
    id.copy_from_slice(&transcript.as_bytes()[..16]);
    JoinRequest {
        id: JoinId::from_bytes(id),
        key: Digest::of(name.as_bytes()),
        spki: name.as_bytes().to_vec(),
        transcript,
        applicant: Applicant {
            name: name.parse().expect("name"),
            capabilities: vec![Capability::Terr],
            pool: Some("default".parse().expect("name")),
            site: None,
            addresses: vec!["10.0.0.5".into()],
            agent_version: "0.1.0".into(),
            asked_at: revealed_at,
        },
        source: "10.0.0.5".into(),
        created_at: revealed_at,
        revealed_at,
        poll_counter: 0,
        state: JoinState::Pending,
        reason: None,
        renewal_of: None,
        node: None,
        token: None,
        votes: vec![],
        version: 1,
    }
}

pub(crate) fn function(name: &str, content: &[u8], by: UserId) -> Function {
    Function {
        id: FunctionId::new(NOW, random()),
        name: name.parse().expect("name"),
        current: Digest::of(content),
        created_at: NOW,
        created_by: by,
        updated_at: NOW,
        updated_by: by,
        version: 1,
    }
}
