//! The code in items: what stamps can be for.
//!
//! A script, custom query or data function is code itself. An analysis has the scripts and queries that it embeds, and the
//! scripts, queries and data functions of the library that it names. Mods, external actions and job scripts have none: they
//! are trusted by signature, or by who runs them.
//!
//! Invariant: what a reader gets to know of is what they can read, in the named item too.

use std::collections::{BTreeMap, btree_map::Entry};

use muster_code_trust::{
    Analysis, AnalysisPart, CodeKind, CodeLanguage, CodeManifest, ItemHash, ItemKind, Language, PartContent,
    PartKind, ScriptLanguage,
};
use muster_ids::{Digest, LibraryItemId};
use muster_model::{
    library::Kind,
    permission::{Caller, Operation, UserCaller},
};
use muster_store::LibraryItem;
use muster_wire::{admin::v1::stamp::ItemCode, function::FunctionDefinition};

use super::person;
use crate::{App, Error};

/// One piece of code in an item.
#[derive(Debug, Clone)]
pub(crate) struct Code {
    /// What the item calls it.
    pub(crate) name: String,
    /// What it is, with its language or engine.
    pub(crate) kind: CodeKind,
    /// Its language, in the word of the library.
    pub(crate) language: &'static str,
    /// Its content.
    pub(crate) hash: ItemHash,
    /// The item whose content it is: another one where an analysis names it.
    pub(crate) held_by: LibraryItemId,
    /// Whether it is whatever that item holds now, and not a version that is named by its digest.
    pub(crate) follows: bool,
}

impl App {
    /// The code in the current version of an item.
    pub async fn library_code(&self, caller: &Caller, reference: &str) -> Result<Vec<ItemCode>, Error> {
        self.authorize(caller, Operation::Use).await?;
        let user = person(caller)?;
        let item = self.library_find(user, reference).await?.item;
        let stamps = self.stamps_on(item.id).await?;
        let codes = self.code_in(user, &item).await?;
        Ok(codes
            .into_iter()
            .map(|code| {
                let kind = code.kind.code_type();
                ItemCode {
                    name: code.name,
                    kind: kind.to_string(),
                    language: code.language.to_owned(),
                    held_by: code.held_by,
                    stamped: stamps
                        .iter()
                        .any(|stamp| stamp.kind == kind && stamp.hash == code.hash),
                    hash: code.hash.to_string(),
                }
            })
            .collect())
    }

    /// The code in the current version of an item that `reader` can read, as far as they can read what it names.
    pub(crate) async fn code_in(&self, reader: &UserCaller, item: &LibraryItem) -> Result<Vec<Code>, Error> {
        let Some(digest) = &item.current else {
            return Ok(Vec::new());
        };
        if item.kind != Kind::Analysis {
            return Ok(self
                .code_of(item, digest, item.name.as_str())
                .await?
                .into_iter()
                .collect());
        }
        let version = self.store().library_version(item.id, digest).await?;
        let version = version.ok_or_else(|| Error::bug("an item without its current version"))?;
        let analysis = Analysis::read(version.manifest.as_bytes()).map_err(Error::bug)?;
        let mut codes = Vec::new();
        // An analysis may name one item thousands of times, and it is read once.
        let mut known: BTreeMap<(LibraryItemId, String), Option<Code>> = BTreeMap::new();
        for AnalysisPart { kind, name, content } in analysis.parts {
            match content {
                PartContent::Embedded { hash, language, .. } => {
                    if let Some((kind, language)) = language.map(kind_of) {
                        codes.push(Code {
                            name,
                            kind,
                            language,
                            hash,
                            held_by: item.id,
                            follows: false,
                        });
                    }
                }
                PartContent::Item { id, digest } => {
                    if !matches!(
                        kind,
                        PartKind::Script | PartKind::DataFunction | PartKind::CustomQuery
                    ) || self.right_to(reader, id).await?.is_none()
                    {
                        continue;
                    }
                    let Some(named) = self.store().library_item(id).await? else {
                        continue;
                    };
                    let digest = digest.map(|digest| digest.to_string());
                    let follows = digest.is_none();
                    if let Some(digest) = digest.or_else(|| named.current.clone()) {
                        let code = match known.entry((id, digest)) {
                            Entry::Occupied(known) => known.into_mut(),
                            Entry::Vacant(new) => {
                                let code = self.code_of(&named, &new.key().1, &name).await?;
                                new.insert(code)
                            }
                        };
                        codes.extend(code.clone().map(|code| Code {
                            name,
                            follows,
                            ..code
                        }));
                    }
                }
            }
        }
        Ok(codes)
    }

