use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    functions::{RUN, SUBMIT, blob, ended, run, with_logs},
    program::Home,
    server::Server,
};

#[test]
fn a_run_can_be_left_alone_and_looked_at_later() {
    let server = Server::start();
    server.on(SUBMIT, 202, &run("queued"));
    let mut done = ended("succeeded", None, "");
    done["outputs"] = json!({ "y": blob(b"a\n1\n", "csv") });
    server.on(&format!("GET /api/v1/runs/{RUN}"), 200, &done);
    server.on_bytes(&format!("GET /api/v1/runs/{RUN}/outputs/y"), b"a\n1\n");
    server.on(&format!("POST /api/v1/runs/{RUN}/cancel"), 200, &run("running"));
    server.on(
        &format!("GET /api/v1/runs/{RUN}/receipt"),
        200,
        &json!({ "receipt": { "a": 1 }, "countersignature": { "b": 2 }, "roots": ["c"] }),
    );
    server.on(
        "GET /api/v1/runs?state=failed&limit=1000",
        200,
        &json!({ "items": [] }),
    );
    with_logs(&server);
    let home = Home::at(&server);
    assert_eq!(
        home.muster(&["function", "run", "forecast", "--no-wait"])
            .printed(),
        format!("Queued as run {RUN}; see muster run show {RUN}.\n")
    );
    let shown = home
        .muster(&["run", "show", RUN, "--save", "y=late.csv"])
        .printed();
    assert!(shown.contains("State        succeeded\n"), "{shown}");
    assert!(shown.ends_with("y: saved to late.csv (4 B)\n"), "{shown}");
    assert_eq!(home.read("late.csv"), "a\n1\n");
    let complaint = home
        .muster(&["run", "show", RUN, "--save", "q=q.csv"])
        .complaint(1);
    assert!(complaint.contains("has no output q; it has y"), "{complaint}");
    let complaint = home
        .muster(&["run", "show", RUN, "--save", "y=y.json"])
        .complaint(1);
    assert!(complaint.contains("a name that ends in .csv"), "{complaint}");
    for path in ["", "?after=8.7.a"] {
        let (pieces, next) = if path.is_empty() {
            (
                vec![piece("stdout", 0, "printed\n"), piece("stderr", 0, "warned\n")],
                "8.7.a",
            )
        } else {
            (Vec::new(), "8.7.a")
        };
        let answer = logs("succeeded", &pieces, next, pieces.is_empty());
        server.on(&format!("GET /api/v1/runs/{RUN}/logs{path}"), 200, &answer);
    }
    let logs = home.muster(&["run", "logs", RUN]);
    assert_eq!(
        (logs.stdout.as_str(), logs.stderr.as_str()),
        ("printed\n", "warned\n")
    );
    let logs = home.muster(&["run", "logs", RUN, "--output", "json"]).json();
    assert_eq!(logs, json!({ "stdout": "printed\n", "stderr": "warned\n" }));
    let cancelled = home.muster(&["run", "cancel", RUN]).printed();
    assert_eq!(
        cancelled,
        format!("The run {RUN} is being ended; see muster run show.\n")
    );
    let receipt = json!({ "receipt": { "a": 1 }, "countersignature": { "b": 2 }, "roots": ["c"] });
    assert_eq!(home.muster(&["run", "receipt", "show", RUN]).json(), receipt);
    let saved = home.muster(&["run", "receipt", "show", RUN, "--save", "r.json"]);
    assert_eq!(
        saved.printed(),
        format!("The receipt of the run {RUN} is in r.json.\n")
    );
    let again = ["run", "receipt", "show", RUN, "--save", "r.json"];
    let refused = home.muster(&again).complaint(1);
    assert!(refused.contains("--force"), "{refused}");
    home.muster(&[&again[..], &["--force"]].concat()).printed();
    let read: Value = serde_json::from_str(&home.read("r.json")).expect("JSON");
    assert_eq!(read, receipt);
    assert_eq!(
        home.muster(&["run", "list", "--state", "failed"]).printed(),
        "No runs.\n"
    );
}

fn piece(stream: &str, offset: u64, text: &str) -> Value {
    json!({ "stream": stream, "offset": offset, "data": STANDARD.encode(text) })
}

