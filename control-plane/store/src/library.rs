//! The library: folders and items, each in one folder, and the permissions of those that do not inherit them.
//!
//! Invariants: every item but the root is in a folder, and in a folder no two have one name; what changes what somebody
//! may read takes the lock of rights first, so that a decision that rests on it holds until it is stored.

mod entity;
mod version;

pub use entity::CodeEntity;
pub use version::{LibraryVersion, Saved};

use std::collections::BTreeMap;

use muster_ids::{LibraryItemId, Name, UserId};
use muster_model::library::{Grant, Grantee, Kind, Right, Step, Tree};

use crate::{
    error::StoreError,
    store::Store,
    tx::Tx,
    value::{Row, Value, args},
};

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT i.id, i.kind, i.parent_id, i.name, i.description, i.current_digest, i.inherits, i.created_at, \
             i.created_by, i.updated_at, i.updated_by, i.version FROM library_items i ",
            $tail
        )
    };
}

/// An item with those that it is in, each with its permissions, from the item to the root.
const CHAIN: &str = "WITH RECURSIVE up (id, parent_id, name, inherits, step) AS (\
     SELECT id, parent_id, name, inherits, CAST(0 AS BIGINT) FROM library_items WHERE id = $1 UNION ALL \
     SELECT i.id, i.parent_id, i.name, i.inherits, u.step + 1 FROM library_items i JOIN up u ON i.id = u.parent_id \
     WHERE u.step < 100) \
     SELECT u.id, u.name, u.inherits, u.step, p.grantee, p.principal, p.access FROM up u \
     LEFT JOIN library_permissions p ON p.item_id = u.id ORDER BY u.step, p.grantee, p.principal";

const BY_ID: &str = select!("WHERE i.id = $1");

const BY_NAME: &str = select!("WHERE i.parent_id = $1 AND i.name_key = $2");

/// A folder or an item of the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryItem {
    /// Identity.
    pub id: LibraryItemId,
    /// What it is.
    pub kind: Kind,
    /// The folder that it is in; none for the root.
    pub parent: Option<LibraryItemId>,
    /// Unique in its folder.
    pub name: Name,
    /// For people.
    pub description: String,
    /// Names its current content, as stamps and blocks do; none for a folder.
    pub current: Option<String>,
    /// Whether it has the permissions of its folder.
    pub inherits: bool,
    /// When it was made.
    pub created_at: i64,
    /// By whom; nobody for the root.
    pub created_by: Option<UserId>,
    /// When it was changed last.
    pub updated_at: i64,
    /// By whom.
    pub updated_by: Option<UserId>,
    /// Number of changes, from 1; compare-and-swap.
    pub version: i64,
}

impl Store {
    /// The item of this identity.
    pub async fn library_item(&self, id: LibraryItemId) -> Result<Option<LibraryItem>, StoreError> {
        let row = self.first(BY_ID, args![id]).await?;
        row.map(|row| item(&row)).transpose()
    }

    /// The item of this name in a folder; upper and lower case do not differ.
    pub async fn library_item_in(
        &self,
        folder: LibraryItemId,
        name: &Name,
    ) -> Result<Option<LibraryItem>, StoreError> {
        let row = self.first(BY_NAME, args![folder, name.key()]).await?;
        row.map(|row| item(&row)).transpose()
    }

    /// At most `limit` items of a folder by name, from after the name `after`.
    pub async fn library_list(
        &self,
        folder: LibraryItemId,
        after: Option<&Name>,
        limit: u32,
    ) -> Result<Vec<LibraryItem>, StoreError> {
        let sql = select!(
            "WHERE i.parent_id = $1 AND ($2 IS NULL OR i.name_key > $2) ORDER BY i.name_key LIMIT $3"
        );
        let values = args![folder, after.map(Name::key), i64::from(limit)];
        self.all(sql, values).await?.iter().map(item).collect()
    }

    /// What decides about the rights to an item: itself and the folders that it is in, up to the root. Empty where there
    /// is no such item.
    pub async fn library_chain(&self, id: LibraryItemId) -> Result<Vec<Step>, StoreError> {
        chain(&self.few(CHAIN, args![id]).await?)
    }

    /// What decides about the rights to all items.
    pub async fn library_tree(&self) -> Result<Tree, StoreError> {
        let sql = "SELECT i.id, i.parent_id, i.inherits, p.grantee, p.principal, p.access FROM library_items i \
             LEFT JOIN library_permissions p ON p.item_id = i.id";
        let mut tree = Tree::default();
        for row in &self.all(sql, args![]).await? {
            tree.put(
                row.parsed("id")?,
                row.optional("parent_id")?,
                row.flag("inherits")?,
                grant(row)?,
            );
        }
        Ok(tree)
    }

