//! What items of the library hold: saved with a digest that names it, listed and read by version.
//!
//! Invariant: a version is what [`Item`] makes of it, its bytes are kept under their digest before a row names them, and an
//! analysis names only what its author can read.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_code_trust::{Analysis, AnalysisPart, Item, ItemKind, PartContent, PartKind};
use muster_ids::{Digest, LibraryItemId, Sha512};
use muster_model::{
    audit::Event,
    library::{self, Kind},
    permission::{Authorized, Caller, Operation, UserCaller},
};
use muster_store::{BlobReader, Draft, LibraryItem, LibraryVersion, Records};
use muster_wire::admin::v1::{
    Page, PageQuery,
    library::{Content, File, LibraryItem as WireItem, SaveItem, Version},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Held, change, person};
use crate::{App, Error, blob_failure, page, text::rfc3339};

/// The most bytes of all files of an item.
const MOST_BYTES: u64 = 12 * 1024 * 1024;

/// What is refused for lack of a license, as the audit log says it.
const WITHOUT_LICENSE: &str = "save an item of the library without its license";

/// Where the bytes of a file are.
#[derive(Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) digest: Sha512,
    pub(crate) blob: Digest,
    pub(crate) size: u64,
}

impl App {
    /// Saves an item: a new one, or a new version of the one of this name in the folder. Saving never trusts.
    pub async fn library_save(&self, caller: &Caller, new: &SaveItem) -> Result<WireItem, Error> {
        let authorized = self.authorize(caller, Operation::ChangeLibrary).await?;
        let user = person(caller)?;
        let item_kind = item_kind(&new.kind)?;
        let kind: Kind = item_kind.as_str().parse().map_err(Error::bug)?;
        if let Err(denied) = may_save(user, kind) {
            self.record_denial(caller, (WITHOUT_LICENSE, &new.name)).await;
            return Err(denied);
        }
        change::require_plain(&new.name)?;
        let description = page::clean_line(&new.description)?;
        let folder = self.library_folder(caller, &new.folder).await?;
        let there = self.store().library_item_in(folder, &new.name).await?;
        // Asked once before anything is read or kept for it, and once more where it is done.
        drop(self.library_save_to(&authorized, folder, there.as_ref()).await?);
        let (item, bytes) = sent_item(item_kind, new)?;
        let parts = match item_kind {
            ItemKind::Analysis => self.require_parts(user, item.manifest()).await?,
            _ => Vec::new(),
        };
        let files = self.keep_files(&item, &bytes).await?;
        let now = self.now();
        let digest = item.hash().as_str().to_owned();
        let Held {
            mut tx,
            item: before,
            chain,
            user,
        } = self.library_save_to(&authorized, folder, there.as_ref()).await?;
        if let Some(there) = &there
            && (before.parent != Some(folder) || before.name.key() != there.name.key())
        {
            return Err(Error::conflict(
                "conflict",
                format!(
                    "the item \"{}\" was moved or renamed meanwhile; look where it is, and save it again",
                    new.name
                ),
            ));
        }
        let denied = match may_save(&user, kind) {
            Ok(()) => self.unlicensed(&user, &parts, &before).await?,
            Err(denied) => Some(denied),
        };
        if let Some(denied) = denied {
            drop(tx);
            self.record_denial(caller, (WITHOUT_LICENSE, &new.name)).await;
            return Err(denied);
        }
        let (id, path);
        let mut ended = Vec::new();
        if there.is_some() {
            (id, path) = (before.id, library::path(&chain));
            if before.kind != kind {
                return Err(Error::conflict(
                    "duplicate",
                    format!("{path} is of the kind {}; choose another name", before.kind),
                ));
            }
            if before.current.as_ref() != Some(&digest) {
                let saved = (item_kind, &item.hash(), item.manifest());
                ended = self.end_stamps(&mut tx, (id, &path), saved, now).await?;
            }
            let next = LibraryItem {
                description,
                current: Some(digest.clone()),
                updated_at: now,
                updated_by: Some(user.id),
                version: before.version + 1,
                ..before
            };
            tx.library_put(&next).await?;
        } else {
            id = self.random().id(now, LibraryItemId::new);
            path = change::child(&library::path(&chain), &new.name);
            let first = LibraryItem {
                id,
                kind,
                parent: Some(folder),
                name: new.name.clone(),
                description,
                current: Some(digest.clone()),
                inherits: true,
                created_at: now,
                created_by: Some(user.id),
                updated_at: now,
                updated_by: Some(user.id),
                version: 1,
            };
            tx.library_insert(&first).await?;
        }
        let version = LibraryVersion {
            item: id,
            digest: digest.clone(),
            manifest: String::from_utf8(item.manifest().to_vec()).map_err(Error::bug)?,
            files: serde_json::to_string(&files).map_err(Error::bug)?,
            created_at: now,
            created_by: user.id,
        };
        let uploaded = match item_kind.item_type() {
            Some(r#type) => self.upload_of(r#type, &item.hash()).await?,
            None => None,
        };
        tx.library_add_version(&version).await?;
        let detail = json!({ "item": id.to_string(), "kind": kind.as_str(), "digest": digest });
        let saved = Draft::new(Event::LibraryItemSaved, path, detail);
        ended.extend(uploaded);
        tx.commit(Records::new(saved, ended), now).await?;
        self.library_show(caller, &id.to_string()).await
    }

    /// The versions of an item, the first first.
    pub async fn library_versions(
        &self,
        caller: &Caller,
        reference: &str,
        query: &PageQuery,
    ) -> Result<Page<Version>, Error> {
        self.authorize(caller, Operation::Use).await?;
        let limit = page::limit(query)?;
        let item = self.library_find(person(caller)?, reference).await?.item;
        let after = page::after::<(i64, String)>(query)?;
        let rows = self
            .store()
            .library_versions(item.id, after.as_ref(), limit + 1)
            .await?;
        let mut versions = Vec::with_capacity(rows.len());
        for row in rows {
            let shown = Version {
                current: item.current.as_ref() == Some(&row.digest),
                digest: row.digest,
                created: rfc3339(row.created_at),
                created_by: self.name_of(Some(row.created_by)).await?,
            };
            versions.push(((row.created_at, shown.digest.clone()), shown));
        }
        Ok(page::of(
            versions,
            limit,
            |(key, _)| key.clone(),
            |(_, shown)| shown,
        ))
    }

    /// What a version of an item holds; the current one unless another is named.
    pub async fn library_content(
        &self,
        caller: &Caller,
        reference: &str,
        digest: Option<&str>,
    ) -> Result<Content, Error> {
        self.authorize(caller, Operation::Use).await?;
        let (item, version, files) = self.version_of(person(caller)?, reference, digest).await?;
        Ok(Content {
            item: item.id,
            kind: item.kind.to_string(),
            digest: version.digest,
            manifest: version.manifest,
            files: files
                .into_iter()
                .map(|(path, kept)| File {
                    path,
                    digest: kept.digest.to_string(),
                    size: kept.size,
                })
                .collect(),
        })
    }

    /// The bytes of one file of a version.
    pub async fn library_file(
        &self,
        caller: &Caller,
        reference: &str,
        path: &str,
        digest: Option<&str>,
    ) -> Result<BlobReader, Error> {
        self.authorize(caller, Operation::Use).await?;
        let (_, _, files) = self.version_of(person(caller)?, reference, digest).await?;
        let kept = files.get(path).ok_or_else(|| {
            let shown: String = path.chars().take(200).flat_map(char::escape_default).collect();
            Error::not_found("file of this item", shown, "muster library show lists its files")
        })?;
        let reader = self.blobs().open_blob(&kept.blob).await.map_err(blob_failure)?;
        reader.ok_or_else(|| Error::bug("a file of the library whose bytes are gone"))
    }

    pub(super) async fn version_of(
        &self,
        user: &UserCaller,
        reference: &str,
        digest: Option<&str>,
    ) -> Result<(LibraryItem, LibraryVersion, BTreeMap<String, Kept>), Error> {
        let item = self.library_find(user, reference).await?.item;
        let Some(digest) = digest.or(item.current.as_deref()) else {
            return Err(Error::invalid(
                "a folder has no content; muster library list shows what is in it",
            ));
        };
        if item.kind == Kind::DataFunction {
            return Err(Error::invalid(
                "a data function is read with muster function show, under the same identifier",
            ));
        }
        let version = self.store().library_version(item.id, digest).await?;
        let version = version.ok_or_else(|| {
            let shown: String = digest.chars().take(120).flat_map(char::escape_default).collect();
            Error::not_found(
                "version of this item",
                shown,
                "muster library versions lists them",
            )
        })?;
        let files = serde_json::from_str(&version.files).map_err(Error::bug)?;
        Ok((item, version, files))
    }

    /// The right to save into a folder, or over what is there.
    async fn library_save_to(
        &self,
        authorized: &Authorized,
        folder: LibraryItemId,
        there: Option<&LibraryItem>,
    ) -> Result<Held, Error> {
        let tx = self.store().begin(authorized).await?;
        let Some(there) = there else {
            return self.library_write_folder(tx, authorized, folder).await;
        };
        match self.library_write(tx, authorized, there.id).await {
            // Of what they may not read they learn no more than that the name is taken, where they could use it.
            Err(Error::NotFound { .. }) => {
                let tx = self.store().begin(authorized).await?;
                let folder = self.library_write_folder(tx, authorized, folder).await?;
                let path = change::child(&library::path(&folder.chain), &there.name);
                drop(folder);
                Err(Error::conflict(
                    "duplicate",
                    format!("an item named {path} exists; choose another name"),
                ))
            }
            held => held,
        }
    }

    /// Keeps the files of an item.
    async fn keep_files(
        &self,
        item: &Item,
        bytes: &BTreeMap<&str, Vec<u8>>,
    ) -> Result<BTreeMap<String, Kept>, Error> {
        let mut files = BTreeMap::new();
        for (path, digest) in item.files() {
            let content = bytes
                .get(path.as_str())
                .ok_or_else(|| Error::bug("a file that nobody sent"))?;
            let mut writer = self.blobs().writer(MOST_BYTES, None);
            writer.write(content).await.map_err(blob_failure)?;
            let blob = writer.finish().await.map_err(blob_failure)?;
            let kept = Kept {
                digest: *digest,
                blob: blob.digest,
                size: blob.size,
            };
            files.insert(path.as_str().to_owned(), kept);
        }
        Ok(files)
    }

    /// The parts of an analysis. Every one that it names is there for who saves it.
    async fn require_parts(&self, user: &UserCaller, manifest: &[u8]) -> Result<Vec<AnalysisPart>, Error> {
        let analysis = Analysis::read(manifest).map_err(|error| invalid(error.to_string()))?;
        // An analysis may name one item thousands of times.
        let mut known = BTreeSet::new();
        for AnalysisPart { kind, name, content } in &analysis.parts {
            let PartContent::Item { id, digest } = content else {
                continue;
            };
            if !known.insert((*kind, *id, digest)) {
                continue;
            }
            let part = format!("{kind} \"{}\"", name.escape_default());
            let refused = |why: String| invalid(format!("the analysis cannot be used: {part}: {why}"));
            let found = self.library_find(user, &id.to_string()).await;
            let found = match found {
                Err(Error::NotFound { .. }) => {
                    return Err(refused(format!(
                        "there is no library item {id} that you can read"
                    )));
                }
                other => other?.item,
            };
            if !fits(*kind, found.kind) {
                return Err(refused(format!(
                    "the library item {id} is of the kind {}",
                    found.kind
                )));
            }
            let Some(digest) = digest else { continue };
            let there = if found.kind == Kind::DataFunction {
                match digest.as_str().parse() {
                    Ok(digest) => {
                        self.store()
                            .function_has_version(found.id.into(), &digest)
                            .await?
                    }
                    Err(_) => false,
                }
            } else {
                let version = self.store().library_version(found.id, digest.as_str()).await?;
                version.is_some()
            };
            if !there {
                return Err(refused(format!("the library item {id} has no version {digest}")));
            }
        }
        Ok(analysis.parts)
    }
}

/// What was sent as an item, with the bytes of its files.
fn sent_item(kind: ItemKind, new: &SaveItem) -> Result<(Item, BTreeMap<&str, Vec<u8>>), Error> {
    if kind == ItemKind::Analysis && !new.files.is_empty() {
        return Err(invalid(
            "an analysis has no files, and nothing would read them; leave them out".to_owned(),
        ));
    }
    let mut bytes = BTreeMap::new();
    let mut total: u64 = 0;
    for (path, text) in &new.files {
        let content = STANDARD
            .decode(text)
            .map_err(|_| invalid(format!("the file \"{}\" is not base64", path.escape_default())))?;
        total = total.saturating_add(content.len() as u64);
        if total > MOST_BYTES {
            return Err(invalid(format!(
                "the files of an item have at most {} MiB together",
                MOST_BYTES / (1024 * 1024)
            )));
        }
        bytes.insert(path.as_str(), content);
    }
    let digests = bytes.iter().map(|(path, content)| (*path, Sha512::of(content)));
    let item = Item::new(kind, new.manifest.clone().into_bytes(), digests).map_err(|error| {
        let mut said = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            said = format!("{said}: {cause}");
            source = cause.source();
        }
        invalid(said)
    })?;
    Ok((item, bytes))
}

