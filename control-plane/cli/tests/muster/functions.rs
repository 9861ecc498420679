use muster_ids::Digest;
use serde_json::{Value, json};

use crate::{program::Home, server::Server, terminal::Terminal};

pub(crate) const RUN: &str = "0192d4c0-0000-7000-8000-00000000000a";
const FUNCTION: &str = "0192d4c0-0000-7000-8000-00000000000f";
pub(crate) const SUBMIT: &str = "POST /api/v1/functions/forecast/runs";

pub(crate) fn blob(content: &[u8], format: &str) -> Value {
    json!({ "digest": Digest::of(content), "size": content.len(), "format": format })
}

pub(crate) fn run(state: &str) -> Value {
    json!({
        "id": RUN, "state": state, "function": FUNCTION, "function_name": "forecast",
        "digest": Digest::of(b"f"), "language": "terr", "user": "ann@SPOTFIRE", "pool": "default",
        "site": "default", "cancel_requested": false, "attempts": 1, "created": "2026-11-21T22:12:39.000Z",
    })
}

pub(crate) fn ended(state: &str, problem: Option<&str>, message: &str) -> Value {
    let mut run = run(state);
    run["mode"] = json!("restricted");
    run["ending"] = json!({
        "message": message, "rule": "terr.restricted", "engine": "terr (GNU R 4.2.2 standing in)",
        "timings": { "run": 12 }, "peak_bytes": 1_048_576, "limits_degraded": [],
        "stdout": { "blob": blob(b"printed\n", "text"), "truncated": false },
        "stderr": { "blob": blob(b"warned\n", "text"), "truncated": true },
    });
    if let Some(problem) = problem {
        run["ending"]["problem"] = json!(problem);
    }
    run
}

pub(crate) fn with_logs(server: &Server) {
    server.on_bytes(&format!("GET /api/v1/runs/{RUN}/stdout"), b"printed\n");
    server.on_bytes(&format!("GET /api/v1/runs/{RUN}/stderr"), b"warned\n");
}

fn function(trusted: bool) -> Value {
    let script = (1..=40)
        .map(|line| format!("x <- {line}"))
        .collect::<Vec<_>>()
        .join("\n");
    json!({
        "id": FUNCTION, "digest": Digest::of(b"f"), "trusted": trusted, "updated_by": "ann@SPOTFIRE",
        "updated": "2026-11-21T22:12:39.000Z",
        "definition": {
            "name": "forecast", "language": "terr", "script": script,
            "inputs": [{ "name": "x", "kind": "column", "types": ["Real"], "optional": true }],
            "outputs": [{ "name": "y", "kind": "table", "types": [], "optional": false }],
            "packages": [], "description": "Looks \u{1b}ahead", "limits": { "wall_seconds": 60 },
        },
    })
}

