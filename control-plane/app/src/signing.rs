//! Signing of items, and what holds of a signature.
//!
//! A user signs with a certificate of the collective's own code-signing authority, which is issued when it is needed and
//! whose key lies sealed in the database. What is signed is the digest of the canonical form, which the control plane
//! computes itself from what is sent.
//!
//! Invariant: nobody signs as a user who is disabled, blocked or revoked for good; certificate, signature and records are
//! written in one transaction, while users and trust stand still.

mod authority;
mod certificate;
mod clock;
mod import;
mod kept;
mod root;

use muster_code_trust::{
    Block, Checked, Client, CodeRoot, Entry, FORMER_ROOT, INTERNAL_ROOT, Item, ItemHash, ItemKind,
    ItemStatement, ItemType, Moment, Question, Settings, Signature, SignatureBundle, SignatureProblem,
    SignatureSource, SignatureStatus, Signed, SignedAction, SignedKind, SignerState, Subject, TrustState,
    UserFacts, Verdict, decide,
};
use muster_ids::{Digest, Sha512};
use muster_model::{
    audit::Event,
    permission::{ADMINISTRATOR, Authorized, Caller, Operation},
};
use muster_pki::{
    CertificateDer, KeyUse, SoftwareSigner,
    code_signing::{ChainError, CodeMessage, CodeSigned},
};
use muster_store::{Draft, ItemSignature, Records, RootOrigin, RootState, Tx, User, UserState};
use muster_wire::admin::v1::{
    signing::{ItemContent, SignItem, SignedItem, StampTime, TimeStamp, VerifiedItem, VerifyItem},
    trust::Item as WireItem,
};
use serde_json::json;

use self::authority::CodeAuthority;
use crate::{
    App, Error,
    text::rfc3339,
    trust::{author, locked, refuse_blocked, why},
};

/// What is signed or verified.
struct Named {
    r#type: ItemType,
    hash: ItemHash,
}

