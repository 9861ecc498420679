//! Preferences: values that groups give to their members, of which one holds for each user.
//!
//! Licenses add up; preferences do not. What a user's own groups say goes before what these inherit, and the alphabet
//! decides where several say different things, unless a group names one of its parents as its primary group:
//!
//! 1. Of the groups that the user was put into and that set the preference themselves, the first by name.
//! 2. Of what these groups inherit, the one that is set by the first group by name. A group inherits what the nearest
//!    groups above it set; of several parents the primary one, if it sets the preference itself, else again the first.
//! 3. What `Everyone` sets or inherits; nobody was put there.
//! 4. The default.
//!
//! Invariant: the answer is a function of the graph and does not depend on the order of any list.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use muster_ids::{GroupId, Name};

use crate::permission::EVERYONE;

/// A preference that decisions ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Preference {
    /// Whether only what has a valid signature can be trusted.
    RequireValidSignature,
}

impl Preference {
    /// Every preference.
    pub const ALL: [Self; 1] = [Self::RequireValidSignature];

    /// The documented display name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequireValidSignature => "Require valid signature to allow trust",
        }
    }

    /// What holds where no group says anything.
    pub fn default_value(self) -> bool {
        match self {
            Self::RequireValidSignature => true,
        }
    }

    /// What it is for, as one sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::RequireValidSignature => {
                "Whether only items with a valid signature can be trusted; false lets members trust single versions of others."
            }
        }
    }
}

impl fmt::Display for Preference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Preference {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|preference| preference.as_str() == text)
            .ok_or(())
    }
}

/// A group as far as preferences go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreferenceGroup {
    /// What the alphabet goes by.
    pub name: Name,
    /// The groups that it inherits from.
    pub parents: BTreeSet<GroupId>,
    /// The one of them that goes before the others.
    pub primary: Option<GroupId>,
    /// What it sets itself.
    pub values: BTreeMap<Preference, bool>,
}

/// A value that holds, with the group that sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The value.
    pub value: bool,
    /// Who sets it; nobody, where it is the default.
    pub from: Option<GroupId>,
}

/// All groups, ready to answer what holds for whom.
#[derive(Debug, Clone, Default)]
pub struct Preferences(BTreeMap<GroupId, PreferenceGroup>);

impl Preferences {
    /// The preferences of these groups.
    pub fn new(groups: impl IntoIterator<Item = (GroupId, PreferenceGroup)>) -> Self {
        Self(groups.into_iter().collect())
    }

    /// What holds for a user who was put into the groups `direct`.
    pub fn of_user(&self, preference: Preference, direct: &BTreeSet<GroupId>) -> Held {
        let sets = |id: &&GroupId| self.value(preference, **id).is_some();
        let own = self.first(direct.iter().filter(sets).copied());
        let mut known = BTreeMap::new();
        let from = own
            .or_else(|| {
                let inherited: Vec<GroupId> = direct
                    .iter()
                    .filter_map(|id| self.source(preference, *id, &mut known))
                    .collect();
                self.first(inherited.into_iter())
            })
            .or_else(|| {
                let everyone = self.0.iter().find(|(_, group)| group.name.as_str() == EVERYONE);
                everyone.and_then(|(id, _)| self.source(preference, *id, &mut known))
            });
        self.held(preference, from)
    }

    /// What a group gives to somebody who is in it alone.
    pub fn of_group(&self, preference: Preference, group: GroupId) -> Held {
        self.of_user(preference, &BTreeSet::from([group]))
    }

    fn held(&self, preference: Preference, from: Option<GroupId>) -> Held {
        let value = from.and_then(|id| self.value(preference, id));
        Held {
            value: value.unwrap_or(preference.default_value()),
            from: value.and(from),
        }
    }

    fn value(&self, preference: Preference, id: GroupId) -> Option<bool> {
        self.0.get(&id)?.values.get(&preference).copied()
    }

    /// The group whose value holds in the group `id`. `known` has what was found before, and nothing for a group that is
    /// asked for within itself: the directory makes no such circle, and none does harm here.
    fn source(
        &self,
        preference: Preference,
        id: GroupId,
        known: &mut BTreeMap<GroupId, Option<GroupId>>,
    ) -> Option<GroupId> {
        if let Some(found) = known.get(&id) {
            return *found;
        }
        known.insert(id, None);
        let group = self.0.get(&id)?;
        let sets = |id: &GroupId| self.value(preference, *id).is_some();
        let primary = group.primary.filter(|id| group.parents.contains(id) && sets(id));
        let found = Some(id).filter(sets).or(primary).or_else(|| {
            let above: Vec<GroupId> = group
                .parents
                .iter()
                .filter_map(|parent| self.source(preference, *parent, known))
                .collect();
            self.first(above.into_iter())
        });
        known.insert(id, found);
        found
    }

    /// The first of these groups by name.
    fn first(&self, groups: impl Iterator<Item = GroupId>) -> Option<GroupId> {
        groups.min_by_key(|id| (self.0.get(id).map(|group| group.name.key()), *id))
    }
}

#[cfg(test)]
mod tests;
