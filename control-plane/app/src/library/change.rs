//! Folders are made; folders and items are moved, renamed and deleted.

use std::collections::{BTreeMap, HashSet};

use muster_code_trust::Stamp;
use muster_ids::{LibraryItemId, Name};
use muster_model::{
    audit::Event,
    library::{self, Kind, Right, Step, Tree},
    permission::{Caller, Operation, UserCaller},
};
use muster_store::{Draft, LibraryItem, Tx};
use muster_wire::admin::v1::library::{CreateFolder, LibraryItem as WireItem, PatchItem};
use serde_json::json;

use super::{Held, person};
use crate::{
    App, Error, page,
    trust::{locked, removals, stamps_in},
};

/// The most items that one request deletes, all named in its record: meanwhile nobody else changes rights.
const MOST_DELETED: usize = 1_000;

impl App {
    /// Makes a folder.
    pub async fn library_create_folder(
        &self,
        caller: &Caller,
        new: &CreateFolder,
    ) -> Result<WireItem, Error> {
        let authorized = self.authorize(caller, Operation::ChangeLibrary).await?;
        let user = person(caller)?;
        require_plain(&new.name)?;
        let description = page::clean_line(&new.description)?;
        let parent = self.library_folder(caller, &new.folder).await?;
        let now = self.now();
        let tx = self.store().begin(&authorized).await?;
        let Held { mut tx, chain, .. } = self.library_write_folder(tx, &authorized, parent).await?;
        require_depth(chain.len())?;
        let folder = LibraryItem {
            id: self.random().id(now, LibraryItemId::new),
            kind: Kind::Folder,
            parent: Some(parent),
            name: new.name.clone(),
            description,
            current: None,
            inherits: true,
            created_at: now,
            created_by: Some(user.id),
            updated_at: now,
            updated_by: Some(user.id),
            version: 1,
        };
        tx.library_insert(&folder).await?;
        let path = child(&library::path(&chain), &folder.name);
        let draft = Draft::new(
            Event::LibraryFolderCreated,
            path,
            json!({ "item": folder.id.to_string() }),
        );
        tx.commit(draft, now).await?;
        self.library_show(caller, &folder.id.to_string()).await
    }

    /// Moves an item into another folder, or gives it another name or description.
    pub async fn library_patch(
        &self,
        caller: &Caller,
        reference: &str,
        patch: &PatchItem,
    ) -> Result<WireItem, Error> {
        let authorized = self.authorize(caller, Operation::ChangeLibrary).await?;
        let user = person(caller)?;
        let found = self.library_find(user, reference).await?.item;
        let target = match &patch.folder {
            Some(folder) => Some(self.library_folder(caller, folder).await?),
            None => None,
        };
        let now = self.now();
        let tx = self.store().begin(&authorized).await?;
        let Held {
            mut tx,
            item,
            chain,
            user,
        } = self.library_write(tx, &authorized, found.id).await?;
        if item.parent.is_none() {
            return Err(Error::invalid("the root of the library stays where it is"));
        }
        let mut next = LibraryItem {
            updated_at: now,
            updated_by: Some(user.id),
            version: item.version + 1,
            ..item.clone()
        };
        if let Some(name) = &patch.name {
            require_plain(name)?;
            if item.kind == Kind::DataFunction && *name != item.name {
                return Err(Error::invalid(
                    "a data function keeps its name, which runs and audit records know it by; register it under another name and delete this one",
                ));
            }
            next.name = name.clone();
        }
        if let Some(description) = &patch.description {
            if item.kind == Kind::DataFunction {
                return Err(Error::invalid(
                    "the description of a data function is part of its definition; register it with another one",
                ));
            }
            next.description = page::clean_line(description)?;
        }
        let mut parent = library::path(&chain[1..]);
        if let Some(target) = target.filter(|target| Some(*target) != item.parent) {
            let above;
            Held { tx, chain: above, .. } = self.library_write_folder(tx, &authorized, target).await?;
            if above.iter().any(|step| step.id == item.id) {
                return Err(Error::conflict(
                    "folder-circle",
                    format!(
                        "{} cannot be moved into {}, which is inside it",
                        library::path(&chain),
                        library::path(&above)
                    ),
                ));
            }
            let below = tx.library_below(item.id).await?;
            // The root is no level.
            require_depth(above.len() - 1 + height(&below))?;
            // What its folder closed may be open in another one.
            if !may_write_all(&mut tx, &user, &chain, &below).await? {
                return self.refuse_all(tx, caller, &user, &chain, "moved").await;
            }
            next.parent = Some(target);
            parent = library::path(&above);
        }
        tx.library_put(&next).await?;
        let detail = json!({
            "item": item.id.to_string(),
            "to": child(&parent, &next.name),
            "described": patch.description.is_some(),
        });
        let draft = Draft::new(Event::LibraryItemMoved, library::path(&chain), detail);
        tx.commit(draft, now).await?;
        self.library_show(caller, &item.id.to_string()).await
    }

