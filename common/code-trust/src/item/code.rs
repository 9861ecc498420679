//! What a script, query or job script declares about itself beside its code.
//!
//! Invariant: a declaration has one text. Fields are sorted, there is no white space, packages are sorted and differ;
//! what is written in another way is refused.

use std::collections::BTreeSet;

use muster_ids::is_deceptive;
use serde::{Deserialize, Serialize};

use super::{ItemError, ItemKind, json};
use crate::{entry::canonical, words::words};

/// The longest name of a parameter, of its type, or line of a package, bytes.
const MOST_WORD: usize = 512;
/// The most parameters, and the most packages.
const MOST_PARAMETERS: usize = 256;

words! {
    /// What the code of an item is written in.
    pub CodeLanguage ("language of code") {
        /// IronPython.
        IronPython = "ironpython",
        /// JavaScript.
        JavaScript = "javascript",
        /// The query language of a data source.
        Sql = "sql",
    }
}

/// Everything about code but the code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeManifest {
    /// The language.
    pub language: CodeLanguage,
    /// The parameters, in declared order.
    pub parameters: Vec<CodeParameter>,
    /// The packages that it asks for.
    pub packages: BTreeSet<String>,
    /// Whether it runs in one transaction, so that it can be undone as one step.
    pub transaction: bool,
}

/// A declared parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeParameter {
    /// Its name in the code.
    pub name: String,
    /// Its type, as the analysis calls it.
    pub r#type: String,
}

impl CodeManifest {
    /// Its one text.
    pub fn to_json(&self) -> String {
        canonical(self)
    }

    /// The declaration of an item of `kind`.
    pub fn read(kind: ItemKind, bytes: &[u8]) -> Result<Self, ItemError> {
        let refused = |why: &str| ItemError::Manifest(why.to_owned());
        let read: Self = serde_json::from_slice(bytes)
            .map_err(|error| ItemError::Manifest(json::shown(&error.to_string())))?;
        if read.to_json().as_bytes() != bytes {
            return Err(refused(
                "it is not written as its meaning demands: fields sorted, without white space",
            ));
        }
        let allowed: &[CodeLanguage] = match kind {
            ItemKind::Script => &[CodeLanguage::IronPython, CodeLanguage::JavaScript],
            ItemKind::JobScript => &[CodeLanguage::IronPython],
            ItemKind::CustomQuery => &[CodeLanguage::Sql],
            _ => &[],
        };
        if !allowed.contains(&read.language) {
            return Err(ItemError::Manifest(format!(
                "{} is no language of the kind {kind}",
                read.language
            )));
        }
        if read.parameters.len() > MOST_PARAMETERS || read.packages.len() > MOST_PARAMETERS {
            return Err(refused("it has more parameters or packages than code can have"));
        }
        let fits = |word: &String| {
            !word.is_empty()
                && word.len() <= MOST_WORD
                && word.trim() == word
                && !word.chars().any(is_deceptive)
        };
        let readable = read
            .parameters
            .iter()
            .flat_map(|parameter| [&parameter.name, &parameter.r#type])
            .chain(&read.packages)
            .all(fits);
        if !readable {
            return Err(refused(
                "a parameter, its type or a package is empty, too long, or has characters that mislead",
            ));
        }
        let names: BTreeSet<&str> = read.parameters.iter().map(|one| one.name.as_str()).collect();
        let differ = names.len() == read.parameters.len();
        if !differ {
            return Err(refused("two parameters have one name"));
        }
        Ok(read)
    }
}
