//! An analysis, as far as trust goes: the scripts, data functions, mods, actions and queries that it names.
//!
//! ```json
//! { "muster_analysis": 1,
//!   "scripts":        [ { "name": "Refresh", "language": "ironpython", "code": "…", "parameters": [], "packages": [], "transaction": true } ],
//!   "data_functions": [ { "name": "Forecast", "item": "<identifier>" } ],
//!   "mods":           [ { "name": "Gantt", "item": "<identifier>", "digest": "sha512=…" } ],
//!   "actions":        [ { "name": "Order", "configuration": { "service": "…" } } ],
//!   "queries":        [ { "name": "Sales", "language": "sql", "code": "select …" } ] }
//! ```
//!
//! A part is in the analysis itself (`code`, `configuration`), or is an item of the library (`item`), in one version where a
//! `digest` is given. Data functions and mods are always items.
//!
//! Invariant: a part that is in the analysis has the digest that it would have as an item of its own, so that what is
//! trusted, stamped or blocked in one place is in all.

use std::collections::BTreeSet;

use muster_ids::{LibraryItemId, is_deceptive};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    CodeLanguage, CodeManifest, CodeParameter, Item, ItemHash, ItemKind, entry::canonical, words::words,
};

/// The most parts of an analysis.
const MOST_PARTS: usize = 4096;
/// The longest name of a part, in characters.
const LONGEST_NAME: usize = 256;

words! {
    /// What a part of an analysis is.
    pub PartKind ("kind of part") {
        /// A script.
        Script = "script",
        /// A data function.
        DataFunction = "data_function",
        /// A mod, of either kind.
        Mod = "mod",
        /// An external action.
        ExternalAction = "external_action",
        /// A custom query.
        CustomQuery = "custom_query",
    }
}

/// What an analysis names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Analysis {
    /// Scripts first, then data functions, mods, actions and queries, each as they stand there.
    pub parts: Vec<AnalysisPart>,
}

/// One part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnalysisPart {
    /// What it is.
    pub kind: PartKind,
    /// What the analysis calls it; unique among those of its kind.
    pub name: String,
    /// Where it is.
    pub content: PartContent,
}

/// Where a part of an analysis is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartContent {
    /// In the analysis.
    Embedded {
        /// Its digest.
        hash: ItemHash,
        /// What code is written in.
        language: Option<CodeLanguage>,
        /// The code, or the configuration of an action in its canonical form.
        text: String,
    },
    /// In the library.
    Item {
        /// The item.
        id: LibraryItemId,
        /// Which version; the current one without it.
        digest: Option<ItemHash>,
    },
}

