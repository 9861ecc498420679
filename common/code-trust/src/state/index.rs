//! The entries arranged for the questions of a decision.
//!
//! Hash maps are only looked up in, never walked through, so their random order cannot reach a verdict.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use muster_ids::StampId;

use crate::{
    Block, Certificate, CodeType, Entry, ItemHash, ItemType, Label, Moment, Origin, Place, Revocation, Role,
    Scope, Setting, SettingName, Settings, SignedRef, Signer, Stamp, Target, UserFacts,
};

/// Principals by their part of the key, with the end of their trust.
type Principals = BTreeMap<String, Option<Moment>>;

#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    stamps: HashMap<ItemHash, BTreeMap<StampId, Stamp>>,
    blocked_items: HashMap<ItemHash, BTreeSet<ItemType>>,
    blocked_certificates: HashSet<Certificate>,
    blocked_users: HashSet<String>,
    trusted_signers: HashMap<(SignerKey, Role), Principals>,
    trusted_items: HashMap<(ItemType, ItemHash), Principals>,
    revocations: HashMap<String, BTreeSet<(Moment, Option<Moment>)>>,
    roots: BTreeSet<Label>,
    settings: BTreeMap<(SettingName, Scope), Setting>,
}

/// A signer as signers are compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum SignerKey {
    User(String),
    Certificate(Certificate),
}

impl From<&Signer> for SignerKey {
    fn from(signer: &Signer) -> Self {
        match signer {
            Signer::User(user) => Self::User(user.key()),
            Signer::Certificate(certificate) => Self::Certificate(certificate.clone()),
        }
    }
}

/// The principal of a trust entry that applies to a user.
pub(crate) enum TrustedBy {
    /// The user's own.
    User,
    /// That of the group with this comparison key.
    Group(String),
}

