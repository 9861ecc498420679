//! The collective's code-signing authority: apart from the one that nodes belong to.
//!
//! ```text
//! none ── first need ──► accepted ── its last 400 days ──► retired, and another one accepted
//!                           └───────────── reset ──────────► removed (the retired ones too), and another one accepted
//! ```
//!
//! Invariant: one root signs, and the trust state names it as long as there is one; what retired ones signed counts beside
//! what it signs. Keys lie sealed in the database, so that every control plane has them; those of others are gone.

use std::time::Duration;

use muster_code_trust::{Entry, INTERNAL_ROOT, Moment, TimeStatement};
use muster_ids::Digest;
use muster_model::{
    audit::Event,
    permission::{Authorized, Caller, Operation},
};
use muster_pki::{
    CertificateDer, KeyUse, PublicKey, Serial, Signer as _, SoftwareSigner, Validity,
    code_signing::{
        CodeCertificate, CodeHolder, CodeMessage, CodeSigned, create_code_root, issue_code_certificate,
    },
};
use muster_store::{Draft, RootOrigin, RootState, SigningRoot, Tx};
use muster_wire::admin::v1::signing::CodeTrustReset;
use serde_json::json;

use super::{author, root::to_wire, signer};
use crate::{App, Error, epoch::tombstone, trust::locked};

/// How long a code-signing root is valid, and the key that stamps times under it.
const ROOT_LIFETIME: Duration = Duration::from_hours(10 * 365 * 24);

/// How long before its end a root is followed by another: a certificate of a user and a month, so that none is cut short.
const RENEWAL: Duration = Duration::from_hours(400 * 24);

/// The authority with its keys, about to sign.
pub(super) struct CodeAuthority {
    pub(super) fingerprint: Digest,
    pub(super) root: CertificateDer<'static>,
    key: SoftwareSigner,
    stamp: CertificateDer<'static>,
    stamp_key: SoftwareSigner,
}

impl CodeAuthority {
    /// The word that the signature with this digest was there at `now`; whether it was made here, at that moment.
    pub(super) async fn stamp(
        &self,
        digest: Digest,
        signed_here: bool,
        now: i64,
    ) -> Result<CodeSigned, Error> {
        let statement = TimeStatement {
            digest,
            at: Moment::from_unix_ms(now),
            signed_here,
        };
        let payload = serde_json::to_vec(&statement).map_err(Error::bug)?;
        let chain = [self.stamp.clone()];
        CodeSigned::sign(CodeMessage::TimeStamp, payload, &self.stamp_key, &chain)
            .await
            .map_err(Error::bug)
    }

    /// A certificate for the key of `holder`, never longer than the root.
    pub(super) async fn issue(
        &self,
        holder: &CodeHolder,
        key: &PublicKey,
        serial: &Serial,
        validity: Validity,
    ) -> Result<CertificateDer<'static>, Error> {
        let root = CodeCertificate::of(&self.root).map_err(Error::bug)?;
        let validity = validity.ending_with(root.validity);
        issue_code_certificate(holder, key, &self.root, &self.key, serial, &validity)
            .await
            .map_err(Error::bug)
    }
}

impl App {
    /// The authority that signs; the first who needs it makes it, or the next one before its end.
    pub(super) async fn code_authority(&self) -> Result<CodeAuthority, Error> {
        let roots = self.store().signing_roots().await?;
        if let Some(row) = internal(&roots)
            && !ends_soon(row, self.now())?
        {
            return self.opened(row);
        }
        let mut tx = self.store().begin(&Self::system()).await?;
        locked(&mut tx).await?;
        let now = self.now();
        let roots = tx.signing_roots().await?;
        let before = internal(&roots);
        if let Some(row) = before {
            if !ends_soon(row, now)? {
                return self.opened(row);
            }
            tx.signing_root_retire(&row.fingerprint).await?;
        }
        let before = before.map(|row| row.fingerprint);
        let row = self.new_code_root(&mut tx, "system", now).await?;
        let detail = json!({ "fingerprint": row.fingerprint, "before": before });
        tx.commit(
            Draft::new(Event::SigningRootMade, row.subject.clone(), detail),
            now,
        )
        .await?;
        self.opened(&row)
    }

