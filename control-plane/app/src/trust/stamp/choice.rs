//! Which contents a request about stamps means.

use std::collections::BTreeSet;

use muster_code_trust::{CodeType, Stamp};
use muster_ids::{Digest, Sha512};
use muster_store::LibraryItem;
use muster_wire::admin::v1::stamp::StampChoice;

use super::MOST_AT_ONCE;
use crate::{Error, library::Code};

/// The longest hash that is looked for, bytes.
const LONGEST_HASH: usize = 200;

/// All, or those with these hashes, in their order; of each whether it is a custom query.
pub(super) struct Chosen(Option<Vec<(bool, String)>>);

impl Chosen {
    /// Everything.
    pub(super) fn everything() -> Self {
        Self(None)
    }

    /// What a request names.
    pub(super) fn of(choice: &StampChoice) -> Result<Self, Error> {
        let (scripts, queries) = (choice.scripts.as_ref(), choice.queries.as_ref());
        if scripts.is_none() && queries.is_none() {
            return Ok(Self(None));
        }
        let scripts = scripts.into_iter().flatten().map(|hash| (false, hash.clone()));
        let queries = queries.into_iter().flatten().map(|hash| (true, hash.clone()));
        let hashes: BTreeSet<(bool, String)> = scripts.chain(queries).collect();
        if hashes.is_empty() {
            return Err(Error::invalid(
                "no hash is named; leave out both scripts and queries to mean everything",
            ));
        }
        if hashes.len() > MOST_AT_ONCE {
            return Err(Error::invalid(format!(
                "at most {MOST_AT_ONCE} hashes are named at once, and these are {}",
                hashes.len()
            )));
        }
        for (_, hash) in &hashes {
            let known = hash.parse::<Digest>().is_ok() || hash.parse::<Sha512>().is_ok();
            if !known || hash.len() > LONGEST_HASH {
                return Err(Error::invalid(format!(
                    "\"{}\" is no hash of code; muster library code shows those of an item",
                    shown(hash)
                )));
            }
        }
        Ok(Self(Some(hashes.into_iter().collect())))
    }

    /// Whether all of them are custom queries, or none; nothing where there may be both.
    pub(super) fn only_queries(&self) -> Option<bool> {
        let hashes = self.0.as_ref()?;
        let (first, _) = hashes.first()?;
        hashes.iter().all(|(query, _)| query == first).then_some(*first)
    }

    /// The chosen ones, each once.
    pub(super) fn among(&self, codes: Vec<Code>, item: &LibraryItem) -> Result<Vec<Code>, Error> {
        let mut seen = BTreeSet::new();
        let mut chosen: Vec<Code> = codes;
        chosen.retain(|code| seen.insert((is_query(code.kind.code_type()), code.hash.as_str().to_owned())));
        if let Self(Some(hashes)) = self {
            if let Some((query, hash)) = hashes.iter().find(|wanted| !seen.contains(*wanted)) {
                let what = if *query {
                    "custom query"
                } else {
                    "script or data function"
                };
                return Err(changed(&format!(
                    "\"{}\" holds no {what} with the hash {hash} now, so nothing was trusted",
                    item.name
                )));
            }
            chosen.retain(|code| {
                let key = (is_query(code.kind.code_type()), code.hash.as_str().to_owned());
                hashes.binary_search(&key).is_ok()
            });
        }
        if chosen.len() > MOST_AT_ONCE {
            return Err(Error::invalid(format!(
                "\"{}\" holds {} pieces of code, and at most {MOST_AT_ONCE} are trusted at once; name them",
                item.name,
                chosen.len()
            )));
        }
        Ok(chosen)
    }

    /// Whether a stamp is for one of them.
    pub(super) fn has(&self, stamp: &Stamp) -> bool {
        let key = || (is_query(stamp.kind), stamp.hash.as_str().to_owned());
        self.0
            .as_ref()
            .is_none_or(|hashes| hashes.binary_search(&key()).is_ok())
    }

    /// The chosen hashes that none of `stamps` has.
    pub(super) fn missing(&self, stamps: &[Stamp]) -> Vec<String> {
        let there: BTreeSet<(bool, &str)> = stamps
            .iter()
            .map(|stamp| (is_query(stamp.kind), stamp.hash.as_str()))
            .collect();
        let hashes = self.0.iter().flatten();
        hashes
            .filter(|(query, hash)| !there.contains(&(*query, hash.as_str())))
            .map(|(_, hash)| hash.clone())
            .collect()
    }
}

fn is_query(kind: CodeType) -> bool {
    kind == CodeType::CustomQuery
}

/// That an item does not hold what was to be trusted.
pub(super) fn changed(what: &str) -> Error {
    Error::conflict(
        "content-changed",
        format!("{what}; muster library code shows what it holds"),
    )
}

fn shown(text: &str) -> String {
    text.chars().take(128).flat_map(char::escape_default).collect()
}
