//! Who signs items: the roots, the certificates, and the signatures that were made here.
//!
//! Invariant: at most one root is the collective's own and accepted. A root or certificate that counts no more keeps its
//! row and loses its private key. Private keys come here sealed and leave sealed.

use std::{fmt, str::FromStr};

use muster_ids::{Digest, UserId};

use crate::{
    error::StoreError,
    store::Store,
    tx::Tx,
    value::{Row, args},
};

macro_rules! roots {
    ($tail:literal) => {
        concat!(
            "SELECT fingerprint, origin, state, subject, der, sealed_key, stamp_der, sealed_stamp_key, added_by, \
             added_at FROM signing_roots ",
            $tail
        )
    };
}

macro_rules! certificates {
    ($tail:literal) => {
        concat!(
            "SELECT fingerprint, issuer, serial, subject, root, user_id, der, sealed_key, not_before, not_after, \
             state, added_by, added_at FROM signing_certificates ",
            $tail
        )
    };
}

macro_rules! states {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// The name in the database and on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                [$(Self::$variant,)+]
                    .into_iter()
                    .find(|known| known.as_str() == text)
                    .ok_or_else(|| format!("\"{text}\" is not {}", $what))
            }
        }
    };
}

states! {
    /// Where a root comes from.
    RootOrigin, "where a root comes from" {
        /// Made here; its key signs.
        Internal = "internal",
        /// Brought by an administrator.
        Imported = "imported",
    }
}

states! {
    /// Whether a root counts.
    RootState, "a state of a root" {
        /// Signatures may lead to it.
        Accepted = "accepted",
        /// They may, and it signs no more: another one of the collective followed it before its end.
        Retired = "retired",
        /// They may not any more.
        Removed = "removed",
    }
}

states! {
    /// Whether a certificate of a signer signs.
    SignerState, "a state of a signer's certificate" {
        /// It does, within its time.
        Valid = "valid",
        /// It was revoked; what it signed is asked in the trust state.
        Revoked = "revoked",
        /// Its root or its user is gone, and it is shown no more.
        Deleted = "deleted",
    }
}

/// A root that signatures may lead to.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningRoot {
    /// SHA-256 of the certificate.
    pub fingerprint: Digest,
    /// Where it comes from.
    pub origin: RootOrigin,
    /// Whether it counts.
    pub state: RootState,
    /// Its name.
    pub subject: String,
    /// The certificate.
    pub der: Vec<u8>,
    /// Its private key, sealed; empty where it is not here.
    pub sealed_key: Vec<u8>,
    /// The certificate of the key that stamps times under it; empty where there is none.
    pub stamp_der: Vec<u8>,
    /// That key, sealed.
    pub sealed_stamp_key: Vec<u8>,
    /// The name of the user who brought it, or for whom it was made.
    pub added_by: String,
    /// When, milliseconds.
    pub added_at: i64,
}

impl fmt::Debug for SigningRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningRoot")
            .field("fingerprint", &self.fingerprint)
            .field("origin", &self.origin)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// The certificate of somebody who signs items.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningCertificate {
    /// SHA-256 of the certificate.
    pub fingerprint: Digest,
    /// The authority that issued it.
    pub issuer: String,
    /// Its number, lower-case hexadecimal.
    pub serial: String,
    /// Whose it is.
    pub subject: String,
    /// The root under which it was issued here; none for an imported one.
    pub root: Option<Digest>,
    /// The account for which it was issued here; none for an imported one.
    pub user: Option<UserId>,
    /// The certificate.
    pub der: Vec<u8>,
    /// Its private key, sealed; empty where it is not here.
    pub sealed_key: Vec<u8>,
    /// Valid from, milliseconds.
    pub not_before: i64,
    /// Valid until, milliseconds.
    pub not_after: i64,
    /// Whether it signs.
    pub state: SignerState,
    /// Who imported it, or for whom it was issued.
    pub added_by: String,
    /// When, milliseconds.
    pub added_at: i64,
}

impl fmt::Debug for SigningCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningCertificate")
            .field("issuer", &self.issuer)
            .field("serial", &self.serial)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// A signature that is kept, without what it takes to verify it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureHead {
    /// As in [`ItemSignature`].
    pub id: Digest,
    /// The signer.
    pub signed_by: String,
    /// When, milliseconds.
    pub signed_at: i64,
}

