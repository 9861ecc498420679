use serde_json::{Value, json};

use crate::{program::Home, server::Server, terminal::Terminal};

const ID: &str = "0123456789abcdef0123456789abcdef";

pub(crate) fn join(state: &str) -> Value {
    json!({
        "id": ID, "state": state, "name": "terr01", "capabilities": ["TERR", "R"], "addresses": ["10.0.0.5"],
        "source": "10.0.0.5", "agent_version": "0.1.0", "key_prefix": "1a2b3c4d", "pool": "default",
        "created": "2026-11-21T22:12:39.000Z", "waiting_seconds": 200, "expires": "2026-11-22T22:12:39.000Z",
    })
}

fn server() -> Server {
    let server = Server::start();
    server.on("POST /api/v1/joins/match", 200, &join("pending"));
    server.on(&format!("GET /api/v1/joins/{ID}"), 200, &join("pending"));
    server.on(
        &format!("POST /api/v1/joins/{ID}/approve"),
        200,
        &join("approved"),
    );
    server
}

const APPROVE: &str = "POST /api/v1/joins/0123456789abcdef0123456789abcdef/approve";
const QUESTION: &str = "Approve \"terr01\" (10.0.0.5; TERR, R; waiting 3 min)? [y/N] ";

#[test]
fn an_approval_by_code_shows_what_matched_and_asks() {
    let server = server();
    let home = Home::at(&server);
    let mut terminal = Terminal::muster(&home, "join approve --code 482109375512");
    terminal.wait_for(QUESTION);
    assert!(server.asked(APPROVE).is_empty());
    terminal.type_line("y");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("Capabilities  TERR, R\n"), "{shown}");
    assert!(shown.contains("Approved \"terr01\"."), "{shown}");
    let code = json!({ "code": "4821-0937-5512" });
    assert_eq!(server.asked("POST /api/v1/joins/match")[0].json(), code);
    assert_eq!(server.asked(APPROVE)[0].json(), code);
}

#[test]
fn anything_but_yes_approves_nothing() {
    let server = server();
    let home = Home::at(&server);
    for answer in ["", "n", "yeah"] {
        let mut terminal = Terminal::muster(&home, "join approve --code 4821-0937-5512");
        terminal.wait_for(QUESTION).type_line(answer);
        let (code, shown) = terminal.end();
        assert_eq!(code, Some(1), "{shown}");
        assert!(shown.contains("Nothing was changed."), "{shown}");
    }
    let complaint = home
        .muster(&["join", "approve", "--code", "4821-0937-5512"])
        .complaint(1);
    assert!(
        complaint.starts_with("Approve \"terr01\" (10.0.0.5; TERR, R; waiting 3 min)? "),
        "{complaint}"
    );
    assert!(
        complaint.contains("no terminal to ask on") && complaint.contains("--yes"),
        "{complaint}"
    );
    assert!(server.asked(APPROVE).is_empty());
}

#[test]
fn a_script_approves_by_code_or_by_the_full_fingerprint() {
    let server = server();
    let home = Home::at(&server);
    let done = home.muster(&[
        "join",
        "approve",
        "--code",
        "4821-0937-5512",
        "--yes",
        "--output",
        "json",
    ]);
    assert_eq!(done.json()["state"], "approved");
    let fingerprint = muster_ids::Digest::of(b"key").to_string();
    home.muster(&["join", "approve", ID, "--fingerprint", &fingerprint, "--yes"])
        .printed();
    assert_eq!(
        server.asked(APPROVE)[1].json(),
        json!({ "fingerprint": fingerprint })
    );
}

#[test]
fn a_code_that_matches_nothing_is_answered_in_the_control_planes_words() {
    let server = Server::start();
    let sentence = "No waiting request has this code. 2 requests wait; read the code on the node with muster-node status.";
    server.refuse("POST /api/v1/joins/match", 404, "not-found", sentence);
    let home = Home::at(&server);
    let done = home.muster(&["--output", "json", "join", "approve", "--code", "4821-0937-5512"]);
    assert_eq!(done.json()["detail"], sentence);
    assert_eq!(done.json()["status"], 404);
    assert_eq!(done.complaint(1), format!("{sentence}\n"));
}

#[test]
fn an_approval_that_is_not_the_last_says_how_many_are_missing_and_which_do_not_count() {
    let server = Server::start();
    server.on("POST /api/v1/joins/match", 200, &join("pending"));
    let mut voted = join("pending");
    voted["approvals_needed"] = json!(2);
    voted["approvals"] = json!([{ "user": "ann@SPOTFIRE", "at": "2026-11-21T22:12:39.000Z" }]);
    voted["void_approvals"] = json!(["bob@SPOTFIRE"]);
    voted["earlier"] = json!([{
        "id": "019b76da-a800-7555-9555-555555555555", "name": "terr01", "trust": "revoked", "same_key": false,
    }]);
    server.on(&format!("POST /api/v1/joins/{ID}/approve"), 200, &voted);
    server.on(&format!("GET /api/v1/joins/{ID}"), 200, &voted);
    let home = Home::at(&server);
    let said = home
        .muster(&["join", "approve", "--code", "4821-0937-5512", "--yes"])
        .printed();
    assert!(
        said.starts_with("The approval of bob@SPOTFIRE does not count any more")
            && said.contains("1 of 2 approvals. Another person must read the code on the node"),
        "{said}"
    );
    let shown = home.muster(&["join", "show", ID]).printed();
    for part in [
        "1 of 2 approvals",
        "ann@SPOTFIRE at 2026-11-21",
        "revoked, same name",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}

#[test]
fn requests_are_listed_shown_and_rejected() {
    let server = server();
    server.on(
        "GET /api/v1/joins?state=pending&limit=1000",
        200,
        &json!({ "items": [join("pending")] }),
    );
    server.on(&format!("POST /api/v1/joins/{ID}/reject"), 200, &join("rejected"));
    let home = Home::at(&server);
    assert_eq!(
        home.muster(&["join", "list", "--state", "pending"]).printed(),
        "ID                                NAME    STATE    FROM      CAPABILITIES  POOL     SITE  KEY       WAITING  APPROVALS  EARLIER\n\
         0123456789abcdef0123456789abcdef  terr01  pending  10.0.0.5  TERR, R       default  -     1a2b3c4d  3 min    -          -\n"
    );
    let shown = home.muster(&["join", "show", ID]).printed();
    assert!(
        shown.contains("Key           sha256:1a2b3c4d… (the whole is shown on the node)\n"),
        "{shown}"
    );
    assert_eq!(
        home.muster(&["join", "reject", ID, "--reason", "unknown"])
            .printed(),
        "Rejected \"terr01\".\n"
    );
    assert_eq!(
        server.asked(&format!("POST /api/v1/joins/{ID}/reject"))[0].json(),
        json!({ "reason": "unknown" })
    );
}
