//! The entries of the trust state: each is one decision of a person, under a key that it determines.
//!
//! | key | value |
//! | --- | --- |
//! | `stamp/<id>` | [`Stamp`] |
//! | `block/item/<type>/<hash>`, `block/user/<user>`, `block/certificate/<serial>/<issuer>` | [`Block`] |
//! | `blocking/<id>` | [`Blocking`] |
//! | `trust/<user or group>/<name>/<item, user or certificate>/…` | [`TrustEntry`] |
//! | `revocation/<user>/<from>`, with `/<until>` where it ends | [`Revocation`] |
//! | `root/<name>` | the name |
//! | `setting/all/<name>`, `setting/site/<id>/<name>`, `setting/pool/<id>/<name>`, `setting/node/<id>/<name>` | its value |
//! | `policy/function/<id>` | [`RunPolicy`] |
//! | `authority/<fingerprint>` | [`Authority`] |
//! | `tombstone/stamp/<id>`, `tombstone/block/<id>`, `tombstone/root/<fingerprint>` | [`Tombstone`] |
//! | `tombstone/node/<id>`, `tombstone/certificate/<serial>` | [`Tombstone`] |
//!
//! Values are JSON with sorted keys and without white space; names in keys are folded as names are compared.
//!
//! Invariant: key and value of an entry are functions of its meaning. A pair that is not what its meaning would be
//! written as is refused, so equal states are equal bytes and no restriction hides under another key.

use muster_ids::{Digest, FunctionId, Name, StampId, UserName};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    CodeType, ItemHash, ItemType, Label, Moment, RunPolicy, Scope, Serial, Setting, SettingError,
    SettingName, SignedKind, words::words,
};

mod authority;
mod blocking;
mod form;
mod tombstone;

pub use authority::Authority;
pub use blocking::Blocking;
use form::{BlockForm, TrustForm};
pub use tombstone::{Gone, Tombstone};

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A content that an author trusts for all who can read the library item.
    Stamp(Stamp),
    /// Something that nobody may trust or use.
    Block(Block),
    /// That a person blocked something.
    Blocking(Blocking),
    /// Somebody's trust in a signer or a signed item.
    Trust(TrustEntry),
    /// A time of a user's signatures that is void.
    Revocation(Revocation),
    /// A root that signatures may lead to.
    Root(Label),
    /// A setting at one level.
    Setting(Scope, Setting),
    /// What the unrestricted runs of a function may use at the most.
    Policy(FunctionId, RunPolicy),
    /// Something that was taken away for ever.
    Tombstone(Tombstone),
    /// An authority of the collective itself, since its first rotation.
    Authority(Authority),
}

/// That one version of a script, data function or query is trusted, through the library item that carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// Its identifier.
    pub id: StampId,
    /// What kind of item it is for.
    pub kind: CodeType,
    /// The content.
    pub hash: ItemHash,
    /// The library item whose readers it serves.
    pub library_item: Label,
    /// Who trusted it.
    pub author: UserName,
    /// When.
    pub at: Moment,
}

/// What is blocked, for everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BlockForm", into = "BlockForm")]
pub enum Block {
    /// One version of an item.
    Item(ItemRef),
    /// Everything that a certificate signed.
    Certificate(Certificate),
    /// Everything that a user signed.
    User(UserName),
}

/// One version of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemRef {
    /// Its type.
    pub r#type: ItemType,
    /// Its content.
    pub hash: ItemHash,
}

/// One version of a signed item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedRef {
    /// Its type.
    pub r#type: SignedKind,
    /// Its content.
    pub hash: ItemHash,
}

/// A certificate of another authority.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The authority, as its name stands in the certificate.
    pub issuer: Label,
    /// The number that it gave.
    pub serial: Serial,
}

/// That a principal trusts a signer in a role, or one version of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "TrustForm", into = "TrustForm")]
pub struct TrustEntry {
    /// Whose trust it is.
    pub principal: Principal,
    /// What is trusted.
    pub target: Target,
    /// The moment from which it no longer counts, if it ends.
    pub expires: Option<Moment>,
}

/// A user or a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Principal {
    /// One user.
    User(UserName),
    /// All members.
    Group(Name),
}

/// What a trust entry is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// All valid signatures of a signer in a role.
    Signer(Signer, Role),
    /// One version of an item.
    Item(SignedRef),
}

/// Who signs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signer {
    /// A user, by whichever certificate the server issued.
    User(UserName),
    /// One certificate; a renewed one is another signer.
    Certificate(Certificate),
}

words! {
    /// In which capacity a signer is trusted.
    pub Role ("role of a signer") {
        /// Of mods.
        Developer = "developer",
        /// Of external actions.
        Configurator = "configurator",
    }
}

/// That what a user signed in a time is invalid. Both ends are included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// The signer.
    pub user: UserName,
    /// The first moment.
    pub from: Moment,
    /// The last moment; open-ended without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Moment>,
}