    /// Makes the authority anew and deletes what the one before has issued: what it signed leads to no root any more.
    pub async fn reset_code_trust(&self, caller: &Caller) -> Result<CodeTrustReset, Error> {
        let authorized: Authorized = self
            .authorize_to(caller, Operation::ManageTrust, "reset the code trust", "")
            .await?;
        let by = author(caller)?.to_string();
        let now = self.now();
        let mut tx = self.begin_asked(&authorized).await?;
        locked(&mut tx).await?;
        let roots = tx.signing_roots().await?;
        let before = internal(&roots).map(|row| row.fingerprint);
        let (mut gone, mut deleted) = (Vec::new(), 0);
        for root in roots.iter().filter(|root| root.origin == RootOrigin::Internal) {
            if root.state != RootState::Removed {
                tx.signing_root_remove(&root.fingerprint).await?;
                deleted += tx.signing_certificates_delete(&root.fingerprint).await?;
                gone.push(tombstone::of_root(&root.fingerprint, now)?);
            }
        }
        tx.trust_change(&gone, now).await?;
        let row = self.new_code_root(&mut tx, &by, now).await?;
        let detail = json!({ "before": before, "fingerprint": row.fingerprint, "deleted": deleted });
        tx.commit(
            Draft::new(Event::CodeTrustReset, row.subject.clone(), detail),
            now,
        )
        .await?;
        Ok(CodeTrustReset {
            root: to_wire(row)?,
            deleted,
        })
    }

    /// Makes a root with the key that stamps times, and names it in the trust state.
    async fn new_code_root(&self, tx: &mut Tx, by: &str, now: i64) -> Result<SigningRoot, Error> {
        let collective = self.collective();
        let validity = Validity::starting(now, ROOT_LIFETIME);
        let key = SoftwareSigner::generate(KeyUse::Authority).map_err(Error::bug)?;
        let serial = || Serial::from_random(self.random().bytes());
        let root = create_code_root(collective, &key, &serial(), &validity)
            .await
            .map_err(Error::bug)?;
        let stamp_key = SoftwareSigner::generate(KeyUse::TimeStamp).map_err(Error::bug)?;
        let holder = CodeHolder::TimeStamp(collective);
        let stamp =
            issue_code_certificate(&holder, stamp_key.public_key(), &root, &key, &serial(), &validity)
                .await
                .map_err(Error::bug)?;
        let fingerprint = Digest::of(&root);
        let sealed = |what: &str, key: &SoftwareSigner| -> Result<Vec<u8>, Error> {
            let pkcs8 = key.to_pkcs8().map_err(Error::bug)?;
            Ok(self.keys().seal(&format!("{what}/{fingerprint}"), &pkcs8))
        };
        let row = SigningRoot {
            fingerprint,
            origin: RootOrigin::Internal,
            state: RootState::Accepted,
            subject: CodeCertificate::of(&root).map_err(Error::bug)?.subject,
            sealed_key: sealed(ROOT_KEY, &key)?,
            sealed_stamp_key: sealed(STAMP_KEY, &stamp_key)?,
            der: root.to_vec(),
            stamp_der: stamp.to_vec(),
            added_by: by.to_owned(),
            added_at: now,
        };
        tx.signing_root_insert(&row).await?;
        let entry = Entry::Root(INTERNAL_ROOT.parse().map_err(Error::bug)?);
        tx.trust_change(&[(entry.key(), Some(entry.value()))], now)
            .await?;
        Ok(row)
    }

    fn opened(&self, row: &SigningRoot) -> Result<CodeAuthority, Error> {
        let fingerprint = row.fingerprint;
        let open = |what: &str, sealed: &[u8]| self.keys().open(&format!("{what}/{fingerprint}"), sealed);
        Ok(CodeAuthority {
            fingerprint,
            root: row.der.clone().into(),
            key: signer(&open(ROOT_KEY, &row.sealed_key)?, KeyUse::Authority)?,
            stamp: row.stamp_der.clone().into(),
            stamp_key: signer(&open(STAMP_KEY, &row.sealed_stamp_key)?, KeyUse::TimeStamp)?,
        })
    }
}

/// Whether a root is to be followed by another.
fn ends_soon(root: &SigningRoot, now: i64) -> Result<bool, Error> {
    let end = CodeCertificate::of(&root.der)
        .map_err(Error::bug)?
        .validity
        .not_after_ms();
    let before = i64::try_from(RENEWAL.as_millis()).map_err(Error::bug)?;
    Ok(end.saturating_sub(before) <= now)
}

/// What the key of a root is sealed as.
const ROOT_KEY: &str = "code-signing-root";
/// What the key that stamps times is sealed as.
const STAMP_KEY: &str = "time-stamps";

fn internal(roots: &[SigningRoot]) -> Option<&SigningRoot> {
    roots
        .iter()
        .find(|root| root.origin == RootOrigin::Internal && root.state == RootState::Accepted)
}