    /// The permissions of the items of a folder that have their own.
    pub async fn library_grants_in(
        &self,
        folder: LibraryItemId,
    ) -> Result<BTreeMap<LibraryItemId, Vec<Grant>>, StoreError> {
        let rows = self
            .all(
                "SELECT p.item_id, p.grantee, p.principal, p.access FROM library_permissions p \
                 JOIN library_items i ON i.id = p.item_id WHERE i.parent_id = $1",
                args![folder],
            )
            .await?;
        grants(&rows)
    }
}

impl Tx {
    /// As [`Store::library_chain`], of what holds until this ends.
    pub async fn library_chain(&mut self, id: LibraryItemId) -> Result<Vec<Step>, StoreError> {
        self.change_rights().await?;
        chain(&self.all(CHAIN, args![id]).await?)
    }

    /// As [`Store::library_item`], as this change sees it.
    pub async fn library_item(&mut self, id: LibraryItemId) -> Result<Option<LibraryItem>, StoreError> {
        let row = self.first(BY_ID, args![id]).await?;
        row.map(|row| item(&row)).transpose()
    }

    /// An item and everything in it, folders before what is in them.
    pub async fn library_below(&mut self, id: LibraryItemId) -> Result<Vec<LibraryItem>, StoreError> {
        self.change_rights().await?;
        let sql = "WITH RECURSIVE down (item, step) AS (SELECT id, CAST(0 AS BIGINT) FROM library_items WHERE id = $1 \
             UNION ALL SELECT c.id, d.step + 1 FROM library_items c JOIN down d ON c.parent_id = d.item WHERE d.step < 100) \
             SELECT i.id, i.kind, i.parent_id, i.name, i.description, i.current_digest, i.inherits, i.created_at, \
             i.created_by, i.updated_at, i.updated_by, i.version FROM down d JOIN library_items i ON i.id = d.item \
             ORDER BY d.step, i.id";
        self.all(sql, args![id]).await?.iter().map(item).collect()
    }

    /// The permissions of those of [`Self::library_below`] that have their own.
    pub async fn library_grants_below(
        &mut self,
        id: LibraryItemId,
    ) -> Result<BTreeMap<LibraryItemId, Vec<Grant>>, StoreError> {
        self.change_rights().await?;
        let sql = "WITH RECURSIVE down (item, step) AS (SELECT id, CAST(0 AS BIGINT) FROM library_items WHERE id = $1 \
             UNION ALL SELECT c.id, d.step + 1 FROM library_items c JOIN down d ON c.parent_id = d.item WHERE d.step < 100) \
             SELECT p.item_id, p.grantee, p.principal, p.access FROM down d \
             JOIN library_permissions p ON p.item_id = d.item";
        grants(&self.all(sql, args![id]).await?)
    }

    /// Adds an item; nothing is in it yet.
    pub async fn library_insert(&mut self, item: &LibraryItem) -> Result<(), StoreError> {
        self.change_rights().await?;
        let values: Vec<Value> = args![
            item.id,
            item.kind.as_str(),
            item.parent,
            item.name.as_str(),
            item.name.key(),
            &item.description,
            &item.current,
            item.inherits,
            item.created_at,
            item.created_by,
            item.updated_at,
            item.updated_by,
            item.version,
        ];
        self.insert(
            "INSERT INTO library_items (id, kind, parent_id, name, name_key, description, current_digest, inherits, \
             created_at, created_by, updated_at, updated_by, version) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
            values,
            &named(item),
            &named(item),
        )
        .await
    }

    /// Stores the next version number of an item: its place, name, description and current content.
    pub async fn library_put(&mut self, item: &LibraryItem) -> Result<(), StoreError> {
        self.change_rights().await?;
        let values = args![
            item.id,
            item.parent,
            item.name.as_str(),
            item.name.key(),
            &item.description,
            &item.current,
            item.updated_at,
            item.updated_by,
            item.version,
        ];
        let sql = "UPDATE library_items SET parent_id = $2, name = $3, name_key = $4, description = $5, \
             current_digest = $6, updated_at = $7, updated_by = $8, version = $9 WHERE id = $1 AND version = $9 - 1";
        self.swap(sql, values, &named(item)).await
    }

