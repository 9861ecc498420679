//! The library: folders, what is in them, and who may read and write it.
//!
//! Invariant: of what a caller may not read nothing is said but that it is not there. Whether they may change something
//! is asked in the transaction that changes it, under the lock of rights, of the groups and licenses that they have then.

mod change;
mod code;
mod content;
mod embed;
mod permission;

pub(crate) use code::Code;
use muster_ids::{FunctionId, LibraryItemId, Name, UserId};
use muster_model::{
    library::{self, Kind, Right, Step},
    permission::{Authorized, Caller, Operation, UserCaller},
};
use muster_store::{LibraryItem, Tx, UserState};
use muster_wire::admin::v1::{Page, PageQuery, library::LibraryItem as WireItem};

use crate::{App, Error, page, text::rfc3339};

/// What people may know about an item: itself, and what decides about their rights.
pub(crate) struct Found {
    pub(crate) item: LibraryItem,
    chain: Vec<Step>,
    right: Right,
}

/// An item in the hands of a change.
pub(crate) struct Held {
    pub(crate) tx: Tx,
    pub(crate) item: LibraryItem,
    pub(crate) chain: Vec<Step>,
    /// Who changes it, with the rights that they have until `tx` ends.
    pub(crate) user: UserCaller,
}

impl App {
    /// What is in a folder, by name, as far as the caller may read it.
    pub async fn library_list(
        &self,
        caller: &Caller,
        folder: &str,
        query: &PageQuery,
    ) -> Result<Page<WireItem>, Error> {
        self.authorize(caller, Operation::Use).await?;
        let user = person(caller)?;
        let limit = page::limit(query)?;
        let found = self.library_find(user, folder).await?;
        if found.item.kind != Kind::Folder {
            return Err(Error::invalid(format!(
                "{} is no folder; muster library show says what it is",
                library::path(&found.chain)
            )));
        }
        let grants = self.store().library_grants_in(found.item.id).await?;
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
        let mut after = page::after::<Name>(query)?;
        let mut items = Vec::new();
        loop {
            let rows = self
                .store()
                .library_list(found.item.id, after.as_ref(), limit + 1)
                .await?;
            let last = rows.len() < wanted;
            after = rows.last().map(|item| item.name.clone());
            for item in rows {
                let step = Step {
                    id: item.id,
                    name: item.name.clone(),
                    inherits: item.inherits,
                    grants: grants.get(&item.id).cloned().unwrap_or_default(),
                };
                let chain: Vec<Step> = [step].into_iter().chain(found.chain.iter().cloned()).collect();
                if let Some(right) = library::right(user, &chain) {
                    items.push(self.library_to_wire(Found { item, chain, right }).await?);
                }
            }
            if last || items.len() >= wanted {
                break;
            }
        }
        items.truncate(wanted);
        Ok(page::of(items, limit, |item| item.name.clone(), |item| item))
    }

    /// One item, by identifier or path.
    pub async fn library_show(&self, caller: &Caller, reference: &str) -> Result<WireItem, Error> {
        self.authorize(caller, Operation::Use).await?;
        let found = self.library_find(person(caller)?, reference).await?;
        self.library_to_wire(found).await
    }

    /// What a caller may do with an item; nothing where there is none.
    pub(crate) async fn right_to(
        &self,
        user: &UserCaller,
        item: LibraryItemId,
    ) -> Result<Option<Right>, Error> {
        Ok(library::right(user, &self.known_chain(item).await?))
    }

    /// Refuses a function that the caller may not read as one that is not there.
    pub(crate) async fn require_readable(
        &self,
        caller: &Caller,
        function: FunctionId,
        refusal: impl FnOnce() -> Error,
    ) -> Result<(), Error> {
        match self.right_to(person(caller)?, function.into()).await? {
            Some(_) => Ok(()),
            None => Err(refusal()),
        }
    }

    /// The item that a caller means by an identifier or a path, if they may read it.
    async fn library_find(&self, user: &UserCaller, reference: &str) -> Result<Found, Error> {
        let unknown = || no_such_item(reference);
        let item = match reference.parse::<LibraryItemId>() {
            Ok(id) => self.store().library_item(id).await?,
            Err(_) => self.library_at(reference).await?,
        };
        let item = item.ok_or_else(unknown)?;
        let chain = self.store().library_chain(item.id).await?;
        let right = library::right(user, &chain).ok_or_else(unknown)?;
        Ok(Found { item, chain, right })
    }

    /// As [`Self::library_find`], the item alone.
    pub(crate) async fn library_item_for(
        &self,
        user: &UserCaller,
        reference: &str,
    ) -> Result<LibraryItem, Error> {
        Ok(self.library_find(user, reference).await?.item)
    }

    async fn library_at(&self, path: &str) -> Result<Option<LibraryItem>, Error> {
        let mut item = self.store().library_item(LibraryItemId::ROOT).await?;
        for name in names(path)? {
            let Some(folder) = item else { break };
            item = self.store().library_item_in(folder.id, &name).await?;
        }
        Ok(item)
    }

