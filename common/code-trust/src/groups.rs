//! Who somebody is for a decision: the groups that they are in, directly and by inheritance, and the license features
//! that these give.
//!
//! Invariant: everybody is in `Everyone`; a member of a group is a member of its parents and has what they have; the
//! answer does not depend on the order of any list, and cycles, which the directory refuses to make, do no harm here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use muster_ids::{Name, StampId, UserName};
use serde::{Deserialize, Serialize};

use crate::words::words;

/// The group of all users.
pub const EVERYONE: &str = "Everyone";
/// Members may mark scripts and data functions as trusted.
pub const SCRIPT_AUTHOR: &str = "Script Author";
/// Members may mark custom queries as trusted.
pub const CUSTOM_QUERY_AUTHOR: &str = "Custom Query Author";
/// The groups that every directory has and that cannot be removed.
pub const SYSTEM_GROUPS: &[&str] = &[
    EVERYONE,
    "Administrator",
    SCRIPT_AUTHOR,
    CUSTOM_QUERY_AUTHOR,
    "Library Administrator",
    "Deployment Administrator",
    "Diagnostics Administrator",
    "Scheduling and Routing Administrator",
    "Scheduled Updates Users",
    "Automation Services Users",
    "Anonymous User",
    "API User",
];

words! {
    /// The license features that a group can be given. Decisions ask for all of them but `Register Data Functions`, which
    /// whoever saves a function must have.
    pub Feature ("license feature") {
        /// Run external actions.
        UseExternalActions = "Use External Actions",
        /// Add and configure, and thereby sign, external actions.
        ConfigureExternalActions = "Configure External Actions",
        /// Trust external actions of others.
        TrustExternalActions = "Trust External Actions",
        /// Trust mods of others.
        TrustMods = "Trust Mods",
        /// Develop mods of both kinds.
        DevelopVisualizationMod = "Develop Visualization Mod",
        /// Open visualization mods.
        OpenVisualizationMod = "Open Visualization Mod from Library",
        /// Open action mods.
        OpenActionMod = "Open Action Mod from Library",
        /// Write and trust scripts and data functions.
        AuthorScripts = "Author Scripts",
        /// Write and trust custom queries.
        CustomQuery = "Custom Query in Connections",
        /// Register data functions in the library.
        RegisterDataFunctions = "Register Data Functions",
    }
}

/// A group of the user directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: Name,
    /// The groups that it is a member of and inherits from.
    pub parents: Vec<Name>,
    /// The features that it has itself.
    pub features: Vec<Feature>,
}

/// All groups, ready to answer who is in what.
#[derive(Debug, Clone, Default)]
pub struct GroupGraph {
    groups: BTreeMap<String, Group>,
}

impl GroupGraph {
    /// The graph of these groups. A name that only appears as a parent is a group without parents or features; several
    /// groups of one name are one.
    pub fn new(groups: impl IntoIterator<Item = Group>) -> Self {
        let mut graph = Self::default();
        for group in groups {
            match graph.groups.get_mut(&group.name.key()) {
                Some(known) => {
                    known.parents.extend(group.parents);
                    known.features.extend(group.features);
                }
                None => {
                    graph.groups.insert(group.name.key(), group);
                }
            }
        }
        graph
    }

