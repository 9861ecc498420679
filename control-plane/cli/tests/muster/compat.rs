//! The documented commands under their own names, against a front end that gives prepared answers.

use serde_json::{Value, json};

use crate::{program::Home, server::Server};

const NODES: &str = "GET /api/v1/nodes?limit=1000";
const JOINS: &str = "GET /api/v1/joins?state=pending&limit=1000";

fn node(name: &str, trust: &str) -> Value {
    json!({
        "id": "0192d4c0-0000-7000-8000-000000000001", "name": name, "trust": trust, "scheduling": "active",
        "health": "online", "capabilities": ["TERR"], "pool": "default", "site": "default", "addresses": ["10.0.0.5"],
        "key_prefix": "1a2b3c4d", "created": "2026-11-21T22:12:39.000Z",
    })
}

fn join(name: &str) -> Value {
    json!({
        "id": "0123456789abcdef0123456789abcdef", "state": "pending", "name": name, "capabilities": ["R"],
        "addresses": [], "source": "10.0.0.9", "agent_version": "0.1.0", "key_prefix": "aabbccdd",
        "created": "2026-11-21T22:12:39.000Z", "waiting_seconds": 60, "expires": "2026-11-22T22:12:39.000Z",
    })
}

#[test]
fn list_nodes_shows_those_that_wait_too_and_leaves_trusted_ones_out_when_asked() {
    let server = Server::start();
    let nodes = json!({ "items": [node("terr01", "trusted"), node("terr02", "revoked")] });
    server.on(NODES, 200, &nodes);
    server.on(JOINS, 200, &json!({ "items": [join("terr03")] }));
    let home = Home::at(&server);
    let names = |arguments: &[&str]| -> Vec<(String, String)> {
        let mut all = vec!["--output", "json", "compat", "list-nodes"];
        all.extend(arguments);
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let listed = home.muster(&all).json();
        let lines = listed.as_array().expect("a list").iter();
        lines
            .map(|line| (text(&line["name"]), text(&line["trust"])))
            .collect()
    };
    let pair = |name: &str, trust: &str| (name.to_owned(), trust.to_owned());
    let untrusted = [pair("terr02", "revoked"), pair("terr03", "pending")];
    assert_eq!(
        names(&[]),
        [&[pair("terr01", "trusted")][..], &untrusted].concat()
    );
    for option in ["-e", "--exclude-trusted", "--exclude-trusted=true"] {
        assert_eq!(names(&[option]), untrusted, "{option}");
    }
    assert_eq!(names(&["--exclude-trusted=false"]).len(), 3);
}

#[test]
fn untrust_node_and_delete_node_do_what_they_say() {
    let server = Server::start();
    let id = "0192d4c0-0000-7000-8000-000000000001";
    let path = format!("POST /api/v1/nodes/{id}/untrust");
    server.on(&path, 200, &node("terr01", "revoked"));
    server.on_empty(&format!("DELETE /api/v1/nodes/{id}"));
    let home = Home::at(&server);
    let said = home.muster(&["compat", "untrust-node", "-i", id]).printed();
    assert_eq!(said, "\"terr01\" is revoked now.\n");
    let said = home.muster(&["compat", "delete-node", "--id", id]).printed();
    assert_eq!(said, format!("Deleted \"{id}\".\n"));
    assert_eq!(server.asked(&path).len(), 1);
    for command in ["untrust-node", "delete-node"] {
        let complaint = home.muster(&["compat", command]).complaint(2);
        assert!(complaint.contains("--id <ID>"), "{complaint}");
    }
}

#[test]
fn list_certificates_has_its_four_filters() {
    let server = Server::start();
    for state in ["valid", "expired", "revoked", "pending"] {
        let certificate = json!({ "purpose": "node", "subject": state, "state": state });
        let path = format!("GET /api/v1/certificates?state={state}&limit=1000");
        server.on(&path, 200, &json!({ "items": [certificate] }));
    }
    let home = Home::at(&server);
    let states = |options: &[&str]| -> Vec<String> {
        let mut all = vec!["--output", "json", "compat", "list-certificates"];
        all.extend(options);
        let listed = home.muster(&all).json();
        let lines = listed.as_array().expect("a list").iter();
        lines
            .map(|line| line["state"].as_str().expect("text").to_owned())
            .collect()
    };
    assert_eq!(states(&[]), ["valid", "expired", "revoked", "pending"]);
    assert_eq!(states(&["-r"]), ["revoked"]);
    assert_eq!(states(&["-v", "-p"]), ["valid", "pending"]);
    assert_eq!(states(&["--expired=true", "--valid=false"]), ["expired"]);
}

#[test]
fn reset_trust_asks_unless_it_is_forced() {
    let server = Server::start();
    let path = "POST /api/v1/certificates/reset";
    server.on(
        path,
        200,
        &json!({ "nodes": 2, "certificates": 5, "runs_lost": 1 }),
    );
    let home = Home::at(&server);
    let complaint = home.muster(&["compat", "reset-trust"]).complaint(1);
    assert!(complaint.contains("nothing was changed; give -f"), "{complaint}");
    assert!(server.asked(path).is_empty());
    let said = home.muster(&["compat", "reset-trust", "-d", "--force"]).printed();
    assert!(
        said.starts_with("Certificates revoked: 5; nodes cut off: 2; runs lost: 1.\n"),
        "{said}"
    );
    assert_eq!(server.asked(path)[0].json(), json!({ "delete": true }));
}

#[test]
fn what_cannot_be_taken_over_is_refused_with_what_to_do() {
    let home = Home::new();
    for (option, cure) in [
        (["-t", "secret"], "muster login --password-file"),
        (["--tool-password", "secret"], "muster login --password-file"),
        (["-b", "bootstrap.xml"], "--server"),
        (["-k", "keystore.p12"], "--ca-fingerprint"),
    ] {
        for command in ["list-nodes", "list-certificates", "reset-trust"] {
            let complaint = home
                .muster(&["compat", command, option[0], option[1]])
                .complaint(2);
            assert!(
                complaint.contains(cure) && !complaint.contains("secret"),
                "{complaint}"
            );
        }
    }
    let complaint = home
        .muster(&["compat", "list-nodes", "--frobnicate"])
        .complaint(2);
    assert!(complaint.contains("--frobnicate"), "{complaint}");
    let help = home.muster(&["compat", "list-nodes", "--help"]).printed();
    assert!(help.contains("--exclude-trusted"), "{help}");
}
