//! A decision as values: what came out, by which rule, and the facts that brought it about.
//!
//! Invariant: nothing in it is owned or written out. A decision borrows from its question, the trust state and the
//! settings; sentences, keys and paths come to be where a person asks for them, by [`Decision::verdict`].

use std::fmt;

use muster_ids::{Name, StampId, UserName};

use crate::{
    Block, Certificate, DenyReason, Entry, ItemHash, ItemRef, ItemType, Memberships, Moment, Origin, Outcome,
    Principal, Revocation, Role, SettingName, SignedKind, SignedRef, Signer, Target, TrustEntry, Verdict,
};

mod reason;

pub use reason::{Person, Reason, Trusted};

/// The most reasons that one decision has: nobody vouches for code of a service, in four sentences.
const MOST_REASONS: usize = 4;

/// An outcome with its grounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision<'a> {
    /// The answer.
    pub outcome: Outcome,
    /// The stable name of the rule that decided, one of [`crate::decide`]'s list.
    pub rule: &'static str,
    /// The entry of the trust state or the setting that decided.
    pub entry: Option<Decider<'a>>,
    /// The groups by which the rule applied to the user.
    pub group_path: Option<GroupPath<'a>>,
    reasons: [Option<Reason<'a>>; MOST_REASONS],
}

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decider<'a> {
    /// A block of one version of an item.
    BlockedItem(ItemType, &'a ItemHash),
    /// A block of a signer.
    BlockedSigner(SignerRef<'a>),
    /// A revocation of what a user signed.
    Revocation {
        /// The signer.
        user: &'a UserName,
        /// The first moment.
        from: Moment,
        /// The last moment, if it ends.
        until: Option<Moment>,
    },
    /// A stamp.
    Stamp(StampId),
    /// Somebody's trust in a signer.
    TrustedSigner(TrustedBy<'a>, SignerRef<'a>, Role),
    /// Somebody's trust in one version of an item.
    TrustedItem(TrustedBy<'a>, SignedKind, &'a ItemHash),
    /// A setting, with where it was set.
    Setting(SettingName, &'a Origin),
}

/// Who signed, as the signature names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignerRef<'a> {
    /// A user.
    User(&'a UserName),
    /// A certificate of another authority.
    Certificate(&'a Certificate),
}

/// The principal of a trust entry that applies to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustedBy<'a> {
    /// The user's own.
    User(&'a UserName),
    /// That of a group that the user is in.
    Group(&'a Name),
}

/// How a user is in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupPath<'a> {
    pub(crate) groups: &'a Memberships,
    pub(crate) to: &'a Name,
}

impl<'a> Decision<'a> {
    pub(crate) fn new(outcome: Outcome, rule: &'static str, reason: Reason<'a>) -> Self {
        Self {
            outcome,
            rule,
            entry: None,
            group_path: None,
            reasons: [Some(reason), None, None, None],
        }
    }

    pub(crate) fn deny(reason: DenyReason, rule: &'static str, because: Reason<'a>) -> Self {
        Self::new(Outcome::Deny { reason }, rule, because)
    }

    pub(crate) fn entry(mut self, entry: Decider<'a>) -> Self {
        self.entry = Some(entry);
        self
    }

    pub(crate) fn path(mut self, path: Option<GroupPath<'a>>) -> Self {
        self.group_path = path;
        self
    }

    pub(crate) fn because(mut self, reason: Reason<'a>) -> Self {
        let free = self.reasons.iter_mut().find(|place| place.is_none());
        *free.expect("no rule has more reasons than there is room for") = Some(reason);
        self
    }

    /// Why, the first reason first; there is at least one.
    pub fn reasons(&self) -> impl Iterator<Item = Reason<'a>> {
        self.reasons.into_iter().flatten()
    }

    /// The decision in words.
    pub fn verdict(&self) -> Verdict {
        Verdict {
            outcome: self.outcome,
            rule: self.rule,
            entry: self.entry.map(|entry| entry.to_string()),
            group_path: self.group_path.map(GroupPath::names).unwrap_or_default(),
            reasons: self.reasons().map(|reason| reason.to_string()).collect(),
        }
    }
}

impl GroupPath<'_> {
    /// From the group that the user is a member of to the one that counts.
    pub fn names(self) -> Vec<Name> {
        self.groups.path(&self.to.key())
    }
}

impl fmt::Display for Decider<'_> {
    /// The key of the entry, or the setting and its place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = match *self {
            Self::Setting(name, origin) => return write!(f, "setting {name} {origin}"),
            Self::Stamp(id) => return write!(f, "stamp/{id}"),
            Self::BlockedItem(r#type, hash) => Entry::Block(Block::Item(ItemRef {
                r#type,
                hash: hash.clone(),
            })),
            Self::BlockedSigner(SignerRef::User(user)) => Entry::Block(Block::User(user.clone())),
            Self::BlockedSigner(SignerRef::Certificate(certificate)) => {
                Entry::Block(Block::Certificate(certificate.clone()))
            }
            Self::Revocation { user, from, until } => Entry::Revocation(Revocation {
                user: user.clone(),
                from,
                until,
            }),
            Self::TrustedSigner(by, signer, role) => {
                let signer = match signer {
                    SignerRef::User(user) => Signer::User(user.clone()),
                    SignerRef::Certificate(certificate) => Signer::Certificate(certificate.clone()),
                };
                trust(by, Target::Signer(signer, role))
            }
            Self::TrustedItem(by, r#type, hash) => {
                let hash = hash.clone();
                trust(by, Target::Item(SignedRef { r#type, hash }))
            }
        };
        f.write_str(&entry.key())
    }
}

/// The entry by which `by` trusts `target`; when it ends is no part of its key.
fn trust(by: TrustedBy<'_>, target: Target) -> Entry {
    let principal = match by {
        TrustedBy::User(user) => Principal::User(user.clone()),
        TrustedBy::Group(group) => Principal::Group(group.clone()),
    };
    Entry::Trust(TrustEntry {
        principal,
        target,
        expires: None,
    })
}