/// One signature that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemSignature {
    /// What its time stamp names: SHA-256 over four parts of its envelope, each after its length.
    pub id: Digest,
    /// What was signed: its type.
    pub item_type: String,
    /// Its content.
    pub hash: String,
    /// The fingerprint of the signer's certificate.
    pub certificate: Digest,
    /// The signer: the name of a user, or issuer and number of a certificate of another authority.
    pub signed_by: String,
    /// When, milliseconds.
    pub signed_at: i64,
    /// The signature with all that it takes to verify it.
    pub bundle: String,
}

impl Store {
    /// All roots that there ever were, the first one first.
    pub async fn signing_roots(&self) -> Result<Vec<SigningRoot>, StoreError> {
        let rows = self
            .all(roots!("ORDER BY added_at, fingerprint"), args![])
            .await?;
        rows.iter().map(root).collect()
    }

    /// At most `limit` certificates by fingerprint after `after`: issued here for `user` or anybody, or imported ones.
    /// Those whose root is gone are left out.
    pub async fn signing_certificates(
        &self,
        imported: bool,
        user: Option<UserId>,
        after: Option<&Digest>,
        limit: u32,
    ) -> Result<Vec<SigningCertificate>, StoreError> {
        let after = after.map_or_else(String::new, ToString::to_string);
        let rows = if imported {
            let sql = certificates!(
                "WHERE user_id IS NULL AND state <> 'deleted' AND fingerprint > $1 ORDER BY fingerprint LIMIT $2"
            );
            self.all(sql, args![after, i64::from(limit)]).await?
        } else if let Some(user) = user {
            let sql = certificates!(
                "WHERE user_id = $3 AND state <> 'deleted' AND fingerprint > $1 ORDER BY fingerprint LIMIT $2"
            );
            self.all(sql, args![after, i64::from(limit), user]).await?
        } else {
            let sql = certificates!(
                "WHERE user_id IS NOT NULL AND state <> 'deleted' AND fingerprint > $1 ORDER BY fingerprint LIMIT $2"
            );
            self.all(sql, args![after, i64::from(limit)]).await?
        };
        rows.iter().map(certificate).collect()
    }

    /// Of at most `limit` certificates by fingerprint after `after` that are known by a signature only, one signature each.
    pub async fn signing_certificates_seen(
        &self,
        after: Option<&Digest>,
        limit: u32,
    ) -> Result<Vec<ItemSignature>, StoreError> {
        let sql = "SELECT id, item_type, hash, certificate, signed_by, signed_at, bundle FROM item_signatures WHERE id IN (\
                   SELECT MIN(id) FROM item_signatures WHERE certificate > $1 \
                   AND certificate NOT IN (SELECT fingerprint FROM signing_certificates) \
                   GROUP BY certificate ORDER BY certificate LIMIT $2) ORDER BY certificate";
        let after = after.map_or_else(String::new, ToString::to_string);
        let rows = self.all(sql, args![after, i64::from(limit)]).await?;
        rows.iter().map(signature).collect()
    }

    /// The certificate that was issued here with this number.
    pub async fn signing_certificate_issued(
        &self,
        serial: &str,
    ) -> Result<Option<SigningCertificate>, StoreError> {
        let sql = certificates!("WHERE serial = $1 AND user_id IS NOT NULL AND state <> 'deleted'");
        let row = self.first(sql, args![serial]).await?;
        row.map(|row| certificate(&row)).transpose()
    }

    /// The imported certificate of this issuer and number.
    pub async fn signing_certificate_imported(
        &self,
        issuer: &str,
        serial: &str,
    ) -> Result<Option<SigningCertificate>, StoreError> {
        let sql =
            certificates!("WHERE issuer = $1 AND serial = $2 AND user_id IS NULL AND state <> 'deleted'");
        let row = self.first(sql, args![issuer, serial]).await?;
        row.map(|row| certificate(&row)).transpose()
    }

    /// At most four imported certificates of this holder.
    pub async fn signing_certificates_of(
        &self,
        subject: &str,
    ) -> Result<Vec<SigningCertificate>, StoreError> {
        let sql = certificates!(
            "WHERE user_id IS NULL AND subject = $1 AND state <> 'deleted' ORDER BY not_after DESC, fingerprint LIMIT 4"
        );
        let rows = self.all(sql, args![subject]).await?;
        rows.iter().map(certificate).collect()
    }

