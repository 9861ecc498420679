//! What the control plane knows of a version of an item: whether anybody signed it, or it is in the library.
//!
//! Invariant: the record that a version gets known is written with what makes it known, where it was not known before.

use muster_code_trust::{ItemHash, ItemType, TrustState};
use muster_model::{audit::Event, library::Kind};
use muster_store::{Draft, Records};
use muster_wire::admin::v1::signing::ItemContent;
use serde_json::{Value, json};

use super::{Named, named, signed_kind, verify::Seen};
use crate::{App, Error};

/// What somebody sends of an item that they want to trust.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sent<'a> {
    /// The item.
    pub(crate) content: Option<&'a ItemContent>,
    /// A signature of it.
    pub(crate) bundle: Option<&'a Value>,
}

impl App {
    /// Whether it is known what a version is, by what is here or was sent. Its signatures are looked at until `look` has seen
    /// enough: the one that was sent, then those that are kept.
    pub(crate) async fn evidence(
        &self,
        version: &Named,
        sent: Sent<'_>,
        state: &TrustState,
        look: &mut (impl FnMut(Seen) -> bool + Send),
    ) -> Result<bool, Error> {
        if let Some(content) = sent.content {
            let sent = named(content)?;
            if (sent.r#type, &sent.hash) != (version.r#type, &version.hash) {
                return Err(Error::Invalid {
                    kind: "invalid-item",
                    detail: format!("the content that was sent is that of {}", sent.subject()),
                });
            }
        }
        let there = sent.content.is_some() || self.is_known(version.r#type, &version.hash).await?;
        let roots = self.code_roots().await?;
        if let Some(bundle) = sent.bundle {
            let bundle = bundle.to_string();
            if !look(self.seen(version, bundle.as_bytes(), &roots).await?) {
                return Ok(there);
            }
        }
        self.each_signature(version, (&roots, state), look).await?;
        Ok(there)
    }

    /// Whether anything is known here of a version: a signature, or an item of the library that has it, or had it.
    async fn is_known(&self, r#type: ItemType, hash: &ItemHash) -> Result<bool, Error> {
        if self.is_signed(r#type, hash).await? {
            return Ok(true);
        }
        let kind: Kind = r#type.as_str().parse().map_err(Error::bug)?;
        Ok(self.store().library_holds(kind, hash.as_str()).await?)
    }

    async fn is_signed(&self, r#type: ItemType, hash: &ItemHash) -> Result<bool, Error> {
        let kept = self
            .store()
            .item_signatures(r#type.as_str(), hash.as_str(), 1, 1)
            .await?;
        Ok(!kept.is_empty())
    }

    /// The record that a mod or external action gets known by what is about to be done, unless it is.
    pub(crate) async fn upload_of(&self, r#type: ItemType, hash: &ItemHash) -> Result<Option<Draft>, Error> {
        if signed_kind(r#type).is_none() || self.is_known(r#type, hash).await? {
            return Ok(None);
        }
        let detail = json!({ "type": r#type, "hash": hash });
        let subject = format!("{type} {hash}");
        Ok(Some(Draft::new(Event::HashUploaded, subject, detail)))
    }

    /// What is recorded of a signature that is about to be kept, beside itself, and as which event it is.
    pub(super) async fn records_of(&self, named: &Named) -> Result<(Option<Draft>, Event), Error> {
        let event = if self.is_signed(named.r#type, &named.hash).await? {
            Event::ItemSignedAgain
        } else {
            Event::ItemSigned
        };
        Ok((self.upload_of(named.r#type, &named.hash).await?, event))
    }
}

/// What led to something, in its order, and then that.
pub(super) fn in_order(before: impl IntoIterator<Item = Draft>, last: Draft) -> Records {
    let mut drafts = before.into_iter();
    match drafts.next() {
        Some(first) => Records::new(first, drafts.chain([last]).collect()),
        None => last.into(),
    }
}
