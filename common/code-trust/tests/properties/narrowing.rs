//! What restricts only restricts, and nothing runs without a reason.

use std::collections::BTreeSet;

use muster_code_trust::{Code, CodeAction, CodeKind, Engine, Entry, Outcome, Setting, Subject};
use proptest::{prelude::*, sample::select};

use crate::{
    entries::{block, library_item, revocation, some_hash},
    questions::scene,
    scene::no_wider,
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_block_or_revocation_never_widens(scene in scene(), entry in prop_oneof![block(), revocation()]) {
        let (before, after) = (scene.verdict(), scene.with(entry).verdict());
        prop_assert!(no_wider(&before, &after), "{:?} became {:?}", before, after);
    }

    #[test]
    fn losing_a_stamp_a_reader_or_a_trust_entry_never_widens(scene in scene(), at in any::<prop::sample::Index>()) {
        let before = scene.verdict();
        let mut without = scene.clone();
        without.readable = scene.readable.iter().skip(1).copied().collect();
        prop_assert!(no_wider(&before, &without.verdict()));
        let loosening: Vec<usize> = (0..scene.entries.len())
            .filter(|at| matches!(scene.entries[*at], Entry::Stamp(_) | Entry::Trust(_) | Entry::Root(_)))
            .collect();
        if !loosening.is_empty() {
            // Every entry with its key, so that no earlier one of that key comes back.
            let gone = scene.entries[loosening[at.index(loosening.len())]].key();
            let mut without = scene.clone();
            without.entries.retain(|entry| entry.key() != gone);
            let after = without.verdict();
            prop_assert!(no_wider(&before, &after), "{:?} became {:?}", before, after);
        }
    }

    #[test]
    fn no_service_runs_unrestricted_without_a_documented_reason(
        mut scene in scene(),
        engine in select(&[Engine::TerrService, Engine::RService, Engine::PythonService, Engine::TerrInline][..]),
        code_hash in some_hash(),
        trusted_by_user in any::<bool>(),
        library_item in library_item(),
    ) {
        let kind = CodeKind::DataFunction(engine);
        scene.subject = Subject::Code(Code { kind, hash: Some(code_hash.clone()), library_item: Some(library_item), trusted_by_user }, CodeAction::Run);
        // One entry a key, the last, as the state has it.
        let mut keys = BTreeSet::new();
        scene.entries.reverse();
        scene.entries.retain(|entry| keys.insert(entry.key()));
        let blocked = keys.contains(&format!("block/item/data_function/{code_hash}"));
        let allowed = !blocked && scene.vouched_for() && match engine {
            Engine::TerrService => scene.setting(&Setting::TerrRestrictedExecutionMode(false)),
            Engine::TerrInline => false,
            _ => true,
        };
        prop_assert_eq!(scene.verdict().outcome == Outcome::Allow, allowed, "{:?}", scene.verdict());
    }
}
