//! Where the operations begin, and what they end in: each pair works on a copy of one database.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use muster_code_trust::Entry;
use muster_daemon::Clock;
use muster_ids::{CollectiveId, Digest, UserId};
use muster_model::{audit::Event, permission::Caller};
use muster_pki::{
    CertificateDer, KeyUse, Serial, Signer as _, SoftwareSigner, Validity,
    code_signing::{CodeHolder, create_code_root, issue_code_certificate},
    pem,
};
use muster_store::{AuditFilter, AuditFrom, BlobStore, Draft, SignerState, SigningCertificate, trust_digest};
use tempfile::TempDir;

use super::act::{self, ADMINISTRATOR, ANN, Act, CIRCLE, FOLDER, FUNCTION, SAM, STAFF, Subjects};
use crate::{App, Error, fixture};

/// Tuesday, 14 November 2023: later than every moment that the operations name, but for those of 2999.
const NOW: i64 = 1_700_000_000_000;

/// What lets [`ANN`] decide for herself.
const RIGHTS: [Act; 2] = [Act::AddMember, Act::GiveLicense];

/// What is decided where everything is that can be at once.
const EVERYTHING: [Act; 20] = [
    Act::AddMember,
    Act::AddParent,
    Act::GiveLicense,
    Act::Stamp,
    Act::TrustSigner,
    Act::TrustCertificate,
    Act::TrustItem,
    Act::TrustForOneself,
    Act::Sign,
    Act::ImportRoot,
    Act::ImportCertificate,
    Act::CreateFolder,
    Act::MoveIn,
    Act::Close,
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
    subjects: Subjects,
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
        let subjects = people(&app).await.expect("a function of somebody");
        let nothing = Self {
            folder,
            blobs: app.blobs().clone(),
            keys,
            subjects,
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
            act.of(&app, &self.subjects)
                .await
                .unwrap_or_else(|error| panic!("{act}: {error}"));
        }
        Self {
            folder,
            blobs: self.blobs.clone(),
            keys: Arc::clone(&self.keys),
            subjects: self.subjects.clone(),
        }
    }

    /// What the operations end in, one after the other.
    pub(super) async fn end_of(&self, acts: [Act; 2]) -> End {
        let (app, _folder) = self.copy().await;
        let before = app.store().audit_head().await.expect("a head").sequence;
        let mut refused = [None, None];
        for (act, refused) in acts.iter().zip(&mut refused) {
            if let Err(error) = act.of(&app, &self.subjects).await {
                *refused = Some(kind(*act, &error));
            }
        }
        let (state, written) = read(&app, &self.subjects, before).await.expect("read");
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

/// The root of another authority, and a certificate of a signer under it.
async fn elsewhere() -> (CertificateDer<'static>, CertificateDer<'static>) {
    let key = |key_use| SoftwareSigner::generate(key_use).expect("a key");
    let (authority, holder) = (key(KeyUse::Authority), key(KeyUse::Code));
    let validity = Validity::starting(NOW, Duration::from_hours(24));
    let serials = [1, 2].map(|byte| Serial::from_random([byte; 16]));
    let collective = CollectiveId::new(1, [7; 10]);
    let root = create_code_root(collective, &authority, &serials[0], &validity)
        .await
        .expect("a root");
    let user = CodeHolder::User {
        name: "eve@ELSEWHERE".parse().expect("a name"),
        id: UserId::new(1, [9; 10]),
    };
    let leaf = issue_code_certificate(
        &user,
        holder.public_key(),
        &root,
        &authority,
        &serials[1],
        &validity,
    );
    let leaf = leaf.await.expect("a certificate");
    (root, leaf)
}

/// Users, groups, one function, one mod that is signed, and an authority elsewhere.
async fn people(app: &App) -> Result<Subjects, Error> {
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
    app.set_feature(&admin, &authors, "Author Scripts", true).await?;
    known_certificate(app).await?;
    act::sign(app, &admin, act::mod_content()).await?;
    let (root, leaf) = elsewhere().await;
    Ok(Subjects {
        trusted: act::save(app, &admin, "1").await?,
        root_fingerprint: Digest::of(&root),
        root: pem::write_certificates([&root]),
        leaf: pem::write_certificates([&leaf]),
    })
}

/// The certificate that [`Act::TrustCertificate`] is about; only its name counts.
async fn known_certificate(app: &App) -> Result<(), Error> {
    let row = SigningCertificate {
        fingerprint: Digest::of(b"certificate"),
        issuer: "CN=Corp".to_owned(),
        serial: "1a".to_owned(),
        subject: "CN=Sam".to_owned(),
        root: None,
        user: None,
        der: Vec::new(),
        sealed_key: Vec::new(),
        not_before: NOW,
        not_after: i64::MAX,
        state: SignerState::Valid,
        added_by: ADMINISTRATOR.to_owned(),
        added_at: NOW,
    };
    let mut tx = app.store().begin(&App::system()).await?;
    tx.signing_certificate_insert(&row).await?;
    let detail = serde_json::json!({});
    let draft = Draft::new(Event::SigningCertificateImported, row.subject.clone(), detail);
    tx.commit(draft, NOW).await?;
    Ok(())
}

/// What decides now, and which records were written after `before`.
async fn read(app: &App, subjects: &Subjects, before: u64) -> Result<(Vec<String>, BTreeSet<Event>), Error> {
    let (head, entries) = app.store().trust_state().await?;
    assert_eq!(head.digest, trust_digest(&entries), "the head names the state");
    let mut state: Vec<String> = entries.iter().map(|(key, value)| plain(key, value)).collect();
    state.sort();
    let admin = act::caller(app, ADMINISTRATOR).await?;
    for group in app.all_groups(&admin).await? {
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
    state.extend(library(app, &admin).await?);
    let asked = serde_json::json!({ "item": act::signed(&subjects.trusted) });
    let asked = serde_json::from_value(asked).map_err(Error::bug)?;
    let found = app.verify_item(&admin, &asked).await?;
    state.push(format!("the signature is {} {:?}", found.status, found.signer));
    for certificate in app.store().signing_certificates(true, None, None, 100).await? {
        state.push(format!("{} is known", certificate.subject));
    }
    let rows = app
        .store()
        .audit_list(&AuditFilter::default(), AuditFrom::Newest, 100)
        .await?;
    let written = rows.iter().filter(|row| row.sequence > before);
    Ok((state, written.map(|row| row.record.event).collect()))
}

/// Where the function is, and who may read it.
async fn library(app: &App, admin: &Caller) -> Result<Vec<String>, Error> {
    let mut state = Vec::new();
    match app.library_show(admin, FOLDER).await {
        Ok(folder) => state.push(format!("{} is a folder", folder.path)),
        Err(Error::NotFound { .. }) => {}
        Err(other) => return Err(other),
    }
    match app.function_of(FUNCTION).await {
        Ok(found) => {
            let id = found.function.id.to_string();
            let item = app.library_show(admin, &id).await?;
            let permissions = app.library_permissions(admin, &id).await?;
            state.push(format!("{} is {}", item.path, found.function.current));
            state.push(format!(
                "{} has {:?} {}",
                item.path, permissions.grants, item.inherits
            ));
        }
        Err(Error::NotFound { .. }) => {}
        Err(other) => return Err(other),
    }
    Ok(state)
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