    /// The code that a version of an item is, if it is code.
    async fn code_of(&self, item: &LibraryItem, digest: &str, name: &str) -> Result<Option<Code>, Error> {
        let found = match item.kind {
            Kind::DataFunction => {
                let digest: Digest = digest.parse().map_err(Error::bug)?;
                let version = self.store().function_version(item.id.into(), &digest).await?;
                let Some(version) = version else { return Ok(None) };
                let definition: FunctionDefinition =
                    serde_json::from_str(&version.definition).map_err(Error::bug)?;
                let language: Language = definition.language.parse().map_err(Error::bug)?;
                Some((CodeKind::DataFunction(language.service()), language.as_str()))
            }
            Kind::Script | Kind::CustomQuery => {
                let Some(version) = self.store().library_version(item.id, digest).await? else {
                    return Ok(None);
                };
                let kind: ItemKind = item.kind.as_str().parse().map_err(Error::bug)?;
                let declared = CodeManifest::read(kind, version.manifest.as_bytes()).map_err(Error::bug)?;
                Some(kind_of(declared.language))
            }
            Kind::Folder
            | Kind::VisualizationMod
            | Kind::ActionMod
            | Kind::ExternalAction
            | Kind::JobScript
            | Kind::Analysis => None,
        };
        let Some((kind, language)) = found else {
            return Ok(None);
        };
        Ok(Some(Code {
            name: name.to_owned(),
            kind,
            language,
            hash: digest.parse().map_err(Error::bug)?,
            held_by: item.id,
            follows: true,
        }))
    }

    /// Which of these contents are not in an item any more once it holds `manifest` under `digest`.
    pub(crate) async fn code_gone(
        &self,
        kind: ItemKind,
        (digest, manifest): (&ItemHash, &[u8]),
        mut hashes: Vec<ItemHash>,
    ) -> Result<Vec<ItemHash>, Error> {
        hashes.retain(|hash| hash != digest);
        if kind != ItemKind::Analysis || hashes.is_empty() {
            return Ok(hashes);
        }
        let analysis = Analysis::read(manifest).map_err(Error::bug)?;
        let mut named = Vec::new();
        for part in &analysis.parts {
            match &part.content {
                PartContent::Embedded { hash, .. }
                | PartContent::Item {
                    digest: Some(hash), ..
                } => hashes.retain(|other| other != hash),
                PartContent::Item { id, digest: None } => named.push(*id),
            }
        }
        for id in named {
            if hashes.is_empty() {
                break;
            }
            if let Some(current) = self.store().library_item(id).await?.and_then(|item| item.current) {
                hashes.retain(|hash| hash.as_str() != current);
            }
        }
        Ok(hashes)
    }
}

/// What code in this language is.
fn kind_of(language: CodeLanguage) -> (CodeKind, &'static str) {
    let kind = match language {
        CodeLanguage::IronPython => CodeKind::Script(ScriptLanguage::IronPython),
        CodeLanguage::JavaScript => CodeKind::Script(ScriptLanguage::JavaScript),
        CodeLanguage::Sql => CodeKind::CustomQuery,
    };
    (kind, language.as_str())
}
