use std::collections::BTreeSet;

use muster_ids::UserId;
use proptest::prelude::*;

use super::*;
use crate::permission::{ADMINISTRATOR, EVERYONE, LIBRARY_ADMINISTRATOR};

fn user(groups: &[&str], features: &[&str]) -> UserCaller {
    UserCaller {
        id: UserId::new(1, [1; 10]),
        name: "ann@SPOTFIRE".parse().expect("a name"),
        groups: groups
            .iter()
            .chain([&EVERYONE])
            .map(|&group| group.to_owned())
            .collect(),
        features: features.iter().map(|&feature| feature.to_owned()).collect(),
    }
}

fn step(inherits: bool, grants: &[(Grantee, Right)]) -> Step {
    Step {
        id: LibraryItemId::ROOT,
        name: "x".parse().expect("a name"),
        inherits,
        grants: grants
            .iter()
            .map(|(grantee, right)| Grant {
                grantee: grantee.clone(),
                right: *right,
            })
            .collect(),
    }
}

fn group(name: &str) -> Grantee {
    Grantee::Group(name.parse().expect("a name"))
}

#[test]
fn an_item_inherits_from_the_nearest_folder_that_has_permissions_of_its_own() {
    let root = step(false, &[(group(EVERYONE), Right::Read)]);
    let team = step(
        false,
        &[(group("Team"), Right::Write), (group(EVERYONE), Right::Read)],
    );
    let chain = [step(true, &[]), step(true, &[]), team, root.clone()];
    assert_eq!(right(&user(&["Team"], &[]), &chain), Some(Right::Write));
    assert_eq!(right(&user(&[], &[]), &chain), Some(Right::Read));
    assert_eq!(
        right(&user(&[], &[]), &[step(true, &[]), root]),
        Some(Right::Read)
    );
    assert_eq!(right(&user(&[], &[]), &[]), None);
}

#[test]
fn nothing_is_open_inside_a_folder_that_is_closed() {
    let ann = Grantee::User("ANN@spotfire".parse().expect("a name"));
    let root = step(false, &[(group(EVERYONE), Right::Write)]);
    let chain = [
        step(false, &[(ann.clone(), Right::Write)]),
        step(false, &[]),
        root.clone(),
    ];
    assert_eq!(right(&user(&[], &[]), &chain), None);
    for group in [ADMINISTRATOR, LIBRARY_ADMINISTRATOR] {
        assert_eq!(right(&user(&[group], &[]), &chain), Some(Right::Write), "{group}");
    }
    let open = [step(false, &[(ann, Right::Write)]), root];
    assert_eq!(right(&user(&[], &[]), &open), Some(Right::Write));
}

#[test]
fn a_license_opens_what_it_is_named_for() {
    let chain = [step(
        false,
        &[
            (group(EVERYONE), Right::Read),
            (
                Grantee::License("Register Data Functions".to_owned()),
                Right::Write,
            ),
        ],
    )];
    assert_eq!(
        right(&user(&[], &["Register Data Functions"]), &chain),
        Some(Right::Write)
    );
    assert_eq!(right(&user(&[], &["Author Scripts"]), &chain), Some(Right::Read));
}

#[test]
fn a_path_begins_at_the_root() {
    let named = |name: &str| Step {
        name: name.parse().expect("a name"),
        ..step(true, &[])
    };
    assert_eq!(path(&[named("b"), named("a"), named("root")]), "/a/b");
    assert_eq!(path(&[named("root")]), "/");
}

fn grants() -> impl Strategy<Value = Vec<(Grantee, Right)>> {
    let grantee = prop_oneof![
        Just(group(EVERYONE)),
        Just(group("Team")),
        Just(group("Others")),
        Just(Grantee::User("ann@SPOTFIRE".parse().expect("a name"))),
        Just(Grantee::License("Author Scripts".to_owned())),
    ];
    prop::collection::vec(
        (grantee, prop_oneof![Just(Right::Read), Just(Right::Write)]),
        0..4,
    )
}

proptest! {
    /// One more permission never takes a right away, the order of permissions says nothing, and whoever has a right to an
    /// item can read every folder that it is in.
    #[test]
    fn permissions_only_open(
        steps in prop::collection::vec((any::<bool>(), grants()), 1..5),
        at in any::<prop::sample::Index>(),
        more in grants(),
        groups in prop::collection::btree_set(prop_oneof![Just("Team"), Just("Others")], 0..2),
        author in any::<bool>(),
    ) {
        let groups: Vec<&str> = BTreeSet::into_iter(groups).collect();
        let features: &[&str] = if author { &["Author Scripts"] } else { &[] };
        let ann = user(&groups, features);
        let mut chain: Vec<Step> = steps.iter().map(|(inherits, grants)| step(*inherits, grants)).collect();
        let before = right(&ann, &chain);
        if before.is_some() {
            for from in 1..chain.len() {
                prop_assert!(right(&ann, &chain[from..]).is_some());
            }
        }
        let mut turned = chain.clone();
        for step in &mut turned {
            step.grants.reverse();
        }
        prop_assert_eq!(right(&ann, &turned), before);
        let place = at.index(chain.len());
        chain[place].grants.extend(step(false, &more).grants);
        prop_assert!(right(&ann, &chain) >= before);
    }
}
