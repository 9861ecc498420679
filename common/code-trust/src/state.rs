//! The trust state: all entries that decide, in a form that is signed, sent as changes and looked up fast.
//!
//! Invariant: the entries, and nothing else, determine the state. Its digest covers every byte of them in the order of
//! their keys, so equal digests are equal decisions; the index is derived and never travels.

use std::collections::BTreeMap;

use muster_ids::{Digest, FunctionId, UserName};
use serde::{Deserialize, Serialize};

use crate::{
    Authority, Blocking, CodeType, Entry, EntryError, ItemHash, Moment, Place, Revocation, RunPolicy,
    Settings, SignerRef, Stamp, Tombstone,
};

mod index;

pub(crate) use index::{Index, ItemFacts, SignerFacts};

/// What this program knows how to obey. A signed state names what its reader must know; the entries of this version
/// need no more than this list.
///
/// Each with what the keys begin with that need it.
const FEATURES: &[(&str, &str)] = &[
    ("authorities/1", "authority/"),
    ("blocks/1", "block/"),
    ("blockings/1", "blocking/"),
    ("policies/1", "policy/"),
    ("removals/1", "tombstone/root/"),
    ("revocations/1", "revocation/"),
    ("roots/1", "root/"),
    ("settings/1", "setting/"),
    ("signers/1", "trust/"),
    ("stamps/1", "stamp/"),
    ("tombstones/1", "tombstone/"),
    ("unblocks/1", "tombstone/block/"),
];

/// What a reader must know where the setting `trust.stamps` is set: those before it cannot read the entry.
const STAMPS_COUNT: &str = "stamps/2";

/// The trust state.
#[derive(Debug, Clone, Default)]
pub struct TrustState {
    entries: BTreeMap<String, String>,
    index: Index,
}

/// One change of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The number of the version that it led to. Changes that were committed together share it.
    pub number: u64,
    /// The entry's key.
    pub key: String,
    /// Its new value; `None` removes it.
    pub value: Option<String>,
}

/// Why entries or changes do not make a trust state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// An entry that cannot be understood must not be ignored: it might restrict.
    #[error("the trust state was refused")]
    Entry(#[from] EntryError),
    /// The same key twice.
    #[error("the trust state was refused: the entry \"{0}\" is in it twice")]
    Twice(String),
    /// Not in the order of their numbers.
    #[error("the changes of the trust state were refused: number {after} came after number {before}")]
    Order {
        /// The earlier change's.
        before: u64,
        /// The later change's.
        after: u64,
    },
    /// The result is not what was signed.
    #[error(
        "the changes of the trust state were refused: they lead to {found}, but {signed} was signed; \
         fetch the whole state"
    )]
    Digest {
        /// What came out.
        found: Digest,
        /// What was signed.
        signed: Digest,
    },
    /// The state needs a reader that can do more.
    #[error(
        "the trust state was refused: it requires {0}, which this version does not know; update this program"
    )]
    Requires(String),
}

/// Whether this program knows everything that a signed state requires of its readers.
pub fn check_requires<'a>(required: impl IntoIterator<Item = &'a str>) -> Result<(), StateError> {
    let known = |feature: &str| feature == STAMPS_COUNT || FEATURES.iter().any(|(name, _)| *name == feature);
    match required.into_iter().find(|feature| !known(feature)) {
        None => Ok(()),
        Some(feature) => Err(StateError::Requires(
            feature.chars().take(64).flat_map(char::escape_default).collect(),
        )),
    }
}

