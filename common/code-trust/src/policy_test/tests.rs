use super::*;

const FILE: &str = r#"{ "world": {
    "groups": [ {"name": "Analysts", "parents": ["Script Author"]} ],
    "users": [ {"name": "ann@SPOTFIRE", "groups": ["Analysts"]} ] },
  "cases": [
    { "name": "an author", "user": "ann@SPOTFIRE", "client": "web",
      "item": {"type": "data_function", "engine": "r_service", "hash": "d1"},
      "action": "run",
      "expect": {"outcome": "allow"} } ] }"#;

fn refusal(change: &str, into: &str) -> String {
    let file = FILE.replace(change, into);
    assert_ne!(file, FILE, "{change}");
    run(&file).expect_err(into).to_string()
}

#[test]
fn a_report_ends_with_its_sums_and_has_one_line_for_each_difference() {
    assert_eq!(run(FILE).expect("valid").to_string(), "1 passed, 0 failed");
    let file = FILE.replace(
        r#"{"outcome": "allow"}"#,
        r#"{"outcome": "deny", "reason": "untrusted"}"#,
    );
    assert_eq!(
        run(&file).expect("valid").to_string(),
        "case \"an author\": expected deny [untrusted], but it is allow (rule script-author; \
         Analysts -> Script Author)\n0 passed, 1 failed"
    );
    let file = FILE.replace(r#""user": "ann@"#, r#""user": "amn@"#);
    let line = &run(&file).expect("valid").lines[0];
    assert!(
        line.ends_with("; amn@SPOTFIRE is not among the users of the world"),
        "{line}"
    );
}

#[test]
fn absent_expectations_are_not_compared_and_options_have_no_order() {
    for expect in ["{}", r#"{"outcome": "allow"}"#, r#"{"options": []}"#] {
        let report = run(&FILE.replace(r#"{"outcome": "allow"}"#, expect)).expect("valid");
        assert_eq!(report.failed, 0, "{expect}");
    }
    let prompt = FILE
        .replace(r#""client": "web""#, r#""client": "installed_no_server""#)
        .replace(r#"{"type": "data_function", "engine": "r_service", "hash": "d1"}"#,
            r#"{"type": "action_mod", "hash": "m", "signature": {"root": "internal", "user": "ann@SPOTFIRE", "time": "2020-01-01T00:00:00Z"}}"#);
    for (options, failed) in [
        (r#"["item", "signer"]"#, 0),
        (r#"["signer", "item"]"#, 0),
        (r#"["item"]"#, 1),
        ("[]", 1),
    ] {
        let expect = format!(r#"{{"options": {options}}}"#);
        let report = run(&prompt.replace(r#"{"outcome": "allow"}"#, &expect)).expect("valid");
        assert_eq!(report.failed, failed, "{options}");
    }
}

#[test]
fn there_is_no_cloud_client() {
    for client in ["cloud", "cloud_analyst", "cloud_web"] {
        let file = FILE.replace(r#""client": "web""#, &format!(r#""client": "{client}""#));
        let error = run(&file).expect_err("refused").to_string();
        assert!(error.contains(&format!("unknown variant `{client}`")), "{error}");
    }
}

#[test]
fn a_wrong_file_is_refused_with_its_place_and_field() {
    let start = "the policy test is not valid: ";
    for (change, into, says) in [
        (
            r#""client": "web""#,
            r#""client": "webb""#,
            "case \"an author\", line 5: client: unknown variant `webb`, expected one of `installed`",
        ),
        (
            r#""hash": "d1""#,
            r#""hsah": "d1""#,
            "case \"an author\", line 6: unknown field `hsah`",
        ),
        (
            r#""hash": "d1""#,
            r#""hash": 1"#,
            "case \"an author\", line 6: hash: invalid type: integer `1`",
        ),
        (
            r#""hash": "d1""#,
            r#""hash": "a b""#,
            "case \"an author\", line 6: item: a content hash is",
        ),
        (
            "an author\"",
            "an author\", \"name\": \"x\"",
            "case number 1, line 5: duplicate field `name`",
        ),
        (
            r#""client": "web","#,
            "",
            "case \"an author\", line 8: missing field `client`",
        ),
        (
            r#""name": "Analysts""#,
            r#""name": "Analysts\u202e""#,
            "world, line 2: name: a name must not contain",
        ),
        (
            r#""parents""#,
            r#""parent""#,
            "world, line 2: unknown field `parent`",
        ),
        (
            r#"["Script Author"]"#,
            r#"["Staff"]"#,
            "world.groups: \"Analysts\" has the parent \"Staff\", which is no",
        ),
        (
            r#"["Analysts"]"#,
            r#"["Analyst"]"#,
            "world.users: ann@SPOTFIRE is in \"Analyst\", which is no group",
        ),
        (
            r#""run""#,
            r#""open""#,
            "case \"an author\": the action open does not exist for the type data_function; these",
        ),
        (
            r#""engine": "r_service", "#,
            "",
            "case \"an author\": item.engine is missing",
        ),
        (
            r#""engine": "r_service""#,
            r#""engine": "r_service", "language": "javascript""#,
            "case \"an author\": item.language does not belong to the type data_function",
        ),
        (
            r#"{ "world""#,
            r#"{ "wrold""#,
            "the file: unknown field `wrold`, expected `world` or `cases` at line 1",
        ),
        (
            r#""groups": [ {"name"#,
            r#""trust": [{"principal": {"group": "Analysts"}}], "groups": [ {"name"#,
            "world, line 2: trust: a trust entry names exactly one: a signer or an item",
        ),
    ] {
        let error = refusal(change, into);
        assert!(error.starts_with(&format!("{start}{says}")), "{error}");
    }
    assert!(run("").is_err());
    assert!(run("[").is_err());
}

#[test]
fn entries_end_in_a_world_with_time_and_the_longest_of_one_trust_counts() {
    let entry = |expires: &str| {
        format!(
            r#"{{"principal": {{"group": "Analysts"}}, "signer": {{"user": "b@X", "role": "developer"}}{expires}}}"#
        )
    };
    let ends = r#", "expires": "2030-01-01T00:00:00Z""#;
    let sooner = r#", "expires": "2028-01-01T00:00:00Z""#;
    let now = r#""now": "2029-01-01T00:00:00Z","#;
    for (entries, now, allowed) in [
        ([entry(sooner), entry(ends)], now, true),
        ([entry(ends), entry(sooner)], now, true),
        ([entry(""), entry(sooner)], now, true),
        ([entry(sooner), entry("")], now, true),
        ([entry(sooner), entry(sooner)], now, false),
        ([entry(sooner), entry(sooner)], "", true),
    ] {
        let file = format!(
            r#"{{"world": {{"groups": [{{"name": "Analysts", "licenses": ["Open Visualization Mod from Library"]}}],
                "users": [{{"name": "a@X", "groups": ["Analysts"]}}, {{"name": "b@X"}}],
                {now} "trust": [{}]}},
                "cases": [{{"name": "x", "user": "a@X", "client": "web", "action": "open",
                "item": {{"type": "visualization_mod", "hash": "h",
                          "signature": {{"root": "internal", "user": "b@X", "time": "2020-01-01T00:00:00Z"}}}},
                "expect": {{"outcome": "allow"}}}}]}}"#,
            entries.join(", ")
        );
        let report = run(&file).expect(&file);
        assert_eq!(report.failed == 0, allowed, "{report}");
    }
}

#[test]
fn what_an_error_quotes_cannot_steer_a_terminal() {
    for (change, into) in [
        ("\"hash\"", r#""ha\u001b[2Jsh""#),
        ("\"an author\"", r#""an\nauthor", "more\u0000": 1"#),
        ("\"r_service\"", r#""r\u0007service""#),
    ] {
        let error = refusal(change, into);
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
}
