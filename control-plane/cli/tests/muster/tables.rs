use serde_json::{Value, json};

use crate::{program::Home, server::Server, terminal::Terminal};

fn node(name: &str, health: &str) -> Value {
    json!({
        "id": "0192d4c0-0000-7000-8000-000000000001", "name": name, "trust": "trusted", "scheduling": "active",
        "health": health, "runs": 0, "capabilities": ["TERR"], "pool": "default", "site": "default", "addresses": [],
        "key_prefix": "1a2b3c4d", "created": "2026-11-21T22:12:39.000Z", "seen": "2026-11-21T22:13:00.000Z",
    })
}

#[test]
fn a_list_follows_its_pages_and_is_one_table_or_one_array() {
    let server = Server::start();
    server.on(
        "GET /api/v1/nodes?limit=1000",
        200,
        &json!({ "items": [node("terr01", "online")], "next": "a/b" }),
    );
    server.on(
        "GET /api/v1/nodes?limit=1000&next=a%2Fb",
        200,
        &json!({ "items": [node("terr02", "offline")] }),
    );
    let home = Home::at(&server);
    assert_eq!(
        home.muster(&["node", "list"]).printed(),
        "NAME    TRUST    SCHEDULING  HEALTH   CAPABILITIES  POOL     SITE     SEEN                  CERTIFICATE ENDS\n\
         terr01  trusted  active      online   TERR          default  default  2026-11-21 22:13:00Z  -\n\
         terr02  trusted  active      offline  TERR          default  default  2026-11-21 22:13:00Z  -\n"
    );
    let listed = home.muster(&["node", "list", "--output", "json"]).json();
    assert_eq!(
        listed,
        json!([node("terr01", "online"), node("terr02", "offline")])
    );
}

#[test]
fn a_list_whose_pages_repeat_ends() {
    let server = Server::start();
    for request in [
        "GET /api/v1/nodes?limit=1000",
        "GET /api/v1/nodes?limit=1000&next=x",
    ] {
        server.on(request, 200, &json!({ "items": [], "next": "x" }));
    }
    let complaint = Home::at(&server).muster(&["node", "list"]).complaint(1);
    assert!(complaint.contains("its pages repeat"), "{complaint}");
}

#[test]
fn a_limit_is_kept() {
    let server = Server::start();
    let row = json!({
        "writer": "w", "sequence": 1, "time": "2026-11-21T22:12:39.000Z", "actor": "ann@SPOTFIRE",
        "event": "login", "subject": "s", "detail": { "a": 1 }, "hash": "h",
    });
    server.on(
        "GET /api/v1/audit?limit=2",
        200,
        &json!({ "items": [row.clone(), row], "next": "x" }),
    );
    let shown = Home::at(&server)
        .muster(&["audit", "list", "--limit", "2"])
        .printed();
    assert_eq!(
        shown,
        "TIME                  ACTOR         EVENT  SUBJECT  DETAIL\n\
         2026-11-21 22:12:39Z  ann@SPOTFIRE  login  s        {\"a\":1}\n\
         2026-11-21 22:12:39Z  ann@SPOTFIRE  login  s        {\"a\":1}\n"
    );
}

#[test]
fn foreign_texts_cannot_steer_a_terminal() {
    let server = Server::start();
    let status = json!({
        "version": "0.1.0", "time": "2026-11-21T22:12:39.000Z", "joins_waiting": 2,
        "nodes": { "online": 3, "suspect": 0, "offline": 1, "revoked": 2 }, "runs_queued": 1, "runs_running": 2,
        "trust_number": 42, "problems": ["disk\u{1b}[2J full", "\u{202e}evil"],
    });
    server.on("GET /api/v1/status", 200, &status);
    server.refuse("GET /api/v1/authority", 500, "bug", "no\u{1b}]0;title\u{7}");
    let home = Home::at(&server);
    assert_eq!(
        home.muster(&["status"]).printed(),
        "Server    muster-server 0.1.0, 2026-11-21 22:12:39Z\n\
         Joins     2 waiting\n\
         Nodes     3 online, 0 suspect, 1 offline, 2 revoked\n\
         Runs      1 queued, 2 running\n\
         Trust     state number 42\n\
         Problems  disk\\u{1b}[2J full\n          \\u{202e}evil\n"
    );
    assert_eq!(home.muster(&["status", "--output", "json"]).json(), status);
    assert_eq!(
        home.muster(&["ca", "show"]).complaint(1),
        "no\\u{1b}]0;title\\u{7}\n"
    );
}

#[test]
fn colour_is_for_terminals_only() {
    let server = Server::start();
    server.on(
        "GET /api/v1/nodes?limit=1000",
        200,
        &json!({ "items": [node("terr01", "online")] }),
    );
    let home = Home::at(&server);
    let (_, shown) = Terminal::muster(&home, "node list").end();
    assert!(shown.contains("\u{1b}["), "{shown:?}");
    assert!(!home.muster(&["node", "list"]).printed().contains('\u{1b}'));
}