/// Who makes or configures something of a licensed kind needs the license to do so, also by this way.
fn may_save(user: &UserCaller, kind: Kind) -> Result<(), Error> {
    let Some(feature) = library::license(kind) else {
        return Ok(());
    };
    if user.controls_library() || user.features.contains(feature) {
        return Ok(());
    }
    Err(Error::denied(format!(
        "user {} may not save items of the kind {kind}; ask for a group with the license feature {feature}",
        user.name
    )))
}

/// Whether an item of this kind can be such a part.
fn fits(part: PartKind, kind: Kind) -> bool {
    match part {
        PartKind::Script => kind == Kind::Script,
        PartKind::DataFunction => kind == Kind::DataFunction,
        PartKind::Mod => matches!(kind, Kind::VisualizationMod | Kind::ActionMod),
        PartKind::ExternalAction => kind == Kind::ExternalAction,
        PartKind::CustomQuery => kind == Kind::CustomQuery,
    }
}

fn item_kind(text: &str) -> Result<ItemKind, Error> {
    text.parse().map_err(|_| {
        invalid(format!(
            "the kind of an item is one of {}; folders and data functions have requests of their own",
            ItemKind::ALL
                .iter()
                .map(|kind| kind.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ))
    })
}

fn invalid(detail: String) -> Error {
    Error::Invalid {
        kind: "invalid-item",
        detail,
    }
}
