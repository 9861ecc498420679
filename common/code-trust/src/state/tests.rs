use muster_ids::{Name, NodeId, PoolId, SiteId};

use super::*;
use crate::{Origin, Scope, Setting, SettingName};

fn pairs(entries: &[(&str, &str)]) -> Vec<(String, String)> {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn change(number: u64, key: &str, value: Option<&str>) -> Change {
    Change {
        number,
        key: key.to_owned(),
        value: value.map(str::to_owned),
    }
}

fn name(text: &str) -> Name {
    text.parse().expect(text)
}

const STAMP: (&str, &str) = (
    "stamp/00000000-0001-7000-8000-000000000000",
    concat!(
        r#"{"at":"2024-05-01T00:00:00Z","author":"ann@SPOTFIRE","hash":"h1","#,
        r#""id":"00000000-0001-7000-8000-000000000000","kind":"data_function","library_item":"F"}"#
    ),
);

const EXAMPLES: &[(&str, &str)] = &[
    STAMP,
    (
        "authority/sha256:0101010101010101010101010101010101010101010101010101010101010101",
        concat!(
            r#"{"fingerprint":"sha256:0101010101010101010101010101010101010101010101010101010101010101","#,
            r#""issuing":"sha256:0202020202020202020202020202020202020202020202020202020202020202","root":"MIIB"}"#
        ),
    ),
    (
        "block/item/action_mod/h9",
        r#"{"item":{"hash":"h9","type":"action_mod"}}"#,
    ),
    ("block/user/eve@spotfire", r#"{"user":"Eve@SPOTFIRE"}"#),
    (
        "block/certificate/2/CN=Corp/CA",
        r#"{"issuer":"CN=Corp/CA","serial":"2"}"#,
    ),
    (
        "blocking/00000000-0001-7000-8000-000000000000",
        concat!(
            r#"{"at":"2026-01-01T00:00:00Z","author":"ann@SPOTFIRE","block":{"user":"Eve@SPOTFIRE"},"#,
            r#""id":"00000000-0001-7000-8000-000000000000"}"#
        ),
    ),
    (
        "trust/group/analysts/user/developer/bob@spotfire",
        r#"{"principal":{"group":"Analysts"},"signer":{"role":"developer","user":"bob@SPOTFIRE"}}"#,
    ),
    (
        "trust/user/ann@spotfire/item/visualization_mod/h1",
        concat!(
            r#"{"expires":"2030-01-01T00:00:00Z","item":{"hash":"h1","type":"visualization_mod"},"#,
            r#""principal":{"user":"ann@SPOTFIRE"}}"#
        ),
    ),
    (
        "revocation/bob@spotfire/2020-12-31T00:00:00Z",
        r#"{"from":"2020-12-31T00:00:00Z","user":"bob@SPOTFIRE"}"#,
    ),
    ("root/internal", r#""internal""#),
    (
        "setting/all/restricted_engines",
        r#"["python_service","r_service"]"#,
    ),
    (
        "setting/node/00000000-0001-7000-8000-000000000000/terr.restricted.execution.mode",
        "false",
    ),
    (
        "setting/all/unrestricted_policy",
        r#"{"limits":{},"network":{"class":"none"},"programs":"none","read":["/srv/data"]}"#,
    ),
    (
        "policy/function/00000000-0001-7000-8000-000000000000",
        r#"{"limits":{"memory_mib":512},"network":{"class":"host"},"programs":["/usr/bin/git"]}"#,
    ),
    ("setting/all/trust.running", r#""finish""#),
    ("setting/all/trust.stamps", r#""same_item""#),
    (
        "tombstone/block/00000000-0001-7000-8000-000000000000",
        r#"{"at":"2026-01-01T00:00:00Z","block":"00000000-0001-7000-8000-000000000000"}"#,
    ),
    (
        "tombstone/certificate/1a4",
        r#"{"at":"2026-01-01T00:00:00Z","certificate":"1a4","until":"2026-01-08T00:00:00Z"}"#,
    ),
    (
        "tombstone/node/00000000-0001-7000-8000-000000000000",
        r#"{"at":"2026-01-01T00:00:00Z","node":"00000000-0001-7000-8000-000000000000"}"#,
    ),
    (
        "tombstone/root/sha256:ab",
        r#"{"at":"2026-01-01T00:00:00Z","root":"sha256:ab"}"#,
    ),
    (
        "tombstone/stamp/00000000-0001-7000-8000-000000000000",
        r#"{"at":"2026-01-01T00:00:00Z","stamp":"00000000-0001-7000-8000-000000000000"}"#,
    ),
];

#[test]
fn every_kind_of_entry_has_its_documented_key_and_value() {
    let state = TrustState::from_pairs(pairs(EXAMPLES)).expect("all kinds");
    assert_eq!(state.len(), EXAMPLES.len());
    for (key, value) in EXAMPLES {
        let entry = Entry::parse(key, value).expect(key);
        assert_eq!((entry.key().as_str(), entry.value().as_str()), (*key, *value));
    }
    let features: Vec<&str> = FEATURES.iter().map(|(feature, _)| *feature).collect();
    assert_eq!(state.requires(), [&features[..], &[STAMPS_COUNT]].concat());
    let others = EXAMPLES.iter().filter(|(key, _)| !key.ends_with("trust.stamps"));
    let before = TrustState::from_pairs(others.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let before = before.expect("the others");
    assert_eq!(before.requires(), features, "readers of before can read this");
    assert!(check_requires(state.requires()).is_ok());
}

#[test]
fn what_is_not_understood_or_not_canonical_is_refused() {
    for (key, value, says) in [
        ("wall/new", "{}", "unknown kind"),
        ("setting/all/new.setting", "true", "unknown kind"),
        (
            "setting/planet/terr.restricted.execution.mode",
            "true",
            "unknown kind",
        ),
        (
            "setting/all/terr.restricted.execution.mode",
            "\"on\"",
            "wrong value",
        ),
        (
            "setting/all/terr.restricted.execution.mode",
            "true ",
            "not written as",
        ),
        (
            "setting/all/restricted_engines",
            r#"["r_service","python_service"]"#,
            "not written as",
        ),
        (
            "block/item/script/h9",
            r#"{"item":{"hash":"h9","type":"action_mod"}}"#,
            "not written as",
        ),
        (
            "block/user/eve@spotfire",
            r#"{ "user":"eve@SPOTFIRE"}"#,
            "not written as",
        ),
        (
            "block/user/eve@spotfire",
            r#"{"user":"eve@SPOTFIRE","only_if":"new"}"#,
            "cannot be read",
        ),
        (
            "block/user/eve@spotfire",
            r#"{"user":"eve@SPOTFIRE","serial":"1"}"#,
            "cannot be read",
        ),
        (
            "stamp/00000000-0002-7000-8000-000000000000",
            STAMP.1,
            "not written as",
        ),
    ] {
        let error = Entry::parse(key, value).expect_err(key);
        assert!(error.to_string().contains(says), "{key}: {error}");
    }
    let error = check_requires(["stamps/1", "quarantine/1"]).expect_err("an unknown feature");
    assert_eq!(
        error.to_string(),
        "the trust state was refused: it requires quarantine/1, which this version does not know; update this program"
    );
    assert!(matches!(
        TrustState::from_pairs(pairs(&[STAMP, STAMP])),
        Err(StateError::Twice(_))
    ));
}

#[test]
fn changes_lead_to_the_signed_state_or_to_nothing() {
    let before = TrustState::from_pairs(pairs(&EXAMPLES[..4])).expect("state");
    let after = TrustState::from_pairs(pairs(&EXAMPLES[1..6])).expect("state");
    let changes = [
        change(5, STAMP.0, None),
        change(6, EXAMPLES[4].0, Some(EXAMPLES[4].1)),
        change(6, EXAMPLES[5].0, Some(EXAMPLES[5].1)),
    ];
    let applied = before.apply(&changes, &after.digest()).expect("the signed state");
    assert!(applied.pairs().eq(after.pairs()));
    assert!(matches!(
        before.apply(&changes[..2], &after.digest()),
        Err(StateError::Digest { .. })
    ));
    let disordered = [changes[2].clone(), changes[0].clone()];
    assert!(matches!(
        before.apply(&disordered, &after.digest()),
        Err(StateError::Order { before: 6, after: 5 })
    ));
    let unknown = [change(5, "wall/new", Some("{}"))];
    assert!(matches!(
        before.apply(&unknown, &after.digest()),
        Err(StateError::Entry(_))
    ));
}

#[test]
fn the_digest_is_the_documented_one() {
    let state = TrustState::from_pairs(pairs(&[EXAMPLES[7], EXAMPLES[1]])).expect("state");
    let parts: [&[u8]; 4] = [
        EXAMPLES[1].0.as_bytes(),
        EXAMPLES[1].1.as_bytes(),
        EXAMPLES[7].0.as_bytes(),
        EXAMPLES[7].1.as_bytes(),
    ];
    assert_eq!(state.digest(), Digest::of_framed(&parts));
}

#[test]
fn a_removed_stamp_is_found_no_more_and_others_stay() {
    let other = STAMP.1.replace("-0001-", "-0002-");
    let mut all = pairs(&[STAMP]);
    all.push((STAMP.0.replace("-0001-", "-0002-"), other));
    let state = TrustState::from_pairs(all.clone()).expect("state");
    let hash: ItemHash = "h1".parse().expect("hash");
    let found = |state: &TrustState, kind| state.stamps_of(kind, &hash).count();
    assert_eq!(
        (
            found(&state, CodeType::DataFunction),
            found(&state, CodeType::CustomQuery)
        ),
        (2, 0)
    );
    let rest = TrustState::from_pairs(all[1..].to_vec()).expect("state");
    let applied = state
        .apply(&[change(1, STAMP.0, None)], &rest.digest())
        .expect("state");
    assert_eq!(found(&applied, CodeType::DataFunction), 1);
}

#[test]
fn the_most_special_level_of_a_setting_wins_and_is_named() {
    let (node, pool, site) = (
        NodeId::new(1, [1; 10]),
        PoolId::new(1, [2; 10]),
        SiteId::new(1, [3; 10]),
    );
    let place = Place {
        node: Some((node, name("terr01"))),
        pool: Some((pool, name("fast"))),
        site: Some((site, name("Oslo"))),
    };
    let levels = [
        (Scope::All, Origin::All, "for all"),
        (Scope::Site(site), Origin::Site(name("Oslo")), "at site Oslo"),
        (Scope::Pool(pool), Origin::Pool(name("fast")), "at pool fast"),
        (Scope::Node(node), Origin::Node(name("terr01")), "at node terr01"),
    ];
    let mut entries = vec![Entry::Setting(
        Scope::Node(NodeId::new(1, [9; 10])),
        Setting::TerrRestrictedExecutionMode(true),
    )];
    assert_eq!(
        TrustState::from_entries(entries.clone()).settings_at(&place),
        Settings::default()
    );
    let mut value = false;
    for (scope, origin, words) in levels {
        value = !value;
        entries.push(Entry::Setting(scope, Setting::TerrRestrictedExecutionMode(value)));
        let settings = TrustState::from_entries(entries.clone()).settings_at(&place);
        assert_eq!(settings.terr_restricted_execution_mode.value, value);
        assert_eq!(settings.terr_restricted_execution_mode.origin, origin);
        let source = settings.source(SettingName::TerrRestrictedExecutionMode);
        assert_eq!(source, format!("setting terr.restricted.execution.mode {words}"));
    }
    let elsewhere = TrustState::from_entries(entries).settings_at(&Place::default());
    assert_eq!(elsewhere.terr_restricted_execution_mode.origin, Origin::All);
}

#[test]
fn the_authorities_of_the_collective_travel_with_the_state_and_demand_a_reader_that_knows_them() {
    let authority = |byte: u8, root: Option<&str>| Authority {
        fingerprint: Digest::of(&[byte]),
        issuing: Digest::of(&[byte, 1]),
        root: root.map(|root| root.parse().expect("a label")),
    };
    let entries = [authority(1, Some("MIIB")), authority(2, None)];
    let state = TrustState::from_entries(entries.clone().map(Entry::Authority));
    let mut found: Vec<_> = state.authorities().collect();
    found.sort_by_key(|one| one.root.is_none());
    assert_eq!(found, entries);
    assert_eq!(state.requires(), ["authorities/1"]);
    let pairs = state
        .pairs()
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(
        TrustState::from_pairs(pairs).expect("read").digest(),
        state.digest()
    );
    assert!(TrustState::default().authorities().next().is_none());
}
