//! The entries arranged for the questions of a decision: all about one item in one place, all about one signer in
//! another, so that a decision looks up twice.
//!
//! Hash maps are only looked up in, never walked through, so their random order cannot reach a verdict.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    Block, Certificate, CodeType, Entry, ItemHash, ItemType, Label, Moment, Origin, Place, Revocation, Role,
    Scope, Setting, SettingName, Settings, SignedKind, Signer, SignerRef, Stamp, Target, TrustedBy,
    UserFacts,
};

mod principals;

use principals::Principals;

#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    items: HashMap<ItemHash, ItemFacts>,
    /// By the comparison key of the user.
    users: HashMap<Box<str>, SignerFacts>,
    certificates: HashMap<Certificate, SignerFacts>,
    roots: BTreeSet<Label>,
    settings: BTreeMap<(SettingName, Scope), Setting>,
}

/// What the entries say about the items with one content.
#[derive(Debug, Clone, Default)]
pub(crate) struct ItemFacts {
    /// In the order of their identifiers.
    stamps: Vec<Stamp>,
    blocked: Vec<ItemType>,
    trusted: Vec<(SignedKind, Principals)>,
}

/// What the entries say about a signer.
#[derive(Debug, Clone, Default)]
pub(crate) struct SignerFacts {
    pub(crate) blocked: bool,
    /// First and last moment, in their order; certificates have none.
    revocations: Vec<(Moment, Option<Moment>)>,
    trusted: Vec<(Role, Principals)>,
}

