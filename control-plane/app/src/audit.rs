//! Reading and checking the audit log.

use muster_model::permission::{Caller, Operation};
use muster_store::{AuditCursor, AuditFilter, AuditFrom};
use muster_wire::admin::v1::{
    Page, PageQuery,
    audit::{AuditRow, AuditVerification},
};

use crate::{App, Error, page, text::rfc3339};

impl App {
    /// The log, newest first.
    pub async fn list_audit(&self, caller: &Caller, query: &PageQuery) -> Result<Page<AuditRow>, Error> {
        self.authorize_to(caller, Operation::ReadAdministration, "read the audit log", "")
            .await?;
        let limit = page::limit(query)?;
        let from = match page::after::<(i64, muster_ids::AuditWriter, u64)>(query)? {
            Some((at, writer, sequence)) => AuditFrom::Before(AuditCursor { at, writer, sequence }),
            None => AuditFrom::Newest,
        };
        let rows = self
            .store()
            .audit_list(&AuditFilter::default(), from, limit + 1)
            .await?;
        Ok(page::of(
            rows,
            limit,
            |row| (row.record.at, row.writer, row.sequence),
            |row| AuditRow {
                writer: row.writer.to_string(),
                sequence: i64::try_from(row.sequence).unwrap_or(i64::MAX),
                time: rfc3339(row.record.at),
                actor: row.record.actor,
                event: row.record.event.as_str().to_owned(),
                subject: row.record.subject,
                detail: row.record.detail,
                hash: row.hash.to_string(),
            },
        ))
    }

    /// Checks every row of every chain.
    pub async fn verify_audit(&self, caller: &Caller) -> Result<AuditVerification, Error> {
        self.authorize_to(caller, Operation::ReadAdministration, "verify the audit log", "")
            .await?;
        let report = self.store().audit_verify().await?;
        Ok(AuditVerification {
            rows: report.rows,
            broken: report.bad.map(|row| row.to_string()),
        })
    }
}
