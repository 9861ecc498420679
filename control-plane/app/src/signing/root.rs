//! The roots that signatures may lead to: the collective's own, and those that administrators bring from elsewhere.
//!
//! Invariant: a root counts if, and only if, the trust state names it; row and entry change together.

use muster_code_trust::Entry;
use muster_ids::Digest;
use muster_model::{
    audit::Event,
    permission::{Caller, Operation},
};
use muster_pki::{CertificateDer, code_signing::CodeCertificate, pem};
use muster_store::{Draft, RootOrigin, RootState, SigningRoot};
use muster_wire::admin::v1::{Page, PageQuery, signing::SigningRoot as WireRoot};
use serde_json::json;

use crate::{
    App, Error,
    epoch::tombstone,
    page,
    text::rfc3339,
    trust::{author, duplicate, locked},
};

impl App {
    /// The roots that are accepted, the oldest first. They are public.
    pub async fn list_signing_roots(
        &self,
        caller: &Caller,
        query: &PageQuery,
    ) -> Result<Page<WireRoot>, Error> {
        self.authorize(caller, Operation::Use).await?;
        let roots = self.store().signing_roots().await?;
        let mut accepted = Vec::new();
        for root in roots.into_iter().filter(|root| root.state != RootState::Removed) {
            let key = (root.added_at, root.fingerprint.to_string());
            accepted.push((key, to_wire(root)?));
        }
        page::of_whole(query, accepted)
    }

    /// The collective's own root, which is made now if nobody has needed it before.
    pub async fn own_signing_root(&self, caller: &Caller) -> Result<WireRoot, Error> {
        self.authorize_to(caller, Operation::ManageTrust, "export the code-signing root", "")
            .await?;
        let authority = self.code_authority().await?;
        let roots = self.store().signing_roots().await?;
        let own = roots
            .into_iter()
            .find(|root| root.fingerprint == authority.fingerprint)
            .ok_or_else(|| Error::bug("a root without a row"))?;
        to_wire(own)
    }

    /// Accepts the root of another authority.
    pub(super) async fn import_root(
        &self,
        caller: &Caller,
        certificate: &CertificateDer<'_>,
        facts: CodeCertificate,
    ) -> Result<WireRoot, Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageTrust, "accept a code-signing root", "")
            .await?;
        let now = self.now();
        if !facts.is_self_issued {
            return Err(Error::invalid(
                "this is the certificate of an authority that is no root; import its root, and leave it beside the signatures",
            ));
        }
        if facts.validity.not_after_ms() < now {
            return Err(Error::invalid(
                "the certificate has expired; import the one that follows it",
            ));
        }
        let row = SigningRoot {
            fingerprint: Digest::of(certificate),
            origin: RootOrigin::Imported,
            state: RootState::Accepted,
            subject: facts.subject,
            der: certificate.to_vec(),
            sealed_key: Vec::new(),
            stamp_der: Vec::new(),
            sealed_stamp_key: Vec::new(),
            added_by: author(caller)?.to_string(),
            added_at: now,
        };
        let entry = Entry::Root(row.fingerprint.to_string().parse().map_err(Error::bug)?);
        let mut tx = self.begin_asked(&authorized).await?;
        locked(&mut tx).await?;
        let known = tx.signing_roots().await?;
        // With the key of an own root it would speak for what that one signed.
        let own = known.iter().filter(|root| root.origin == RootOrigin::Internal);
        for root in own.filter(|root| root.fingerprint != row.fingerprint) {
            if CodeCertificate::of(&root.der).map_err(Error::bug)?.spki == facts.spki {
                return Err(Error::conflict(
                    "conflict",
                    "the certificate has the key of the collective's own root, which others cannot bring",
                ));
            }
            // Where there are only files, the own roots are told by their name.
            if root.subject == row.subject {
                return Err(Error::conflict(
                    "conflict",
                    "the certificate has the name of the collective's own root, which others cannot have",
                ));
            }
        }
        let known = known.iter().find(|root| root.fingerprint == row.fingerprint);
        match known.map(|root| (root.origin, root.state)) {
            Some((RootOrigin::Imported, RootState::Removed)) | None => {}
            Some((RootOrigin::Internal, RootState::Removed)) => {
                return Err(Error::conflict(
                    "conflict",
                    "this was the collective's own root until code trust was reset; what it signed is to be signed again",
                ));
            }
            Some(_) => return Err(duplicate("this root is accepted already")),
        }
        tx.signing_root_insert(&row).await?;
        // Whoever accepts it knows that it was removed.
        let (tombstone, _) = tombstone::of_root(&row.fingerprint, now)?;
        tx.trust_change(&[(entry.key(), Some(entry.value())), (tombstone, None)], now)
            .await?;
        let detail = json!({ "fingerprint": row.fingerprint });
        tx.commit(
            Draft::new(Event::SigningRootImported, row.subject.clone(), detail),
            now,
        )
        .await?;
        to_wire(row)
    }

    /// Removes an imported root: what leads to it is no longer valid.
    pub async fn remove_signing_root(&self, caller: &Caller, fingerprint: &str) -> Result<(), Error> {
        let authorized = self
            .authorize_to(
                caller,
                Operation::ManageTrust,
                "remove the code-signing root",
                fingerprint,
            )
            .await?;
        let now = self.now();
        let mut tx = self.begin_asked(&authorized).await?;
        locked(&mut tx).await?;
        let roots = tx.signing_roots().await?;
        let named = |root: &&SigningRoot| {
            root.state != RootState::Removed && root.fingerprint.to_string() == fingerprint
        };
        let root = roots.iter().find(named).ok_or_else(|| Error::NotFound {
            detail:
                "there is no such root; muster compat list-code-signing-root-certificates shows all of them"
                    .to_owned(),
        })?;
        if root.origin == RootOrigin::Internal {
            return Err(Error::conflict(
                "own-root",
                "this is the collective's own root; muster compat reset-code-trust makes another in its place",
            ));
        }
        tx.signing_root_remove(&root.fingerprint).await?;
        let entry = Entry::Root(root.fingerprint.to_string().parse().map_err(Error::bug)?);
        let tombstone = tombstone::of_root(&root.fingerprint, now)?;
        tx.trust_change(&[(entry.key(), None), tombstone], now).await?;
        let detail = json!({ "fingerprint": root.fingerprint });
        tx.commit(
            Draft::new(Event::SigningRootRemoved, root.subject.clone(), detail),
            now,
        )
        .await?;
        Ok(())
    }
}

/// A root as people see it.
pub(super) fn to_wire(root: SigningRoot) -> Result<WireRoot, Error> {
    let facts = CodeCertificate::of(&root.der).map_err(Error::bug)?;
    Ok(WireRoot {
        fingerprint: root.fingerprint,
        origin: root.origin.to_string(),
        subject: root.subject,
        serial: facts.serial,
        not_after: rfc3339(facts.validity.not_after_ms()),
        added: rfc3339(root.added_at),
        pem: pem::write_certificates([&CertificateDer::from(root.der)]),
    })
}
