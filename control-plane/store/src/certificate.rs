//! Certificates that the authority has issued. A row is never deleted: a serial that was issued stays known.
//! Revoking them is in `revocation.rs`.

use std::{fmt, str::FromStr};

use muster_ids::{Digest, NodeId};
use muster_model::authority::Link;

use crate::{
    error::StoreError,
    store::Store,
    tx::Tx,
    value::{Row, args, counter},
    wake::Topic,
};

macro_rules! select {
    ($tail:expr) => {
        concat!(
            "SELECT serial, subject_id, purpose, der, not_before, not_after, state, revoked_at, reason, key, generation, \
             authority FROM certificates ",
            $tail
        )
    };
}
pub(crate) use select;

macro_rules! of_key {
    () => {
        "WHERE key = $1 AND purpose = 'node' ORDER BY generation, not_after, serial"
    };
}

/// The certificates that trusted nodes use.
pub(crate) const IN_USE: &str = concat!(
    "SELECT c.serial, c.subject_id, c.purpose, c.der, c.not_before, c.not_after, c.state, c.revoked_at, c.reason, ",
    "c.key, c.generation, c.authority FROM certificates c JOIN nodes n ON c.subject_id = n.id ",
    "WHERE n.trust = 'trusted' AND c.purpose = 'node' AND c.generation = n.generation AND c.key = n.node_key ",
    "ORDER BY c.subject_id, c.not_after"
);

/// Whether a certificate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateState {
    /// Issued and not revoked; it may have expired.
    Valid,
    /// Revoked for ever.
    Revoked,
    /// Revoked for ever, and no longer shown.
    Deleted,
}

impl CertificateState {
    /// The name in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Revoked => "revoked",
            Self::Deleted => "deleted",
        }
    }
}

impl fmt::Display for CertificateState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for CertificateState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Valid, Self::Revoked, Self::Deleted]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("\"{text}\" is not a state of a certificate"))
    }
}

/// One issued certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The serial number, lower-case hexadecimal.
    pub serial: String,
    /// The node, control plane or user that it is about.
    pub subject: String,
    /// Which profile it was issued under.
    pub purpose: String,
    /// The certificate itself.
    pub der: Vec<u8>,
    /// Valid from, in milliseconds.
    pub not_before: i64,
    /// Valid until, in milliseconds.
    pub not_after: i64,
    /// Whether it counts.
    pub state: CertificateState,
    /// When it was revoked.
    pub revoked_at: Option<i64>,
    /// Why it was revoked.
    pub reason: Option<String>,
    /// Digest of its public key, where it belongs to a lineage.
    pub key: Option<Digest>,
    /// Its generation in the lineage of its subject; 1 where there is none.
    pub generation: u64,
    /// The root of the authority that issued it; absent where a version before the first rotation did.
    pub authority: Option<Digest>,
}

impl Certificate {
    /// Its place in the lineage of its node.
    pub fn link(&self) -> Option<Link> {
        self.key.map(|key| Link {
            generation: self.generation,
            key,
        })
    }
}

/// What a list is about; `None` does not limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateFilter {
    /// Those about this node, control plane or user only.
    pub subject: Option<String>,
    /// Those issued under this profile only.
    pub purpose: Option<String>,
    /// Those in this state only; without it, all but deleted ones.
    pub state: Option<CertificateState>,
    /// Those that end at this moment (milliseconds) or later only.
    pub ends_from: Option<i64>,
    /// Those that end before this moment only.
    pub ends_before: Option<i64>,
}

/// What a revocation list says of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedSerial {
    /// The serial number, lower-case hexadecimal.
    pub serial: String,
    /// When it was revoked.
    pub revoked_at: i64,
    /// Why.
    pub reason: Option<String>,
}

impl Store {
    /// The certificate of this serial number.
    pub async fn certificate(&self, serial: &str) -> Result<Option<Certificate>, StoreError> {
        let row = self.first(select!("WHERE serial = $1"), args![serial]).await?;
        row.map(|row| certificate(&row)).transpose()
    }

