//! Data functions of the library. A version is named by the digest of its content and never changes.
//!
//! Invariant: a function is an item of the library of the same identity, whose name, content and author are its own.

use muster_ids::{Digest, FunctionId, LibraryItemId, Name, UserId};
use muster_model::library::Kind;

use crate::{
    error::StoreError,
    library::LibraryItem,
    store::Store,
    tx::Tx,
    value::{Row, args},
};

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT id, name, current_digest, created_at, created_by, updated_at, updated_by, version FROM functions ",
            $tail
        )
    };
}

/// One function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Identity.
    pub id: FunctionId,
    /// Unique.
    pub name: Name,
    /// Which version runs.
    pub current: Digest,
    /// When it was registered.
    pub created_at: i64,
    /// Who registered it.
    pub created_by: UserId,
    /// When it got its current version.
    pub updated_at: i64,
    /// Who gave it that.
    pub updated_by: UserId,
    /// Number of changes, from 1; compare-and-swap.
    pub version: i64,
}

/// One version of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionVersion {
    /// Which function.
    pub function: FunctionId,
    /// Names the content.
    pub digest: Digest,
    /// The content, JSON.
    pub definition: String,
    /// When it was first stored.
    pub created_at: i64,
    /// Who stored it.
    pub created_by: UserId,
}

impl Store {
    /// The function of this identity.
    pub async fn function(&self, id: FunctionId) -> Result<Option<Function>, StoreError> {
        self.first(select!("WHERE id = $1"), args![id])
            .await?
            .map(|row| function(&row))
            .transpose()
    }

    /// The function of this name; upper and lower case do not differ.
    pub async fn function_by_name(&self, name: &Name) -> Result<Option<Function>, StoreError> {
        let row = self
            .first(select!("WHERE name_key = $1"), args![name.key()])
            .await?;
        row.map(|row| function(&row)).transpose()
    }

    /// Whether a function has this version, without its content.
    pub async fn function_has_version(&self, id: FunctionId, digest: &Digest) -> Result<bool, StoreError> {
        let sql = "SELECT digest FROM function_versions WHERE function_id = $1 AND digest = $2";
        Ok(self.first(sql, args![id, *digest]).await?.is_some())
    }

    /// One version of a function, current or older.
    pub async fn function_version(
        &self,
        id: FunctionId,
        digest: &Digest,
    ) -> Result<Option<FunctionVersion>, StoreError> {
        let row = self
            .first(
                "SELECT function_id, digest, definition, created_at, created_by FROM function_versions \
                 WHERE function_id = $1 AND digest = $2",
                args![id, *digest],
            )
            .await?;
        row.map(|row| {
            Ok(FunctionVersion {
                function: row.parsed("function_id")?,
                digest: row.parsed("digest")?,
                definition: row.text("definition")?,
                created_at: row.int("created_at")?,
                created_by: row.parsed("created_by")?,
            })
        })
        .transpose()
    }

    /// At most `limit` functions by name, from after the name `after`.
    pub async fn function_list(&self, after: Option<&Name>, limit: u32) -> Result<Vec<Function>, StoreError> {
        let sql = select!("WHERE $1 IS NULL OR name_key > $1 ORDER BY name_key LIMIT $2");
        self.all(sql, args![after.map(Name::key), i64::from(limit)])
            .await?
            .iter()
            .map(function)
            .collect()
    }
}

impl Tx {
    /// Adds a function with its first version, whose content is `definition`, to the folder `folder` of the library.
    pub async fn function_insert(
        &mut self,
        function: &Function,
        definition: &str,
        folder: LibraryItemId,
    ) -> Result<(), StoreError> {
        self.insert(
            "INSERT INTO functions (id, name, name_key, current_digest, created_at, created_by, updated_at, \
             updated_by, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            args![
                function.id,
                function.name.as_str(),
                function.name.key(),
                function.current,
                function.created_at,
                function.created_by,
                function.updated_at,
                function.updated_by,
                function.version,
            ],
            &format!("a function named \"{}\"", function.name),
            "a function of this identity",
        )
        .await?;
        self.library_insert(&LibraryItem {
            id: function.id.into(),
            kind: Kind::DataFunction,
            parent: Some(folder),
            name: function.name.clone(),
            description: String::new(),
            current: Some(function.current.to_string()),
            inherits: true,
            created_at: function.created_at,
            created_by: Some(function.created_by),
            updated_at: function.updated_at,
            updated_by: Some(function.updated_by),
            version: 1,
        })
        .await?;
        self.function_add_version(function, definition).await
    }

    /// Stores the next version number of a function whose current content is `definition`. Content that it had before
    /// keeps its first author and takes what no digest covers, its limits and description, from this one.
    pub async fn function_new_version(
        &mut self,
        function: &Function,
        definition: &str,
    ) -> Result<(), StoreError> {
        self.swap(
            "UPDATE functions SET current_digest = $2, updated_at = $3, updated_by = $4, version = $5 \
             WHERE id = $1 AND version = $5 - 1",
            args![
                function.id,
                function.current,
                function.updated_at,
                function.updated_by,
                function.version
            ],
            &format!("the function \"{}\"", function.name),
        )
        .await?;
        self.execute(
            "UPDATE library_items SET current_digest = $2, updated_at = $3, updated_by = $4, version = version + 1 \
             WHERE id = $1",
            args![function.id, function.current, function.updated_at, function.updated_by],
        )
        .await?;
        self.function_add_version(function, definition).await
    }

    async fn function_add_version(
        &mut self,
        function: &Function,
        definition: &str,
    ) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO function_versions (function_id, digest, definition, created_at, created_by) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (function_id, digest) \
             DO UPDATE SET definition = excluded.definition",
            args![
                function.id,
                function.current,
                definition,
                function.updated_at,
                function.updated_by
            ],
        )
        .await
        .map(drop)
    }
}

fn function(row: &Row) -> Result<Function, StoreError> {
    Ok(Function {
        id: row.parsed("id")?,
        name: row.parsed("name")?,
        current: row.parsed("current_digest")?,
        created_at: row.int("created_at")?,
        created_by: row.parsed("created_by")?,
        updated_at: row.int("updated_at")?,
        updated_by: row.parsed("updated_by")?,
        version: row.int("version")?,
    })
}