    /// What a decision needs to know about `user`, who is a direct member of `direct` and, like all, of `Everyone`.
    /// Stamps that the user can read are added by [`UserFacts::reading`].
    pub fn facts<'a>(&self, user: UserName, direct: impl IntoIterator<Item = &'a Name>) -> UserFacts {
        let (groups, features) = self.reached(direct);
        UserFacts {
            user,
            groups,
            features,
            readable_stamps: BTreeSet::new(),
            accepts_invalid_signatures: false,
        }
    }

    /// The license features of whoever is a direct member of `direct` and, like all, of `Everyone`, each with the nearest
    /// group that has it.
    pub fn features<'a>(&self, direct: impl IntoIterator<Item = &'a Name>) -> BTreeMap<Feature, Name> {
        self.reached(direct).1
    }

    /// The groups that a member of `direct` and of `Everyone` is in, and their features.
    fn reached<'a>(
        &self,
        direct: impl IntoIterator<Item = &'a Name>,
    ) -> (Memberships, BTreeMap<Feature, Name>) {
        let everyone: Name = EVERYONE
            .parse()
            .expect("the name of the built-in group is a name");
        let mut start: Vec<Name> = direct.into_iter().cloned().chain([everyone]).collect();
        start.sort_by_key(Name::key);
        let mut groups = Memberships::default();
        let mut features = BTreeMap::new();
        // Breadth first and sorted, so that explanations are the shortest and always the same.
        let mut queue: VecDeque<(Name, Option<Name>)> = start.into_iter().map(|name| (name, None)).collect();
        while let Some((name, through)) = queue.pop_front() {
            let key = name.key();
            if groups.contains(&key) {
                continue;
            }
            // The spelling of the directory, where the membership is spelled otherwise.
            let group = self.groups.get(&key);
            let name = group.map_or(name, |group| group.name.clone());
            groups.0.insert(
                key,
                Membership {
                    group: name.clone(),
                    through,
                },
            );
            let Some(group) = group else { continue };
            for feature in &group.features {
                features.entry(*feature).or_insert_with(|| name.clone());
            }
            let mut parents: Vec<&Name> = group.parents.iter().collect();
            parents.sort_by_key(|parent| parent.key());
            queue.extend(
                parents
                    .into_iter()
                    .map(|parent| (parent.clone(), Some(name.clone()))),
            );
        }
        (groups, features)
    }

    /// The groups by which `group` would contain itself if it became a member of `parent`; `None` if it would not.
    pub fn cycle(&self, group: &Name, parent: &Name) -> Option<Vec<Name>> {
        if group.key() == parent.key() {
            return Some(vec![group.clone()]);
        }
        let mut reached = BTreeSet::new();
        let mut queue = VecDeque::from([vec![parent.clone()]]);
        while let Some(path) = queue.pop_front() {
            let last = path.last().expect("a path has at least its start");
            if last.key() == group.key() {
                return Some(path);
            }
            for next in self
                .groups
                .get(&last.key())
                .into_iter()
                .flat_map(|known| &known.parents)
            {
                if reached.insert(next.key()) {
                    queue.push_back(path.iter().chain([next]).cloned().collect());
                }
            }
        }
        None
    }
}

/// The facts about one user that a decision needs, and the only part of the directory that travels to nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserFacts {
    /// The user.
    pub user: UserName,
    /// All groups that the user is in, inherited ones and `Everyone` included.
    pub groups: Memberships,
    /// The license features of these groups, each with the nearest group that has it.
    pub features: BTreeMap<Feature, Name>,
    /// The stamps of the item in question that the user can read in the library.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub readable_stamps: BTreeSet<StampId>,
    /// Whether the user's preference "require valid signature to allow trust" is off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accepts_invalid_signatures: bool,
}

impl UserFacts {
    /// The same facts with the stamps that the user can read, among those that match the item
    /// ([`crate::TrustState::stamps_of`]).
    pub fn reading(mut self, stamps: impl IntoIterator<Item = StampId>) -> Self {
        self.readable_stamps = stamps.into_iter().collect();
        self
    }
}

