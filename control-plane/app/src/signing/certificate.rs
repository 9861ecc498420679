//! Certificates of those who sign: issued to users when they sign, and imported ones of other authorities.
//!
//! Invariant: a certificate that was issued here has its key here, sealed, and signs for its account only; a revoked one
//! never signs again, and what it signed from a moment on is void for ever.

use std::time::Duration;

use muster_code_trust::{Certificate as Signer, Entry, Moment, Revocation, SignatureBundle, TrustState};
use muster_ids::Digest;
use muster_model::{
    audit::Event,
    permission::{ADMINISTRATOR, Caller, Operation},
};
use muster_pki::{
    CertificateDer, KeyUse, Serial, Signer as _, SoftwareSigner, Validity,
    code_signing::{CodeCertificate, CodeHolder},
    pem,
};
use muster_store::{Draft, ItemSignature, SignerState, SigningCertificate, TrustReason, Tx, User};
use muster_wire::admin::v1::{
    Page, PageQuery,
    signing::{RevokeSigningCertificate, SigningCertificate as WireCertificate, SigningCertificateQuery},
    trust::Revocation as WireRevocation,
};
use serde_json::json;

use super::{authority::CodeAuthority, signer};
use crate::{
    App, Error, page,
    text::rfc3339,
    trust::{author, duplicate, locked, moment, reason, refuse_many_of, revocation_to_wire},
};

/// How long the certificate of a user is valid.
const USER_LIFETIME: Duration = Duration::from_hours(365 * 24);
/// What the key of a user is sealed as.
const USER_KEY: &str = "code-signing";

impl App {
    /// The key and certificate with which `user` signs now; issued in this change where there is none, with its record.
    pub(super) async fn certificate_of(
        &self,
        tx: &mut Tx,
        user: &User,
        authority: &CodeAuthority,
        now: i64,
    ) -> Result<(SoftwareSigner, SigningCertificate, Option<Draft>), Error> {
        let name = |fingerprint: &Digest| format!("{USER_KEY}/{fingerprint}");
        if let Some(known) = tx
            .signing_certificate_of(user.id, &authority.fingerprint, now)
            .await?
            && CodeCertificate::of(&known.der)
                .is_ok_and(|facts| facts.account.is_some_and(|account| account.name == user.name))
        {
            let key = self.keys().open(&name(&known.fingerprint), &known.sealed_key)?;
            return Ok((signer(&key, KeyUse::Code)?, known, None));
        }
        let key = SoftwareSigner::generate(KeyUse::Code).map_err(Error::bug)?;
        let holder = CodeHolder::User {
            name: user.name.clone(),
            id: user.id,
        };
        let serial = Serial::from_random(self.random().bytes());
        let validity = Validity::starting(now, USER_LIFETIME);
        let der = authority
            .issue(&holder, key.public_key(), &serial, validity)
            .await?;
        let facts = CodeCertificate::of(&der).map_err(Error::bug)?;
        let fingerprint = Digest::of(&der);
        let pkcs8 = key.to_pkcs8().map_err(Error::bug)?;
        let row = SigningCertificate {
            fingerprint,
            issuer: facts.issuer,
            serial: facts.serial,
            subject: facts.subject,
            root: Some(authority.fingerprint),
            user: Some(user.id),
            der: der.to_vec(),
            sealed_key: self.keys().seal(&name(&fingerprint), &pkcs8),
            not_before: facts.validity.not_before_ms(),
            not_after: facts.validity.not_after_ms(),
            state: SignerState::Valid,
            added_by: user.name.to_string(),
            added_at: now,
        };
        tx.signing_certificate_insert(&row).await?;
        let detail = json!({ "serial": row.serial, "not_after": row.not_after });
        let draft = Draft::new(
            Event::SigningCertificateIssued,
            format!("user {}", user.name),
            detail,
        );
        Ok((key, row, Some(draft)))
    }

    /// Certificates of signers: those that were issued here, or those of other authorities. Users see their own, and imported
    /// ones; administrators also those that are known by a signature only.
    pub async fn list_signing_certificates(
        &self,
        caller: &Caller,
        query: &SigningCertificateQuery,
    ) -> Result<Page<WireCertificate>, Error> {
        let me = author(caller)?;
        let administrator = matches!(caller, Caller::User(user) if user.is_in(ADMINISTRATOR));
        let external = query.external.unwrap_or(false);
        if external && query.user.is_some() {
            return Err(Error::invalid(
                "certificates of other authorities are of nobody here; leave user or external away",
            ));
        }
        let own = query.user.as_ref().is_some_and(|user| user.key() == me.key());
        let operation = if own || external || (query.user.is_none() && !administrator) {
            Operation::Use
        } else {
            Operation::ReadAdministration
        };
        self.authorize(caller, operation).await?;
        let whose = match (&query.user, administrator) {
            (Some(user), _) => Some(self.user_named(user).await?.id),
            (None, true) => None,
            (None, false) => Some(self.user_named(me).await?.id),
        };
        let pages = PageQuery {
            limit: query.limit,
            next: query.next.clone(),
        };
        let limit = page::limit(&pages)?;
        let after = page::after::<Digest>(&pages)?;
        let most = limit + 1;
        let store = self.store();
        let mut rows = store
            .signing_certificates(external, whose, after.as_ref(), most)
            .await?;
        if external && administrator {
            let seen = store.signing_certificates_seen(after.as_ref(), most).await?;
            rows.extend(seen.iter().filter_map(seen_on));
            rows.sort_by_key(|row| row.fingerprint.to_string());
            rows.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        }
        let now = self.now();
        // Imported ones are trusted and blocked, and never revoked.
        let state = if external {
            None
        } else {
            Some(self.trust_state().await?)
        };
        let shown = |row: SigningCertificate| {
            let void = state.as_ref().is_some_and(|state| is_void(state, &row));
            let shown = to_wire(row, now);
            if void {
                let state = SignerState::Revoked.to_string();
                return WireCertificate { state, ..shown };
            }
            shown
        };
        Ok(page::of(rows, limit, |row| row.fingerprint, shown))
    }

