//! Signatures that the control plane keeps: one that was made elsewhere, and which of several holds.
//!
//! Invariant: what is brought is kept only if it is valid now, with a time stamp; whoever signs an item after somebody
//! else hides nobody's signature.

use muster_code_trust::{Block, Moment, SignatureBundle, SignatureSource, UserFacts};
use muster_model::{
    audit::Event,
    permission::{ADMINISTRATOR, Caller, Operation},
};
use muster_store::{Draft, ItemSignature};
use muster_wire::admin::v1::signing::{SignedItem, VerifiedItem};
use serde_json::{Value, json};

use super::{Named, is_revoked, operation, refuse_blocked, sentence};
use crate::{
    App, Error,
    trust::{duplicate, locked},
};

/// From how many certificates signatures of one item are looked at.
const MOST_SIGNERS: u32 = 64;

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
            signed_by: checked.subject.clone(),
            signed_at,
            bundle: bundle.to_json(),
        };
        if self.store().item_signature(&id).await?.is_some() {
            return Err(duplicate("this signature is kept already"));
        }
        tx.item_signature_insert(&row).await?;
        let detail = json!({
            "type": named.r#type, "hash": named.hash, "issuer": checked.certificate.issuer,
            "serial": checked.certificate.serial, "user": user,
        });
        let about = format!("{} {}", named.r#type, named.hash);
        tx.commit(Draft::new(Event::ItemSigned, about, detail), now)
            .await?;
        Ok(SignedItem {
            item: named.to_wire(),
            user,
            signer: checked.subject,
            serial: checked.certificate.serial.to_string(),
            time: Moment::from_unix_ms(signed_at).to_string(),
            bundle: serde_json::to_value(&bundle).map_err(Error::bug)?,
        })
    }

    /// What is kept about an item: of several signatures the newest that lets the caller use it, else the newest that is
    /// valid, else the newest.
    pub(super) async fn kept(&self, named: &Named, facts: &UserFacts) -> Result<Option<VerifiedItem>, Error> {
        let kept = self
            .store()
            .item_signatures(named.r#type.as_str(), named.hash.as_str(), MOST_SIGNERS)
            .await?;
        let (roots, state) = (self.code_roots().await?, self.trust_state().await?);
        let mut best: Option<(u8, VerifiedItem)> = None;
        for kept in kept {
            let found = self
                .found(named, kept.bundle.as_bytes(), &roots, (facts, &state))
                .await?;
            let rank = rank(&found);
            if best.as_ref().is_none_or(|(known, _)| rank < *known) {
                best = Some((rank, found));
            }
            if rank == 0 {
                break;
            }
        }
        Ok(best.map(|(_, found)| found))
    }
}

fn rank(found: &VerifiedItem) -> u8 {
    match (found.status.as_str(), found.outcome.as_deref()) {
        ("valid", None | Some("allow" | "allow_with_consent")) => 0,
        ("valid", Some("prompt")) => 1,
        ("valid", _) => 2,
        _ => 3,
    }
}
