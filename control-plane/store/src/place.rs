//! Pools and sites: where nodes work and where they belong. Both are names with an identity and nothing more.

use muster_ids::{Name, PoolId, SiteId};

use crate::{
    dialect::locking,
    error::StoreError,
    store::Store,
    tx::Tx,
    value::{Row, args},
    wake::Topic,
};

macro_rules! places {
    ($(
        $(#[$doc:meta])*
        $type:ident $id:ty, $word:literal, $table:literal, $column:literal:
        $insert:ident $delete:ident $list:ident $by_name:ident $by_id:ident;
    )+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $type {
            /// Identity.
            pub id: $id,
            /// Unique.
            pub name: Name,
            /// Made by `init`; it cannot be deleted.
            pub builtin: bool,
            /// When it was made.
            pub created_at: i64,
        }

        impl $type {
            fn from_row(row: &Row) -> Result<Self, StoreError> {
                Ok(Self {
                    id: row.parsed("id")?,
                    name: row.parsed("name")?,
                    builtin: row.flag("builtin")?,
                    created_at: row.int("created_at")?,
                })
            }
        }

        impl Store {
            #[doc = concat!("Every ", $word, ", by name.")]
            pub async fn $list(&self) -> Result<Vec<$type>, StoreError> {
                let rows = self.all(concat!("SELECT id, name, builtin, created_at FROM ", $table, " ORDER BY name_key"), args![]).await?;
                rows.iter().map($type::from_row).collect()
            }

            #[doc = concat!("The ", $word, " of this name; upper and lower case do not differ.")]
            pub async fn $by_name(&self, name: &Name) -> Result<Option<$type>, StoreError> {
                let sql = concat!("SELECT id, name, builtin, created_at FROM ", $table, " WHERE name_key = $1");
                self.first(sql, args![name.key()]).await?.map(|row| $type::from_row(&row)).transpose()
            }

            #[doc = concat!("The ", $word, " of this identity.")]
            pub async fn $by_id(&self, id: $id) -> Result<Option<$type>, StoreError> {
                let sql = concat!("SELECT id, name, builtin, created_at FROM ", $table, " WHERE id = $1");
                self.first(sql, args![id]).await?.map(|row| $type::from_row(&row)).transpose()
            }
        }

        impl Tx {
            #[doc = concat!("Adds a ", $word, ".")]
            pub async fn $insert(&mut self, place: &$type) -> Result<(), StoreError> {
                self.insert(
                    concat!("INSERT INTO ", $table, " (id, name, name_key, builtin, created_at) \
                             VALUES ($1, $2, $3, $4, $5)"),
                    args![place.id, place.name.as_str(), place.name.key(), place.builtin, place.created_at],
                    &format!(concat!("a ", $word, " named \"{}\""), place.name),
                    concat!("a ", $word, " of this identity"),
                )
                .await
            }

            #[doc = concat!("Deletes a ", $word, " that nothing needs: no node, no waiting or running run and no \
                             trust setting whose key contains its identity.")]
            pub async fn $delete(&mut self, id: $id) -> Result<(), StoreError> {
                let sql = locking!(concat!("SELECT id, name, builtin, created_at FROM ", $table, " WHERE id = $1"));
                let row = self.first(sql, args![id]).await?;
                let place = $type::from_row(&row.ok_or_else(|| StoreError::not_found(concat!("the ", $word)))?)?;
                let counts = self.first(
                    concat!(
                        "SELECT (SELECT COUNT(*) FROM nodes WHERE ", $column, " = $1) AS nodes, \
                         (SELECT COUNT(*) FROM runs WHERE ", $column, " = $1 \
                          AND state IN ('queued', 'running')) AS runs, \
                         (SELECT COUNT(*) FROM trust_entries WHERE entry_key LIKE '%' || $1 || '%') AS settings"
                    ),
                    args![id],
                ).await?.ok_or_else(|| StoreError::not_found(concat!("the ", $word)))?;
                refuse_while_needed($word, &place.name, place.builtin, &counts)?;
                self.execute(concat!("DELETE FROM ", $table, " WHERE id = $1"), args![id]).await?;
                self.touch(Topic::Nodes);
                Ok(())
            }
        }
    )+};
}

places! {
    /// Nodes that share work.
    Pool PoolId, "pool", "pools", "pool_id": pool_insert pool_delete pool_list pool_by_name pool;
    /// A part of the collective whose nodes and runs stay together.
    Site SiteId, "site", "sites", "site_id": site_insert site_delete site_list site_by_name site;
}

fn refuse_while_needed(word: &str, name: &Name, builtin: bool, counts: &Row) -> Result<(), StoreError> {
    if builtin {
        return Err(StoreError::conflict(format!(
            "the {word} \"{name}\" is built in and cannot be deleted"
        )));
    }
    for (column, what, cure) in [
        ("nodes", "nodes are in it", "move them or delete them first"),
        (
            "runs",
            "runs wait or work in it",
            "wait for them or cancel them first",
        ),
        ("settings", "settings are about it", "remove them first"),
    ] {
        let count = counts.int(column)?;
        if count > 0 {
            return Err(StoreError::conflict(format!(
                "the {word} \"{name}\" cannot be deleted: {count} {what}; {cure}"
            )));
        }
    }
    Ok(())
}