/// Why something is no analysis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnalysisError {
    /// It is not of the documented form.
    #[error("the analysis cannot be read: {0}")]
    Form(String),
    /// One of its parts is not.
    #[error("the analysis cannot be used: {part}: {why}")]
    Part {
        /// Which, as `scripts 3 ("Refresh")`.
        part: String,
        /// What is wrong with it.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    muster_analysis: u64,
    #[serde(default)]
    scripts: Vec<PartForm>,
    #[serde(default)]
    data_functions: Vec<PartForm>,
    #[serde(default)]
    mods: Vec<PartForm>,
    #[serde(default)]
    actions: Vec<PartForm>,
    #[serde(default)]
    queries: Vec<PartForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartForm {
    name: String,
    item: Option<LibraryItemId>,
    digest: Option<ItemHash>,
    language: Option<CodeLanguage>,
    code: Option<String>,
    #[serde(default)]
    parameters: Vec<CodeParameter>,
    #[serde(default)]
    packages: BTreeSet<String>,
    transaction: Option<bool>,
    configuration: Option<Map<String, Value>>,
}

impl Analysis {
    /// The analysis that these bytes are, the manifest of an item of the kind `analysis`.
    pub fn read(bytes: &[u8]) -> Result<Self, AnalysisError> {
        // The item's own rules come first: how long it may be, and that no field stands there twice.
        let none: [(&str, muster_ids::Sha512); 0] = [];
        Item::new(ItemKind::Analysis, bytes.to_vec(), none)
            .map_err(|error| AnalysisError::Form(error.to_string()))?;
        let form: Form = serde_json::from_slice(bytes).map_err(|error| {
            let said = error.to_string();
            AnalysisError::Form(said.chars().take(256).flat_map(char::escape_default).collect())
        })?;
        if form.muster_analysis != 1 {
            return Err(AnalysisError::Form(
                "the field muster_analysis is the version of the form, 1".to_owned(),
            ));
        }
        let sections = [
            ("scripts", PartKind::Script, form.scripts),
            ("data_functions", PartKind::DataFunction, form.data_functions),
            ("mods", PartKind::Mod, form.mods),
            ("actions", PartKind::ExternalAction, form.actions),
            ("queries", PartKind::CustomQuery, form.queries),
        ];
        let mut parts = Vec::new();
        for (section, kind, forms) in sections {
            let mut names = BTreeSet::new();
            for (at, form) in forms.into_iter().enumerate() {
                let shown: String = form
                    .name
                    .chars()
                    .take(64)
                    .flat_map(char::escape_default)
                    .collect();
                let part = || format!("{section} {} (\"{shown}\")", at + 1);
                let refused = |why: &str| AnalysisError::Part {
                    part: part(),
                    why: why.to_owned(),
                };
                let length = form.name.chars().count();
                if length == 0 || length > LONGEST_NAME || form.name.chars().any(is_deceptive) {
                    return Err(refused(
                        "its name is empty, too long, or has characters that mislead",
                    ));
                }
                if !names.insert(form.name.clone()) {
                    return Err(refused("another of this name stands before it"));
                }
                if parts.len() == MOST_PARTS {
                    return Err(refused("an analysis has at most 4096 parts"));
                }
                let name = form.name.clone();
                let content = content(kind, form).map_err(|why| refused(&why))?;
                parts.push(AnalysisPart { kind, name, content });
            }
        }
        Ok(Self { parts })
    }
}

fn content(kind: PartKind, form: PartForm) -> Result<PartContent, String> {
    let bare = form.language.is_none()
        && form.code.is_none()
        && form.parameters.is_empty()
        && form.packages.is_empty()
        && form.transaction.is_none();
    match (form.item, kind) {
        (Some(id), _) if bare && form.configuration.is_none() => Ok(PartContent::Item {
            id,
            digest: form.digest,
        }),
        (Some(_), _) => Err("it names an item and has content of its own; keep one of them".to_owned()),
        (None, PartKind::DataFunction | PartKind::Mod) => {
            Err("it needs the identifier of an item of the library in the field item".to_owned())
        }
        (None, _) if form.digest.is_some() => {
            Err("a digest names a version of an item, and it has content of its own".to_owned())
        }
        (None, PartKind::ExternalAction) => match form.configuration {
            Some(configuration) if bare => {
                let text = canonical(&configuration);
                let none: [(&str, muster_ids::Sha512); 0] = [];
                let item = Item::new(ItemKind::ExternalAction, text.clone().into_bytes(), none)
                    .map_err(|error| error.to_string())?;
                Ok(PartContent::Embedded {
                    hash: item.hash(),
                    language: None,
                    text,
                })
            }
            _ => Err("an action has the field item or configuration, and nothing else".to_owned()),
        },
        (None, PartKind::Script | PartKind::CustomQuery) => {
            let (Some(language), Some(code), None) = (form.language, form.code, form.configuration) else {
                return Err("it needs the field item, or language and code".to_owned());
            };
            let kind = match kind {
                PartKind::Script => ItemKind::Script,
                _ => ItemKind::CustomQuery,
            };
            let declared = CodeManifest {
                language,
                parameters: form.parameters,
                packages: form.packages,
                transaction: form.transaction.unwrap_or(true),
            };
            let item = Item::of_code(kind, &declared, code.as_bytes()).map_err(|error| error.to_string())?;
            Ok(PartContent::Embedded {
                hash: item.hash(),
                language: Some(language),
                text: code,
            })
        }
    }
}

#[cfg(test)]
mod tests;
