//! Versions of library items other than data functions: each is named by the digest of its content and never changes.

use muster_ids::{LibraryItemId, UserId};
use muster_model::library::Kind;

use crate::{
    error::StoreError,
    store::Store,
    tx::Tx,
    value::{Row, args},
};

/// One version of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryVersion {
    /// Which item.
    pub item: LibraryItemId,
    /// Names the content, as stamps and blocks do.
    pub digest: String,
    /// Its manifest, as it came.
    pub manifest: String,
    /// Its files, JSON: where the bytes of each path are.
    pub files: String,
    /// When it was first stored.
    pub created_at: i64,
    /// Who stored it.
    pub created_by: UserId,
}

/// When a version was first stored, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Names the content.
    pub digest: String,
    /// When it was first stored.
    pub created_at: i64,
    /// Who stored it.
    pub created_by: UserId,
}

impl Store {
    /// One version of an item, current or older.
    pub async fn library_version(
        &self,
        item: LibraryItemId,
        digest: &str,
    ) -> Result<Option<LibraryVersion>, StoreError> {
        let sql = "SELECT item_id, digest, manifest, files, created_at, created_by FROM library_versions \
                   WHERE item_id = $1 AND digest = $2";
        let row = self.first(sql, args![item, digest]).await?;
        row.map(|row| version(&row)).transpose()
    }

    /// Whether some item of this kind has, or had, this content.
    pub async fn library_holds(&self, kind: Kind, digest: &str) -> Result<bool, StoreError> {
        let sql = "SELECT item_id FROM library_versions WHERE digest = $1 AND item_id IN \
                   (SELECT id FROM library_items WHERE kind = $2) LIMIT 1";
        Ok(self.first(sql, args![digest, kind.as_str()]).await?.is_some())
    }

    /// At most `limit` versions of an item, the first stored first, from after the one that was stored at the moment and
    /// has the digest of `after`.
    pub async fn library_versions(
        &self,
        item: LibraryItemId,
        after: Option<&(i64, String)>,
        limit: u32,
    ) -> Result<Vec<Saved>, StoreError> {
        let sql = "SELECT digest, created_at, created_by FROM library_versions \
                   WHERE item_id = $1 AND ($2 IS NULL OR created_at > $2 OR (created_at = $2 AND digest > $3)) \
                   ORDER BY created_at, digest LIMIT $4";
        let (at, digest) = (after.map(|after| after.0), after.map(|after| after.1.clone()));
        let rows = self.all(sql, args![item, at, digest, i64::from(limit)]).await?;
        let saved = |row: &Row| {
            Ok(Saved {
                digest: row.text("digest")?,
                created_at: row.int("created_at")?,
                created_by: row.parsed("created_by")?,
            })
        };
        rows.iter().map(saved).collect()
    }
}

impl Tx {
    /// Stores a version of an item; what it had before keeps its first author.
    pub async fn library_add_version(&mut self, version: &LibraryVersion) -> Result<(), StoreError> {
        let values = args![
            version.item,
            &version.digest,
            &version.manifest,
            &version.files,
            version.created_at,
            version.created_by,
        ];
        let sql = "INSERT INTO library_versions (item_id, digest, manifest, files, created_at, created_by) \
                   VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (item_id, digest) DO NOTHING";
        self.execute(sql, values).await.map(drop)
    }
}

fn version(row: &Row) -> Result<LibraryVersion, StoreError> {
    Ok(LibraryVersion {
        item: row.parsed("item_id")?,
        digest: row.text("digest")?,
        manifest: row.text("manifest")?,
        files: row.text("files")?,
        created_at: row.int("created_at")?,
        created_by: row.parsed("created_by")?,
    })
}