    /// The signatures of this item: those of one signer together, the newest first, at most `of_one`; the signer of the
    /// newest of all first. At most `limit` in all.
    pub async fn item_signatures(
        &self,
        item_type: &str,
        hash: &str,
        of_one: u32,
        limit: u32,
    ) -> Result<Vec<SignatureHead>, StoreError> {
        let sql = "SELECT id, signed_by, signed_at FROM (SELECT id, signed_by, signed_at, \
                   ROW_NUMBER() OVER (PARTITION BY signed_by ORDER BY signed_at DESC, id) AS place, \
                   MAX(signed_at) OVER (PARTITION BY signed_by) AS newest \
                   FROM item_signatures WHERE hash = $1 AND item_type = $2) AS numbered \
                   WHERE place <= $3 ORDER BY newest DESC, signed_by, place LIMIT $4";
        let values = args![hash, item_type, i64::from(of_one), i64::from(limit)];
        let rows = self.all(sql, values).await?;
        let head = |row: &Row| {
            Ok(SignatureHead {
                id: row.parsed("id")?,
                signed_by: row.text("signed_by")?,
                signed_at: row.int("signed_at")?,
            })
        };
        rows.iter().map(head).collect()
    }

    /// The signature of this digest.
    pub async fn item_signature(&self, id: &Digest) -> Result<Option<ItemSignature>, StoreError> {
        let sql = "SELECT id, item_type, hash, certificate, signed_by, signed_at, bundle FROM item_signatures WHERE id = $1";
        let row = self.first(sql, args![*id]).await?;
        row.map(|row| signature(&row)).transpose()
    }
}

impl Tx {
    /// All roots that there ever were, as this change sees them.
    pub async fn signing_roots(&mut self) -> Result<Vec<SigningRoot>, StoreError> {
        let rows = self
            .all(roots!("ORDER BY added_at, fingerprint"), args![])
            .await?;
        rows.iter().map(root).collect()
    }

    /// Adds a root. One that was removed counts again.
    pub async fn signing_root_insert(&mut self, root: &SigningRoot) -> Result<(), StoreError> {
        self.insert(
            "INSERT INTO signing_roots (fingerprint, origin, state, subject, der, sealed_key, stamp_der, \
             sealed_stamp_key, added_by, added_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
             ON CONFLICT (fingerprint) DO UPDATE SET state = excluded.state, added_by = excluded.added_by, \
             added_at = excluded.added_at",
            args![
                root.fingerprint,
                root.origin.as_str(),
                root.state.as_str(),
                &root.subject,
                &root.der,
                &root.sealed_key,
                &root.stamp_der,
                &root.sealed_stamp_key,
                &root.added_by,
                root.added_at,
            ],
            "a code-signing root of this collective",
            "a code-signing root of this collective",
        )
        .await
    }

    /// Lets a root, and the certificates under it, sign no more; what they signed counts. Their keys go.
    pub async fn signing_root_retire(&mut self, fingerprint: &Digest) -> Result<(), StoreError> {
        let empty: &[u8] = &[];
        self.execute(
            "UPDATE signing_roots SET state = 'retired', sealed_key = $2, sealed_stamp_key = $2 \
             WHERE fingerprint = $1 AND state = 'accepted'",
            args![*fingerprint, empty],
        )
        .await?;
        self.execute(
            "UPDATE signing_certificates SET sealed_key = $2 WHERE root = $1",
            args![*fingerprint, empty],
        )
        .await
        .map(drop)
    }

    /// Takes a root away, with its keys.
    pub async fn signing_root_remove(&mut self, fingerprint: &Digest) -> Result<(), StoreError> {
        let empty: &[u8] = &[];
        self.execute(
            "UPDATE signing_roots SET state = 'removed', sealed_key = $2, sealed_stamp_key = $2 WHERE fingerprint = $1",
            args![*fingerprint, empty],
        )
        .await
        .map(drop)
    }

    /// The newest certificate under `root` with which this account may sign until `until` at least.
    pub async fn signing_certificate_of(
        &mut self,
        user: UserId,
        root: &Digest,
        until: i64,
    ) -> Result<Option<SigningCertificate>, StoreError> {
        let sql = certificates!(
            "WHERE user_id = $1 AND root = $2 AND state = 'valid' AND not_after >= $3 ORDER BY not_after DESC, serial \
             LIMIT 1"
        );
        let row = self.first(sql, args![user, *root, until]).await?;
        row.map(|row| certificate(&row)).transpose()
    }