    /// Revokes one certificate that was issued here: it signs no more, and what its user signed while it was in use, from
    /// a moment until now, is void.
    pub async fn revoke_signing_certificate(
        &self,
        caller: &Caller,
        serial: &str,
        asked: &RevokeSigningCertificate,
    ) -> Result<WireRevocation, Error> {
        let me = author(caller)?;
        let administrator = matches!(caller, Caller::User(user) if user.is_in(ADMINISTRATOR));
        let operation = if administrator {
            Operation::ManageTrust
        } else {
            Operation::TrustForOneself
        };
        let authorized = self
            .authorize_to(caller, operation, "revoke the code-signing certificate", serial)
            .await?;
        let unknown = || {
            Error::NotFound {
            detail: "there is no such certificate of a user; muster compat list-code-signing-certificates shows all of them"
                .to_owned(),
        }
        };
        let number: muster_code_trust::Serial = serial.parse().map_err(|_| unknown())?;
        let known = self.store().signing_certificate_issued(number.as_str()).await?;
        let known = known.ok_or_else(unknown)?;
        let user = known.user.ok_or_else(unknown)?;
        let user = self.store().user(user).await?.ok_or_else(unknown)?;
        if !administrator && user.name.key() != me.key() {
            return Err(unknown());
        }
        let given = moment("from", &asked.from)?;
        let reason = reason(asked.reason.as_deref())?;
        let mut tx = self.begin_asked(&authorized).await?;
        let entries = locked(&mut tx).await?;
        // Read while nobody signs: no signature with this certificate can come after it.
        let now = self.now();
        let from = given.max(Moment::from_unix_ms(known.not_before));
        // What another control plane, whose clock is ahead, has stamped is before this too.
        let last = tx.item_signed_at(user.id).await?;
        let until = Moment::from_unix_ms(now.max(last).min(known.not_after));
        if until < from {
            return Err(Error::invalid(
                "the field from names a moment after the certificate was of use",
            ));
        }
        let beside = TrustReason {
            reason,
            by: me.to_string(),
            at: now,
        };
        let revocation = Revocation {
            user: user.name.clone(),
            from,
            until: Some(until),
        };
        let whole = Entry::Revocation(revocation.clone());
        if !tx.signing_certificate_revoke(&known.fingerprint).await? {
            // Once more would make void what the certificates after it have signed.
            return Err(duplicate(format!(
                "the certificate {number} is revoked already; muster trust revoke makes void what was signed at other times"
            )));
        }
        if !administrator {
            refuse_many_of(&entries, &user.name)?;
        }
        tx.trust_change(&[(whole.key(), Some(whole.value()))], now)
            .await?;
        tx.trust_reason_put(&whole.key(), &beside).await?;
        let detail = json!({ "serial": number, "from": from, "until": until, "reason": beside.reason });
        let draft = Draft::new(Event::SignaturesRevoked, format!("user {}", user.name), detail);
        tx.commit(draft, now).await?;
        Ok(revocation_to_wire(revocation, &beside))
    }
}

/// Whether what its user signed at some time of this certificate is revoked.
fn is_void(state: &TrustState, row: &SigningCertificate) -> bool {
    let facts = CodeCertificate::of(&row.der).ok();
    let Some(account) = facts.and_then(|facts| facts.account) else {
        return false;
    };
    state.revocations().any(|known| {
        known.user.key() == account.name.key()
            && known.from.unix_ms() <= row.not_after
            && known.until.is_none_or(|until| row.not_before <= until.unix_ms())
    })
}

/// The certificate by which a signature was made that is kept.
fn seen_on(signature: &ItemSignature) -> Option<SigningCertificate> {
    let bundle = SignatureBundle::from_json(signature.bundle.as_bytes()).ok()?;
    let der = bundle.signature.chain().first()?.to_vec();
    let facts = CodeCertificate::of(&der).ok()?;
    Some(SigningCertificate {
        fingerprint: signature.certificate,
        issuer: facts.issuer,
        serial: facts.serial,
        subject: facts.subject,
        root: None,
        user: None,
        der,
        sealed_key: Vec::new(),
        not_before: facts.validity.not_before_ms(),
        not_after: facts.validity.not_after_ms(),
        state: SignerState::Valid,
        added_by: signature.signed_by.clone(),
        added_at: signature.signed_at,
    })
}

/// How trust and blocks name a certificate.
pub(super) fn named(row: &SigningCertificate) -> Result<Signer, Error> {
    Ok(Signer {
        issuer: row.issuer.parse().map_err(Error::bug)?,
        serial: row.serial.parse().map_err(Error::bug)?,
    })
}

pub(super) fn to_wire(row: SigningCertificate, now: i64) -> WireCertificate {
    let state = match row.state {
        SignerState::Valid if row.not_after < now => "expired",
        SignerState::Valid => "valid",
        SignerState::Revoked => "revoked",
        SignerState::Deleted => "deleted",
    };
    WireCertificate {
        fingerprint: row.fingerprint,
        issuer: row.issuer,
        serial: row.serial,
        subject: row.subject,
        external: row.user.is_none(),
        state: state.to_owned(),
        not_before: rfc3339(row.not_before),
        not_after: rfc3339(row.not_after),
        pem: pem::write_certificates([&CertificateDer::from(row.der)]),
    }
}
