//! What a node decides about a grant by its own trust state, and by the words of its administrator.

use super::*;

fn held(entries: impl IntoIterator<Item = Entry>) -> Held {
    Held {
        version: version(),
        state: TrustState::from_entries(entries),
    }
}

fn stamped() -> Entry {
    Entry::Stamp(Stamp {
        id: stamp(),
        kind: muster_code_trust::CodeType::DataFunction,
        hash: function::digest(&definition()).expect("valid").into(),
        library_item: "F".parse().expect("label"),
        author: "bob@SPOTFIRE".parse().expect("name"),
        at: Moment::from_unix_ms(NOW),
    })
}

fn restricted_mode_off() -> Entry {
    Entry::Setting(Scope::All, Setting::TerrRestrictedExecutionMode(false))
}

fn local(fresh: bool) -> Local {
    Local {
        place: Place::default(),
        fresh,
        force_restricted: false,
        keeps_checks: None,
        keeps_restricted_mode: None,
        now_ms: NOW,
    }
}

fn decided(mode: &str, held: &Held, local: &Local) -> Decision {
    let collective = Collective::new(1, NOW);
    let grant = RunGrant {
        mode: mode.to_owned(),
        ..grant(&collective)
    };
    let admitted = admit(
        &collective,
        granted(&collective, &grant),
        &mut Used::default(),
        NOW,
    )
    .expect("admitted");
    decide(&admitted, held, local)
}

fn mode_of(decision: &Decision) -> Option<Mode> {
    match decision {
        Decision::Run { mode, .. } => Some(*mode),
        _ => None,
    }
}

#[test]
fn a_trusted_function_runs_unrestricted_only_while_the_node_is_fresh() {
    let held = held([stamped(), restricted_mode_off()]);
    let decision = decided("unrestricted", &held, &local(true));
    assert_eq!(mode_of(&decision), Some(Mode::Unrestricted));
    assert!(matches!(
        decided("unrestricted", &held, &local(false)),
        Decision::PutBack { .. }
    ));
    assert_eq!(
        mode_of(&decided("restricted", &held, &local(false))),
        Some(Mode::Restricted)
    );
}

#[test]
fn the_stricter_of_grant_and_own_state_wins() {
    let trusting = held([stamped(), restricted_mode_off()]);
    let Decision::Run { mode, rule, .. } = decided("restricted", &trusting, &local(true)) else {
        panic!("it runs")
    };
    assert_eq!((mode, rule.as_str()), (Mode::Restricted, "stamped"));
    let without_stamp = held([restricted_mode_off()]);
    assert_eq!(
        mode_of(&decided("unrestricted", &without_stamp, &local(true))),
        Some(Mode::Restricted)
    );
}

#[test]
fn a_function_that_is_blocked_here_is_refused_whatever_was_granted() {
    let blocked = Entry::Block(muster_code_trust::Block::Item(muster_code_trust::ItemRef {
        r#type: muster_code_trust::ItemType::DataFunction,
        hash: function::digest(&definition()).expect("valid").into(),
    }));
    let held = held([stamped(), restricted_mode_off(), blocked]);
    for mode in ["restricted", "unrestricted"] {
        let Decision::Refuse { problem, rule, .. } = decided(mode, &held, &local(true)) else {
            panic!("it is refused")
        };
        assert_eq!(
            (problem.as_str(), rule.as_str()),
            ("blocked-item", "item-blocked")
        );
    }
}

#[test]
fn the_administrator_of_the_node_may_tighten() {
    let held = held([stamped(), restricted_mode_off()]);
    let tight = Local {
        force_restricted: true,
        ..local(true)
    };
    let decision = decided("unrestricted", &held, &tight);
    assert_eq!(mode_of(&decision), Some(Mode::Restricted));
}

