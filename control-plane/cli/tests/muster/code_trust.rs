//! What is known and decided, in one list and in seven files, against a front end that gives prepared answers.

use serde_json::json;

use crate::{
    decisions::{block, decided, id, signer},
    program::Home,
    server::Server,
};

#[test]
fn show_code_trust_writes_its_seven_files() {
    let server = Server::start();
    let everyone = json!({ "group": "Everyone" });
    let ann = json!({ "user": "ann@SPOTFIRE", "role": "developer" });
    let staff = json!({ "group": "staff" });
    let revocation = |user: &str, from: &str, until: Option<&str>| {
        let mut revocation = json!({ "id": id(user), "user": user, "from": from, "decided": decided() });
        if let Some(until) = until {
            revocation["until"] = json!(until);
        }
        revocation
    };
    let of_group = json!({
        "id": id("i"), "principal": { "group": "Staff" }, "item": { "type": "action_mod", "hash": "h1" }, "decided": decided(),
    });
    let revocations = json!([
        revocation(
            "ann@SPOTFIRE",
            "2026-03-01T00:00:00.000Z",
            Some("2026-04-01T00:00:00.000Z")
        ),
        revocation("gone@SPOTFIRE", "2026-03-01T00:00:00.000Z", None),
        revocation("ann@SPOTFIRE", "2026-04-02T00:00:00.000Z", None),
    ]);
    for (what, items) in [
        ("blocks", json!([block("eve@SPOTFIRE")])),
        ("signers", json!([signer(&everyone, &ann), signer(&staff, &ann)])),
        ("items", json!([of_group])),
        ("revocations", revocations),
    ] {
        let path = format!("GET /api/v1/trust/{what}?limit=1000");
        server.on(&path, 200, &json!({ "items": items }));
    }
    let group = |name: &str, parents: &[&str], members: &[&str]| {
        json!({
            "name": name, "builtin": false, "parents": parents, "features": [], "members": members,
        })
    };
    let groups = json!([
        group("Everyone", &[], &[]),
        group("Staff", &["Everyone"], &["bob@SPOTFIRE"]),
        group("Deep", &["Team"], &["carl@SPOTFIRE", "bob@SPOTFIRE"]),
        group("Team", &["STAFF"], &[]),
        group("Others", &[], &["dan@SPOTFIRE"]),
    ]);
    server.on("GET /api/v1/groups?limit=1000", 200, &json!({ "items": groups }));
    let user = |name: &str| json!({ "id": "0192d4c0-0000-7000-8000-000000000001", "name": name, "state": "active", "groups": [], "created": "2026-01-01T00:00:00.000Z" });
    let users = json!({ "items": [user("ann@SPOTFIRE"), user("bob@SPOTFIRE")] });
    server.on("GET /api/v1/users?limit=1000", 200, &users);
    let certificate = |serial: &str, from: &str, to: &str| {
        json!({
            "fingerprint": id(serial), "issuer": "CN=Muster", "serial": serial, "subject": "CN=ann", "external": false,
            "state": "revoked", "not_before": from, "not_after": to, "pem": "",
        })
    };
    let certificates = json!({ "items": [
        certificate("0a", "2026-01-01T00:00:00.000Z", "2026-02-28T00:00:00.000Z"),
        certificate("0b", "2026-02-01T00:00:00.000Z", "2026-03-01T00:00:00.000Z"),
        certificate("0c", "2026-04-01T00:00:00.000Z", "2027-04-01T00:00:00.000Z"),
        certificate("0d", "2026-04-02T00:00:00.000Z", "2027-04-01T00:00:00.000Z"),
    ] });
    server.on(
        "GET /api/v1/trust/certificates?user=ann%40SPOTFIRE&limit=1000",
        200,
        &certificates,
    );
    let missing = json!({
        "type": "urn:muster:problem:not-found", "title": "not found", "status": 404, "detail": "no such user",
    });
    server.on(
        "GET /api/v1/trust/certificates?user=gone%40SPOTFIRE&limit=1000",
        404,
        &missing,
    );
    let home = Home::at(&server);
    let said = home.muster(&["compat", "show-code-trust", "-x"]).printed();
    let folder = std::path::Path::new(said.trim_end());
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder that it names")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "blocked_extcert.csv",
            "blocked_hashes.csv",
            "blocked_users.csv",
            "byextcert.csv",
            "byhash.csv",
            "byuser.csv",
            "revoked_certs.csv",
        ]
    );
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect(name);
    assert!(read("blocked_users.csv").contains("\"eve@SPOTFIRE\",\"admin@SPOTFIRE\""));
    let by_user = read("byuser.csv");
    assert!(
        by_user.contains("\"ann@SPOTFIRE\",\"developer\",\"\",\"Everyone\",\"ann@SPOTFIRE;bob@SPOTFIRE\""),
        "{by_user}"
    );
    // Who is in a group that is in it has its trust as well.
    assert!(
        by_user.contains("\"ann@SPOTFIRE\",\"developer\",\"\",\"staff\",\"bob@SPOTFIRE;carl@SPOTFIRE\""),
        "{by_user}"
    );
    // The certificates that were of use at some time that is void.
    let revoked = read("revoked_certs.csv");
    assert!(
        revoked
            .contains("\"ann@SPOTFIRE\",\"0b;0c\",\"2026-03-01T00:00:00.000Z\",\"2026-04-01T00:00:00.000Z\""),
        "{revoked}"
    );
    assert!(
        revoked.contains("\"gone@SPOTFIRE\",\"\",\"2026-03-01T00:00:00.000Z\",\"\""),
        "{revoked}"
    );
}

