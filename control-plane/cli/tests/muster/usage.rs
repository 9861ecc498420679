use std::process::Stdio;

use serde_json::json;

use crate::{
    program::{Home, MUSTER},
    server::Server,
};

#[test]
fn wrong_arguments_of_every_noun_are_usage_errors() {
    let home = Home::new();
    for arguments in [
        &[][..],
        &["status", "--output", "yaml"],
        &["status", "extra"],
        &["status", "--server", "host:8443"],
        &["status", "--ca-fingerprint", "1234"],
        &["login", "ftp://host"],
        &["login", "http://host:8443", "--user", "ann@SPOTFIRE"],
        &["login"],
        &["login", "https://host:8443", "--user", "ann"],
        &["login", "https://host:8443", "--password", "secret"],
        &["join"],
        &["join", "list", "--state", "lost"],
        &["join", "show", "terr01"],
        &["join", "approve"],
        &[
            "join",
            "approve",
            "--fingerprint",
            "sha256:6cbc79246cbc79246cbc79246cbc79246cbc79246cbc79246cbc79246cbc7924",
        ],
        &["join", "approve", "--code", "1234"],
        &[
            "join",
            "approve",
            "--code",
            "4821-0937-5512",
            "--fingerprint",
            "sha256:00",
        ],
        &["join", "approve", "0123456789abcdef0123456789abcdef"],
        &["node", "show", "../x"],
        &["node", "show", ""],
        &["node", "set", "terr01"],
        &["node", "list", "--limit", "0"],
        &["cert"],
        &["ca"],
        &["user", "create", "ann"],
        &["user", "set-password", "ann@SPOTFIRE", "--password", "x"],
        &["group", "create", "a\u{202e}b"],
        &["group", "add-member", "Analysts", "ann"],
        &["license", "grant", "Analysts"],
        &["setting", "set", "name"],
        &["setting", "set", "name", "value", "--scope", "everywhere"],
        &["pool", "create", " a"],
        &["site", "delete"],
        &["library", "create-folder", "Team"],
        &["library", "move", "/Team"],
        &["library", "permit", "/Team", "--right", "read"],
        &["library", "permit", "/Team", "--group", "Team", "--right", "own"],
        &["function", "register"],
        &[
            "function",
            "register",
            "--name",
            "f",
            "--language",
            "cobol",
            "--script",
            "f",
        ],
        &["function", "register", "missing.toml"],
        &["function", "trust", "f", "--digest", "abc"],
        &["run", "show", "1"],
        &["run", "list", "--state", "done"],
        &["trust", "explain"],
        &["trust", "explain", "f", "--user", "ann"],
        &["policy", "test"],
        &["policy", "test", "missing.json"],
        &["audit", "verify", "--all"],
        &["compat"],
        &["compat", "--list", "list-nodes"],
        &["compat", "frobnicate", "-i", "3"],
        &["completions", "tcsh"],
        // Nouns that are documented but not there yet.
        &["job", "list"],
        &["data", "convert"],
    ] {
        let done = home.muster(arguments);
        assert_eq!(done.code, Some(2), "{arguments:?}: {done:?}");
        assert!(
            done.stdout.is_empty() && !done.stderr.is_empty(),
            "{arguments:?}: {done:?}"
        );
    }
}

#[test]
fn a_usage_error_is_a_problem_object_for_programs() {
    let home = Home::new();
    let done = home.muster(&["--output", "json", "node", "explode"]);
    assert_eq!(
        done.json(),
        json!({
            "type": "urn:muster:problem:usage", "title": "The command is wrong",
            "detail": "unrecognized subcommand 'explode'; usage: muster node [OPTIONS] <COMMAND>; --help tells more",
        })
    );
    assert_eq!(done.code, Some(2));
    let done = home.muster(&["function", "run", "--output", "json"]);
    assert_eq!(
        done.json()["detail"],
        "the following required arguments were not provided: <FUNCTION>; usage: muster function run --output <FORMAT> \
         <FUNCTION>; --help tells more"
    );
    let done = home.muster(&["node", "--output", "json"]);
    let detail = done.json()["detail"].to_string();
    assert!(
        detail.contains("requires a subcommand") && detail.contains("list, show, cordon"),
        "{detail}"
    );
}

#[test]
fn without_a_session_the_cure_is_named() {
    let done = Home::new().muster(&["node", "list", "--output=json"]);
    assert_eq!(done.json()["type"], "urn:muster:problem:not-logged-in");
    assert_eq!(
        done.complaint(1),
        "not logged in; run muster login https://HOST:8443, or give --server\n"
    );
}

#[test]
fn an_answer_that_is_not_understood_is_told() {
    let server = Server::start();
    server.on("GET /api/v1/status", 200, &json!({ "version": 1 }));
    let complaint = Home::at(&server).muster(&["status"]).complaint(1);
    assert!(
        complaint.contains("are this program and the control plane of like versions?"),
        "{complaint}"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = Home::new();
    let mut child = home
        .command(MUSTER)
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // More than a pipe holds is to come, and nobody reads it.
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_policy_test_needs_no_server_and_its_exit_code_says_what_came_out() {
    let home = Home::new();
    let file = |outcome: &str| {
        json!({
            "world": { "users": [{ "name": "ann@SPOTFIRE" }] },
            "cases": [{
                "name": "TERR service, untrusted", "user": "ann@SPOTFIRE", "client": "web", "action": "run",
                "item": { "type": "data_function", "engine": "terr_service", "hash": "d1" },
                "expect": { "outcome": outcome },
            }],
        })
        .to_string()
    };
    home.write("good.json", &file("restricted"));
    home.write("bad.json", &file("allow"));
    home.write("wrong.json", &file("maybe"));
    assert_eq!(
        home.muster(&["policy", "test", "good.json"]).printed(),
        "1 passed, 0 failed\n"
    );
    let done = home.muster(&["policy", "test", "bad.json"]);
    assert_eq!(done.code, Some(1));
    assert!(
        done.stdout
            .starts_with("case \"TERR service, untrusted\": expected allow"),
        "{done:?}"
    );
    assert!(done.stdout.ends_with("\n0 passed, 1 failed\n"), "{done:?}");
    let done = home.muster(&["policy", "test", "bad.json", "--output", "json"]);
    assert_eq!(done.json()["failed"], 1);
    let complaint = home.muster(&["policy", "test", "wrong.json"]).complaint(2);
    assert!(complaint.contains("maybe"), "{complaint}");
}