#[test]
fn untrusting_and_deleting_a_node_are_asked_about() {
    let server = Server::start();
    let mut revoked = node("terr01", "offline");
    revoked["trust"] = json!("revoked");
    server.on("POST /api/v1/nodes/terr01/untrust", 200, &revoked);
    server.on_empty("DELETE /api/v1/nodes/terr01");
    let home = Home::at(&server);
    for command in ["untrust", "delete"] {
        let complaint = home.muster(&["node", command, "terr01"]).complaint(1);
        assert!(
            complaint.contains("\"terr01\"?") && complaint.contains("give --yes"),
            "{complaint}"
        );
    }
    assert!(server.asked("").is_empty());
    let mut terminal = Terminal::muster(&home, "node untrust terr01 --reason stolen");
    terminal
        .wait_for(
            "Untrust \"terr01\"? Its certificate ends, its connections are cut, its runs are lost. [y/N] ",
        )
        .type_line("y");
    let (code, shown) = terminal.end();
    assert!(
        code == Some(0) && shown.contains("\"terr01\" is revoked now."),
        "{shown}"
    );
    assert_eq!(server.asked("POST")[0].json(), json!({ "reason": "stolen" }));
    assert_eq!(
        home.muster(&["node", "delete", "terr01", "--yes"]).printed(),
        "Deleted \"terr01\".\n"
    );
}

#[test]
fn changes_go_where_they_should_with_names_encoded() {
    let server = Server::start();
    let empty = [
        (
            &["group", "add-member", "Script Author", "ann@SPOTFIRE"][..],
            "PUT /api/v1/groups/Script%20Author/members/ann%40SPOTFIRE",
        ),
        (
            &["group", "remove-member", "Analysts", "ann@SPOTFIRE"],
            "DELETE /api/v1/groups/Analysts/members/ann%40SPOTFIRE",
        ),
        (
            &["group", "add-parent", "Analysts", "Ärzte"],
            "PUT /api/v1/groups/Analysts/parents/%C3%84rzte",
        ),
        (
            &["group", "remove-parent", "Analysts", "Staff"],
            "DELETE /api/v1/groups/Analysts/parents/Staff",
        ),
        (&["group", "delete", "Analysts"], "DELETE /api/v1/groups/Analysts"),
        (
            &["license", "grant", "Analysts", "Author Scripts"],
            "PUT /api/v1/groups/Analysts/licenses/Author%20Scripts",
        ),
        (
            &["license", "revoke", "Analysts", "Author Scripts"],
            "DELETE /api/v1/groups/Analysts/licenses/Author%20Scripts",
        ),
        (
            &["setting", "unset", "restricted_engines", "--scope", "node:terr01"],
            "DELETE /api/v1/settings?name=restricted_engines&scope=node%3Aterr01",
        ),
        (&["pool", "delete", "heavy"], "DELETE /api/v1/pools/heavy"),
        (&["site", "delete", "berlin"], "DELETE /api/v1/sites/berlin"),
    ];
    let home = Home::at(&server);
    for (arguments, request) in empty {
        server.on_empty(request);
        let printed = home.muster(arguments).printed();
        assert!(printed.ends_with(".\n"), "{printed}");
        let exactly = server
            .asked(request)
            .iter()
            .filter(|asked| asked.what == request)
            .count();
        assert_eq!(exactly, 1, "{request}");
        let done = home.muster(&[arguments, &["--output", "json"]].concat());
        assert_eq!(done.json(), json!({ "message": printed.trim_end() }));
    }
    for (command, scheduling) in [
        ("cordon", "cordoned"),
        ("uncordon", "active"),
        ("drain", "draining"),
    ] {
        server.on("PATCH /api/v1/nodes/terr01", 200, &node("terr01", "online"));
        home.muster(&["node", command, "terr01"]).printed();
        let asked = server.asked("PATCH /api/v1/nodes/terr01");
        assert_eq!(
            asked.last().expect("asked").json(),
            json!({ "scheduling": scheduling })
        );
    }
    home.muster(&["node", "set", "terr01", "--pool", "heavy"])
        .printed();
    let asked = server.asked("PATCH /api/v1/nodes/terr01");
    assert_eq!(asked.last().expect("asked").json(), json!({ "pool": "heavy" }));
}