#[test]
fn what_names_several_things_says_of_each_what_became_of_it() {
    let server = Server::start();
    let gone = |key: &str| format!("DELETE /api/v1/trust/{key}");
    let entry = |kind: &str, hash: &str| {
        format!(
            "items/{}",
            id(&format!("trust/group/g/item/{kind}/{hash}")).replace(':', "%3A")
        )
    };
    let missing = json!({
        "type": "urn:muster:problem:not-found", "title": "not found", "status": 404, "detail": "there is no such trust entry",
    });
    let signer = id("trust/group/g/user/developer/ann@spotfire").replace(':', "%3A");
    server.on_empty(&gone(&format!("signers/{signer}")));
    for kind in ["visualization_mod", "action_mod"] {
        server.on(&gone(&entry(kind, "h1")), 404, &missing);
    }
    server.on_empty(&gone(&entry("action_mod", "h2")));
    server.on(&gone(&entry("visualization_mod", "h2")), 404, &missing);
    let home = Home::at(&server);
    let remove = |more: &[&str]| {
        let ann = [
            "--trusted-user",
            "ann@SPOTFIRE",
            "--trusted-user-role",
            "developer",
        ];
        home.muster(&[&["compat", "remove-code-trust", "-g", "G"][..], &ann, more].concat())
    };
    let said = remove(&["-h", "h1", "--type", "mod"]).complaint(1);
    assert!(
        said.contains("there is no trust in mod h1")
            && said.contains("any more: user ann@SPOTFIRE as developer"),
        "{said}"
    );
    // A mod of before is one of either type.
    let said = remove(&["-h", "h2", "--type", "mod"]).printed();
    assert_eq!(
        said,
        "Not trusted any more: user ann@SPOTFIRE as developer, mod h2.\n"
    );

    // What is added by halves says which half.
    let unknown = json!({
        "type": "urn:muster:problem:not-found", "title": "not found", "status": 404, "detail": "no certificate 9 is known here",
    });
    server.on("POST /api/v1/trust/blocks", 404, &unknown);
    let block = ["compat", "block-code-trust", "-h", "h1", "--type", "mod"];
    let said = home.muster(&block).complaint(1);
    assert!(said.starts_with("no certificate 9 is known here"), "{said}");
    let asked = server.asked("POST /api/v1/trust/blocks");
    assert_eq!(
        asked[0].json(),
        json!({ "item": { "type": "visualization_mod", "hash": "h1" } })
    );
}

#[test]
fn list_code_entities_shows_by_what_each_content_is_known() {
    let server = Server::start();
    let entity = |hash: &str, kind: &str, known: &str, name: &str| json!({ "hash": hash, "type": kind, "known": known, "name": name });
    let entities = json!({ "items": [
        entity("sha256:b", "data_function", "library", "forecast"),
        entity("sha512=a", "action_mod", "library", "Gantt"),
        entity("sha512=a", "action_mod", "signed", "ann@SPOTFIRE"),
        entity("sha512=c", "script", "library", "re\u{1b}fresh"),
    ] });
    server.on("GET /api/v1/trust/entities?limit=1000", 200, &entities);
    let item = |kind: &str, hash: &str| json!({ "type": kind, "hash": hash });
    let trusted = |group: &str| {
        json!({
            "id": id(group), "principal": { "group": group }, "item": item("action_mod", "sha512=a"), "decided": decided(),
        })
    };
    let items = json!({ "items": [trusted("Staff"), trusted("Everyone")] });
    server.on("GET /api/v1/trust/items?limit=1000", 200, &items);
    let blocked = json!({ "id": id("b"), "item": item("job_script", "sha512=d"), "decided": decided() });
    let blocks = json!({ "items": [blocked, block("eve@SPOTFIRE")] });
    server.on("GET /api/v1/trust/blocks?limit=1000", 200, &blocks);
    let home = Home::at(&server);
    let shown = home.muster(&["compat", "list-code-entities"]).printed();
    let rows: Vec<Vec<&str>> = shown
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows,
        [
            vec!["HASH", "TYPE", "NAME", "KNOWN"],
            vec!["sha256:b", "data_function", "forecast", "library"],
            vec!["sha512=a", "action_mod", "Gantt", "library"],
            vec!["sha512=a", "action_mod", "ann@SPOTFIRE", "signed"],
            vec!["sha512=a", "action_mod", "-", "trusted"],
            vec!["sha512=c", "script", "re\\u{1b}fresh", "library"],
            vec!["sha512=d", "job_script", "-", "blocked"],
        ],
        "{shown}"
    );
    let some = ["compat", "list-code-entities", "-Hsha512=d", "-H", "sha256:b"];
    let shown = home.muster(&some).printed();
    assert_eq!(shown.lines().count(), 3, "{shown}");
    let none = home
        .muster(&["compat", "list-code-entities", "-H", "sha512=x"])
        .printed();
    assert_eq!(none, "No items are known.\n");
}