impl App {
    /// Signs one version of an item, for the caller or, by an administrator, for another user.
    pub async fn sign_item(&self, caller: &Caller, new: &SignItem) -> Result<SignedItem, Error> {
        let me = author(caller)?;
        let named = named(&new.item)?;
        if let Some(bundle) = &new.bundle {
            if new.user.is_some() {
                return Err(Error::invalid(
                    "a signature that is there already is that of its certificate; leave the field user away",
                ));
            }
            return self.keep_signature(caller, &named, bundle).await;
        }
        // Who names a user signs by the right of administrators, also where it is themselves.
        let own = new.user.as_ref().is_none_or(|user| user.key() == me.key());
        let administrator = matches!(caller, Caller::User(user) if user.is_in(ADMINISTRATOR));
        let operation = if own && !(administrator && new.user.is_some()) {
            operation(named.r#type)
        } else {
            Operation::ManageTrust
        };
        let authorized = self.authorize(caller, operation).await?;
        let user = self.user_named(new.user.as_ref().unwrap_or(me)).await?;
        let authority = self.code_authority().await?;
        self.sign_as(&authorized, &user, &named, &authority).await
    }

    async fn sign_as(
        &self,
        authorized: &Authorized,
        user: &User,
        named: &Named,
        authority: &CodeAuthority,
    ) -> Result<SignedItem, Error> {
        let mut tx = self.store().begin(authorized).await?;
        let entries = locked(&mut tx).await?;
        // Read while nobody revokes: whatever was revoked before this signature is stamped lies behind it.
        let now = self.after_decisions(&user.name).await?;
        refuse_blocked(&entries, Block::User(user.name.clone()))?;
        refuse_revoked(&entries, user, now)?;
        // Asked while nobody changes users.
        let state = self.store().user(user.id).await?.map(|user| user.state);
        if state != Some(UserState::Active) {
            return Err(Error::conflict(
                "user-disabled",
                format!(
                    "the user {} is disabled, and nobody signs as one who is; enable the account first",
                    user.name
                ),
            ));
        }
        still_signs(&mut tx, authority).await?;
        let (key, certificate, issued) = self.certificate_of(&mut tx, user, authority, now).await?;
        refuse_blocked(&entries, Block::Certificate(certificate::named(&certificate)?))?;
        let statement = ItemStatement {
            r#type: named.r#type,
            hash: named.hash.clone(),
        };
        let payload = serde_json::to_vec(&statement).map_err(Error::bug)?;
        let chain = [CertificateDer::from(certificate.der.clone())];
        let signature = CodeSigned::sign(CodeMessage::ItemSignature, payload, &key, &chain)
            .await
            .map_err(Error::bug)?;
        let id = SignatureBundle::stamped_digest(&signature);
        let bundle = SignatureBundle {
            time_stamp: Some(authority.stamp(id, true, now).await?),
            signature,
        };
        let known = self
            .store()
            .item_signatures(named.r#type.as_str(), named.hash.as_str(), 1)
            .await?;
        tx.item_signature_insert(&ItemSignature {
            id,
            item_type: named.r#type.to_string(),
            hash: named.hash.to_string(),
            certificate: certificate.fingerprint,
            signed_by: user.name.to_string(),
            signed_at: now,
            bundle: bundle.to_json(),
        })
        .await?;
        let detail = json!({
            "type": named.r#type, "hash": named.hash, "serial": certificate.serial, "user": user.name,
        });
        let signed = Draft::new(
            if known.is_empty() {
                Event::ItemSigned
            } else {
                Event::ItemSignedAgain
            },
            format!("{} {}", named.r#type, named.hash),
            detail,
        );
        let records = match issued {
            Some(issued) => Records::from(issued).and(signed),
            None => signed.into(),
        };
        tx.commit(records, now).await?;
        Ok(SignedItem {
            item: named.to_wire(),
            user: Some(user.name.clone()),
            signer: certificate.subject,
            serial: certificate.serial,
            time: Moment::from_unix_ms(now).to_string(),
            bundle: serde_json::to_value(&bundle).map_err(Error::bug)?,
        })
    }

    /// What holds of the signature of an item, and what would come of it for the caller.
    pub async fn verify_item(&self, caller: &Caller, asked: &VerifyItem) -> Result<VerifiedItem, Error> {
        self.authorize(caller, Operation::Use).await?;
        let Caller::User(user) = caller else {
            return Err(Error::invalid("users ask about signatures"));
        };
        let named = named(&asked.item)?;
        let facts = self.known_facts(user.id, &user.name).await?;
        if let Some(bundle) = &asked.bundle {
            let (roots, state) = (self.code_roots().await?, self.trust_state().await?);
            let bundle = bundle.to_string();
            return self
                .found(&named, bundle.as_bytes(), &roots, (&facts, &state))
                .await;
        }
        if let Some(found) = self.kept(&named, &facts).await? {
            return Ok(found);
        }
        let state = self.trust_state().await?;
        Ok(shown(&named, None, None, (&facts, &state, self.now())))
    }

    /// What holds of one signature.
    async fn found(
        &self,
        named: &Named,
        bundle: &[u8],
        roots: &[CodeRoot],
        (facts, state): (&UserFacts, &TrustState),
    ) -> Result<VerifiedItem, Error> {
        let now = self.now();
        let checked = match SignatureBundle::from_json(bundle) {
            Ok(bundle) => self.checked(named, &bundle, roots).await?,
            Err(error) => Err(error.to_string()),
        };
        let checked = match checked {
            Ok(checked) => checked,
            Err(words) => return Ok(shown(named, None, Some(words), (facts, state, now))),
        };
        let revoked = is_revoked(state, &checked.signature);
        let void =
            || "what the signer signed at this time was revoked; have the item signed again".to_owned();
        let (status, problem) = match checked.problem {
            Some(problem) => (problem.status().as_str(), Some(problem.to_string())),
            None if revoked => ("revoked", Some(void())),
            None => (SignatureStatus::Valid.as_str(), None),
        };
        let signature = Some(checked.signature);
        Ok(VerifiedItem {
            status: status.to_owned(),
            signer: Some(checked.subject),
            issuer: Some(checked.certificate.issuer.to_string()),
            serial: Some(checked.certificate.serial.to_string()),
            time: checked.stamped.map(|time| time.to_string()),
            root: checked.root.map(|root| root.to_string()),
            ..shown(named, signature, problem, (facts, state, now))
        })
    }

    /// Says when a signature that was made elsewhere was there.
    pub async fn stamp_time(&self, caller: &Caller, new: &StampTime) -> Result<TimeStamp, Error> {
        let authorized = self.authorize(caller, Operation::Use).await?;
        let authority = self.code_authority().await?;
        let now = self.now();
        let stamp = authority.stamp(new.digest, false, now).await?;
        let tx = self.store().begin(&authorized).await?;
        tx.commit(
            Draft::new(Event::TimeStamped, new.digest.to_string(), json!({})),
            now,
        )
        .await?;
        Ok(TimeStamp {
            time: rfc3339(now),
            stamp: serde_json::to_value(&stamp).map_err(Error::bug)?,
        })
    }

    /// What is found out about a signature with the roots and accounts as they are; `Err` with the reason where it counts
    /// as none.
    async fn checked(
        &self,
        named: &Named,
        bundle: &SignatureBundle,
        roots: &[CodeRoot],
    ) -> Result<Result<Checked, String>, Error> {
        let mut state = SignerState::Deleted;
        if let Some(account) = bundle.account()
            && let Some(user) = self.store().user(account.id).await?
        {
            state = match user.state {
                UserState::Active => SignerState::Active,
                UserState::Disabled => SignerState::Disabled,
                UserState::Deleted => SignerState::Deleted,
            };
        }
        let now = Moment::from_unix_ms(self.now());
        let known = self.known_authorities(bundle).await?;
        let checked = bundle.check_with((named.r#type, &named.hash), (roots, &known), now, |_| state);
        let mut checked = match checked {
            Ok(checked) => checked,
            Err(error) => return Ok(Err(error.to_string())),
        };
        self.refuse_namesake(bundle, &mut checked).await?;
        Ok(Ok(checked))
    }

    /// Refuses a certificate that has issuer and number of an imported one, and is another: trust by them means that one.
    async fn refuse_namesake(&self, bundle: &SignatureBundle, checked: &mut Checked) -> Result<(), Error> {
        let SignatureSource::External { root, .. } = &mut checked.signature.source else {
            return Ok(());
        };
        let (issuer, serial) = (&checked.certificate.issuer, &checked.certificate.serial);
        let known = self
            .store()
            .signing_certificate_imported(issuer.as_str(), serial.as_str())
            .await?;
        let chain = bundle.signature.chain();
        let own = chain.first().map(|leaf| Digest::of(leaf));
        if known.is_some_and(|known| Some(known.fingerprint) != own) {
            *root = "unverified (another certificate has its issuer and number)"
                .parse()
                .map_err(Error::bug)?;
            checked.root = None;
            checked
                .problem
                .get_or_insert(SignatureProblem::Chain(ChainError::UnknownIssuer));
        }
        Ok(())
    }

    /// The roots that signatures may lead to.
    async fn code_roots(&self) -> Result<Vec<CodeRoot>, Error> {
        let roots = self.store().signing_roots().await?;
        roots
            .into_iter()
            .filter(|root| root.origin == RootOrigin::Internal || root.state == RootState::Accepted)
            .map(|root| {
                let label = match root.origin {
                    RootOrigin::Internal if root.state != RootState::Removed => INTERNAL_ROOT.to_owned(),
                    // Known, so that no other authority speaks for what it signed.
                    RootOrigin::Internal => FORMER_ROOT.to_owned(),
                    RootOrigin::Imported => root.fingerprint.to_string(),
                };
                Ok(CodeRoot {
                    label: label.parse().map_err(Error::bug)?,
                    certificate: root.der.into(),
                })
            })
            .collect()
    }
}

impl Named {
    fn to_wire(&self) -> WireItem {
        WireItem {
            kind: self.r#type.to_string(),
            hash: self.hash.to_string(),
        }
    }
}

/// What is said of an item with this signature, or without one.
fn shown(
    named: &Named,
    signature: Option<Signature>,
    problem: Option<String>,
    (facts, state, now): (&UserFacts, &TrustState, i64),
) -> VerifiedItem {
    let verdict = judged(named, signature, facts, state, now);
    VerifiedItem {
        item: named.to_wire(),
        status: "unsigned".to_owned(),
        problem,
        signer: None,
        issuer: None,
        serial: None,
        time: None,
        root: None,
        outcome: verdict.as_ref().map(|verdict| verdict.outcome.word().to_owned()),
        why: verdict.as_ref().map(why),
    }
}

/// Type and hash of what was sent; the hash is computed here.
fn named(content: &ItemContent) -> Result<Named, Error> {
    let unusable = |why: String| Error::Invalid {
        kind: "invalid-item",
        detail: format!("the item cannot be used: {why}"),
    };
    let given = content.hash.as_deref();
    if content.kind == ItemType::DataFunction.as_str() {
        let digest: Option<Digest> = given.and_then(|hash| hash.parse().ok());
        let digest = digest.filter(|_| content.manifest.is_none() && content.files.is_empty());
        let digest = digest.ok_or_else(|| {
            unusable(
                "a data function is named by its digest alone, as muster function show has it".to_owned(),
            )
        })?;
        return Ok(Named {
            r#type: ItemType::DataFunction,
            hash: digest.into(),
        });
    }
    let kind: ItemKind = content
        .kind
        .parse()
        .map_err(|error: muster_code_trust::UnknownWord| unusable(error.to_string()))?;
    let r#type = kind
        .item_type()
        .ok_or_else(|| unusable(format!("nothing of the kind {kind} is signed; its parts are")))?;
    let manifest = content.manifest.clone().unwrap_or_default().into_bytes();
    let mut files = Vec::with_capacity(content.files.len());
    for (path, digest) in &content.files {
        let digest: Sha512 = digest
            .parse()
            .map_err(|error: muster_ids::Sha512Error| unusable(error.to_string()))?;
        files.push((path.as_str(), digest));
    }
    let item = Item::new(kind, manifest, files).map_err(|error| unusable(sentence(&error)))?;
    let hash = item.hash();
    if given.is_some_and(|given| given != hash.as_str()) {
        return Err(unusable(format!(
            "its digest is {hash}, and not the one that was given with it"
        )));
    }
    Ok(Named { r#type, hash })
}

/// An error with what it comes from.
fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// What of the license table signing an item of this type asks for.
fn operation(r#type: ItemType) -> Operation {
    match r#type {
        ItemType::VisualizationMod | ItemType::ActionMod => Operation::SignMods,
        ItemType::ExternalAction => Operation::SignActions,
        ItemType::Script | ItemType::DataFunction | ItemType::JobScript => Operation::SignScripts,
        ItemType::CustomQuery => Operation::SignQueries,
    }
}

fn signed_kind(r#type: ItemType) -> Option<SignedKind> {
    SignedKind::ALL
        .iter()
        .copied()
        .find(|kind| ItemType::from(*kind) == r#type)
}

/// Signatures that would be void from the start are not made.
fn refuse_revoked(
    entries: &std::collections::BTreeMap<String, String>,
    user: &User,
    now: i64,
) -> Result<(), Error> {
    let now = Moment::from_unix_ms(now);
    let prefix = format!("revocation/{}/", user.name.key());
    let void = entries
        .range(prefix.clone()..)
        .take_while(|(key, _)| key.starts_with(&prefix))
        .any(|(key, value)| match Entry::parse(key, value) {
            Ok(Entry::Revocation(known)) => known.from <= now && known.until.is_none_or(|until| now <= until),
            _ => false,
        });
    if void {
        return Err(Error::conflict(
            "signatures-revoked",
            format!(
                "what {} signs now is revoked already, so nothing was signed; muster trust list --revocations shows since when",
                user.name
            ),
        ));
    }
    Ok(())
}

fn is_revoked(state: &TrustState, signature: &Signature) -> bool {
    let SignatureSource::User { user, time, .. } = &signature.source else {
        return false;
    };
    state.revocations().any(|known| {
        known.user.key() == user.key()
            && known.from <= *time
            && known.until.is_none_or(|until| *time <= until)
    })
}

/// What would come of it if the user opened a mod or ran an external action in a browser; of other types no signature
/// decides.
fn judged(
    named: &Named,
    signature: Option<Signature>,
    facts: &UserFacts,
    state: &TrustState,
    now: i64,
) -> Option<Verdict> {
    let kind = signed_kind(named.r#type)?;
    let action = match kind {
        SignedKind::ExternalAction => SignedAction::Run,
        SignedKind::VisualizationMod | SignedKind::ActionMod => SignedAction::Open,
    };
    let signed = Signed {
        kind,
        hash: Some(named.hash.clone()),
        signature,
    };
    let question = Question {
        user: facts,
        client: Client::Web,
        subject: Subject::Signed(signed, action),
        now: Moment::from_unix_ms(now),
    };
    Some(decide(&question, state, &Settings::default()).verdict())
}

/// That the authority which is about to sign is still the one of the collective.
async fn still_signs(tx: &mut Tx, authority: &CodeAuthority) -> Result<(), Error> {
    let present = tx
        .signing_roots()
        .await?
        .into_iter()
        .any(|root| root.fingerprint == authority.fingerprint && root.state == RootState::Accepted);
    if present {
        return Ok(());
    }
    Err(Error::conflict(
        "conflict",
        "the code-signing root was made anew meanwhile; sign again",
    ))
}

/// The key of somebody who signs.
fn signer(pkcs8: &[u8], key_use: KeyUse) -> Result<SoftwareSigner, Error> {
    SoftwareSigner::from_pkcs8(pkcs8, key_use).map_err(Error::bug)
}

#[cfg(test)]
mod tests;
