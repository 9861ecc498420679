//! Signing of items, and what holds of a signature.
//!
//! A user signs with a certificate of the collective's own code-signing authority, which is issued when it is needed and
//! whose key lies sealed in the database. What is signed is the digest of the canonical form, which the control plane
//! computes itself from what is sent.
//!
//! Invariant: nobody signs as a user who is disabled or blocked, or whose signatures of now are revoked already;
//! certificate, signature and records are written in one transaction, while users and trust stand still.

mod authority;
mod certificate;
mod clock;
mod evidence;
mod import;
mod kept;
mod root;
mod verify;

pub(crate) use evidence::Sent;
use evidence::in_order;
pub(crate) use verify::{Doing, Seen, field, problem};

use muster_code_trust::{
    Block, Entry, Item, ItemHash, ItemKind, ItemStatement, ItemType, ModManifest, Moment, SignatureBundle,
    SignedKind,
};
use muster_ids::{Digest, Sha512};
use muster_model::{
    audit::Event,
    permission::{ADMINISTRATOR, Authorized, Caller, Operation},
};
use muster_pki::{
    CertificateDer, KeyUse, SoftwareSigner,
    code_signing::{CodeMessage, CodeSigned},
};
use muster_store::{Draft, ItemSignature, RootState, Tx, User, UserState};
use muster_wire::admin::v1::{
    signing::{ItemContent, SignItem, SignedItem, StampTime, TimeStamp},
    trust::Item as WireItem,
};
use serde_json::json;

use self::authority::CodeAuthority;
use crate::{
    App, Error,
    text::rfc3339,
    trust::{author, locked, refuse_blocked},
};

/// What is signed or verified.
pub(crate) struct Named {
    pub(crate) r#type: ItemType,
    pub(crate) hash: ItemHash,
    /// What it may do outside of the analysis, if it is an action mod.
    capabilities: Vec<String>,
    /// The addresses that it loads from, if it is a visualization.
    external_resources: Vec<String>,
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
        let mut tx = self.begin_asked(authorized).await?;
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
        let (uploaded, event) = self.records_of(named).await?;
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
        let signed = Draft::new(event, named.subject(), detail);
        let records = in_order(issued.into_iter().chain(uploaded), signed);
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
}

impl Named {
    /// One of which nothing else is said.
    pub(crate) fn of(r#type: ItemType, hash: ItemHash) -> Self {
        Self {
            r#type,
            hash,
            capabilities: Vec::new(),
            external_resources: Vec::new(),
        }
    }

    /// The same with what its manifest says that it may do.
    pub(crate) fn with_manifest(mut self, manifest: &[u8]) -> Self {
        if let Ok(read) = ModManifest::read(manifest)
            && ItemType::from(read.kind) == self.r#type
        {
            self.capabilities = read.capabilities.iter().map(ToString::to_string).collect();
            self.external_resources = read.external_resources;
        }
        self
    }

    /// As records name it.
    fn subject(&self) -> String {
        format!("{} {}", self.r#type, self.hash)
    }

    fn to_wire(&self) -> WireItem {
        WireItem {
            kind: self.r#type.to_string(),
            hash: self.hash.to_string(),
        }
    }
}

/// Type and hash of what was sent; the hash is computed here.
pub(crate) fn named(content: &ItemContent) -> Result<Named, Error> {
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
        return Ok(Named::of(ItemType::DataFunction, digest.into()));
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
    Ok(Named::of(r#type, hash).with_manifest(item.manifest()))
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

/// The kind whose trust is by signature, if it is one.
pub(crate) fn signed_kind(r#type: ItemType) -> Option<SignedKind> {
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