impl Index {
    pub(crate) fn insert(&mut self, entry: Entry) {
        match entry {
            Entry::Stamp(stamp) => {
                let stamps = &mut self.items.entry(stamp.hash.clone()).or_default().stamps;
                match stamps.binary_search_by_key(&stamp.id, |stamp| stamp.id) {
                    Ok(at) => stamps[at] = stamp,
                    Err(at) => insert_at(stamps, at, stamp),
                }
            }
            Entry::Block(Block::Item(item)) => {
                let blocked = &mut self.items.entry(item.hash).or_default().blocked;
                if let Err(at) = blocked.binary_search(&item.r#type) {
                    insert_at(blocked, at, item.r#type);
                }
            }
            Entry::Block(Block::Certificate(certificate)) => {
                self.certificates.entry(certificate).or_default().blocked = true;
            }
            Entry::Block(Block::User(user)) => {
                self.users.entry(user.key().into()).or_default().blocked = true;
            }
            Entry::Trust(trust) => {
                let principals = match trust.target {
                    Target::Signer(Signer::User(user), role) => of(
                        &mut self.users.entry(user.key().into()).or_default().trusted,
                        role,
                    ),
                    Target::Signer(Signer::Certificate(certificate), role) => of(
                        &mut self.certificates.entry(certificate).or_default().trusted,
                        role,
                    ),
                    Target::Item(item) => {
                        of(&mut self.items.entry(item.hash).or_default().trusted, item.r#type)
                    }
                };
                principals.insert(&trust.principal, trust.expires);
            }
            Entry::Revocation(Revocation { user, from, until }) => {
                let times = &mut self.users.entry(user.key().into()).or_default().revocations;
                if let Err(at) = times.binary_search(&(from, until)) {
                    insert_at(times, at, (from, until));
                }
            }
            Entry::Root(name) => {
                self.roots.insert(name);
            }
            Entry::Setting(scope, setting) => {
                self.settings.insert((setting.name(), scope), setting);
            }
            // What is gone is no longer among the entries; a tombstone decides nothing, nor does an act of blocking.
            Entry::Tombstone(_) | Entry::Blocking(_) | Entry::Authority(_) | Entry::Policy(..) => {}
        }
    }

    pub(crate) fn remove(&mut self, entry: &Entry) {
        match entry {
            Entry::Stamp(stamp) => self.change_item(&stamp.hash, |facts| {
                facts.stamps.retain(|other| other.id != stamp.id);
            }),
            Entry::Block(Block::Item(item)) => self.change_item(&item.hash, |facts| {
                facts.blocked.retain(|r#type| *r#type != item.r#type);
            }),
            Entry::Block(Block::Certificate(certificate)) => {
                self.change_certificate(certificate, |facts| facts.blocked = false);
            }
            Entry::Block(Block::User(user)) => self.change_user(&user.key(), |facts| facts.blocked = false),
            Entry::Trust(trust) => {
                let principal = &trust.principal;
                match &trust.target {
                    Target::Signer(Signer::User(user), role) => self.change_user(&user.key(), |facts| {
                        of(&mut facts.trusted, *role).remove(principal);
                        facts.trusted.retain(|(_, principals)| !principals.is_empty());
                    }),
                    Target::Signer(Signer::Certificate(certificate), role) => {
                        self.change_certificate(certificate, |facts| {
                            of(&mut facts.trusted, *role).remove(principal);
                            facts.trusted.retain(|(_, principals)| !principals.is_empty());
                        });
                    }
                    Target::Item(item) => self.change_item(&item.hash, |facts| {
                        of(&mut facts.trusted, item.r#type).remove(principal);
                        facts.trusted.retain(|(_, principals)| !principals.is_empty());
                    }),
                }
            }
            Entry::Revocation(Revocation { user, from, until }) => self.change_user(&user.key(), |facts| {
                facts.revocations.retain(|times| *times != (*from, *until));
            }),
            Entry::Root(name) => {
                self.roots.remove(name);
            }
            Entry::Setting(scope, setting) => {
                self.settings.remove(&(setting.name(), *scope));
            }
            Entry::Tombstone(_) | Entry::Blocking(_) | Entry::Authority(_) | Entry::Policy(..) => {}
        }
    }

    /// Changes what is known about a content and forgets it where nothing is left.
    fn change_item(&mut self, hash: &ItemHash, change: impl FnOnce(&mut ItemFacts)) {
        if let Some(facts) = self.items.get_mut(hash) {
            change(facts);
            if facts.stamps.is_empty() && facts.blocked.is_empty() && facts.trusted.is_empty() {
                self.items.remove(hash);
            }
        }
    }

    fn change_user(&mut self, key: &str, change: impl FnOnce(&mut SignerFacts)) {
        if let Some(facts) = self.users.get_mut(key) {
            change(facts);
            if facts.is_empty() {
                self.users.remove(key);
            }
        }
    }

    fn change_certificate(&mut self, certificate: &Certificate, change: impl FnOnce(&mut SignerFacts)) {
        if let Some(facts) = self.certificates.get_mut(certificate) {
            change(facts);
            if facts.is_empty() {
                self.certificates.remove(certificate);
            }
        }
    }

    /// What is known about a content, if anything is.
    pub(crate) fn item(&self, hash: Option<&ItemHash>) -> Option<&ItemFacts> {
        self.items.get(hash?)
    }

    /// What is known about a signer, if anything is.
    pub(crate) fn signer(&self, signer: SignerRef<'_>) -> Option<&SignerFacts> {
        match signer {
            SignerRef::User(user) => user.with_key(|key| self.users.get(key)),
            SignerRef::Certificate(certificate) => self.certificates.get(certificate),
        }
    }

    /// Whether this setting is set anywhere.
    pub(crate) fn has_setting(&self, name: SettingName) -> bool {
        self.settings.keys().any(|(set, _)| *set == name)
    }

    pub(crate) fn accepts_root(&self, root: &Label) -> bool {
        self.roots.contains(root)
    }

    pub(crate) fn settings_at(&self, place: &Place) -> Settings {
        let mut settings = Settings::default();
        for name in SettingName::ALL {
            let mut found: Option<(&Setting, Origin)> = None;
            for (scope, origin) in place.levels() {
                if let (None, Some(setting)) = (&found, self.settings.get(&(*name, scope))) {
                    found = Some((setting, origin));
                }
            }
            if let Some((setting, origin)) = found {
                settings.set(setting.clone(), origin);
            }
        }
        settings
    }
}

impl ItemFacts {
    /// The stamps of one kind, in the order of their identifiers.
    pub(crate) fn stamps(&self, kind: CodeType) -> impl Iterator<Item = &Stamp> {
        self.stamps.iter().filter(move |stamp| stamp.kind == kind)
    }

    pub(crate) fn is_blocked(&self, r#type: ItemType) -> bool {
        self.blocked.contains(&r#type)
    }

    /// By whose trust in an item of this kind a user trusts it.
    pub(crate) fn trusted_by<'a>(
        &self,
        kind: SignedKind,
        user: &'a UserFacts,
        now: Moment,
    ) -> Option<TrustedBy<'a>> {
        let (_, principals) = self.trusted.iter().find(|(of, _)| *of == kind)?;
        principals.that_applies(user, now)
    }
}

impl SignerFacts {
    fn is_empty(&self) -> bool {
        !self.blocked && self.revocations.is_empty() && self.trusted.is_empty()
    }

    /// Since when what was done at this moment is revoked for good: a revocation that has an end is of signatures, one
    /// that has none is of the signer.
    pub(crate) fn revoked_for_good(&self, time: Moment) -> Option<Moment> {
        let mut for_good = self.revocations.iter().filter(|(_, until)| until.is_none());
        for_good.find(|(from, _)| *from <= time).map(|(from, _)| *from)
    }

    /// The revocation under which a signature of this moment falls.
    pub(crate) fn revocation(&self, time: Moment) -> Option<(Moment, Option<Moment>)> {
        let within = |until: Option<Moment>| until.is_none_or(|until| time <= until);
        let mut begun = self.revocations.iter().take_while(|(from, _)| *from <= time);
        begun.find(|(_, until)| within(*until)).copied()
    }

    /// By whose trust in the signer a user trusts it in this role.
    pub(crate) fn trusted_by<'a>(
        &self,
        role: Role,
        user: &'a UserFacts,
        now: Moment,
    ) -> Option<TrustedBy<'a>> {
        let (_, principals) = self.trusted.iter().find(|(of, _)| *of == role)?;
        principals.that_applies(user, now)
    }
}

/// The principals that trust in this role or kind; there are two or three of them.
fn of<K: PartialEq>(trusted: &mut Vec<(K, Principals)>, wanted: K) -> &mut Principals {
    let end = trusted.len();
    let at = trusted
        .iter()
        .position(|(known, _)| *known == wanted)
        .unwrap_or(end);
    if at == end {
        insert_at(trusted, end, (wanted, Principals::default()));
    }
    &mut trusted[at].1
}

/// Most of these lists have one element for ever, and there may be a hundred thousand lists.
fn insert_at<T>(list: &mut Vec<T>, at: usize, element: T) {
    if list.is_empty() {
        list.reserve_exact(1);
    }
    list.insert(at, element);
}