/// Why a key with a value is not an entry.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The key is of no known form.
    #[error(
        "the trust state has an entry of an unknown kind, \"{shown}\"; update this program to one that knows it"
    )]
    UnknownKind {
        /// The key, made safe to show.
        shown: String,
    },
    /// The value is not what belongs under the key.
    #[error("the value of the trust-state entry \"{shown}\" cannot be read")]
    Value {
        /// The key, made safe to show.
        shown: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The setting refuses the value.
    #[error("the trust state has a setting with a wrong value")]
    Setting(#[from] SettingError),
    /// The value is readable, but does not belong under this key or is not written canonically.
    #[error("the trust-state entry \"{shown}\" is not written as its meaning demands (\"{expected}\")")]
    NotCanonical {
        /// The key, made safe to show.
        shown: String,
        /// The key that its value belongs under.
        expected: String,
    },
}

impl Entry {
    /// The key under which the entry stands in the state.
    pub fn key(&self) -> String {
        match self {
            Self::Stamp(stamp) => format!("stamp/{}", stamp.id),
            Self::Block(Block::Item(item)) => format!("block/item/{}/{}", item.r#type, item.hash),
            Self::Block(Block::Certificate(Certificate { issuer, serial })) => {
                format!("block/certificate/{serial}/{issuer}")
            }
            Self::Block(Block::User(user)) => format!("block/user/{}", user.key()),
            Self::Blocking(blocking) => format!("blocking/{}", blocking.id),
            Self::Trust(entry) => format!("trust/{}/{}", entry.principal.key(), entry.target.key()),
            Self::Revocation(Revocation {
                user,
                from,
                until: None,
            }) => format!("revocation/{}/{from}", user.key()),
            Self::Revocation(Revocation {
                user,
                from,
                until: Some(until),
            }) => {
                format!("revocation/{}/{from}/{until}", user.key())
            }
            Self::Root(name) => format!("root/{name}"),
            Self::Setting(scope, setting) => format!("setting/{scope}/{}", setting.name()),
            Self::Policy(function, _) => format!("policy/function/{function}"),
            Self::Tombstone(tombstone) => tombstone.key(),
            Self::Authority(authority) => format!("authority/{}", authority.fingerprint),
        }
    }

    /// The value that stands under the key.
    pub fn value(&self) -> String {
        match self {
            Self::Stamp(stamp) => canonical(stamp),
            Self::Block(block) => canonical(block),
            Self::Blocking(blocking) => canonical(blocking),
            Self::Trust(entry) => canonical(entry),
            Self::Revocation(revocation) => canonical(revocation),
            Self::Root(name) => canonical(name),
            Self::Setting(_, setting) => setting.to_json(),
            Self::Policy(_, policy) => policy.to_json(),
            Self::Tombstone(tombstone) => canonical(tombstone),
            Self::Authority(authority) => canonical(authority),
        }
    }

    /// How the entry is named in the REST API: the digest of its key.
    pub fn id(&self) -> Digest {
        Digest::of(self.key().as_bytes())
    }

    /// The entry that this key and value are.
    pub fn parse(key: &str, value: &str) -> Result<Self, EntryError> {
        let unknown = || EntryError::UnknownKind { shown: shown(key) };
        let entry = match key.split_once('/') {
            Some(("stamp", _)) => Self::Stamp(read(key, value)?),
            Some(("block", _)) => Self::Block(read(key, value)?),
            Some(("blocking", _)) => Self::Blocking(read(key, value)?),
            Some(("trust", _)) => Self::Trust(read(key, value)?),
            Some(("revocation", _)) => Self::Revocation(read(key, value)?),
            Some(("root", _)) => Self::Root(read(key, value)?),
            Some(("tombstone", _)) => Self::Tombstone(read(key, value)?),
            Some(("authority", _)) => Self::Authority(read(key, value)?),
            Some(("policy", rest)) => {
                let function = rest.strip_prefix("function/").and_then(|id| id.parse().ok());
                Self::Policy(function.ok_or_else(unknown)?, read(key, value)?)
            }
            Some(("setting", rest)) => {
                let (scope, name) = rest.rsplit_once('/').ok_or_else(unknown)?;
                let scope: Scope = scope.parse().map_err(|_| unknown())?;
                let name: SettingName = name.parse().map_err(|_| unknown())?;
                Self::Setting(scope, Setting::from_json(name, value)?)
            }
            _ => return Err(unknown()),
        };
        if entry.key() == key && entry.value() == value {
            Ok(entry)
        } else {
            Err(EntryError::NotCanonical {
                shown: shown(key),
                expected: entry.key(),
            })
        }
    }
}

impl Principal {
    /// As it stands in keys.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::User(user) => format!("user/{}", user.key()),
            Self::Group(group) => format!("group/{}", group.key()),
        }
    }
}

impl Target {
    fn key(&self) -> String {
        match self {
            Self::Item(item) => format!("item/{}/{}", item.r#type, item.hash),
            Self::Signer(Signer::User(user), role) => format!("user/{role}/{}", user.key()),
            Self::Signer(Signer::Certificate(Certificate { issuer, serial }), role) => {
                format!("certificate/{role}/{serial}/{issuer}")
            }
        }
    }
}

fn read<T: DeserializeOwned>(key: &str, value: &str) -> Result<T, EntryError> {
    serde_json::from_str(value).map_err(|source| EntryError::Value {
        shown: shown(key),
        source,
    })
}

fn shown(key: &str) -> String {
    key.chars().take(128).flat_map(char::escape_debug).collect()
}

/// JSON with sorted keys, without white space. Entries hold texts, lists, objects and whole numbers only, so there are no
/// numbers that could be written in several ways.
pub(crate) fn canonical(entry: &impl Serialize) -> String {
    let value = serde_json::to_value(entry).expect("entries have text keys and no numbers that JSON lacks");
    let mut text = String::new();
    write_sorted(&value, &mut text);
    text
}

/// Sorts by itself: whether `serde_json` keeps maps sorted depends on features that any crate may switch on.
fn write_sorted(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            text.push('{');
            for (at, (name, value)) in fields.into_iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write_sorted(value, text);
            }
            text.push('}');
        }
        other => text.push_str(&other.to_string()),
    }
}