impl Index {
    pub(crate) fn insert(&mut self, entry: Entry) {
        match entry {
            Entry::Stamp(stamp) => {
                self.stamps
                    .entry(stamp.hash.clone())
                    .or_default()
                    .insert(stamp.id, stamp);
            }
            Entry::Block(Block::Item(item)) => {
                self.blocked_items
                    .entry(item.hash)
                    .or_default()
                    .insert(item.r#type);
            }
            Entry::Block(Block::Certificate(certificate)) => {
                self.blocked_certificates.insert(certificate);
            }
            Entry::Block(Block::User(user)) => {
                self.blocked_users.insert(user.key());
            }
            Entry::Trust(trust) => {
                let principals = match &trust.target {
                    Target::Signer(signer, role) => {
                        self.trusted_signers.entry((signer.into(), *role)).or_default()
                    }
                    Target::Item(item) => self.trusted_items.entry(item_key(item)).or_default(),
                };
                principals.insert(trust.principal.key(), trust.expires);
            }
            Entry::Revocation(Revocation { user, from, until }) => {
                self.revocations
                    .entry(user.key())
                    .or_default()
                    .insert((from, until));
            }
            Entry::Root(name) => {
                self.roots.insert(name);
            }
            Entry::Setting(scope, setting) => {
                self.settings.insert((setting.name(), scope), setting);
            }
            // What is gone is no longer among the entries; a tombstone decides nothing.
            Entry::Tombstone(_) | Entry::Authority(_) | Entry::Policy(..) => {}
        }
    }

    pub(crate) fn remove(&mut self, entry: &Entry) {
        match entry {
            Entry::Stamp(stamp) => {
                if let Some(stamps) = self.stamps.get_mut(&stamp.hash) {
                    stamps.remove(&stamp.id);
                    if stamps.is_empty() {
                        self.stamps.remove(&stamp.hash);
                    }
                }
            }
            Entry::Block(Block::Item(item)) => {
                if let Some(types) = self.blocked_items.get_mut(&item.hash) {
                    types.remove(&item.r#type);
                    if types.is_empty() {
                        self.blocked_items.remove(&item.hash);
                    }
                }
            }
            Entry::Block(Block::Certificate(certificate)) => {
                self.blocked_certificates.remove(certificate);
            }
            Entry::Block(Block::User(user)) => {
                self.blocked_users.remove(&user.key());
            }
            Entry::Trust(trust) => {
                let principal = trust.principal.key();
                match &trust.target {
                    Target::Signer(signer, role) => {
                        drop_principal(&mut self.trusted_signers, &(signer.into(), *role), &principal);
                    }
                    Target::Item(item) => {
                        drop_principal(&mut self.trusted_items, &item_key(item), &principal);
                    }
                }
            }
            Entry::Revocation(Revocation { user, from, until }) => {
                if let Some(times) = self.revocations.get_mut(&user.key()) {
                    times.remove(&(*from, *until));
                    if times.is_empty() {
                        self.revocations.remove(&user.key());
                    }
                }
            }
            Entry::Root(name) => {
                self.roots.remove(name);
            }
            Entry::Setting(scope, setting) => {
                self.settings.remove(&(setting.name(), *scope));
            }
            Entry::Tombstone(_) | Entry::Authority(_) | Entry::Policy(..) => {}
        }
    }

    pub(crate) fn stamps_of(&self, kind: CodeType, hash: &ItemHash) -> impl Iterator<Item = &Stamp> {
        self.stamps
            .get(hash)
            .into_iter()
            .flat_map(BTreeMap::values)
            .filter(move |stamp| stamp.kind == kind)
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

    pub(crate) fn blocks_item(&self, r#type: ItemType, hash: &ItemHash) -> bool {
        self.blocked_items
            .get(hash)
            .is_some_and(|types| types.contains(&r#type))
    }

    pub(crate) fn blocks_signer(&self, signer: &Signer) -> bool {
        match signer {
            Signer::User(user) => self.blocked_users.contains(&user.key()),
            Signer::Certificate(certificate) => self.blocked_certificates.contains(certificate),
        }
    }

    /// The revocation under which a signature of this user at this moment falls.
    pub(crate) fn revocation(&self, user: &muster_ids::UserName, time: Moment) -> Option<Revocation> {
        let times = self.revocations.get(&user.key())?;
        let within = |until: &Option<Moment>| until.is_none_or(|until| time <= until);
        let (from, until) = times
            .iter()
            .find(|(from, until)| *from <= time && within(until))?;
        Some(Revocation {
            user: user.clone(),
            from: *from,
            until: *until,
        })
    }

    pub(crate) fn accepts_root(&self, root: &Label) -> bool {
        self.roots.contains(root)
    }

    /// By whose trust in a signer a user trusts it.
    pub(crate) fn signer_trusted_by(
        &self,
        user: &UserFacts,
        signer: &Signer,
        role: Role,
        now: Moment,
    ) -> Option<TrustedBy> {
        applies(self.trusted_signers.get(&(signer.into(), role))?, user, now)
    }

    /// By whose trust in an item a user trusts it.
    pub(crate) fn item_trusted_by(
        &self,
        user: &UserFacts,
        r#type: ItemType,
        hash: &ItemHash,
        now: Moment,
    ) -> Option<TrustedBy> {
        applies(self.trusted_items.get(&(r#type, hash.clone()))?, user, now)
    }
}

fn item_key(item: &SignedRef) -> (ItemType, ItemHash) {
    (item.r#type.into(), item.hash.clone())
}

fn drop_principal<K: Eq + std::hash::Hash>(map: &mut HashMap<K, Principals>, key: &K, principal: &str) {
    if let Some(principals) = map.get_mut(key) {
        principals.remove(principal);
        if principals.is_empty() {
            map.remove(key);
        }
    }
}

/// The principal among these that is the user, else the first of the user's groups.
fn applies(principals: &Principals, user: &UserFacts, now: Moment) -> Option<TrustedBy> {
    let counts = |principal: &str| {
        principals
            .get(principal)
            .is_some_and(|expires| expires.is_none_or(|expires| now < expires))
    };
    if counts(&format!("user/{}", user.user.key())) {
        return Some(TrustedBy::User);
    }
    let group = user
        .groups
        .keys()
        .find(|group| counts(&format!("group/{group}")))?;
    Some(TrustedBy::Group(group.to_owned()))
}
