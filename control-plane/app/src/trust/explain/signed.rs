//! What would happen if somebody opened a mod, or ran an external action, of the library.

use std::collections::BTreeMap;

use muster_code_trust::{Analysis, AnalysisPart, ItemHash, ItemType, PartContent, PartKind};
use muster_ids::LibraryItemId;
use muster_model::{library::Kind, permission::UserCaller};
use muster_store::LibraryItem;
use muster_wire::admin::v1::{
    run::Why,
    trust::{ExplainQuery, Explanation},
};

use crate::{
    App, Error,
    session::caller_of,
    signing::{Doing, Named, signed_kind},
    trust::{not_readable, why},
};

/// A mod or an external action.
pub(super) struct AskedSigned {
    item: LibraryItemId,
    /// Whose content it is; an analysis may name another item.
    held_by: LibraryItemId,
    named: Named,
}

impl App {
    /// The mod or external action with this hash in an item, as far as `reader` can read it, or the only one where there is
    /// no hash; an error where there are several.
    pub(super) async fn signed_in(
        &self,
        reader: &UserCaller,
        item: &LibraryItem,
        hash: Option<&str>,
    ) -> Result<Option<Result<AskedSigned, Error>>, Error> {
        let whole = self.version_of_signed(item.id, item, hash).await?;
        if whole.is_some() || item.kind != Kind::Analysis {
            return Ok(whole.map(Ok));
        }
        let Some(digest) = &item.current else {
            return Ok(None);
        };
        let version = self.store().library_version(item.id, digest).await?;
        let version = version.ok_or_else(|| Error::bug("an item without its current version"))?;
        let analysis = Analysis::read(version.manifest.as_bytes()).map_err(Error::bug)?;
        let mut found: BTreeMap<String, AskedSigned> = BTreeMap::new();
        let wanted = |known: &str| hash.is_none_or(|hash| hash == known);
        for AnalysisPart { kind, content, .. } in analysis.parts {
            if !matches!(kind, PartKind::Mod | PartKind::ExternalAction) {
                continue;
            }
            let part = match content {
                PartContent::Embedded { hash, .. } => Some(AskedSigned {
                    item: item.id,
                    held_by: item.id,
                    named: Named::of(ItemType::ExternalAction, hash),
                }),
                PartContent::Item { id, .. } if self.right_to(reader, id).await?.is_none() => None,
                PartContent::Item { id, digest } => match self.store().library_item(id).await? {
                    Some(named) => {
                        let digest = digest
                            .map(|digest| digest.to_string())
                            .or_else(|| named.current.clone());
                        // One that is not asked about is not read.
                        match digest.filter(|digest| wanted(digest) && !found.contains_key(digest)) {
                            Some(digest) => self.version_of_signed(item.id, &named, Some(&digest)).await?,
                            None => None,
                        }
                    }
                    None => None,
                },
            };
            if let Some(part) = part.filter(|part| wanted(part.named.hash.as_str())) {
                found.entry(part.named.hash.to_string()).or_insert(part);
                // Two are as many as make it unclear which is meant.
                if found.len() > 1 {
                    break;
                }
            }
        }
        if found.len() > 1 {
            let several = format!("\"{}\" holds several parts; name one by its hash", item.name);
            return Ok(Some(Err(Error::invalid(several))));
        }
        Ok(found.into_values().next().map(Ok))
    }

    /// A version of an item, the current one unless another is named, if it is a mod or an external action.
    async fn version_of_signed(
        &self,
        asked: LibraryItemId,
        item: &LibraryItem,
        digest: Option<&str>,
    ) -> Result<Option<AskedSigned>, Error> {
        let r#type: Result<ItemType, _> = item.kind.as_str().parse();
        let Some(r#type) = r#type.ok().filter(|r#type| signed_kind(*r#type).is_some()) else {
            return Ok(None);
        };
        let Some(digest) = digest.or(item.current.as_deref()) else {
            return Ok(None);
        };
        let Some(version) = self.store().library_version(item.id, digest).await? else {
            return Ok(None);
        };
        let hash: ItemHash = version.digest.parse().map_err(Error::bug)?;
        Ok(Some(AskedSigned {
            item: asked,
            held_by: item.id,
            named: Named::of(r#type, hash).with_manifest(version.manifest.as_bytes()),
        }))
    }

    /// The explanation of what a user would do with it.
    pub(super) async fn explain_signed(
        &self,
        asked: AskedSigned,
        query: &ExplainQuery,
        doing: &Doing,
    ) -> Result<Explanation, Error> {
        if query.node.is_some() {
            return Err(Error::invalid(
                "mods and external actions run in clients and on no node; leave the field node away",
            ));
        }
        let kind =
            signed_kind(asked.named.r#type).ok_or_else(|| Error::bug("what is explained is signed"))?;
        let mut found = self.verified(&asked.named, None, doing).await?;
        let user = doing.facts.user.clone();
        let reader = caller_of(doing.user, &doing.facts);
        let reads = self.right_to(&reader, asked.item).await?.is_some()
            && self.right_to(&reader, asked.held_by).await?.is_some();
        if !reads {
            let verdict = not_readable(&user, "item");
            found.outcome = Some(verdict.outcome.word().to_owned());
            found.why = Some(why(&verdict));
            found.options.clear();
        }
        let outcome = found.outcome.take();
        let reasons: Option<Why> = found.why.take();
        Ok(Explanation {
            function: None,
            item: asked.item,
            kind: asked.named.r#type.to_string(),
            digest: asked.named.hash.to_string(),
            user,
            client: doing.client.to_string(),
            action: doing.action(kind).to_string(),
            node: "none".to_owned(),
            outcome: outcome.ok_or_else(|| Error::bug("a verdict without an outcome"))?,
            mode: None,
            signed: Some(Box::new(found)),
            why: reasons.ok_or_else(|| Error::bug("a verdict without a reason"))?,
        })
    }
}
