//! What is said of signatures that do not count, and of what no signature is over, against a front end that gives prepared
//! answers.

use serde_json::{Value, json};

use crate::{program::Home, server::Server};

const VERIFY: &str = "POST /api/v1/trust/signatures/verify";
const ME: &str = "GET /api/v1/sessions/current";
const MANIFEST: &str = r#"{"apiVersion":"1.2","version":"1.0","name":"Gantt","id":"gantt","type":"visualization","icon":"icon.svg","files":["index.html"]}"#;

fn verified(status: &str, problem: Option<&str>) -> Value {
    let mut found = json!({
        "item": { "type": "visualization_mod", "hash": "sha512=x" }, "status": status, "capabilities": [],
        "external_resources": [], "options": [],
    });
    if let Some(problem) = problem {
        found["problem"] = json!(problem);
    }
    found
}

/// A home with the folder of a mod in it, and these files beside what its manifest names.
fn home_with_mod(server: &Server, others: &[&str]) -> Home {
    let home = Home::at(server);
    std::fs::create_dir_all(home.path().join("gantt/src")).expect("made");
    home.write("gantt/mod-manifest.json", MANIFEST);
    for name in ["icon.svg", "index.html"].iter().chain(others) {
        home.write(&format!("gantt/{name}"), "x");
    }
    home
}

#[test]
fn a_signature_that_is_not_valid_is_told_to_people_and_programs_with_the_cure() {
    let server = Server::start();
    for found in [
        verified("unsigned", None),
        verified("unsigned", None),
        verified("modified", Some("it was changed afterwards")),
        verified("user_deleted", Some("the account is gone; sign it again")),
        verified("valid", None),
    ] {
        server.on(VERIFY, 200, &found);
    }
    let home = home_with_mod(&server, &[]);
    let verify = |more: &[&str]| home.muster(&[&["trust", "verify", "gantt"][..], more].concat());
    let done = verify(&[]);
    assert!(done.stdout.contains("unsigned"), "{done:?}");
    let complaint = done.complaint(1);
    assert_eq!(
        complaint,
        "the visualization_mod sha512=x is not signed; sign it with muster trust sign, or name its signature with --signature\n"
    );
    // One object: the result, and the problem in it.
    let done = verify(&["--output", "json"]);
    let told = done.json();
    assert_eq!(
        (&told["status"], &told["type"]),
        (&json!("unsigned"), &json!("urn:muster:problem:invalid-signature"))
    );
    assert!(
        told["detail"]
            .as_str()
            .is_some_and(|detail| done.stderr == format!("{detail}\n"))
    );
    assert_eq!(done.code, Some(1));
    let complaint = verify(&[]).complaint(1);
    assert!(
        complaint
            .contains("is not valid (modified): it was changed afterwards; take the item as it was signed"),
        "{complaint}"
    );
    let complaint = verify(&[]).complaint(1);
    assert!(
        complaint.ends_with("the account is gone; sign it again\n"),
        "{complaint}"
    );
    verify(&[]).printed();
}

#[test]
fn a_mod_that_is_refused_or_declined_says_so_to_people() {
    let server = Server::start();
    let openings = "POST /api/v1/trust/openings";
    let mut denied = verified("valid", None);
    denied["outcome"] = json!("deny");
    denied["why"] = json!({ "rule": "blocked", "reasons": ["the item is blocked"], "group_path": [] });
    let mut asked = verified("valid", None);
    asked["outcome"] = json!("prompt");
    for found in [&denied, &denied, &asked] {
        server.on(openings, 200, found);
    }
    let home = home_with_mod(&server, &[]);
    let done = home.muster(&["trust", "open", "gantt"]);
    assert!(done.stdout.contains("deny"), "{done:?}");
    let complaint = done.complaint(1);
    assert!(
        complaint.contains("is refused: the item is blocked; muster trust verify"),
        "{complaint}"
    );
    let told = home
        .muster(&["trust", "open", "gantt", "--output", "json"])
        .json();
    assert_eq!(
        (&told["outcome"], &told["type"]),
        (&json!("deny"), &json!("urn:muster:problem:refused"))
    );
    let complaint = home.muster(&["trust", "open", "gantt", "--decline"]).complaint(1);
    assert!(complaint.contains("was declined"), "{complaint}");
}

#[test]
fn files_that_the_manifest_does_not_name_are_no_part_of_a_mod_and_are_told() {
    let server = Server::start();
    server.on(VERIFY, 200, &verified("valid", None));
    let home = home_with_mod(
        &server,
        &["a.ts", "b\u{202e}.ts", "package.json", "src/main.ts", ".eslintrc"],
    );
    let done = home.muster(&["trust", "verify", "gantt"]);
    assert_eq!(
        (done.code, done.stderr.as_str()),
        (
            Some(0),
            "No part of the mod, because its manifest does not name them, and therefore not looked at: a.ts, \
             b\\u{202e}.ts, package.json and 1 more.\n"
        )
    );
    server.refuse("POST /api/v1/trust/signatures", 403, "not-allowed", "no");
    let complaint = home.muster(&["trust", "sign", "gantt"]).complaint(1);
    assert!(
        complaint.contains("and therefore not signed: a.ts"),
        "{complaint}"
    );
    server.refuse("POST /api/v1/library/items", 403, "not-allowed", "no");
    let complaint = home.muster(&["library", "import", "gantt"]).complaint(1);
    assert!(
        complaint.contains("and therefore not imported: a.ts"),
        "{complaint}"
    );
}

#[test]
fn a_mod_is_signed_again_as_somebody_who_is_there_and_may() {
    let server = Server::start();
    let me = |groups: &[&str]| json!({ "user": "ann@SPOTFIRE", "groups": groups, "features": [] });
    server.on(ME, 200, &me(&["Everyone"]));
    server.on(ME, 200, &me(&["Everyone", "Administrator"]));
    server.on(ME, 200, &me(&["Everyone"]));
    server.refuse(
        "GET /api/v1/users/nope%40SPOTFIRE",
        404,
        "not-found",
        "there is no user nope@SPOTFIRE",
    );
    server.on(VERIFY, 200, &verified("valid", None));
    let home = home_with_mod(&server, &[]);
    home.write("gantt/muster-signature.json", "{}");
    let again = |user: &str| home.muster(&["compat", "re-sign-mod", "-u", user, "-p", "gantt"]);
    let complaint = again("nope").complaint(1);
    assert!(
        complaint.contains("only administrators sign as others, and you are ann@SPOTFIRE"),
        "{complaint}"
    );
    let complaint = again("nope@SPOTFIRE").complaint(1);
    assert_eq!(complaint, "there is no user nope@SPOTFIRE\n");
    assert!(server.asked("POST").is_empty(), "nothing was looked at");
    let said = again("SPOTFIRE\\Ann").printed();
    assert!(said.contains("1 has a valid signature"), "{said}");
    home.muster(&["compat", "re-sign-mod", "-u", "ann", "-l", "/Gantt", "-f"])
        .complaint(2);
}