/// The closed set of groups that a user is in. Written as `{"Staff": "Analysts", "Analysts": null}`: each group with the
/// member group through which the user is in it, `null` for direct membership.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<Name, Option<Name>>", into = "BTreeMap<Name, Option<Name>>")]
pub struct Memberships(BTreeMap<String, Membership>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Membership {
    group: Name,
    through: Option<Name>,
}

impl Memberships {
    /// Whether the group with this comparison key ([`Name::key`]) is among them.
    pub fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The group with this comparison key, as it is written, if it is among them.
    pub fn get(&self, key: &str) -> Option<&Name> {
        self.0.get(key).map(|membership| &membership.group)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none: the facts of nobody, for everybody is in `Everyone`.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The comparison keys of all of them.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// How the user is in the group with this comparison key: from the group of the direct membership to it. Empty if
    /// the user is not in it.
    pub fn path(&self, key: &str) -> Vec<Name> {
        let mut path = Vec::new();
        let mut at = self.0.get(key);
        while let Some(membership) = at {
            path.push(membership.group.clone());
            // Facts come from a signed grant, but a loop in them must not hang a node.
            if path.len() >= self.0.len() {
                break;
            }
            at = membership
                .through
                .as_ref()
                .and_then(|through| self.0.get(&through.key()));
        }
        path.reverse();
        path
    }
}

impl From<BTreeMap<Name, Option<Name>>> for Memberships {
    fn from(groups: BTreeMap<Name, Option<Name>>) -> Self {
        Self(
            groups
                .into_iter()
                .map(|(group, through)| (group.key(), Membership { group, through }))
                .collect(),
        )
    }
}

impl From<Memberships> for BTreeMap<Name, Option<Name>> {
    fn from(memberships: Memberships) -> Self {
        memberships
            .0
            .into_values()
            .map(|membership| (membership.group, membership.through))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect(text)
    }

    fn group(text: &str, parents: &[&str], features: &[Feature]) -> Group {
        Group {
            name: name(text),
            parents: parents.iter().map(|parent| name(parent)).collect(),
            features: features.to_vec(),
        }
    }

    fn ann() -> UserName {
        "ann@SPOTFIRE".parse().expect("user")
    }

    fn texts(names: &[Name]) -> Vec<&str> {
        names.iter().map(Name::as_str).collect()
    }

    #[test]
    fn a_member_inherits_groups_and_features_and_the_path_says_how() {
        let graph = GroupGraph::new([
            group("Analysts", &["Authors"], &[Feature::TrustMods]),
            group("Authors", &["Script Author", "Staff"], &[]),
            group("Staff", &[], &[Feature::AuthorScripts, Feature::TrustMods]),
        ]);
        let facts = graph.facts(ann(), [&name("analysts")]);
        assert_eq!(
            facts.groups.keys().collect::<Vec<_>>(),
            ["analysts", "authors", "everyone", "script author", "staff"]
        );
        assert_eq!(
            texts(&facts.groups.path("script author")),
            ["Analysts", "Authors", "Script Author"]
        );
        assert_eq!(texts(&facts.groups.path("everyone")), ["Everyone"]);
        assert!(facts.groups.path("administrator").is_empty());
        assert_eq!(facts.features[&Feature::AuthorScripts].as_str(), "Staff");
        assert_eq!(facts.features[&Feature::TrustMods].as_str(), "Analysts");
    }

    #[test]
    fn a_cycle_ends_and_is_named_before_it_is_made() {
        let graph = GroupGraph::new([
            group("A", &["B"], &[]),
            group("B", &["C"], &[]),
            group("C", &["A"], &[]),
        ]);
        let facts = graph.facts(ann(), [&name("B")]);
        assert_eq!(
            facts.groups.keys().collect::<Vec<_>>(),
            ["a", "b", "c", "everyone"]
        );
        let graph = GroupGraph::new([group("A", &["B"], &[]), group("B", &["C"], &[])]);
        assert_eq!(
            texts(&graph.cycle(&name("C"), &name("a")).expect("a cycle")),
            ["a", "B", "C"]
        );
        assert_eq!(
            texts(&graph.cycle(&name("C"), &name("C")).expect("a cycle")),
            ["C"]
        );
        assert_eq!(graph.cycle(&name("A"), &name("C")), None);
    }

    #[test]
    fn facts_survive_the_wire_and_a_loop_in_them_ends() {
        let graph = GroupGraph::new([group("A", &["Script Author"], &[Feature::AuthorScripts])]);
        let facts = graph
            .facts(ann(), [&name("A")])
            .reading([StampId::new(1, [1; 10])]);
        let text = serde_json::to_string(&facts).expect("json");
        assert_eq!(serde_json::from_str::<UserFacts>(&text).expect(&text), facts);
        let looped: Memberships = serde_json::from_str(r#"{"A": "B", "B": "A"}"#).expect("memberships");
        assert_eq!(texts(&looped.path("a")), ["B", "A"]);
    }

    #[test]
    fn an_unknown_fact_is_refused_because_it_might_restrict() {
        let text = r#"{"user": "ann@SPOTFIRE", "groups": {}, "features": {}, "suspended": true}"#;
        assert!(serde_json::from_str::<UserFacts>(text).is_err());
    }
}
