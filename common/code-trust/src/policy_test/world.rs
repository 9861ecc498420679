//! The world of a policy test as the types that decisions are made from.

use std::collections::{BTreeMap, BTreeSet};

use muster_ids::{Name, StampId, UserName};

use super::{
    PolicyError,
    form::{GroupForm, UserForm, WorldForm},
};
use crate::{
    Block, CodeType, Entry, Group, GroupGraph, Moment, Origin, Principal, Revocation, SYSTEM_GROUPS, Setting,
    Settings, SignerState, Stamp, TrustEntry, TrustState, UserFacts,
};

pub(super) struct World {
    graph: GroupGraph,
    users: BTreeMap<String, UserForm>,
    /// By the reader's comparison key.
    readable: BTreeMap<String, BTreeSet<StampId>>,
    trust: TrustState,
    settings: Settings,
    accepts_invalid_signatures: bool,
    now: Moment,
}

impl World {
    pub(super) fn new(form: WorldForm) -> Result<Self, PolicyError> {
        let refused = |place: &str, reason: String| Err(PolicyError::new(format!("world.{place}"), reason));
        let known = known_groups(&form.groups)?;
        let known = |name: &Name| known.contains(&name.key());
        for group in &form.groups {
            if let Some(parent) = group.parents.iter().find(|parent| !known(parent)) {
                return refused(
                    "groups",
                    format!(
                        "\"{}\" has the parent \"{parent}\", which is no group",
                        group.name
                    ),
                );
            }
        }
        let graph = GroupGraph::new(form.groups.into_iter().map(|group| Group {
            name: group.name,
            parents: group.parents,
            features: group.licenses,
        }));
        let mut users = BTreeMap::new();
        for user in form.users {
            if let Some(group) = user.groups.iter().find(|group| !known(group)) {
                return refused(
                    "users",
                    format!("{} is in \"{group}\", which is no group", user.name),
                );
            }
            let name = user.name.clone();
            if users.insert(name.key(), user).is_some() {
                return refused("users", format!("{name} is listed twice"));
            }
        }
        let mut entries: BTreeMap<String, TrustEntry> = BTreeMap::new();
        for mut trust in form.trust {
            if let Principal::Group(group) = &trust.principal
                && !known(group)
            {
                return refused("trust", format!("an entry is for \"{group}\", which is no group"));
            }
            // In a world without time nothing has ended.
            if form.now.is_none() {
                trust.expires = None;
            }
            let key = Entry::Trust(trust.clone()).key();
            // The same trust twice lasts as long as the one that ends later.
            let lasting = |entry: &TrustEntry| (entry.expires.is_none(), entry.expires);
            match entries.get_mut(&key) {
                Some(known) if lasting(known) >= lasting(&trust) => {}
                _ => {
                    entries.insert(key, trust);
                }
            }
        }
        let roots = form
            .roots
            .unwrap_or_else(|| vec!["internal".parse().expect("a label")]);
        let nobody = nobody(&form.blocks, &form.revocations);
        let mut readable: BTreeMap<String, BTreeSet<StampId>> = BTreeMap::new();
        let mut stamps = Vec::new();
        for (at, stamp) in form.stamps.into_iter().enumerate() {
            let author = match &stamp.author {
                Some(author) => author.clone(),
                None => nobody.clone(),
            };
            // The format does not say what kind a stamp is for, so it counts for each.
            for (kind, number) in CodeType::ALL.iter().zip(0_u8..) {
                let id = StampId::new(i64::try_from(at).unwrap_or(i64::MAX), [number; 10]);
                for reader in &stamp.readable_by {
                    readable.entry(reader.key()).or_default().insert(id);
                }
                stamps.push(Stamp {
                    id,
                    kind: *kind,
                    hash: stamp.hash.clone(),
                    library_item: stamp.library_item.clone(),
                    author: author.clone(),
                    at: stamp.at.unwrap_or(Moment::from_unix_ms(i64::MIN)),
                });
            }
        }
        let trust = TrustState::from_entries(
            entries
                .into_values()
                .map(Entry::Trust)
                .chain(form.blocks.into_iter().map(Entry::Block))
                .chain(form.revocations.into_iter().map(Entry::Revocation))
                .chain(roots.into_iter().map(Entry::Root))
                .chain(stamps.into_iter().map(Entry::Stamp)),
        );
        let mut settings = Settings::default();
        if let Some(engines) = form.preferences.restricted_engines {
            let engines = engines.into_iter().map(Into::into).collect();
            settings.set(Setting::RestrictedEngines(engines), Origin::Given);
        }
        if let Some(count) = form.settings.trust_stamps {
            settings.set(Setting::TrustStamps(count), Origin::Given);
        }
        Ok(Self {
            graph,
            users,
            readable,
            trust,
            settings,
            accepts_invalid_signatures: form.preferences.require_valid_signature == Some(false),
            now: form.now.unwrap_or(Moment::from_unix_ms(0)),
        })
    }

    /// The facts about a user. One who is not listed is in `Everyone` only.
    pub(super) fn facts(&self, user: &UserName) -> UserFacts {
        let direct = self.users.get(&user.key()).map_or(&[][..], |user| &user.groups);
        let stamps = self.readable.get(&user.key()).cloned().unwrap_or_default();
        let mut facts = self.graph.facts(user.clone(), direct).reading(stamps);
        facts.accepts_invalid_signatures = self.accepts_invalid_signatures;
        facts
    }

    /// The account of a signer; one who is not listed is gone.
    pub(super) fn signer_state(&self, user: &UserName) -> SignerState {
        self.users
            .get(&user.key())
            .map_or(SignerState::Deleted, |user| user.state)
    }

    /// A remark for cases that differ: a misspelled user is not refused, because worlds may leave users out.
    pub(super) fn doubt(&self, user: &UserName) -> String {
        if self.users.contains_key(&user.key()) {
            String::new()
        } else {
            format!("; {user} is not among the users of the world")
        }
    }

    pub(super) fn trust(&self) -> &TrustState {
        &self.trust
    }

    pub(super) fn settings(&self) -> Settings {
        self.settings.clone()
    }

    pub(super) fn now(&self) -> Moment {
        self.now
    }
}

/// A user of whom no block and no revocation of the world speaks: who made a stamp that names no author.
fn nobody(blocks: &[Block], revocations: &[Revocation]) -> UserName {
    let named: BTreeSet<String> = blocks
        .iter()
        .filter_map(|block| match block {
            Block::User(user) => Some(user.key()),
            _ => None,
        })
        .chain(revocations.iter().map(|revocation| revocation.user.key()))
        .collect();
    // One more name than are spoken of: one of them is free.
    (0..=named.len())
        .map(|number| format!("author{number}@SPOTFIRE").parse().expect("a user name"))
        .find(|name: &UserName| !named.contains(&name.key()))
        .expect("one of more names than are spoken of")
}

/// The comparison keys of the groups that are listed and of those that every directory has.
fn known_groups(groups: &[GroupForm]) -> Result<BTreeSet<String>, PolicyError> {
    let mut known = BTreeSet::new();
    for group in groups {
        if !known.insert(group.name.key()) {
            return Err(PolicyError::new(
                "world.groups",
                format!("\"{}\" is listed twice", group.name),
            ));
        }
    }
    known.extend(SYSTEM_GROUPS.iter().map(|name| name.to_lowercase()));
    Ok(known)
}