    /// Adds a certificate.
    pub async fn signing_certificate_insert(
        &mut self,
        certificate: &SigningCertificate,
    ) -> Result<(), StoreError> {
        let named = format!("the certificate {} of {}", certificate.serial, certificate.issuer);
        self.insert(
            "INSERT INTO signing_certificates (fingerprint, issuer, serial, subject, root, user_id, der, sealed_key, \
             not_before, not_after, state, added_by, added_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
            args![
                certificate.fingerprint,
                &certificate.issuer,
                &certificate.serial,
                &certificate.subject,
                certificate.root,
                certificate.user,
                &certificate.der,
                &certificate.sealed_key,
                certificate.not_before,
                certificate.not_after,
                certificate.state.as_str(),
                &certificate.added_by,
                certificate.added_at,
            ],
            &named,
            &named,
        )
        .await
    }

    /// Lets a certificate sign no more; its key goes.
    pub async fn signing_certificate_revoke(&mut self, fingerprint: &Digest) -> Result<bool, StoreError> {
        let empty: &[u8] = &[];
        let sql = "UPDATE signing_certificates SET state = 'revoked', sealed_key = $2 \
                   WHERE fingerprint = $1 AND state = 'valid'";
        Ok(self.execute(sql, args![*fingerprint, empty]).await? == 1)
    }

    /// Deletes all certificates that were issued here under this root, with their keys; how many that were.
    pub async fn signing_certificates_delete(&mut self, root: &Digest) -> Result<u64, StoreError> {
        let empty: &[u8] = &[];
        let sql = "UPDATE signing_certificates SET state = 'deleted', sealed_key = $2 \
                   WHERE root = $1 AND state <> 'deleted'";
        self.execute(sql, args![*root, empty]).await
    }

    /// Deletes all certificates that were issued here for this account, with their keys.
    pub(crate) async fn signing_certificates_delete_of(&mut self, user: UserId) -> Result<(), StoreError> {
        let empty: &[u8] = &[];
        let sql = "UPDATE signing_certificates SET state = 'deleted', sealed_key = $2 WHERE user_id = $1";
        self.execute(sql, args![user, empty]).await.map(drop)
    }

    /// The time of the last signature that was made here for this account, milliseconds; 0 before there is one.
    pub async fn item_signed_at(&mut self, user: UserId) -> Result<i64, StoreError> {
        let sql = "SELECT COALESCE(MAX(signed_at), 0) AS at FROM item_signatures WHERE certificate IN \
                   (SELECT fingerprint FROM signing_certificates WHERE user_id = $1)";
        let row = self.first(sql, args![user]).await?;
        row.map_or(Ok(0), |row| row.int("at"))
    }

    /// Keeps a signature.
    pub async fn item_signature_insert(&mut self, signature: &ItemSignature) -> Result<(), StoreError> {
        self.insert(
            "INSERT INTO item_signatures (id, item_type, hash, certificate, signed_by, signed_at, bundle) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            args![
                signature.id,
                &signature.item_type,
                &signature.hash,
                signature.certificate,
                &signature.signed_by,
                signature.signed_at,
                &signature.bundle,
            ],
            "this signature",
            "this signature",
        )
        .await
    }
}

fn root(row: &Row) -> Result<SigningRoot, StoreError> {
    Ok(SigningRoot {
        fingerprint: row.parsed("fingerprint")?,
        origin: row.parsed("origin")?,
        state: row.parsed("state")?,
        subject: row.text("subject")?,
        der: row.bytes("der")?,
        sealed_key: row.bytes("sealed_key")?,
        stamp_der: row.bytes("stamp_der")?,
        sealed_stamp_key: row.bytes("sealed_stamp_key")?,
        added_by: row.text("added_by")?,
        added_at: row.int("added_at")?,
    })
}

fn certificate(row: &Row) -> Result<SigningCertificate, StoreError> {
    Ok(SigningCertificate {
        fingerprint: row.parsed("fingerprint")?,
        issuer: row.text("issuer")?,
        serial: row.text("serial")?,
        subject: row.text("subject")?,
        root: row.optional("root")?,
        user: row.optional("user_id")?,
        der: row.bytes("der")?,
        sealed_key: row.bytes("sealed_key")?,
        not_before: row.int("not_before")?,
        not_after: row.int("not_after")?,
        state: row.parsed("state")?,
        added_by: row.text("added_by")?,
        added_at: row.int("added_at")?,
    })
}

fn signature(row: &Row) -> Result<ItemSignature, StoreError> {
    Ok(ItemSignature {
        id: row.parsed("id")?,
        item_type: row.text("item_type")?,
        hash: row.text("hash")?,
        certificate: row.parsed("certificate")?,
        signed_by: row.text("signed_by")?,
        signed_at: row.int("signed_at")?,
        bundle: row.text("bundle")?,
    })
}