#[test]
fn users_are_made_with_passwords_from_files_or_typed_twice() {
    let server = Server::start();
    let user = json!({
        "id": "0192d4c0-0000-7000-8000-000000000002", "name": "bob@SPOTFIRE", "state": "active",
        "created": "2026-11-21T22:12:39.000Z", "groups": ["Analysts"],
    });
    server.on("POST /api/v1/users", 201, &user);
    server.on("PATCH /api/v1/users/bob%40SPOTFIRE", 200, &user);
    server.on_empty("PUT /api/v1/users/ann%40SPOTFIRE/password");
    let home = Home::at(&server);
    let password = home.write_private("password", "correct horse battery\n");
    let create = ["user", "create", "bob@SPOTFIRE"];
    assert_eq!(
        home.muster(&[&create[..], &["--password-file", &password]].concat())
            .printed(),
        "Created bob@SPOTFIRE.\n"
    );
    home.muster(&[&create[..], &["--no-password"]].concat()).printed();
    let complaint = home.muster(&create).complaint(2);
    assert!(complaint.contains("--password-file"), "{complaint}");
    let bodies: Vec<_> = server
        .asked("POST /api/v1/users")
        .iter()
        .map(super::server::Asked::json)
        .collect();
    assert_eq!(
        bodies,
        [
            json!({ "name": "bob@SPOTFIRE", "password": "correct horse battery" }),
            json!({ "name": "bob@SPOTFIRE" })
        ]
    );

    let mut terminal = Terminal::muster(&home, "user create bob@SPOTFIRE");
    terminal
        .wait_for("New password of bob@SPOTFIRE: ")
        .type_secret("one thing");
    terminal.wait_for("Again: ").type_secret("another thing");
    let (code, shown) = terminal.end();
    assert!(
        code == Some(1) && shown.contains("The two passwords differ."),
        "{shown}"
    );
    assert!(!shown.contains("one thing"), "{shown}");

    // The own password needs the present one.
    let complaint = home
        .muster(&[
            "user",
            "set-password",
            "ann@SPOTFIRE",
            "--password-file",
            &password,
        ])
        .complaint(2);
    assert!(complaint.contains("--current-password-file"), "{complaint}");
    let own = [
        "user",
        "set-password",
        "ann@SPOTFIRE",
        "--password-file",
        &password,
        "--current-password-file",
        &password,
    ];
    assert_eq!(home.muster(&own).printed(), "ann@SPOTFIRE has a new password.\n");
    assert_eq!(
        home.muster(&["user", "enable", "bob@SPOTFIRE"]).printed(),
        "bob@SPOTFIRE is active now.\n"
    );
    assert_eq!(server.asked("PATCH")[0].json(), json!({ "state": "active" }));
}

#[test]
fn settings_show_their_default_and_where_they_are_set() {
    let server = Server::start();
    let set = json!({ "name": "terr.restricted.execution.mode", "scope": "node:terr01", "value": "false" });
    let settings = json!([{
        "name": "terr.restricted.execution.mode", "default": "true", "meaning": "Restricts TERR.", "values": [set],
    }]);
    server.on(
        "GET /api/v1/settings?limit=1000",
        200,
        &json!({ "items": settings }),
    );
    server.on("PUT /api/v1/settings", 200, &set);
    let home = Home::at(&server);
    assert_eq!(
        home.muster(&["setting", "list"]).printed(),
        "NAME                            SCOPE        VALUE  MEANING\n\
         terr.restricted.execution.mode  default      true   Restricts TERR.\n\
         terr.restricted.execution.mode  node:terr01  false\n"
    );
    assert_eq!(
        home.muster(&["setting", "get", "terr.restricted.execution.mode"])
            .printed(),
        "Name     terr.restricted.execution.mode\nMeaning  Restricts TERR.\nDefault  true\nSet      false for node:terr01\n"
    );
    let complaint = home.muster(&["setting", "get", "nonsense"]).complaint(1);
    assert_eq!(
        complaint,
        "there is no setting \"nonsense\"; muster setting list shows all\n"
    );
    let arguments = [
        "setting",
        "set",
        "terr.restricted.execution.mode",
        "false",
        "--scope",
        "node:terr01",
    ];
    assert_eq!(
        home.muster(&arguments).printed(),
        "terr.restricted.execution.mode is false for node:terr01 now.\n"
    );
    assert_eq!(server.asked("PUT")[0].json(), set);
}

#[test]
fn a_broken_audit_log_is_a_failure() {
    let server = Server::start();
    server.on("GET /api/v1/audit/verify", 200, &json!({ "rows": 7 }));
    server.on(
        "GET /api/v1/audit/verify",
        200,
        &json!({ "rows": 7, "broken": "row 3 of w was changed" }),
    );
    let home = Home::at(&server);
    assert_eq!(home.muster(&["audit", "verify"]).printed(), "All 7 rows hold.\n");
    let done = home.muster(&["audit", "verify"]);
    assert_eq!(done.code, Some(1));
    assert_eq!(
        done.stdout,
        "The audit log does not hold: row 3 of w was changed\n"
    );
}