    /// Gives an item permissions of its own, or with `None` those of its folder.
    pub async fn library_permit(
        &mut self,
        id: LibraryItemId,
        grants: Option<&[Grant]>,
    ) -> Result<(), StoreError> {
        self.change_rights().await?;
        let sql = "UPDATE library_items SET inherits = $2, version = version + 1 WHERE id = $1";
        if self.execute(sql, args![id, grants.is_none()]).await? == 0 {
            return Err(StoreError::not_found("the library item"));
        }
        self.execute("DELETE FROM library_permissions WHERE item_id = $1", args![id])
            .await?;
        for Grant { grantee, right } in grants.unwrap_or_default() {
            let (word, principal) = words(grantee);
            self.execute(
                "INSERT INTO library_permissions (item_id, grantee, principal, access) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (item_id, grantee, principal) DO UPDATE SET access = excluded.access",
                args![id, word, principal, right.as_str()],
            )
            .await?;
        }
        Ok(())
    }

    /// Removes an item in which there is nothing any more, with its versions.
    pub async fn library_delete(&mut self, item: &LibraryItem) -> Result<(), StoreError> {
        self.change_rights().await?;
        if item.kind == Kind::DataFunction {
            self.execute("DELETE FROM functions WHERE id = $1", args![item.id])
                .await?;
        }
        match self
            .execute("DELETE FROM library_items WHERE id = $1", args![item.id])
            .await?
        {
            0 => Err(StoreError::not_found("the library item")),
            _ => Ok(()),
        }
    }

    /// Removes the permissions of whoever is gone: another of this name would have them.
    pub(crate) async fn library_forget(&mut self, grantee: &Grantee) -> Result<(), StoreError> {
        let (word, principal) = words(grantee);
        let sql = "DELETE FROM library_permissions WHERE grantee = $1 AND principal = $2";
        self.execute(sql, args![word, principal]).await.map(drop)
    }
}

fn named(item: &LibraryItem) -> String {
    format!("something named \"{}\" in this folder of the library", item.name)
}

fn words(grantee: &Grantee) -> (&'static str, String) {
    match grantee {
        Grantee::User(user) => ("user", user.to_string()),
        Grantee::Group(group) => ("group", group.to_string()),
        Grantee::License(feature) => ("license", feature.clone()),
    }
}

fn item(row: &Row) -> Result<LibraryItem, StoreError> {
    Ok(LibraryItem {
        id: row.parsed("id")?,
        kind: row.parsed("kind")?,
        parent: row.optional("parent_id")?,
        name: row.parsed("name")?,
        description: row.text("description")?,
        current: row.optional_text("current_digest")?,
        inherits: row.flag("inherits")?,
        created_at: row.int("created_at")?,
        created_by: row.optional("created_by")?,
        updated_at: row.int("updated_at")?,
        updated_by: row.optional("updated_by")?,
        version: row.int("version")?,
    })
}

fn chain(rows: &[Row]) -> Result<Vec<Step>, StoreError> {
    let mut chain: Vec<Step> = Vec::new();
    for row in rows {
        let id: LibraryItemId = row.parsed("id")?;
        if chain.last().is_none_or(|last| last.id != id) {
            chain.push(Step {
                id,
                name: row.parsed("name")?,
                inherits: row.flag("inherits")?,
                grants: Vec::new(),
            });
        }
        if let Some(last) = chain.last_mut() {
            last.grants.extend(grant(row)?);
        }
    }
    Ok(chain)
}

fn grants(rows: &[Row]) -> Result<BTreeMap<LibraryItemId, Vec<Grant>>, StoreError> {
    let mut grants: BTreeMap<LibraryItemId, Vec<Grant>> = BTreeMap::new();
    for row in rows {
        grants
            .entry(row.parsed("item_id")?)
            .or_default()
            .extend(grant(row)?);
    }
    Ok(grants)
}

/// The permission of a row that may have none.
fn grant(row: &Row) -> Result<Option<Grant>, StoreError> {
    let Some(word) = row.optional_text("grantee")? else {
        return Ok(None);
    };
    let grantee = match word.as_str() {
        "user" => Grantee::User(row.parsed("principal")?),
        "group" => Grantee::Group(row.parsed("principal")?),
        "license" => Grantee::License(row.text("principal")?),
        _ => {
            return Err(StoreError::corrupt(
                "a permission for an unknown kind of principal",
            ));
        }
    };
    let right: Right = row.parsed("access")?;
    Ok(Some(Grant { grantee, right }))
}