    /// What decides about the rights to an item for as long as `tx` lives, and who asks, with the rights that they have
    /// for as long: a request may have waited while some were taken away.
    pub(crate) async fn library_asked(
        &self,
        mut tx: Tx,
        authorized: &Authorized,
        id: LibraryItemId,
    ) -> Result<(Tx, Vec<Step>, UserCaller), Error> {
        // Takes the lock of rights: what is read after it, by other connections too, holds at the commit.
        let chain = tx.library_chain(id).await?;
        let (tx, caller) = self.asked_again(tx, authorized).await?;
        let user = person(&caller)?.clone();
        Ok((tx, chain, user))
    }

    /// As [`Self::require_readable`], for as long as `tx` lives.
    pub(crate) async fn still_readable(
        &self,
        tx: Tx,
        authorized: &Authorized,
        function: FunctionId,
        refusal: impl FnOnce() -> Error,
    ) -> Result<Tx, Error> {
        let (tx, chain, user) = self.library_asked(tx, authorized, function.into()).await?;
        match library::right(&user, &chain) {
            Some(_) => Ok(tx),
            None => Err(refusal()),
        }
    }

    /// That the caller may write `item` for as long as `tx` lives, with what it is now.
    pub(crate) async fn library_write(
        &self,
        tx: Tx,
        authorized: &Authorized,
        id: LibraryItemId,
    ) -> Result<Held, Error> {
        let (mut tx, chain, user) = self.library_asked(tx, authorized, id).await?;
        let item = tx.library_item(id).await?;
        match (library::right(&user, &chain), item) {
            (Some(Right::Write), Some(item)) => Ok(Held {
                tx,
                item,
                chain,
                user,
            }),
            (Some(Right::Read), Some(_)) => {
                drop(tx);
                self.record_denial(
                    authorized.caller(),
                    ("change an item of the library", library::path(&chain)),
                )
                .await;
                Err(Error::denied(format!(
                    "user {} may not change {} in the library; ask an administrator, or somebody who may, for the right to write it",
                    user.name,
                    library::path(&chain)
                )))
            }
            _ => Err(no_such_item(&id.to_string())),
        }
    }

    /// As [`Self::library_write`], of a folder into which something comes.
    pub(crate) async fn library_write_folder(
        &self,
        tx: Tx,
        authorized: &Authorized,
        id: LibraryItemId,
    ) -> Result<Held, Error> {
        let held = self.library_write(tx, authorized, id).await?;
        if held.item.kind != Kind::Folder {
            return Err(Error::invalid(format!(
                "{} is no folder, and nothing can be in it",
                library::path(&held.chain)
            )));
        }
        Ok(held)
    }

    /// The folder that a caller means, who may read it.
    pub(crate) async fn library_folder(
        &self,
        caller: &Caller,
        reference: &str,
    ) -> Result<LibraryItemId, Error> {
        Ok(self.library_find(person(caller)?, reference).await?.item.id)
    }

    async fn library_to_wire(&self, found: Found) -> Result<WireItem, Error> {
        let Found { item, chain, right } = found;
        Ok(WireItem {
            id: item.id,
            kind: item.kind.to_string(),
            path: library::path(&chain),
            name: item.name,
            description: item.description,
            digest: item.current,
            inherits: item.inherits,
            right: right.to_string(),
            created: rfc3339(item.created_at),
            created_by: self.name_of(item.created_by).await?,
            updated: rfc3339(item.updated_at),
            updated_by: self.name_of(item.updated_by).await?,
        })
    }

    pub(crate) async fn name_of(&self, user: Option<UserId>) -> Result<Option<muster_ids::UserName>, Error> {
        let Some(id) = user else { return Ok(None) };
        // The row of a deleted user stays, and its name may be that of somebody else by now.
        let user = self.store().user(id).await?;
        Ok(user
            .filter(|user| user.state != UserState::Deleted)
            .map(|user| user.name))
    }
}

/// The user who asks.
pub(crate) fn person(caller: &Caller) -> Result<&UserCaller, Error> {
    match caller {
        Caller::User(user) => Ok(user),
        _ => Err(Error::invalid("the library is for users")),
    }
}

pub(crate) fn no_such_item(reference: &str) -> Error {
    let shown: String = reference
        .chars()
        .take(200)
        .flat_map(char::escape_default)
        .collect();
    Error::not_found(
        "library item",
        shown,
        "muster library list shows what you can read; a path begins with /",
    )
}

/// The names of a path: none for `/`.
fn names(path: &str) -> Result<Vec<Name>, Error> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err(no_such_item(path));
    };
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    // The folders and what is in the deepest of them; nothing is further down.
    if rest.split('/').nth(library::DEEPEST + 1).is_some() {
        return Err(no_such_item(path));
    }
    rest.split('/')
        .map(|name| name.parse().map_err(|_| no_such_item(path)))
        .collect()
}

#[cfg(test)]
mod tests;
