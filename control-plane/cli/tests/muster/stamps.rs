//! `muster library trust` and `untrust`, and the documented `trust` and `untrust`.

use serde_json::{Value, json};

use crate::{
    program::Home,
    server::{Asked, Server},
    terminal::Terminal,
};

const ITEM: &str = "0192d4c0-0000-7000-8000-000000000001";

fn hash(letter: &str) -> String {
    format!("sha512={}==", letter.repeat(86))
}

fn code(name: &str, kind: &str, language: &str, hash: &str) -> Value {
    json!({ "name": name, "kind": kind, "hash": hash, "language": language, "held_by": ITEM, "stamped": false })
}

fn stamp(kind: &str, hash: &str) -> Value {
    json!({
        "id": "0192d4c0-0000-7000-8000-00000000000b", "item": ITEM, "kind": kind, "hash": hash,
        "author": "ann@SPOTFIRE", "created": "2026-11-21T22:12:39.000Z",
    })
}

#[test]
fn everything_that_was_shown_is_trusted_by_its_hashes() {
    let server = Server::start();
    let (script, query) = (hash("A"), hash("B"));
    let codes = json!([
        code("refresh", "script", "ironpython", &script),
        code("again", "script", "ironpython", &script),
        code("sa\u{1b}les", "custom_query", "sql", &query),
    ]);
    server.on("GET /api/v1/library/%2FTeam%2FSales/code", 200, &codes);
    let trusted = json!({
        "item": ITEM, "stamped": [stamp("script", &script)], "already": [stamp("custom_query", &query)],
    });
    server.on("POST /api/v1/library/%2FTeam%2FSales/trust", 200, &trusted);
    let home = Home::at(&server);

    let complaint = home.muster(&["library", "trust", "/Team/Sales"]).complaint(1);
    assert!(
        complaint.contains("give --script, --query or --yes"),
        "{complaint}"
    );
    assert!(server.asked("POST").is_empty());

    let mut terminal = Terminal::muster(&home, "library trust /Team/Sales");
    terminal
        .wait_for("Trust 3 contents of /Team/Sales, for all who can read it? [y/N] ")
        .type_line("y");
    let (exit, shown) = terminal.end();
    assert_eq!(exit, Some(0), "{shown}");
    assert!(
        shown.contains("sa\\u{1b}les") && shown.contains(&script),
        "{shown}"
    );
    assert!(
        shown.contains("1 content is trusted now; 1 were trusted already."),
        "{shown}"
    );
    assert_eq!(
        server.asked("POST")[0].json(),
        json!({ "scripts": [script], "queries": [query] })
    );
    home.muster(&["library", "trust", "/Team/Sales", "--query", &query])
        .printed();
    assert_eq!(server.asked("POST")[1].json(), json!({ "queries": [query] }));
}

#[test]
fn the_documented_trust_takes_scripts_and_queries_of_any_item() {
    let server = Server::start();
    let (script, query) = (hash("A"), hash("B"));
    let both = json!({
        "item": ITEM, "stamped": [stamp("script", &script), stamp("custom_query", &query)], "already": [],
    });
    server.on(&format!("POST /api/v1/library/{ITEM}/trust"), 200, &both);
    let home = Home::at(&server);
    let said = home
        .muster(&[
            "compat",
            "trust",
            "-i",
            ITEM,
            "-S",
            &script,
            &format!("-Q{query}"),
        ])
        .printed();
    assert_eq!(said, "2 contents are trusted now.\n");
    assert_eq!(
        server.asked("POST")[0].json(),
        json!({ "scripts": [script], "queries": [query] })
    );
    let complaint = home.muster(&["compat", "trust", "-i", ITEM]).complaint(2);
    assert!(
        complaint.contains("name at least one hash: -S or -Q"),
        "{complaint}"
    );
    let complaint = home.muster(&["compat", "trust", "-S", &script]).complaint(2);
    assert!(complaint.contains("--library-file-id"), "{complaint}");
}

#[test]
fn the_documented_untrust_asks_and_goes_on_until_nothing_is_left() {
    let server = Server::start();
    let query = hash("B");
    let part = |more: bool| json!({ "removed": [stamp("script", &hash("A"))], "already": [], "more": more });
    server.on("POST /api/v1/library/untrust", 200, &part(true));
    server.on("POST /api/v1/library/untrust", 200, &part(false));
    let none = json!({ "removed": [], "already": [query], "more": false });
    server.on(&format!("POST /api/v1/library/{ITEM}/untrust"), 200, &none);
    let home = Home::at(&server);

    let complaint = home.muster(&["compat", "untrust"]).complaint(1);
    assert!(
        complaint.contains("Remove all trust in code of all items of the library?")
            && complaint.contains("give -n"),
        "{complaint}"
    );
    assert!(server.asked("POST").is_empty());
    let said = home.muster(&["compat", "untrust", "-n"]).printed();
    assert_eq!(said, "2 stamps were removed.\n");
    let bodies: Vec<Value> = server.asked("POST").iter().map(Asked::json).collect();
    assert_eq!(bodies, [json!({}), json!({})]);
    let said = home
        .muster(&["compat", "untrust", "-i", ITEM, "-Q", &query, "--no-prompt=true"])
        .printed();
    assert_eq!(said, "Nothing of this is trusted; nothing was changed.\n");
    assert_eq!(server.asked("POST")[2].json(), json!({ "queries": [query] }));
}

#[test]
fn code_that_stays_trusted_by_others_is_no_success() {
    let server = Server::start();
    let mut other = stamp("script", &hash("B"));
    other["author"] = json!("bob@SPOTFIRE");
    let half = json!({
        "removed": [stamp("script", &hash("A"))], "already": [], "more": false, "others": [other],
    });
    server.on(&format!("POST /api/v1/library/{ITEM}/untrust"), 200, &half);
    let of_function = json!({ "removed": 1, "others": 1 });
    server.on("POST /api/v1/functions/forecast/untrust", 200, &of_function);
    let home = Home::at(&server);
    for arguments in [
        &["library", "untrust", ITEM, "--yes"][..],
        &["compat", "untrust", "-i", ITEM, "-n"],
    ] {
        let done = home.muster(arguments);
        assert_eq!(done.code, Some(1), "{arguments:?}");
        assert_eq!(
            done.stdout,
            "1 stamp was removed; 1 stay, which were made by bob@SPOTFIRE.\n"
        );
    }
    let done = home.muster(&["function", "untrust", "forecast"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stdout.contains("1 of other authors stay"), "{}", done.stdout);
}
