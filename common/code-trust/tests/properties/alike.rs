//! Equal facts give equal decisions: wherever, in whatever order, whatever else there is.

use std::collections::BTreeSet;

use muster_code_trust::{Change, TrustState, UserFacts};
use proptest::prelude::*;

use crate::{
    entries::{entries, unrelated},
    questions::scene,
    scene::Scene,
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_unrelated_entry_changes_nothing(scene in scene(), entry in unrelated()) {
        prop_assert_eq!(scene.verdict(), scene.with(entry).verdict());
    }

    #[test]
    fn server_and_node_agree_where_their_states_agree(scene in scene(), held in entries()) {
        let (facts, server) = (scene.facts(), scene.state());
        let granted: UserFacts =
            serde_json::from_str(&serde_json::to_string(&facts).expect("json")).expect("facts of the grant");
        let pairs = server.pairs().map(|(key, value)| (key.to_owned(), value.to_owned()));
        let node = TrustState::from_pairs(pairs).expect("the state as it was sent");
        prop_assert_eq!(node.digest(), server.digest());
        prop_assert_eq!(scene.decide_with(&facts, &server), scene.decide_with(&granted, &node));
        // Another node held an older state and got the difference as it travels.
        let older = TrustState::from_entries(held);
        let gone = older.pairs().filter(|(key, _)| server.get(key).is_none()).map(|(key, _)| (key, None));
        let put = server.pairs().filter(|(key, value)| older.get(key) != Some(value));
        let changes: Vec<Change> = gone
            .chain(put.map(|(key, value)| (key, Some(value.to_owned()))))
            .map(|(key, value)| Change { number: 1, key: key.to_owned(), value })
            .collect();
        let sent = serde_json::to_string(&changes).expect("json");
        let changes: Vec<Change> = serde_json::from_str(&sent).expect("changes");
        let node = older.apply(&changes, &server.digest()).expect("the digest that was signed");
        prop_assert_eq!(scene.decide_with(&facts, &server), scene.decide_with(&granted, &node));
    }

    #[test]
    fn the_order_of_lists_does_not_matter(
        (scene, shuffled) in scene().prop_flat_map(|mut scene| {
            let mut keys = BTreeSet::new();
            scene.entries.retain(|entry| keys.insert(entry.key()));
            let (groups, entries) = (scene.groups.clone(), scene.entries.clone());
            let shuffled = (Just(groups).prop_shuffle(), Just(scene.direct.clone()).prop_shuffle(),
                Just(entries).prop_shuffle());
            let base = scene.clone();
            (Just(scene), shuffled.prop_map(move |(groups, direct, entries)| {
                Scene { groups, direct, entries, ..base.clone() }
            }))
        })
    ) {
        prop_assert_eq!(scene.facts(), shuffled.facts());
        prop_assert_eq!(scene.state().digest(), shuffled.state().digest());
        prop_assert_eq!(scene.verdict(), shuffled.verdict());
    }
}
