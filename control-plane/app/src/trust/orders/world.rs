//! Where the operations begin, and what they end in: each pair works on a copy of one database.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use muster_code_trust::Entry;
use muster_daemon::Clock;
use muster_ids::Digest;
use muster_model::audit::Event;
use muster_store::{AuditFilter, AuditFrom, BlobStore, trust_digest};
use tempfile::TempDir;

use super::act::{self, ADMINISTRATOR, ANN, Act, CIRCLE, FUNCTION, SAM, STAFF};
use crate::{App, Error, fixture};

/// Tuesday, 14 November 2023: later than every moment that the operations name, but for those of 2999.
const NOW: i64 = 1_700_000_000_000;

/// What lets [`ANN`] decide for herself.
const RIGHTS: [Act; 2] = [Act::AddMember, Act::GiveLicense];

/// What is decided where everything is that can be at once.
const EVERYTHING: [Act; 14] = [
    Act::AddMember,
    Act::AddParent,
    Act::GiveLicense,
    Act::Stamp,
    Act::TrustSigner,
    Act::TrustCertificate,
    Act::TrustItem,
    Act::TrustForOneself,
    Act::Revoke,
    Act::RestrictNone,
    Act::SetPolicy,
    Act::RevokeOwn,
    Act::Relax,
    Act::SetPrimary,
];

/// A database to begin with.
pub(super) struct World {
    folder: TempDir,
    /// No operation needs any.
    blobs: BlobStore,
    keys: Arc<fixture::Memory>,
    trusted: Digest,
}

/// What two operations ended in.
#[derive(Debug)]
pub(super) struct End {
    /// Why the first and the second of them were refused.
    pub(super) refused: [Option<String>; 2],
    /// What decides now.
    pub(super) state: Vec<String>,
    /// The kinds of records that they wrote.
    pub(super) written: BTreeSet<Event>,
}

impl World {
    /// The worlds with nothing and with everything decided.
    pub(super) async fn begin() -> BTreeMap<&'static str, Arc<Self>> {
        let (clock, _hand) = Clock::by_hand(NOW);
        let keys = Arc::<fixture::Memory>::default();
        let (app, folder) = fixture::app_with(clock, Arc::clone(&keys)).await;
        let trusted = people(&app).await.expect("a function of somebody");
        let nothing = Self {
            folder,
            blobs: app.blobs().clone(),
            keys,
            trusted,
        };
        drop(app);
        let rights = nothing.with(&RIGHTS).await;
        let everything = nothing.with(&EVERYTHING).await;
        [
            ("nothing", nothing),
            ("rights", rights),
            ("everything", everything),
        ]
        .map(|(name, world)| (name, Arc::new(world)))
        .into()
    }

    /// A world in which these were done.
    async fn with(&self, acts: &[Act]) -> Self {
        let (app, folder) = self.copy().await;
        for act in acts {
            act.of(&app, &self.trusted)
                .await
                .unwrap_or_else(|error| panic!("{act}: {error}"));
        }
        Self {
            folder,
            blobs: self.blobs.clone(),
            keys: Arc::clone(&self.keys),
            trusted: self.trusted,
        }
    }

    /// What the operations end in, one after the other.
    pub(super) async fn end_of(&self, acts: [Act; 2]) -> End {
        let (app, _folder) = self.copy().await;
        let before = app.store().audit_head().await.expect("a head").sequence;
        let mut refused = [None, None];
        for (act, refused) in acts.iter().zip(&mut refused) {
            if let Err(error) = act.of(&app, &self.trusted).await {
                *refused = Some(kind(*act, &error));
            }
        }
        let (state, written) = read(&app, before).await.expect("read");
        End {
            refused,
            state,
            written,
        }
    }

    async fn copy(&self) -> (App, TempDir) {
        // Thousands of copies are made, and none is kept: they lie in memory where the system offers that.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        let folder = folder.expect("a folder");
        for entry in std::fs::read_dir(self.folder.path()).expect("read") {
            let entry = entry.expect("an entry");
            // The database and its log; the index of the log is made anew.
            let name = entry.file_name();
            if ["muster.db", "muster.db-wal"]
                .iter()
                .any(|wanted| name == *wanted)
            {
                std::fs::copy(entry.path(), folder.path().join(name)).expect("copied");
            }
        }
        let (clock, _hand) = Clock::by_hand(NOW);
        let app = fixture::open(folder.path(), self.blobs.clone(), clock, Arc::clone(&self.keys)).await;
        (app, folder)
    }
}

/// Users, groups and one function; its digest.
async fn people(app: &App) -> Result<Digest, Error> {
    let admin = act::caller(app, ADMINISTRATOR).await?;
    for name in [ANN, SAM] {
        let new = serde_json::from_value(serde_json::json!({ "name": name })).map_err(Error::bug)?;
        app.create_user(&admin, new).await?;
    }
    for name in [CIRCLE, STAFF] {
        app.create_group(&admin, name.parse().map_err(Error::bug)?)
            .await?;
    }
    let (authors, administrator) = ("Script Author".parse(), ADMINISTRATOR.parse());
    let authors = authors.map_err(Error::bug)?;
    app.add_member(&admin, &authors, &administrator.map_err(Error::bug)?)
        .await?;
    app.set_license(&admin, &authors, "Author Scripts", true).await?;
    act::save(app, &admin, "1").await
}

/// What decides now, and which records were written after `before`.
async fn read(app: &App, before: u64) -> Result<(Vec<String>, BTreeSet<Event>), Error> {
    let (head, entries) = app.store().trust_state().await?;
    assert_eq!(head.digest, trust_digest(&entries), "the head names the state");
    let mut state: Vec<String> = entries.iter().map(|(key, value)| plain(key, value)).collect();
    state.sort();
    let admin = act::caller(app, ADMINISTRATOR).await?;
    for group in app.list_groups(&admin).await? {
        state.push(format!("{group:?}"));
    }
    for name in [ANN, SAM] {
        let user = app
            .store()
            .user_by_name(&name.parse().map_err(Error::bug)?)
            .await?;
        state.push(match user {
            Some(user) => format!("{} is {}", user.name, user.state),
            None => format!("{name} is gone"),
        });
    }
    let function = app.function_of(FUNCTION).await?.function;
    state.push(format!("{} is {}", function.name, function.current));
    let rows = app
        .store()
        .audit_list(&AuditFilter::default(), AuditFrom::Newest, 100)
        .await?;
    let written = rows.iter().filter(|row| row.sequence > before);
    Ok((state, written.map(|row| row.record.event).collect()))
}

/// An entry without what chance has made.
fn plain(key: &str, value: &str) -> String {
    match Entry::parse(key, value) {
        Ok(Entry::Stamp(stamp)) => format!(
            "stamp {} of {} by {}",
            stamp.hash, stamp.library_item, stamp.author
        ),
        Ok(Entry::Blocking(act)) => format!("blocking {:?} by {}", act.block, act.author),
        Ok(Entry::Tombstone(_)) => key.rsplit_once('/').map_or(key, |(kind, _)| kind).to_owned(),
        _ => format!("{key} = {value}"),
    }
}

/// The name of a refusal, as docs/reference/errors.md has it.
fn kind(act: Act, error: &Error) -> String {
    match error {
        Error::NotFound { .. } => "not-found".to_owned(),
        Error::Conflict { kind, .. } | Error::Denied { kind, .. } => (*kind).to_owned(),
        other => panic!("\"{act}\" fails without a name: {other}"),
    }
}
