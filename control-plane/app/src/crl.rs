//! The revocation list that is published for others.
//!
//! Invariant: the list says what the database says, a few seconds later at the most; its number grows by one with
//! each list of one issuing key, across restarts and replicas, because lists are kept in the database.

use std::{fmt::Write as _, sync::Arc};

use arc_swap::ArcSwapOption;
use muster_ids::Digest;
use muster_model::audit::Event;
use muster_pki::{CrlHead, Outline, RevocationReason, RevokedCertificate, issue_crl, pem};
use muster_store::{Certificate, Draft, RevocationList};
use serde_json::json;

use crate::{App, Error};

/// How long a list holds.
const LIFETIME_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// A list this old is replaced though nothing has changed, long before it ends.
const RENEWED_MS: i64 = 24 * 60 * 60 * 1000;

/// The list as it is published now.
#[derive(Default)]
pub struct Published(ArcSwapOption<RevocationList>);

impl App {
    /// The list in DER; `None` before the first one was made.
    pub fn revocation_list(&self) -> Option<Arc<RevocationList>> {
        self.inner.published.0.load_full()
    }

    /// Publishes a new list if another one is needed: something was revoked, or the present one is a day old.
    pub async fn reconcile_revocation_list(&self) -> Result<(), Error> {
        let authority = self.authority();
        let now = self.now();
        let key = Outline::of(&authority.intermediate)
            .and_then(|outline| outline.key_identifier)
            .ok_or_else(|| Error::bug("an issuing certificate without the identifier of its key"))?;
        let issuer = hex(&key);
        // RFC 5280 3.3: what is revoked stays on the list until one was published after its end.
        let revoked: Vec<Certificate> = self
            .store()
            .certificates_revoked(now - LIFETIME_MS)
            .await?
            .into_iter()
            .filter(|row| {
                Outline::of(&row.der)
                    .and_then(|outline| outline.issuer_key_identifier)
                    .as_ref()
                    == Some(&key)
            })
            .collect();
        let content = content(&revoked).to_string();
        let kept = self.store().revocation_list(&issuer).await?;
        if let Some(kept) = &kept
            && kept.content == content
            && now - kept.this_update < RENEWED_MS
        {
            self.inner.published.0.store(Some(Arc::new(kept.clone())));
            return Ok(());
        }
        let (number, after) = kept.map_or((1, now), |kept| (kept.number + 1, kept.this_update));
        // A clock that was set back does not make a later list look older.
        let this_update = now.max(after);
        let head = CrlHead {
            number: u64::try_from(number).map_err(Error::bug)?,
            this_update_ms: this_update,
            next_update_ms: this_update + LIFETIME_MS,
        };
        let entries = revoked.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let der = issue_crl(&entries, &head, &authority.intermediate, &*authority.issuing)
            .await
            .map_err(Error::bug)?;
        let list = RevocationList {
            issuer,
            number,
            content,
            this_update,
            next_update: head.next_update_ms,
            der,
        };
        let mut tx = self.store().begin(&Self::system()).await?;
        tx.revocation_list_put(&list).await?;
        let detail = json!({ "number": number, "certificates": entries.len() });
        let draft = Draft::new(Event::RevocationListIssued, list.issuer.clone(), detail);
        tx.commit(draft, now).await?;
        self.inner.published.0.store(Some(Arc::new(list)));
        Ok(())
    }

    /// The roots and the issuing certificate in PEM: what others need beside the list.
    pub fn authority_pem(&self) -> String {
        let authority = self.authority();
        let issuing = std::iter::once(&authority.intermediate);
        pem::write_certificates(authority.roots.certificates().iter().chain(issuing))
    }
}

fn entry(row: &Certificate) -> Result<RevokedCertificate, Error> {
    Ok(RevokedCertificate {
        serial: row.serial.parse().map_err(Error::bug)?,
        revoked_at_ms: row.revoked_at.unwrap_or(row.not_before),
        reason: reason(row.reason.as_deref()),
    })
}

/// The code for what was said when it was revoked; a person's own words mean that the holder may no longer.
fn reason(words: Option<&str>) -> RevocationReason {
    match words {
        None => RevocationReason::Unspecified,
        Some("left") => RevocationReason::CessationOfOperation,
        Some(words) => words.parse().unwrap_or(RevocationReason::PrivilegeWithdrawn),
    }
}

fn content(revoked: &[Certificate]) -> Digest {
    let mut parts: Vec<Vec<u8>> = vec![b"muster-crl/1".to_vec()];
    for row in revoked {
        let at = row.revoked_at.unwrap_or(row.not_before);
        parts.push(row.serial.as_bytes().to_vec());
        parts.push(at.to_be_bytes().to_vec());
        parts.push(reason(row.reason.as_deref()).as_str().as_bytes().to_vec());
    }
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    Digest::of_framed(&parts)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use muster_model::permission::{Caller, Operation};
    use muster_store::CertificateState;

    use super::*;
    use crate::fixture;

    #[tokio::test]
    async fn a_list_is_made_again_only_when_something_changed_and_its_number_grows() {
        let (app, _folder) = fixture::app().await;
        app.reconcile_revocation_list().await.expect("published");
        let first = app.revocation_list().expect("there");
        app.reconcile_revocation_list().await.expect("looked");
        assert_eq!(app.revocation_list().expect("there"), first);
        let credential = app.issue_control_plane_credential().await.expect("issued");
        let serial = Outline::of(&credential.chain()[0])
            .expect("read")
            .serial
            .to_string();
        let mut tx = app.store().begin(&App::system()).await.expect("begun");
        assert!(
            tx.certificate_revoke(&serial, 5, "key-compromise")
                .await
                .expect("revoked")
        );
        assert!(
            !tx.certificate_revoke(&serial, 6, "superseded")
                .await
                .expect("once")
        );
        let draft = Draft::new(Event::CertificateRevoked, serial.clone(), json!({}));
        tx.commit(draft, 5).await.expect("committed");
        app.reconcile_revocation_list().await.expect("published");
        let second = app.revocation_list().expect("there");
        assert_eq!((first.number, second.number), (1, 2));
        let kept = app
            .store()
            .certificate(&serial)
            .await
            .expect("read")
            .expect("kept");
        assert_eq!(kept.state, CertificateState::Revoked);
        assert_eq!(reason(kept.reason.as_deref()), RevocationReason::KeyCompromise);
        assert!(app.authorize(&Caller::System, Operation::Maintain).await.is_ok());
    }

    #[test]
    fn what_people_say_becomes_a_code() {
        assert_eq!(reason(None), RevocationReason::Unspecified);
        assert_eq!(reason(Some("left")), RevocationReason::CessationOfOperation);
        assert_eq!(reason(Some("disk stolen")), RevocationReason::PrivilegeWithdrawn);
        assert_eq!(reason(Some("superseded")), RevocationReason::Superseded);
    }
}
