use muster_ids::Digest;
use serde_json::{Value, json};

use crate::{program::Home, server::Server};

const RUN: &str = "0192d4c0-0000-7000-8000-00000000000a";
const EVALUATE: &str = "POST /api/v1/expressions";
const SUBMIT: &str = "POST /api/v1/functions/forecast/runs";

fn succeeded(name: &str, oversteps: &[&str]) -> Value {
    json!({
        "id": RUN, "state": "succeeded", "function_name": name, "digest": Digest::of(b"f"), "language": "terr",
        "user": "ann@SPOTFIRE", "pool": "default", "site": "default", "cancel_requested": false, "attempts": 1,
        "created": "2026-11-21T22:12:39.000Z", "mode": "restricted",
        "ending": {
            "message": "", "rule": "terr-inline", "engine": "terr (GNU R 4.2.2 standing in)", "timings": {},
            "peak_bytes": 0, "limits_degraded": [], "oversteps": oversteps,
        },
        "outputs": { "output": { "digest": Digest::of(b"42"), "size": 2, "format": "json" } },
    })
}

/// The part `request` of what was sent to `what`.
fn request(server: &Server, what: &str) -> Value {
    let form = server.asked(what)[0].text();
    let part = form
        .split("name=\"request\"\r\n\r\n")
        .nth(1)
        .expect("the request");
    serde_json::from_str(part.split("\r\n").next().expect("a line")).expect("JSON")
}

#[test]
fn an_expression_is_sent_with_its_inputs_and_its_value_printed() {
    let server = Server::start();
    server.on(EVALUATE, 200, &succeeded("expression", &[]));
    server.on_bytes(&format!("GET /api/v1/runs/{RUN}/outputs/output"), b"42");
    let home = Home::at(&server);
    let data = home.write("data.csv", "x\n20\n22\n");
    let done = home.muster(&[
        "function",
        "evaluate",
        "output <- sum(input1) * input2",
        "--input",
        &format!("input1=@{data}"),
        "--input",
        "input2=1",
    ]);
    assert_eq!(done.printed(), "output = 42\n");
    let expected = json!({
        "expression": "output <- sum(input1) * input2", "inputs": { "input2": 1 }, "output": "value", "limits": {},
    });
    assert_eq!(request(&server, EVALUATE), expected);
    let form = server.asked(EVALUATE)[0].text();
    assert!(
        form.contains("name=\"input:input1\"; filename=\"input1.csv\""),
        "{form}"
    );
}

#[test]
fn an_expression_has_one_output() {
    let home = Home::at(&Server::start());
    let done = home.muster(&["function", "evaluate", "y <- 1", "--save", "y=out.csv"]);
    let complaint = done.complaint(2);
    assert!(complaint.contains("--save output=out.csv"), "{complaint}");
}

#[test]
fn a_traced_run_lists_its_oversteps() {
    let server = Server::start();
    server.on(
        SUBMIT,
        200,
        &succeeded("forecast", &["Native[file], line 1", "Native[system], line 2"]),
    );
    server.on_bytes(&format!("GET /api/v1/runs/{RUN}/outputs/output"), b"42");
    let home = Home::at(&server);
    let done = home.muster(&["function", "run", "forecast", "--trace"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(
        done.stderr,
        "restricted call to Native[file], line 1\nrestricted call to Native[system], line 2\n"
    );
    assert_eq!(request(&server, SUBMIT)["trace"], true);
}
