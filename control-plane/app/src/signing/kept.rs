//! Signatures that were made elsewhere, and are kept here.
//!
//! Invariant: what is brought is kept only if it is valid now, with a time stamp.

use muster_code_trust::{Block, Moment, SignatureBundle, SignatureSource};
use muster_model::permission::{ADMINISTRATOR, Caller, Operation};
use muster_store::{Draft, ItemSignature};
use muster_wire::admin::v1::signing::SignedItem;
use serde_json::{Value, json};

use super::{Named, in_order, operation, refuse_blocked, sentence, verify::is_revoked};
use crate::{
    App, Error,
    trust::{duplicate, locked},
};

impl App {
    /// Keeps a signature that was made elsewhere, if it is valid; one without a time stamp gets one.
    pub(super) async fn keep_signature(
        &self,
        caller: &Caller,
        named: &Named,
        bundle: &Value,
    ) -> Result<SignedItem, Error> {
        let refused = |why: String| Error::Invalid {
            kind: "invalid-signature",
            detail: format!("the signature was not kept: {why}"),
        };
        // As with signing for others, administrators need no license.
        let administrator = matches!(caller, Caller::User(user) if user.is_in(ADMINISTRATOR));
        let operation = if administrator {
            Operation::ManageTrust
        } else {
            operation(named.r#type)
        };
        let authorized = self.authorize(caller, operation).await?;
        let mut bundle = SignatureBundle::from_json(bundle.to_string().as_bytes())
            .map_err(|error| refused(sentence(&error)))?;
        let authority = self.code_authority().await?;
        let mut tx = self.begin_asked(&authorized).await?;
        let entries = locked(&mut tx).await?;
        let now = self.now();
        let id = SignatureBundle::stamped_digest(&bundle.signature);
        if bundle.time_stamp.is_none() {
            bundle.time_stamp = Some(authority.stamp(id, false, now).await?);
        }
        let checked = match self.checked(named, &bundle, &self.code_roots().await?).await? {
            Ok(checked) => checked,
            Err(words) => return Err(refused(words)),
        };
        if let Some(problem) = checked.problem {
            return Err(refused(problem.to_string()));
        }
        refuse_blocked(&entries, Block::Certificate(checked.certificate.clone()))?;
        let user = match &checked.signature.source {
            SignatureSource::User { user, .. } => Some(user.clone()),
            SignatureSource::External { .. } | SignatureSource::Vendor => None,
        };
        if let Some(user) = &user {
            refuse_blocked(&entries, Block::User(user.clone()))?;
            if is_revoked(&self.trust_state().await?, &checked.signature) {
                return Err(refused(
                    "what the signer signed at this time was revoked".to_owned(),
                ));
            }
        }
        let leaf = bundle.signature.chain();
        let certificate = leaf.first().map(|leaf| muster_ids::Digest::of(leaf));
        let signed_at = checked.stamped.map_or(now, Moment::unix_ms);
        let row = ItemSignature {
            id,
            item_type: named.r#type.to_string(),
            hash: named.hash.to_string(),
            certificate: certificate.ok_or_else(|| Error::bug("a signature without a certificate"))?,
            // Whoever is trusted by this signature: a subject may stand in the certificates of several authorities.
            signed_by: user.as_ref().map_or_else(
                || format!("{} {}", checked.certificate.serial, checked.certificate.issuer),
                ToString::to_string,
            ),
            signed_at,
            bundle: bundle.to_json(),
        };
        if self.store().item_signature(&id).await?.is_some() {
            return Err(duplicate("this signature is kept already"));
        }
        let (uploaded, event) = self.records_of(named).await?;
        tx.item_signature_insert(&row).await?;
        let detail = json!({
            "type": named.r#type, "hash": named.hash, "issuer": checked.certificate.issuer,
            "serial": checked.certificate.serial, "user": user,
        });
        let signed = Draft::new(event, named.subject(), detail);
        tx.commit(in_order(uploaded, signed), now).await?;
        Ok(SignedItem {
            item: named.to_wire(),
            user,
            signer: checked.subject,
            serial: checked.certificate.serial.to_string(),
            time: Moment::from_unix_ms(signed_at).to_string(),
            bundle: serde_json::to_value(&bundle).map_err(Error::bug)?,
        })
    }
}