#[test]
fn expressions_and_traced_runs_are_admitted_restricted_only() {
    let collective = Collective::new(1, NOW);
    let expression = RunGrant {
        function: None,
        ..grant(&collective)
    };
    let traced = RunGrant {
        trace: true,
        ..grant(&collective)
    };
    for grant in [expression, traced] {
        let try_in = |mode: &str| {
            let grant = RunGrant {
                mode: mode.to_owned(),
                ..grant.clone()
            };
            admit(
                &collective,
                granted(&collective, &grant),
                &mut Used::default(),
                NOW,
            )
        };
        let refused = try_in("unrestricted").expect_err("refused");
        assert!(refused.to_string().contains("restricted"), "{refused}");
        assert_eq!(try_in("restricted").expect("admitted").mode, Mode::Restricted);
    }
}

#[test]
fn an_expression_is_restricted_whatever_the_node_trusts() {
    let collective = Collective::new(1, NOW);
    let grant = RunGrant {
        function: None,
        mode: "restricted".to_owned(),
        rule: "terr-inline".to_owned(),
        facts: json!({
            "user": "ann@SPOTFIRE", "groups": {"Everyone": null, "Script Author": null}, "features": {},
            "readable_stamps": [stamp()],
        }),
        ..grant(&collective)
    };
    let admitted = admit(
        &collective,
        granted(&collective, &grant),
        &mut Used::default(),
        NOW,
    )
    .expect("admitted");
    let decision = decide(&admitted, &held([stamped(), restricted_mode_off()]), &local(true));
    let Decision::Run { mode, rule, .. } = decision else {
        panic!("{decision:?}")
    };
    assert_eq!((mode, rule.as_str()), (Mode::Restricted, "terr-inline"));
}

#[test]
fn a_file_of_the_node_keeps_restricted_mode_where_it_was_switched_off() {
    let held = held([stamped(), restricted_mode_off()]);
    let loose = decided("unrestricted", &held, &local(true));
    assert_eq!(mode_of(&loose), Some(Mode::Unrestricted));
    let place = "terr.restricted.execution.mode in /srv/TERR/conf/custom.properties";
    let tight = Local {
        keeps_restricted_mode: Some(place.to_owned()),
        ..local(true)
    };
    match decided("unrestricted", &held, &tight) {
        Decision::Run { mode, entry, .. } => {
            assert_eq!((mode, entry.as_deref()), (Mode::Restricted, Some(place)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_of_the_node_keeps_the_checks_where_they_were_switched_off() {
    let off = Entry::Setting(Scope::All, Setting::DisableTrustChecks(true));
    let held = held([off, restricted_mode_off()]);
    let loose = decided("unrestricted", &held, &local(true));
    assert_eq!(mode_of(&loose), Some(Mode::Unrestricted));
    let place = "disable.spotfire.trust.checks in /srv/TERR/conf/custom.properties";
    let tight = Local {
        keeps_checks: Some(place.to_owned()),
        ..local(true)
    };
    match decided("unrestricted", &held, &tight) {
        Decision::Run { mode, entry, .. } => {
            assert_eq!((mode, entry.as_deref()), (Mode::Restricted, Some(place)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_value_beside_the_grant_is_the_granted_one() {
    let collective = Collective::new(1, NOW);
    let mut grant = grant(&collective);
    let blob = BlobRef {
        digest: Digest::of(b"7"),
        size: 1,
        format: "json".to_owned(),
    };
    grant.inputs.insert("x".to_owned(), blob);
    let with = |name: &str, text: &str| Granted {
        arguments: Arguments::from([(name.to_owned(), text.to_owned())]),
        ..granted(&collective, &grant)
    };
    for (name, text) in [("x", "8"), ("y", "7")] {
        let refused = admit(&collective, with(name, text), &mut Used::default(), NOW);
        assert!(
            matches!(refused, Err(NotAdmitted::Inconsistent(_))),
            "{name}: {refused:?}"
        );
    }
    let admitted = admit(&collective, with("x", "7"), &mut Used::default(), NOW).expect("admitted");
    assert_eq!(admitted.arguments["x"], "7");
}
