//! What contents there are: versions of items in the library, and what signatures are for.

use crate::{
    error::StoreError,
    store::Store,
    value::{Row, args},
};

/// One content, by one of the things by which it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeEntity {
    /// Its place in the list.
    pub place: String,
    /// Its hash.
    pub hash: String,
    /// What it is.
    pub kind: String,
    /// `library` or `signed`.
    pub known: String,
    /// The name of the item, or who signed.
    pub name: String,
}

impl Store {
    /// At most `limit` contents from after the place `after`: what analyses are, which are no code themselves, is left out.
    pub async fn code_entities(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<CodeEntity>, StoreError> {
        let sql = "SELECT place, hash, kind, known, name FROM (\
                   SELECT hash || ' ' || kind || ' ' || known || ' ' || name AS place, hash, kind, known, name FROM (\
                   SELECT v.digest AS hash, i.kind AS kind, 'library' AS known, i.name AS name \
                   FROM library_versions v JOIN library_items i ON i.id = v.item_id WHERE i.kind <> 'analysis' \
                   UNION SELECT v.digest, 'data_function', 'library', f.name \
                   FROM function_versions v JOIN functions f ON f.id = v.function_id \
                   UNION SELECT hash, item_type, 'signed', signed_by FROM item_signatures) AS contents) AS placed \
                   WHERE ($1 IS NULL OR place > $1) ORDER BY place LIMIT $2";
        let rows = self
            .all(sql, args![after.map(str::to_owned), i64::from(limit)])
            .await?;
        let entity = |row: &Row| {
            Ok(CodeEntity {
                place: row.text("place")?,
                hash: row.text("hash")?,
                kind: row.text("kind")?,
                known: row.text("known")?,
                name: row.text("name")?,
            })
        };
        rows.iter().map(entity).collect()
    }
}
