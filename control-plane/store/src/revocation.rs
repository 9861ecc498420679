//! Revoking certificates, and the lists of revoked ones that others read.
//!
//! Invariant: what was revoked stays revoked. A certificate that was deleted is shown no longer, and stays revoked
//! all the same.

use crate::{
    certificate::{Certificate, CertificateState, certificate, select},
    error::StoreError,
    store::Store,
    tx::Tx,
    value::{Row, args},
    wake::Topic,
};

/// The list that was last published under one issuing key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    /// The identifier of the issuing key, lower-case hexadecimal.
    pub issuer: String,
    /// Grows with each list of this issuer.
    pub number: i64,
    /// Digest of what is on it: another one needs another list.
    pub content: String,
    /// When it was made, milliseconds.
    pub this_update: i64,
    /// Until when it holds, milliseconds.
    pub next_update: i64,
    /// The list itself.
    pub der: Vec<u8>,
}

impl Store {
    /// The list that was last published under this issuing key.
    pub async fn revocation_list(&self, issuer: &str) -> Result<Option<RevocationList>, StoreError> {
        let row = self
            .first(
                "SELECT issuer, number, content, this_update, next_update, der FROM revocation_lists \
                 WHERE issuer = $1",
                args![issuer],
            )
            .await?;
        row.map(|row| list(&row)).transpose()
    }

    /// The certificates that were revoked or deleted and end after `since`, by serial number.
    pub async fn certificates_revoked(&self, since: i64) -> Result<Vec<Certificate>, StoreError> {
        let sql = select!("WHERE state <> 'valid' AND not_after > $1 ORDER BY serial");
        let rows = self.all(sql, args![since]).await?;
        rows.iter().map(certificate).collect()
    }
}

impl Store {
    /// Of the trusted nodes the one whose newest certificate ends first: its identifier, and when that certificate
    /// begins and ends.
    pub async fn node_certificate_ending_first(&self) -> Result<Option<(String, i64, i64)>, StoreError> {
        let row = self
            .first(
                "SELECT subject_id, MAX(certificates.not_before) AS begins, MAX(certificates.not_after) AS ends \
                 FROM certificates JOIN nodes ON nodes.id = certificates.subject_id \
                 WHERE certificates.purpose = 'node' AND certificates.state = 'valid' AND nodes.trust = 'trusted' \
                 GROUP BY subject_id ORDER BY ends, subject_id LIMIT 1",
                args![],
            )
            .await?;
        row.map(|row| Ok((row.text("subject_id")?, row.int("begins")?, row.int("ends")?)))
            .transpose()
    }
}

impl Tx {
    /// The valid certificates about this node, control plane or user that end after `now`, as this change sees them.
    pub async fn certificates_of(&mut self, subject: &str, now: i64) -> Result<Vec<Certificate>, StoreError> {
        let sql = select!("WHERE subject_id = $1 AND state = 'valid' AND not_after > $2 ORDER BY serial");
        let rows = self.all(sql, args![subject, now]).await?;
        rows.iter().map(certificate).collect()
    }

    /// Revokes one certificate; false when it was revoked before.
    pub async fn certificate_revoke(
        &mut self,
        serial: &str,
        at: i64,
        reason: &str,
    ) -> Result<bool, StoreError> {
        self.touch(Topic::Revocations);
        let changed = self
            .execute(
                "UPDATE certificates SET state = 'revoked', revoked_at = $2, reason = $3 \
                 WHERE serial = $1 AND state = 'valid'",
                args![serial, at, reason],
            )
            .await?;
        Ok(changed == 1)
    }

    /// Revokes every certificate that is valid; how many that were. With `delete`, all certificates that there are
    /// become deleted ones.
    pub async fn certificates_reset(
        &mut self,
        at: i64,
        reason: &str,
        delete: bool,
    ) -> Result<u64, StoreError> {
        self.touch(Topic::Revocations);
        let revoked = self
            .execute(
                "UPDATE certificates SET state = 'revoked', revoked_at = $1, reason = $2 WHERE state = 'valid'",
                args![at, reason],
            )
            .await?;
        if delete {
            let sql = "UPDATE certificates SET state = $1 WHERE state = 'revoked'";
            self.execute(sql, args![CertificateState::Deleted.as_str()])
                .await?;
        }
        Ok(revoked)
    }

    /// Keeps the next list of an issuer; refused when somebody else published one meanwhile.
    pub async fn revocation_list_put(&mut self, list: &RevocationList) -> Result<(), StoreError> {
        self.swap(
            "INSERT INTO revocation_lists (issuer, number, content, this_update, next_update, der) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (issuer) DO UPDATE SET number = excluded.number, \
             content = excluded.content, this_update = excluded.this_update, \
             next_update = excluded.next_update, der = excluded.der \
             WHERE revocation_lists.number = excluded.number - 1",
            args![
                &list.issuer,
                list.number,
                &list.content,
                list.this_update,
                list.next_update,
                &list.der
            ],
            "the revocation list",
        )
        .await
    }
}

fn list(row: &Row) -> Result<RevocationList, StoreError> {
    Ok(RevocationList {
        issuer: row.text("issuer")?,
        number: row.int("number")?,
        content: row.text("content")?,
        this_update: row.int("this_update")?,
        next_update: row.int("next_update")?,
        der: row.bytes("der")?,
    })
}
