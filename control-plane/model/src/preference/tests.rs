use proptest::prelude::*;

use super::*;

const PREFERENCE: Preference = Preference::RequireValidSignature;

fn id(number: u8) -> GroupId {
    GroupId::new(1, [number; 10])
}

/// Number, name, parents, primary group and own value of a group.
type Row<'a> = (u8, &'a str, &'a [u8], Option<u8>, Option<bool>);

fn graph(groups: &[Row<'_>]) -> Preferences {
    Preferences::new(groups.iter().map(|(number, name, parents, primary, value)| {
        let group = PreferenceGroup {
            name: name.parse().expect("a name"),
            parents: parents.iter().map(|parent| id(*parent)).collect(),
            primary: primary.map(id),
            values: value.map(|value| (PREFERENCE, value)).into_iter().collect(),
        };
        (id(*number), group)
    }))
}

fn held(preferences: &Preferences, direct: &[u8]) -> (bool, Option<GroupId>) {
    let direct = direct.iter().map(|number| id(*number)).collect();
    let held = preferences.of_user(PREFERENCE, &direct);
    (held.value, held.from)
}

#[test]
fn every_preference_is_found_by_its_name() {
    for preference in Preference::ALL {
        assert_eq!(preference.to_string().parse(), Ok(preference));
        assert!(!preference.meaning().is_empty());
    }
    assert_eq!("color".parse::<Preference>(), Err(()));
}

#[test]
fn a_valid_signature_is_required_unless_a_group_says_otherwise() {
    let none = graph(&[(1, "Staff", &[], None, None), (9, "Everyone", &[], None, None)]);
    assert_eq!(held(&none, &[]), (true, None));
    assert_eq!(held(&none, &[1, 7]), (true, None));
    let everyone = graph(&[
        (1, "Staff", &[], None, None),
        (9, "Everyone", &[], None, Some(false)),
    ]);
    assert_eq!(held(&everyone, &[1]), (false, Some(id(9))));
    // Nobody was put into Everyone: what people were put into goes first, whatever the alphabet says.
    let staff = graph(&[
        (1, "Staff", &[], None, Some(true)),
        (9, "Everyone", &[], None, Some(false)),
    ]);
    assert_eq!(held(&staff, &[1]), (true, Some(id(1))));
    assert_eq!(held(&staff, &[]), (false, Some(id(9))));
}

#[test]
fn the_own_groups_go_before_inherited_ones_and_the_alphabet_decides_among_equals() {
    let groups = graph(&[
        (1, "Analysts", &[], None, Some(true)),
        (2, "researchers", &[], None, Some(false)),
        (3, "Project Greenbook", &[1, 2], None, None),
        (4, "Zoology", &[], None, Some(false)),
    ]);
    // Several that the user is in.
    assert_eq!(held(&groups, &[1, 2]), (true, Some(id(1))));
    // A group that inherits from two.
    assert_eq!(held(&groups, &[3]), (true, Some(id(1))));
    // Inherited ones do not count where the user's own group says something.
    assert_eq!(held(&groups, &[3, 4]), (false, Some(id(4))));
}

#[test]
fn the_primary_group_goes_before_the_alphabet_one_level_up() {
    let groups = graph(&[
        (1, "Analysts", &[], None, Some(true)),
        (2, "Researchers", &[], None, Some(false)),
        (3, "Project Greenbook", &[1, 2], Some(2), None),
        (4, "Laboratory", &[2], None, None),
        (5, "Team", &[1, 4], Some(4), None),
        (6, "Leavers", &[1], Some(2), None),
    ]);
    assert_eq!(held(&groups, &[3]), (false, Some(id(2))));
    // The primary group sets nothing itself: what it inherits has no precedence.
    assert_eq!(held(&groups, &[5]), (true, Some(id(1))));
    // What is no parent any more is no primary group.
    assert_eq!(held(&groups, &[6]), (true, Some(id(1))));
    let one = groups.of_group(PREFERENCE, id(3));
    assert_eq!((one.value, one.from), (false, Some(id(2))));
}

#[test]
fn a_nearer_group_hides_the_ones_above_it() {
    let groups = graph(&[
        (1, "A", &[], None, Some(false)),
        (2, "M", &[1], None, Some(true)),
        (3, "Z", &[2], None, None),
    ]);
    assert_eq!(held(&groups, &[3]), (true, Some(id(2))));
}

proptest! {
    /// Circles too, which the directory never makes: there is an answer, it is one of the values that are set, and the
    /// default only where nobody around says anything.
    #[test]
    fn there_is_always_an_answer_of_somebody(
        parents in prop::collection::vec(prop::collection::btree_set(0_u8..8, 0..4), 8),
        primary in prop::collection::vec(prop::option::of(0_u8..8), 8),
        values in prop::collection::vec(prop::option::of(any::<bool>()), 8),
        direct in prop::collection::btree_set(0_u8..8, 0..4),
    ) {
        let group = |at: usize| PreferenceGroup {
            name: format!("g{at}").parse().expect("a name"),
            parents: parents[at].iter().map(|parent| id(*parent)).collect(),
            primary: primary[at].map(id),
            values: values[at].map(|value| (PREFERENCE, value)).into_iter().collect(),
        };
        let preferences = Preferences::new((0..8).map(|at| (id(u8::try_from(at).expect("few")), group(at))));
        let direct: BTreeSet<GroupId> = direct.iter().map(|number| id(*number)).collect();
        let held = preferences.of_user(PREFERENCE, &direct);
        if let Some(from) = held.from {
            prop_assert_eq!(preferences.value(PREFERENCE, from), Some(held.value));
        } else {
            prop_assert_eq!(held.value, PREFERENCE.default_value());
            for group in &direct {
                prop_assert_eq!(preferences.value(PREFERENCE, *group), None);
            }
        }
    }
}
