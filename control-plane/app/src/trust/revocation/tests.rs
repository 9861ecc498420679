use super::*;

fn of(user: &str, from: i64, until: Option<i64>) -> Revocation {
    Revocation {
        user: user.parse().expect("a user"),
        from: Moment::from_unix_ms(from * 1000),
        until: until.map(|until| Moment::from_unix_ms(until * 1000)),
    }
}

#[test]
fn what_is_void_as_a_whole_is_not_revoked_again() {
    let known = [
        of("eve@SPOTFIRE", 10, Some(20)),
        of("eve@SPOTFIRE", 50, None),
        of("bob@SPOTFIRE", 0, None),
    ];
    let entries = known
        .map(Entry::Revocation)
        .map(|entry| (entry.key(), entry.value()))
        .into();
    for (from, until, covered) in [
        (10, Some(20), true),
        (12, Some(18), true),
        (9, Some(20), false),
        (10, Some(21), false),
        (12, None, false),
        (50, Some(90), true),
        (60, None, true),
        (49, Some(90), false),
    ] {
        let new = of("Eve@SPOTFIRE", from, until);
        assert_eq!(is_covered(&entries, &new), covered, "{from} {until:?}");
    }
}