fn logs(state: &str, printed: &[Value], next: &str, complete: bool) -> Value {
    json!({ "state": state, "printed": printed, "next": next, "complete": complete })
}

#[test]
fn a_run_is_followed_from_the_queue_to_its_end() {
    let server = Server::start();
    let mut waiting = logs("queued", &[], "0.0.a", false);
    waiting["queued_before"] = json!(2);
    let mut running = logs("running", &[piece("stdout", 0, "one\n")], "4.0.b", false);
    running["progress"] = json!({ "fraction": 0.5, "text": "fitting\u{1b}" });
    let mut more = logs(
        "running",
        &[piece("stdout", 104, "two\n"), piece("stderr", 0, "oh\n")],
        "108.3.b",
        false,
    );
    more["progress"] = running["progress"].clone();
    let path = format!("GET /api/v1/runs/{RUN}/logs");
    let answers = [
        ("?wait=30s", waiting),
        ("?after=0.0.a&wait=30s", running),
        ("?after=4.0.b&wait=30s", more),
        ("?after=108.3.b&wait=30s", logs("failed", &[], "108.3.c", true)),
    ];
    for (query, answer) in &answers {
        server.on(&format!("{path}{query}"), 200, answer);
    }
    let home = Home::at(&server);
    let done = home.muster(&["run", "logs", RUN, "--follow"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(done.stdout, "one\ntwo\n");
    assert_eq!(
        done.stderr,
        format!(
            "[2 runs before it in its queue]\n[50 %: fitting\\u{{1b}}]\n(100 B of its standard output are not kept)\noh\n\
             (the run {RUN} is failed; see muster run show {RUN})\n"
        )
    );
    let done = home.muster(&["run", "logs", RUN, "--follow", "--output", "json"]);
    let lines: Vec<Value> = done
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), answers.len());
    assert_eq!(lines[3]["complete"], true);
}

#[test]
fn a_wait_that_is_broken_off_names_the_run_that_goes_on() {
    let server = Server::start();
    server.on(SUBMIT, 202, &run("queued"));
    let wait = format!("GET /api/v1/runs/{RUN}?wait=30s");
    server.refuse(
        &wait,
        503,
        "unavailable",
        "The database does not answer; try again.",
    );
    server.refuse(
        &wait,
        401,
        "not-authenticated",
        "The session has ended; log in again.",
    );
    let complaint = Home::at(&server)
        .muster(&["function", "run", "forecast"])
        .complaint(1);
    assert_eq!(
        complaint,
        format!("The session has ended; log in again. The run {RUN} goes on; see muster run show {RUN}.\n")
    );
    assert_eq!(server.asked(SUBMIT).len(), 1);
    assert_eq!(server.asked("GET").len(), 2);
}

#[test]
fn a_receipt_is_verified_without_a_session_by_its_own_roots_or_by_those_that_are_named() {
    let home = Home::new();
    home.write("r.json", "{}");
    home.write("roots.pem", "no certificate");
    let pin = format!("sha256:{}", "0".repeat(64));
    let verify = ["run", "receipt", "verify", "r.json"];
    let with = |more: &[&str]| home.muster(&[&verify[..], more].concat());
    let complaint = with(&[]).complaint(1);
    assert!(
        complaint.contains("r.json proves nothing: it is not the receipt of a run"),
        "{complaint}"
    );
    let complaint = with(&["--roots", "roots.pem", "--ca-fingerprint", &pin]).complaint(2);
    assert!(complaint.contains("give either --roots"), "{complaint}");
    let complaint = with(&["--roots", "roots.pem"]).complaint(2);
    assert!(
        complaint.contains("--roots roots.pem: the PEM text holds no certificate"),
        "{complaint}"
    );
    let complaint = with(&["--ca-fingerprint", &pin]).complaint(1);
    assert!(
        complaint.contains("r.json proves nothing: it is not the receipt of a run"),
        "{complaint}"
    );
    let complaint = home
        .muster(&["run", "receipt", "verify", "none.json", "--ca-fingerprint", &pin])
        .complaint(2);
    assert!(complaint.contains("none.json"), "{complaint}");
}
