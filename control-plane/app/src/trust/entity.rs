//! What contents are known here, by hash.

use muster_model::permission::{Caller, Operation};
use muster_wire::admin::v1::{Page, PageQuery, trust::CodeEntity};

use crate::{App, Error, page};

impl App {
    /// Versions of items of the library, and what was signed, by hash.
    pub async fn list_code_entities(
        &self,
        caller: &Caller,
        query: &PageQuery,
    ) -> Result<Page<CodeEntity>, Error> {
        self.authorize_to(caller, Operation::ReadAdministration, "list code entities", "")
            .await?;
        let limit = page::limit(query)?;
        let after = page::after::<String>(query)?;
        let rows = self.store().code_entities(after.as_deref(), limit + 1).await?;
        let wire = |row: muster_store::CodeEntity| CodeEntity {
            hash: row.hash,
            kind: row.kind,
            known: row.known,
            name: row.name,
        };
        Ok(page::of(rows, limit, |row| row.place.clone(), wire))
    }
}