    /// At most `limit` certificates by serial number, from after the serial `after`.
    pub async fn certificate_list(
        &self,
        filter: &CertificateFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Certificate>, StoreError> {
        macro_rules! list {
            ($subject:literal) => {
                select!(concat!(
                    "WHERE ",
                    $subject,
                    " AND ($2 IS NULL OR purpose = $2) \
                     AND (($3 IS NULL AND state <> 'deleted') OR state = $3) \
                     AND ($4 IS NULL OR serial > $4) AND ($5 IS NULL OR not_after >= $5) \
                     AND ($6 IS NULL OR not_after < $6) ORDER BY serial LIMIT $7"
                ))
            };
        }
        // A plain comparison lets the index find the few of one node among all that were ever issued.
        let sql = if filter.subject.is_some() {
            list!("subject_id = $1")
        } else {
            list!("$1 IS NULL")
        };
        let state = filter.state.map(CertificateState::as_str);
        let values = args![
            &filter.subject,
            &filter.purpose,
            state,
            after,
            filter.ends_from,
            filter.ends_before,
            i64::from(limit)
        ];
        self.all(sql, values).await?.iter().map(certificate).collect()
    }

    /// Every certificate that a node has or had for this public key, the newest generation last.
    pub async fn certificates_of_key(&self, key: &Digest) -> Result<Vec<Certificate>, StoreError> {
        let rows = self.few(select!(of_key!()), args![*key]).await?;
        rows.iter().map(certificate).collect()
    }

    /// The revoked certificates that have not expired at `now`: what a revocation list must name.
    pub async fn revoked_serials(&self, now: i64) -> Result<Vec<RevokedSerial>, StoreError> {
        let rows = self
            .all(
                "SELECT serial, revoked_at, reason FROM certificates \
                 WHERE state <> 'valid' AND not_after > $1 ORDER BY serial",
                args![now],
            )
            .await?;
        let serial = |row: &Row| {
            Ok(RevokedSerial {
                serial: row.text("serial")?,
                revoked_at: row.int("revoked_at")?,
                reason: row.optional_text("reason")?,
            })
        };
        rows.iter().map(serial).collect()
    }
}

impl Tx {
    /// The certificate of this serial number.
    pub async fn certificate_get(&mut self, serial: &str) -> Result<Option<Certificate>, StoreError> {
        let row = self.first(select!("WHERE serial = $1"), args![serial]).await?;
        row.map(|row| certificate(&row)).transpose()
    }

    /// Every certificate that a node has or had for this public key, the newest generation last.
    pub async fn certificates_of_key(&mut self, key: &Digest) -> Result<Vec<Certificate>, StoreError> {
        let rows = self.all(select!(of_key!()), args![*key]).await?;
        rows.iter().map(certificate).collect()
    }

    /// How many keys of `node` are certified for this generation.
    pub async fn keys_of_generation(&mut self, node: NodeId, generation: u64) -> Result<usize, StoreError> {
        let sql = "SELECT DISTINCT key FROM certificates \
                   WHERE subject_id = $1 AND purpose = 'node' AND generation = $2";
        Ok(self.all(sql, args![node, counter(generation)?]).await?.len())
    }

    /// Adds an issued certificate.
    pub async fn certificate_insert(&mut self, certificate: &Certificate) -> Result<(), StoreError> {
        let named = "a certificate of this serial number";
        self.insert(
            "INSERT INTO certificates (serial, subject_id, purpose, der, not_before, not_after, state, revoked_at, \
             reason, key, generation, authority) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            args![
                &certificate.serial,
                &certificate.subject,
                &certificate.purpose,
                &certificate.der,
                certificate.not_before,
                certificate.not_after,
                certificate.state.as_str(),
                certificate.revoked_at,
                &certificate.reason,
                certificate.key,
                counter(certificate.generation)?,
                certificate.authority,
            ],
            named,
            named,
        )
        .await
    }

    /// Revokes every certificate of a node; how many that were. Those revoked before keep their time and reason.
    pub async fn certificates_revoke_for(
        &mut self,
        node: NodeId,
        at: i64,
        reason: &str,
    ) -> Result<u64, StoreError> {
        self.touch(Topic::Revocations);
        self.execute(
            "UPDATE certificates SET state = 'revoked', revoked_at = $2, reason = $3 \
             WHERE subject_id = $1 AND state = 'valid'",
            args![node, at, reason],
        )
        .await
    }
}

pub(crate) fn certificate(row: &Row) -> Result<Certificate, StoreError> {
    Ok(Certificate {
        serial: row.text("serial")?,
        subject: row.text("subject_id")?,
        purpose: row.text("purpose")?,
        der: row.bytes("der")?,
        not_before: row.int("not_before")?,
        not_after: row.int("not_after")?,
        state: row.parsed("state")?,
        revoked_at: row.optional_int("revoked_at")?,
        reason: row.optional_text("reason")?,
        key: row.optional("key")?,
        generation: row.counter("generation")?,
        authority: row.optional("authority")?,
    })
}