impl TrustState {
    /// The state of these keys and values, as a database or a message holds them.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, StateError> {
        let mut state = Self::default();
        for (key, value) in pairs {
            let entry = Entry::parse(&key, &value)?;
            if state.entries.contains_key(&key) {
                return Err(StateError::Twice(key));
            }
            state.put(key, value, entry);
        }
        Ok(state)
    }

    /// The state of these entries. Of several with one key the last counts.
    pub fn from_entries(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut state = Self::default();
        for entry in entries {
            state.put(entry.key(), entry.value(), entry);
        }
        state
    }

    /// The state after `changes`, which must lead to the digest that was signed.
    pub fn apply(&self, changes: &[Change], signed: &Digest) -> Result<Self, StateError> {
        let mut state = self.clone();
        let mut before = 0;
        for Change { number, key, value } in changes {
            if *number < before {
                return Err(StateError::Order {
                    before,
                    after: *number,
                });
            }
            before = *number;
            match value {
                Some(value) => state.put(key.clone(), value.clone(), Entry::parse(key, value)?),
                None => state.remove(key),
            }
        }
        let found = state.digest();
        if found == *signed {
            Ok(state)
        } else {
            Err(StateError::Digest {
                found,
                signed: *signed,
            })
        }
    }

    /// The digest of the state: of `key ‖ value` for all entries in the order of their keys, `‖` as in
    /// [`Digest::of_framed`].
    pub fn digest(&self) -> Digest {
        let parts: Vec<&[u8]> = self
            .entries
            .iter()
            .flat_map(|(key, value)| [key.as_bytes(), value.as_bytes()])
            .collect();
        Digest::of_framed(&parts)
    }

    /// The keys and values, in the order of the keys.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The value under a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.get(key).map(String::as_str)
    }

    /// What was taken away for ever, in the order of the keys.
    pub fn tombstones(&self) -> impl Iterator<Item = Tombstone> {
        let parsed = |(key, value): (&String, &String)| match Entry::parse(key, value) {
            Ok(Entry::Tombstone(tombstone)) => Some(tombstone),
            _ => None,
        };
        self.entries
            .range("tombstone/".to_owned()..)
            .take_while(|(key, _)| key.starts_with("tombstone/"))
            .filter_map(parsed)
    }

    /// The acts that are behind the blocks, in the order of their identifiers.
    pub fn blockings(&self) -> impl Iterator<Item = Blocking> {
        self.entries
            .range("blocking/".to_owned()..)
            .take_while(|(key, _)| key.starts_with("blocking/"))
            .filter_map(|(key, value)| match Entry::parse(key, value) {
                Ok(Entry::Blocking(blocking)) => Some(blocking),
                _ => None,
            })
    }

    /// Whether what this user signed at this moment is void.
    pub fn is_revoked(&self, user: &UserName, at: Moment) -> bool {
        let facts = self.index.signer(SignerRef::User(user));
        facts.is_some_and(|facts| facts.revocation(at).is_some())
    }

    /// The times of signatures that are void, in the order of their keys.
    pub fn revocations(&self) -> impl Iterator<Item = Revocation> {
        self.entries
            .range("revocation/".to_owned()..)
            .take_while(|(key, _)| key.starts_with("revocation/"))
            .filter_map(|(key, value)| match Entry::parse(key, value) {
                Ok(Entry::Revocation(revocation)) => Some(revocation),
                _ => None,
            })
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is decided yet.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What a reader of this state must know, for the `requires` of the signed message.
    pub fn requires(&self) -> Vec<&'static str> {
        let present = |prefix: &str| {
            self.entries
                .range(prefix.to_owned()..)
                .next()
                .is_some_and(|(key, _)| key.starts_with(prefix))
        };
        let mut features: Vec<_> = FEATURES
            .iter()
            .filter(|(_, prefix)| present(prefix))
            .map(|(feature, _)| *feature)
            .collect();
        if self.index.has_setting(crate::SettingName::TrustStamps) {
            features.push(STAMPS_COUNT);
        }
        features
    }

    /// The authorities of the collective, in the order of their fingerprints; none before the first rotation.
    pub fn authorities(&self) -> impl Iterator<Item = Authority> {
        self.entries
            .range("authority/".to_owned()..)
            .take_while(|(key, _)| key.starts_with("authority/"))
            .filter_map(|(key, value)| match Entry::parse(key, value) {
                Ok(Entry::Authority(authority)) => Some(authority),
                _ => None,
            })
    }

    /// The settings as they hold at `place`.
    pub fn settings_at(&self, place: &Place) -> Settings {
        self.index.settings_at(place)
    }

    /// What administrators allow the unrestricted runs of a function at `place`: what both the setting and the
    /// function's own policy allow. `None` where neither is set: the node's own file says it then.
    pub fn policy_at(&self, place: &Place, function: Option<FunctionId>) -> Option<RunPolicy> {
        let here = self.settings_at(place).unrestricted_policy.value;
        let own = function.and_then(|function| self.function_policy(function));
        match (here, own) {
            (Some(here), Some(own)) => Some(here.both(&own)),
            (one, other) => one.or(other),
        }
    }

    /// The policy of a function.
    pub fn function_policy(&self, function: FunctionId) -> Option<RunPolicy> {
        let key = format!("policy/function/{function}");
        match Entry::parse(&key, self.entries.get(&key)?) {
            Ok(Entry::Policy(_, policy)) => Some(policy),
            _ => None,
        }
    }

    /// The stamps for this content, in the order of their identifiers.
    pub fn stamps_of(&self, kind: CodeType, hash: &ItemHash) -> impl Iterator<Item = &Stamp> {
        let facts = self.index.item(Some(hash));
        facts.into_iter().flat_map(move |facts| facts.stamps(kind))
    }

    /// Whether the word of the stamp's author counts for it: who is blocked vouches for nothing, and who is revoked for good
    /// for nothing from that moment on.
    pub fn has_word(&self, stamp: &Stamp) -> bool {
        let author = self.index.signer(SignerRef::User(&stamp.author));
        author.is_none_or(|author| !author.blocked && author.revoked_for_good(stamp.at).is_none())
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    fn put(&mut self, key: String, value: String, entry: Entry) {
        self.remove(&key);
        self.index.insert(entry);
        self.entries.insert(key, value);
    }

    fn remove(&mut self, key: &str) {
        if let Some(value) = self.entries.remove(key) {
            let entry = Entry::parse(key, &value).expect("only entries that were parsed are kept");
            self.index.remove(&entry);
        }
    }
}

#[cfg(test)]
mod tests;