#[test]
fn a_run_brings_its_values_its_tables_and_what_it_printed() {
    let server = Server::start();
    let mut done = ended("succeeded", None, "");
    let table = b"a,b\n1,2\n";
    done["outputs"] = json!({ "n": blob(b"3.5", "json"), "y": blob(table, "csv"), "z": blob(b"1", "csv") });
    let mut declared = function(false);
    declared["definition"]["inputs"] =
        json!([{ "name": "code", "kind": "value", "types": ["String"], "optional": false }]);
    server.on("GET /api/v1/functions/forecast", 200, &declared);
    server.on(SUBMIT, 202, &run("queued"));
    let wait = format!("GET /api/v1/runs/{RUN}?wait=30s");
    server.on(&wait, 200, &run("running"));
    server.on(&wait, 200, &done);
    server.on_bytes(&format!("GET /api/v1/runs/{RUN}/outputs/n"), b"3.5");
    server.on_bytes(&format!("GET /api/v1/runs/{RUN}/outputs/y"), table);
    with_logs(&server);
    let home = Home::at(&server);
    let data = home.write("data.csv", "x\n1\n");
    let done = home.muster(&[
        "function",
        "run",
        "forecast",
        "--input",
        &format!("x=@{data}"),
        "--input",
        "n=3",
        "--input",
        "code=1.50",
        "--input",
        "t=a b",
        "--save",
        "y=out.csv",
        "--timeout",
        "2m",
        "--memory",
        "512",
        "--pool",
        "heavy",
    ]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(
        done.stderr,
        "warned\n(the end of its standard error was not kept)\n"
    );
    assert_eq!(
        done.stdout,
        format!(
            "printed\nn = 3.5\nz: csv, 1 B; get it with muster run show {RUN} --save z=FILE.csv\ny: saved to out.csv (8 B)\n"
        )
    );
    assert_eq!(home.read("out.csv"), "a,b\n1,2\n");

    let printed = home
        .muster(&["--output", "json", "function", "run", "forecast"])
        .printed();
    let printed: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(printed["outputs"]["n"]["value"], 3.5);
    assert!(printed["outputs"]["y"].get("value").is_none(), "{printed}");

    let form = server.asked(SUBMIT)[0].text();
    let request = json!({
        "inputs": { "n": 3, "code": "1.50", "t": "a b" }, "outputs": { "y": "csv" }, "pool": "heavy",
        "limits": { "wall_seconds": 120, "memory_mib": 512 },
    });
    let part = form
        .split("name=\"request\"\r\n\r\n")
        .nth(1)
        .expect("the request");
    let part: Value = serde_json::from_str(part.split("\r\n").next().expect("a line")).expect("JSON");
    assert_eq!(part, request);
    assert!(form.contains("name=\"input:x\"; filename=\"x.csv\""), "{form}");
    assert!(form.contains("\r\n\r\nx\n1\n\r\n"), "{form}");
}

#[test]
fn a_run_that_oversteps_fails_with_its_state_first() {
    let server = Server::start();
    let message =
        "restricted call to Native[file]\nHave a Script Author trust it with muster function trust.";
    let failed = ended("failed", Some("restricted-call"), message);
    server.on(SUBMIT, 200, &failed);
    with_logs(&server);
    let home = Home::at(&server);
    let done = home.muster(&["function", "run", "forecast"]);
    assert_eq!(done.stdout, "printed\n");
    let complaint = done.complaint(1);
    assert_eq!(
        complaint.lines().next(),
        Some("failed: restricted call to Native[file]"),
        "{complaint}"
    );

    let done = home.muster(&["function", "run", "forecast", "--output", "json"]);
    let value = done.json();
    assert_eq!(value["id"], RUN);
    assert_eq!(value["state"], "failed");
    assert_eq!(value["type"], "urn:muster:problem:restricted-call");
    assert_eq!(value["detail"], format!("failed: {message}"));
    assert_eq!(done.code, Some(1));
}

#[test]
fn every_other_ending_says_its_state_too() {
    let mut refused = run("refused");
    refused["why"] = json!({ "rule": "engine", "group_path": [], "reasons": ["Nobody trusts it."] });
    for (run, line) in [
        (refused, "refused: Nobody trusts it."),
        (
            ended("timed_out", Some("time-out"), "stopped after 60 s"),
            "timed_out: stopped after 60 s",
        ),
        (run("cancelled"), "cancelled: a person asked to end it"),
        (
            run("lost"),
            "lost: the node that had it was not heard of again; nothing is repeated by itself, run the function again",
        ),
    ] {
        let server = Server::start();
        with_logs(&server);
        server.on(SUBMIT, 200, &run);
        let complaint = Home::at(&server)
            .muster(&["function", "run", "forecast"])
            .complaint(1);
        assert_eq!(complaint.lines().next(), Some(line));
    }
}

#[test]
fn a_damaged_output_is_not_saved() {
    let server = Server::start();
    let mut done = ended("succeeded", None, "");
    done["outputs"] = json!({ "y": blob(b"a\n1\n", "csv") });
    server.on(SUBMIT, 200, &done);
    server.on_bytes(&format!("GET /api/v1/runs/{RUN}/outputs/y"), b"a\n2\n");
    let home = Home::at(&server);
    home.write("out.csv", "old");
    let complaint = home
        .muster(&["function", "run", "forecast", "--save", "y=out.csv"])
        .complaint(1);
    assert!(complaint.contains("damaged content"), "{complaint}");
    assert_eq!(home.read("out.csv"), "old");
    let left = std::fs::read_dir(home.path()).expect("a folder").count();
    assert_eq!(left, 2, "only out.csv and the session's folder");
}

#[test]
fn what_cannot_work_is_said_before_anything_is_sent() {
    let server = Server::start();
    let home = Home::at(&server);
    for (arguments, expected) in [
        (
            &["--input", "x=@data.sbdf"][..],
            "the format .sbdf is not supported by this version; use .csv or .json",
        ),
        (
            &["--input", "x=@missing.csv"],
            "cannot read the input missing.csv",
        ),
        (
            &["--input", "x=@/dev/null.csv"],
            "cannot read the input /dev/null.csv",
        ),
        (&["--input", "x"], "write NAME=VALUE or NAME=@FILE"),
        (&["--input", "x=1", "--input", "x=2"], "names x twice"),
        (
            &["--save", "y=out.parquet"],
            "the format .parquet is not supported by this version",
        ),
        (
            &["--save", "y=missing/out.csv"],
            "the folder missing does not exist",
        ),
        (&["--save", "y=a.csv", "--save", "y=b.csv"], "names y twice"),
        (&["--timeout", "0s"], "above 0"),
        (&["--memory", "0"], "0 is not in"),
        (&["--save", "y=a.csv", "--no-wait"], "cannot be used with"),
    ] {
        let complaint = home
            .muster(&[&["function", "run", "forecast"], arguments].concat())
            .complaint(2);
        assert!(complaint.contains(expected), "{complaint}");
    }
    assert!(server.asked("").is_empty());
}

#[test]
fn trust_is_given_to_what_was_read() {
    let server = Server::start();
    server.on("GET /api/v1/functions/forecast", 200, &function(false));
    let digest = Digest::of(b"f");
    let stamp = json!({
        "id": "0192d4c0-0000-7000-8000-00000000000b", "item": FUNCTION, "kind": "data_function", "hash": digest,
        "author": "ann@SPOTFIRE", "created": "2026-11-21T22:12:39.000Z",
    });
    server.on("POST /api/v1/functions/forecast/trust", 200, &stamp);
    server.on(
        "POST /api/v1/functions/forecast/untrust",
        200,
        &json!({ "removed": 1 }),
    );
    server.on(
        "GET /api/v1/trust/stamps?limit=1000",
        200,
        &json!({ "items": [stamp] }),
    );
    let functions = json!({ "items": [function(true)] });
    server.on("GET /api/v1/functions?limit=1000", 200, &functions);
    let home = Home::at(&server);

    let complaint = home.muster(&["function", "trust", "forecast"]).complaint(1);
    assert!(
        complaint.contains(&format!("give --digest {digest}")),
        "{complaint}"
    );
    assert!(server.asked("POST").is_empty());

    let mut terminal = Terminal::muster(&home, "function trust forecast");
    terminal
        .wait_for("Trust exactly this version of \"forecast\", so that it runs unrestricted? [y/N] ")
        .type_line("y");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    for expected in [
        "Language     terr\n",
        "Description  Looks \\u{1b}ahead\n",
        &format!("Digest       {digest}\n"),
        "  | x <- 30\n  … 10 more lines; read them with muster function show\n",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    assert_eq!(server.asked("POST")[0].json(), json!({ "digest": digest }));

    let other = Digest::of(b"other").to_string();
    home.muster(&["function", "trust", "forecast", "--digest", &other])
        .printed();
    assert_eq!(server.asked("POST")[1].json(), json!({ "digest": other }));
    assert_eq!(
        home.muster(&["function", "untrust", "forecast"]).printed(),
        "\"forecast\" is not trusted any more; 1 stamp was removed.\n"
    );
    let listed = home.muster(&["trust", "list"]).printed();
    assert!(
        listed.contains(&format!(
            "  forecast  data_function  sha256:{}…  ann@SPOTFIRE",
            &digest.hex()[..12]
        )),
        "{listed}"
    );
}

#[test]
fn functions_are_registered_from_files_and_options() {
    let server = Server::start();
    server.on("POST /api/v1/functions", 201, &function(false));
    let home = Home::at(&server);
    home.write("mean.R", "y <- mean(x)\n");
    let printed = home
        .muster(&[
            "function",
            "register",
            "--name",
            "forecast",
            "--language",
            "r",
            "--script",
            "mean.R",
            "--input",
            "x:column:Real",
            "--result",
            "y:value",
        ])
        .printed();
    assert!(
        printed.starts_with("Registered \"forecast\" as sha256:"),
        "{printed}"
    );
    let sent = server.asked("POST")[0].json();
    assert_eq!(sent["script"], "y <- mean(x)\n");
    assert_eq!(
        sent["inputs"],
        json!([{ "name": "x", "kind": "column", "types": ["Real"], "optional": false }])
    );
    home.write(
        "f.toml",
        "name = \"forecast\"\nlanguage = \"r\"\nscript = \"1\"\nspeed = 3\n",
    );
    let complaint = home.muster(&["function", "register", "f.toml"]).complaint(2);
    assert!(
        complaint.contains("f.toml") && complaint.contains("unknown field `speed`"),
        "{complaint}"
    );
    assert_eq!(server.asked("POST").len(), 1);
}

#[test]
fn an_explanation_says_rule_entry_and_path() {
    let server = Server::start();
    let explanation = json!({
        "function": "forecast", "item": FUNCTION, "kind": "data_function", "digest": Digest::of(b"f"), "user": "ann@SPOTFIRE", "client": "web", "action": "run", "node": "terr01",
        "outcome": "allow", "mode": "unrestricted",
        "why": {
            "rule": "terr.author", "entry": "group Script Author", "group_path": ["Analysts", "Script Author"],
            "reasons": ["ann@SPOTFIRE is a Script Author."],
        },
    });
    server.on(
        "GET /api/v1/trust/explain?function=forecast&user=ann%40SPOTFIRE&node=terr01",
        200,
        &explanation,
    );
    let home = Home::at(&server);
    let arguments = [
        "trust",
        "explain",
        "forecast",
        "--user",
        "ann@SPOTFIRE",
        "--node",
        "terr01",
    ];
    assert_eq!(
        home.muster(&arguments).printed(),
        format!(
            "Function  forecast\nDigest    {}\nUser      ann@SPOTFIRE\nClient    web\nAction    run\nNode      terr01\n\
             Outcome   allow\n\
             Mode      unrestricted\nRule      terr.author\nEntry     group Script Author\n\
             Groups    Analysts -> Script Author\nReasons   ann@SPOTFIRE is a Script Author.\n",
            Digest::of(b"f")
        )
    );
    assert_eq!(
        home.muster(&[&arguments[..], &["--output", "json"]].concat())
            .json(),
        explanation
    );
}
