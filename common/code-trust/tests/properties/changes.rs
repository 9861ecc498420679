//! Changes of the state, in whatever order they come.

use std::collections::BTreeMap;

use muster_code_trust::{Change, TrustState};
use proptest::{collection, prelude::*};

use crate::{entries::entries, questions::scene};

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn applying_changes_equals_building_from_scratch(
        before in entries(),
        steps in collection::vec((entries(), any::<prop::sample::Index>()), 0..6),
        scene in scene(),
    ) {
        let before = TrustState::from_entries(before);
        let mut map: BTreeMap<String, String> =
            before.pairs().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let mut changes = Vec::new();
        for (number, (put, gone)) in (1..).zip(steps) {
            if !map.is_empty() {
                let key = map.keys().nth(gone.index(map.len())).expect("within").clone();
                map.remove(&key);
                changes.push(Change { number, key, value: None });
            }
            for entry in put {
                map.insert(entry.key(), entry.value());
                changes.push(Change { number, key: entry.key(), value: Some(entry.value()) });
            }
        }
        let scratch = TrustState::from_pairs(map).expect("entries");
        let applied = before.apply(&changes, &scratch.digest()).expect("the same state");
        prop_assert!(applied.pairs().eq(scratch.pairs()));
        // The index must agree, too.
        let facts = scene.facts();
        prop_assert_eq!(scene.decide_with(&facts, &applied), scene.decide_with(&facts, &scratch));
    }

    #[test]
    fn any_change_of_the_entries_changes_the_digest(a in entries(), b in entries()) {
        let (a, b) = (TrustState::from_entries(a), TrustState::from_entries(b));
        prop_assert_eq!(a.pairs().eq(b.pairs()), a.digest() == b.digest());
    }
}