    /// Deletes an item; a folder with what is in it only when asked to. Stamps on it end.
    pub async fn library_delete(
        &self,
        caller: &Caller,
        reference: &str,
        recursive: bool,
    ) -> Result<(), Error> {
        let authorized = self.authorize(caller, Operation::ChangeLibrary).await?;
        let user = person(caller)?;
        let found = self.library_find(user, reference).await?.item;
        let now = self.now();
        let tx = self.store().begin(&authorized).await?;
        let Held {
            mut tx,
            item,
            chain,
            user,
        } = self.library_write(tx, &authorized, found.id).await?;
        let path = library::path(&chain);
        if item.parent.is_none() {
            return Err(Error::invalid("the root of the library cannot be deleted"));
        }
        let below = tx.library_below(item.id).await?;
        if below.len() > 1 && !recursive {
            return Err(Error::conflict(
                "folder-not-empty",
                format!(
                    "{path} holds {} items; delete them first, or ask for all of it with --recursive",
                    below.len() - 1
                ),
            ));
        }
        if below.len() > MOST_DELETED {
            return Err(Error::conflict(
                "folder-too-large",
                format!(
                    "{path} holds {} items, and at most {MOST_DELETED} are deleted at once; delete the folders in it first",
                    below.len() - 1
                ),
            ));
        }
        if !may_write_all(&mut tx, &user, &chain, &below).await? {
            return self.refuse_all(tx, caller, &user, &chain, "deleted").await;
        }
        if below.iter().any(|inside| inside.kind == Kind::DataFunction) {
            // The license is asked for as where functions are registered; nobody holds the lock while it is refused.
            let user = Caller::User(user);
            if let Err(denied) = muster_model::permission::authorize(&user, Operation::RegisterFunctions) {
                drop(tx);
                self.record_denial(caller, ("delete data functions in the library", path))
                    .await;
                return Err(denied.into());
            }
        }
        let entries = locked(&mut tx).await?;
        tx.trust_change(&ended(&entries, &below, now), now).await?;
        for inside in below.iter().rev() {
            tx.library_delete(inside).await?;
        }
        let items: Vec<String> = below.iter().map(|inside| inside.id.to_string()).collect();
        let detail = json!({ "items": items.len(), "ids": items });
        tx.commit(Draft::new(Event::LibraryItemDeleted, path, detail), now)
            .await?;
        Ok(())
    }

    /// Refuses what takes everything inside along, because some of it is not theirs.
    async fn refuse_all<T>(
        &self,
        tx: Tx,
        caller: &Caller,
        user: &UserCaller,
        chain: &[Step],
        done: &str,
    ) -> Result<T, Error> {
        drop(tx);
        let path = library::path(chain);
        self.record_denial(caller, ("change everything in a part of the library", &path))
            .await;
        Err(Error::denied(format!(
            "user {} may not change everything in {path}, so none of it was {done}; ask an administrator",
            user.name
        )))
    }
}

/// Whether `user` may write the first item of `chain` and all of `below`, which it holds.
async fn may_write_all(
    tx: &mut Tx,
    user: &UserCaller,
    chain: &[Step],
    below: &[LibraryItem],
) -> Result<bool, Error> {
    let mut grants = tx
        .library_grants_below(chain.first().map_or(LibraryItemId::ROOT, |step| step.id))
        .await?;
    let mut tree = Tree::default();
    for (place, step) in chain.iter().enumerate() {
        let parent = chain.get(place + 1).map(|above| above.id);
        tree.put(step.id, parent, step.inherits, step.grants.clone());
    }
    for item in below {
        let own = grants.remove(&item.id).unwrap_or_default();
        tree.put(item.id, item.parent, item.inherits, own);
    }
    Ok(below
        .iter()
        .all(|item| tree.right(user, item.id) == Some(Right::Write)))
}

/// What leaves the trust state with these items: the stamps on them, and what their runs may use.
fn ended(
    entries: &BTreeMap<String, String>,
    gone: &[LibraryItem],
    now: i64,
) -> Vec<(String, Option<String>)> {
    let items: HashSet<String> = gone.iter().map(|item| item.id.to_string()).collect();
    let stamps: Vec<Stamp> = stamps_in(entries)
        .filter(|stamp| items.contains(stamp.library_item.as_str()))
        .collect();
    let policies = items.iter().map(|item| format!("policy/function/{item}"));
    let policies = policies.filter(|key| entries.contains_key(key));
    removals(&stamps, now)
        .into_iter()
        .chain(policies.map(|key| (key, None)))
        .collect()
}

/// Refuses names that a path could not lead to.
pub(super) fn require_plain(name: &Name) -> Result<(), Error> {
    if name.as_str().contains('/') || name.as_str().parse::<LibraryItemId>().is_ok() {
        return Err(Error::invalid(
            "a name in the library holds no /, which stands between the names of a path, and has not the form of an identifier",
        ));
    }
    Ok(())
}

fn require_depth(depth: usize) -> Result<(), Error> {
    if depth > library::DEEPEST {
        return Err(Error::conflict(
            "folder-depth",
            format!(
                "folders are at most {} deep; make it nearer to the root",
                library::DEEPEST
            ),
        ));
    }
    Ok(())
}

/// How many levels of folders there are in `items`, the first of which holds all others.
fn height(items: &[LibraryItem]) -> usize {
    let mut depths: BTreeMap<LibraryItemId, usize> = BTreeMap::new();
    for item in items.iter().filter(|item| item.kind == Kind::Folder) {
        let above = item
            .parent
            .and_then(|parent| depths.get(&parent))
            .copied()
            .unwrap_or(0);
        depths.insert(item.id, above + 1);
    }
    depths.into_values().max().unwrap_or(0)
}

pub(super) fn child(folder: &str, name: &Name) -> String {
    format!("{}/{name}", folder.trim_end_matches('/'))
}
