//! Bad input to the REST API: a problem document, one sentence with the cure, and nothing changed.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, header};
use muster_client::{Endpoint as Address, Limits, Request, Transport};
use muster_tests::{Applicant, Server, problem, refusal, unique};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    attacker::client,
    rights::{Things, endpoints, method},
};

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_refuses_a_body_that_is_not_its_own() {
    let server = Server::private();
    let admin = server.admin().await;
    let things = Things::make(&server).await;
    let before = server.database().number("SELECT COUNT(*) FROM audit");
    let deep = format!("{{\"name\":{}", "[".repeat(10_000));
    let bodies = [
        "",
        "{",
        "null",
        "[]",
        "[\"a name\"]",
        "\"a name\"",
        "7",
        "{\"name\":\"a\",}",
        "{\"wish\":1}",
        "{\"name\":\"\\ud800\"}",
        "\u{feff}{}",
        deep.as_str(),
    ];
    let mut tried = 0;
    for endpoint in endpoints(&server)
        .await
        .iter()
        .filter(|endpoint| endpoint.takes_json)
    {
        let path = things.path(&endpoint.path).expect("a path");
        for body in bodies {
            let request = method(&endpoint.method, path.clone()).bytes("application/json", body.to_owned());
            let refused = problem(admin.send(request).await);
            let what = format!("{} {path} with {}", endpoint.method, &body[..body.len().min(40)]);
            assert_eq!(refused.status, 422, "{what}: {}", refused.detail);
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
    assert_eq!(
        server.database().number("SELECT COUNT(*) FROM audit"),
        before,
        "something was changed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_an_endpoint_does_not_describe_is_taken() {
    let server = Server::private();
    let admin = server.admin().await;
    let things = Things::make(&server).await;
    let before = server.database().number("SELECT COUNT(*) FROM audit");
    let (mut bodies, mut keys) = (0, 0);
    for endpoint in endpoints(&server).await {
        let path = things.path(&endpoint.path).expect("a path");
        let what = format!("{} {path}", endpoint.method);
        let ask = || method(&endpoint.method, path.clone());
        let refused = async |request: Request| {
            let refused = problem(admin.send(request).await);
            assert_eq!(refused.status, 422, "{what}: {}", refused.detail);
            refused.detail
        };
        let detail = refused(ask().query("wish", "1")).await;
        assert!(detail.contains("\"wish\""), "{what}: {detail}");
        if endpoint.method == Method::GET {
            continue;
        }
        if !endpoint.takes_body {
            for body in ["{\"wish\":1}", "{", "null", "[]", "7"] {
                refused(ask().bytes("application/json", body)).await;
                bodies += 1;
            }
        }
        if !endpoint.takes_key {
            let detail = refused(ask().idempotency_key("k")).await;
            assert!(detail.contains("Idempotency-Key"), "{what}: {detail}");
            keys += 1;
        }
    }
    let description = Request::get("/api/v1/openapi.json").query("wish", "1");
    assert_eq!(refusal(admin.send(description).await).0, 422);
    assert!(bodies > 50 && keys == 4, "{bodies} {keys}");
    assert_eq!(
        server.database().number("SELECT COUNT(*) FROM audit"),
        before,
        "something was changed"
    );
    // Who has nothing to say may say so.
    for path in ["/api/v1/trust/roots/internal", "/api/v1/trust/reset"] {
        admin.send(Request::post(path)).await.expect("no body");
        let empty = Request::post(path).bytes("application/json", " {} ");
        admin.send(empty).await.expect("an empty object");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_refuses_a_page_that_does_not_exist() {
    let server = Server::shared();
    let admin = server.admin().await;
    let mut lists = 0;
    for endpoint in endpoints(server).await {
        if !endpoint.query.iter().any(|name| name == "next") {
            continue;
        }
        lists += 1;
        // The root of the library is an item that is always there.
        let path = endpoint.path.replace("{item}", "%2F");
        let forged = |json: &str| URL_SAFE_NO_PAD.encode(json);
        for (name, value) in [
            ("limit", "0".to_owned()),
            ("limit", "1001".to_owned()),
            ("limit", "-1".to_owned()),
            ("limit", "4294967296".to_owned()),
            ("limit", "all".to_owned()),
            ("next", "nonsense".to_owned()),
            ("next", String::new()),
            ("next", forged("{")),
            ("next", forged("{}")),
            ("next", forged("[1,2,3,4,5]")),
            ("next", forged("\"' OR 1=1 --\u{7}\"")),
            ("wish", "1".to_owned()),
        ] {
            let request = Request::get(path.clone()).query(name, &value);
            let refused = problem(admin.send(request).await);
            assert_eq!(refused.status, 422, "{path} {name}={value}");
        }
        let states = Request::get(path).query("limit", "1");
        admin.send(states).await.expect("a page of one");
    }
    assert!(lists >= 6, "{lists}");
    for list in ["users", "audit", "trust/blocks", "trust/signers", "functions"] {
        let request = Request::get(format!("/api/v1/{list}")).query("state", "disabled");
        assert_eq!(refusal(admin.send(request).await).0, 422, "{list}");
    }
    for (list, state) in [("joins", "waiting"), ("nodes", "broken"), ("runs", "done")] {
        let request = Request::get(format!("/api/v1/{list}")).query("state", state);
        assert_eq!(refusal(admin.send(request).await).0, 422, "{list}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_list_comes_as_a_whole() {
    let server = Server::shared();
    let admin = server.admin().await;
    for endpoint in endpoints(server).await {
        let asks = endpoint.method == Method::GET && endpoint.path.starts_with("/api/v1/");
        // What is asked of one thing is not a list that grows.
        let one = [".pem", "/crl", "/explain"]
            .iter()
            .any(|one| endpoint.path.ends_with(one));
        if asks && !one && !endpoint.path.contains('{') {
            let answer: Value = admin.get(&endpoint.path).await;
            let pages = endpoint.query.iter().any(|name| name == "next");
            assert!(
                answer.is_object() && answer["items"].is_array() == pages,
                "{}: {answer}",
                endpoint.path
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_list_follow_each_other() {
    let server = Server::private();
    let (admin, author) = (server.admin().await, server.author().await);
    for n in 0..7 {
        author.register(&format!("f{n}"), "r", "1").await;
    }
    let mut names = Vec::new();
    let mut next = None::<String>;
    loop {
        let mut request = Request::get("/api/v1/functions").query("limit", "3");
        if let Some(next) = &next {
            request = request.query("next", next);
        }
        let page: Value = admin
            .send(request)
            .await
            .and_then(|answer| answer.json())
            .expect("a page");
        let items = page["items"].as_array().expect("items").clone();
        assert!(items.len() <= 3);
        names.extend(items.iter().map(|item| item["definition"]["name"].clone()));
        match page["next"].as_str() {
            Some(more) => next = Some(more.to_owned()),
            None => break,
        }
    }
    assert_eq!(names, (0..7).map(|n| json!(format!("f{n}"))).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_could_mislead_are_refused_wherever_something_is_made() {
    let server = Server::shared();
    let (admin, author) = (server.admin().await, server.author().await);
    let names = [
        String::new(),
        " a".to_owned(),
        "a ".to_owned(),
        "-rf".to_owned(),
        "a/b".to_owned(),
        "a\nb".to_owned(),
        "a\u{0}b".to_owned(),
        "a\u{1b}[31mb".to_owned(),
        "a\u{202e}b".to_owned(),
        "a\u{200b}b".to_owned(),
        "<script>".to_owned(),
        "x".repeat(129),
        "é".repeat(100_000),
    ];
    for name in names {
        let shown: String = name.chars().take(20).collect();
        for path in ["/api/v1/pools", "/api/v1/sites", "/api/v1/groups"] {
            let tried = admin.post(path, &json!({ "name": name })).await;
            assert_eq!(refusal(tried).0, 422, "{path} {shown:?}");
        }
        let user = json!({ "name": format!("{name}@SPOTFIRE") });
        let tried = admin.post("/api/v1/users", &user).await;
        // White space before the domain is inside the name.
        if name != "a " {
            assert_eq!(refusal(tried).0, 422, "a user {shown:?}");
        }
        let function = json!({ "name": name, "language": "r", "script": "1" });
        let tried = author.post("/api/v1/functions", &function).await;
        assert_eq!(refusal(tried).0, 422, "a function {shown:?}");
    }
    for user in ["ann", "@SPOTFIRE", "ann@", "@"] {
        let tried = admin.post("/api/v1/users", &json!({ "name": user })).await;
        assert_eq!(refusal(tried).0, 422, "{user}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_is_refused_in_whatever_spelling() {
    let server = Server::shared();
    let admin = server.admin().await;
    for path in ["/api/v1/pools", "/api/v1/sites", "/api/v1/groups"] {
        let name = format!("Caf\u{e9} {}", unique("x"));
        admin.create(path, &name).await;
        for spelling in [
            name.clone(),
            name.to_uppercase(),
            name.replace('\u{e9}', "e\u{301}"),
        ] {
            let tried = admin.post(path, &json!({ "name": spelling })).await;
            assert_eq!(refusal(tried), (409, "duplicate".to_owned()), "{path} {spelling}");
        }
    }
    let name = format!("{}@SPOTFIRE", unique("ann"));
    admin.create_user(&name, "a long enough password").await;
    let tried = admin
        .post("/api/v1/users", &json!({ "name": name.to_uppercase() }))
        .await;
    assert_eq!(refusal(tried), (409, "duplicate".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_use_or_built_in_is_not_deleted() {
    let server = Server::shared();
    let admin = server.admin().await;
    let (pool, site) = (server.pool().await, server.site().await);
    let node = Applicant::new(&unique("terr"))
        .await
        .in_pool(&pool)
        .in_site(&site);
    node.join(server).await;
    for parts in [
        ["pools", "default"],
        ["sites", "default"],
        ["pools", &pool],
        ["sites", &site],
        ["groups", "Everyone"],
        ["groups", "Administrator"],
        ["groups", "Script Author"],
    ] {
        let refused = problem(admin.delete(&parts).await);
        assert_eq!(refused.status, 409, "{parts:?}: {}", refused.detail);
    }
    let everyone = ["groups", "Everyone", "members", admin.name()];
    assert_eq!(refusal(admin.put(&everyone).await).0, 409);
    let unused = server.pool().await;
    admin.delete(&["pools", &unused]).await.expect("deleted");
    assert_eq!(refusal(admin.delete(&["pools", &unused]).await).0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_always_an_administrator_who_can_log_in() {
    let server = Server::private();
    let (first, second) = (server.admin().await, server.administrator().await);
    let own = first
        .patch(&["users", first.name()], &json!({ "state": "disabled" }))
        .await;
    assert_eq!(refusal(own), (409, "own-account".to_owned()));
    first
        .patch(&["users", second.name()], &json!({ "state": "disabled" }))
        .await
        .expect("another may be disabled");
    let member = |name: &str| {
        [
            "groups".to_owned(),
            "Administrator".to_owned(),
            "members".to_owned(),
            name.to_owned(),
        ]
    };
    let last = member(first.name());
    let last: Vec<&str> = last.iter().map(String::as_str).collect();
    assert_eq!(
        refusal(first.delete(&last).await),
        (409, "last-administrator".to_owned()),
        "the other one cannot log in"
    );
    let gone = member(second.name());
    let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
    first.delete(&gone).await.expect("taken out");
    assert_eq!(
        refusal(first.delete(&last).await),
        (409, "last-administrator".to_owned())
    );
    // Who has the rights by a group of the group counts, and then that group is what must stay.
    let deputies = unique("deputies");
    let heir = ["groups", &deputies, "parents", "Administrator"];
    first.create("/api/v1/groups", &deputies).await;
    first.add_member(&deputies, second.name()).await;
    first.put_empty(&heir).await;
    assert_eq!(refusal(first.delete(&last).await).0, 409, "still disabled");
    first
        .patch(&["users", second.name()], &json!({ "state": "active" }))
        .await
        .expect("enabled");
    first.delete(&last).await.expect("another one is left");
    let second = second.again(&server).await;
    for parts in [
        &heir[..],
        &["groups", &deputies],
        &["groups", &deputies, "members", second.name()],
    ] {
        assert_eq!(
            refusal(second.delete(parts).await),
            (409, "last-administrator".to_owned()),
            "{parts:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_form_no_circle() {
    let server = Server::shared();
    let admin = server.admin().await;
    let names = [unique("a"), unique("b"), unique("c")];
    for name in &names {
        admin.create("/api/v1/groups", name).await;
    }
    let parent = |child: usize, parent: usize| ["groups", &names[child], "parents", &names[parent]];
    admin.put_empty(&parent(0, 1)).await;
    admin.put_empty(&parent(1, 2)).await;
    for (child, above) in [(2, 0), (1, 0), (0, 0)] {
        let refused = problem(admin.put(&parent(child, above)).await);
        assert_eq!(refused.status, 409, "{}", refused.detail);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_named_with_its_cure() {
    let server = Server::shared();
    let admin = server.admin().await;
    for path in [
        "/api/v1/nodes/nowhere",
        "/api/v1/users/nobody%40SPOTFIRE",
        "/api/v1/groups/nobodies",
        "/api/v1/functions/nothing",
        "/api/v1/joins/00000000000000000000000000000000",
        "/api/v1/runs/00000000-0000-7000-8000-000000000000",
        "/api/v1/trust/explain?function=nothing",
    ] {
        let refused = problem(admin.ask(&Method::GET, path, &Value::Null).await);
        assert_eq!(refused.status, 404, "{path}");
        assert!(refused.detail.contains("muster "), "no cure: {}", refused.detail);
    }
    for (name, scope, value, status) in [
        ("no.such.setting", "all", "true", 404),
        ("restricted_engines", "everywhere", "r_service", 422),
        ("restricted_engines", "pool:nowhere", "r_service", 404),
        ("restricted_engines", "node:nowhere", "r_service", 404),
        ("restricted_engines", "all", "cobol_service", 422),
        ("terr.restricted.execution.mode", "all", "maybe", 422),
        ("terr.restricted.execution.mode", "all", "", 422),
    ] {
        let refused = problem(admin.try_set(name, scope, value).await);
        assert_eq!(
            refused.status, status,
            "{name} {scope} {value}: {}",
            refused.detail
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_lead_nowhere_are_answered_with_a_problem() {
    let server = Server::shared();
    let admin = server.admin().await;
    for (method, path, status) in [
        (Method::GET, "/api/v1", 404),
        (Method::GET, "/api/v2/status", 404),
        (Method::GET, "/nothing", 404),
        (Method::DELETE, "/api/v1/status", 405),
        (Method::POST, "/api/v1/openapi.json", 405),
        (Method::GET, "/api/v1/pools/%ff", 405),
        (Method::DELETE, "/api/v1/pools/%ff", 422),
        (Method::GET, "/api/v1/nodes/%ff", 422),
        (Method::GET, "/api/v1/nodes/%2e%2e%2fusers", 404),
        (Method::GET, "/api/v1/nodes/%00", 404),
        (Method::GET, "/api/v1/joins/..", 422),
        (Method::GET, "/api/v1/runs/1", 422),
        (Method::GET, "/node/v1/trust-state", 404),
    ] {
        let refused = problem(admin.ask(&method, path, &Value::Null).await);
        assert_eq!(refused.status, status, "{method} {path}: {}", refused.detail);
    }
    let function = server.author().await.register(&unique("f"), "r", "1").await;
    let path = format!("/api/v1/functions/{}/runs", function.id);
    for request in [
        Request::post(path.clone()),
        Request::post(path.clone()).json(&json!({})),
        Request::post(path.clone()).bytes("multipart/form-data", "x"),
        Request::post(path).bytes("multipart/form-data; boundary=x", "nothing"),
    ] {
        assert_eq!(refusal(admin.send(request).await).0, 422);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_address_says_which_methods_it_takes() {
    let server = Server::private();
    let (admin, things) = (server.admin().await, Things::make(&server).await);
    let mut paths: BTreeMap<String, Vec<Method>> = BTreeMap::new();
    for endpoint in endpoints(&server).await {
        let path = things.path(&endpoint.path).expect("a path");
        paths.entry(path).or_default().push(endpoint.method);
    }
    // One connection for each, so that the headers are read as they are.
    for (path, methods) in paths {
        for other in [
            Method::GET,
            Method::PUT,
            Method::POST,
            Method::DELETE,
            Method::PATCH,
        ] {
            if !methods.contains(&other) {
                let refused = problem(admin.ask(&other, &path, &Value::Null).await);
                assert_eq!(refused.status, 405, "{other} {path}");
                assert_eq!(refused.kind, "urn:muster:problem:method-not-allowed");
            }
        }
    }
    let answer = raw(&server, "PUT /api/v1/settings/ HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let answer = raw(&server, "PATCH /api/v1/groups HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    let allow = answer
        .lines()
        .find_map(|line| line.strip_prefix("allow: "))
        .expect("a header");
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    assert!(
        answer.contains("content-type: application/problem+json"),
        "{answer}"
    );
}

/// What the front end says to a request without a body, headers included.
async fn raw(server: &Server, line: &str) -> String {
    let config = std::sync::Arc::new(client(&[&rustls::version::TLS13], None));
    let socket = tokio::net::TcpStream::connect(server.front_end())
        .await
        .expect("connected");
    let mut tls = tokio_rustls::TlsConnector::from(config)
        .connect("localhost".try_into().expect("a name"), socket)
        .await
        .expect("a handshake");
    let request = format!("{line}\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    tls.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // The end of the connection is what is waited for, whoever says it.
    let _ = tls.read_to_end(&mut answer).await;
    String::from_utf8(answer).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_in_one_request_is_refused_and_the_listener_lives_on() {
    let server = Server::shared();
    let (admin, author) = (server.admin().await, server.author().await);
    let big = vec![b' '; 21 * 1024 * 1024];
    let request = Request::post("/api/v1/functions").bytes("application/json", big);
    assert!(author.send(request).await.is_err());
    let script = "x".repeat(8 * 1024 * 1024 + 1);
    let function = json!({ "name": unique("f"), "language": "r", "script": script });
    let refused = problem(author.post("/api/v1/functions", &function).await);
    assert_eq!(refused.kind, "urn:muster:problem:invalid-function");

    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let connection = member.connect().await;
    let big = vec![b' '; 1024 * 1024 + 1];
    let request = Request::post("/node/v1/heartbeat").bytes("application/json", big);
    assert!(connection.send(request).await.is_err());
    let header = || Request::get("/api/v1/status").header(header::COOKIE, &"x".repeat(100 * 1024));
    assert!(admin.send(header()).await.is_err());
    assert!(connection.send(header()).await.is_err());
    let operations = server.plain(server.operations()).await;
    assert!(operations.send(header()).await.is_err());

    let _: Value = admin.get("/api/v1/status").await;
    member
        .heartbeat(&member.connect().await, &[])
        .await
        .expect("alive");
    let operations = server.plain(server.operations()).await;
    operations.send(Request::get("/healthz")).await.expect("alive");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_back_end_refuses_bodies_that_are_not_its_own() {
    let server = Server::shared();
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let connection = member.connect().await;
    let run = "00000000-0000-7000-8000-000000000000";
    for path in [
        "/node/v1/control".to_owned(),
        "/node/v1/heartbeat".to_owned(),
        "/node/v1/receipt-key".to_owned(),
        "/node/v1/runs/claim".to_owned(),
        format!("/node/v1/runs/{run}/put-back"),
        format!("/node/v1/runs/{run}/outcome"),
    ] {
        for body in ["", "{", "null", "[]", "7", "{\"wish\":1}"] {
            let request = Request::post(path.clone()).bytes("application/json", body);
            assert_eq!(refusal(connection.send(request).await).0, 422, "{path} {body}");
        }
    }
    for path in [
        "/node/v1/trust-state?since=-1".to_owned(),
        "/node/v1/trust-state?wish=1".to_owned(),
        "/node/v1/blobs/nothing?run=1".to_owned(),
        format!("/node/v1/blobs/nothing?run={run}"),
        format!("/node/v1/blobs/{}", server.root()),
    ] {
        assert_eq!(
            refusal(connection.send(Request::get(path.clone())).await).0,
            422,
            "{path}"
        );
    }
    let open = json!({ "protocols": [998, 999], "boot_nonce": "x", "agent_version": "9", "challenge": "x" });
    let refused = problem(
        connection
            .send(Request::post("/node/v1/control").json(&open))
            .await,
    );
    assert_eq!(refused.status, 409);
    assert!(
        refused.detail.contains("update the older of the two"),
        "{}",
        refused.detail
    );
    for challenge in [String::new(), "x".repeat(65)] {
        let open =
            json!({ "protocols": [1], "boot_nonce": "x", "agent_version": "1", "challenge": challenge });
        let request = Request::post("/node/v1/control").json(&open);
        assert_eq!(refusal(connection.send(request).await).0, 422);
    }
    for path in ["/api/v1/status", "/", "/join/v1/hello", "/metrics"] {
        assert_eq!(
            refusal(connection.send(Request::get(path)).await).0,
            404,
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_that_make_no_sense_are_not_registered() {
    let server = Server::shared();
    let author = server.author().await;
    let good = json!({ "name": unique("f"), "language": "r", "script": "1" });
    let parameter = |name: &str, kind: &str| json!([{ "name": name, "kind": kind }]);
    for (field, value) in [
        ("language", json!("cobol")),
        ("language", json!("ironpython")),
        // Run by services that are not here.
        ("language", json!("matlab")),
        ("language", json!("sas")),
        ("script", json!("")),
        ("script", json!(" \n")),
        ("script", json!("a\u{0}b")),
        ("inputs", parameter("1x", "value")),
        ("inputs", parameter("x; q()", "value")),
        ("inputs", parameter("x", "matrix")),
        (
            "inputs",
            json!([{ "name": "x", "kind": "value", "types": ["Nonsense"] }]),
        ),
        (
            "inputs",
            json!([{ "name": "x", "kind": "value" }, { "name": "x", "kind": "value" }]),
        ),
        (
            "outputs",
            json!(vec![json!({ "name": "x", "kind": "value" }); 257]),
        ),
        ("packages", json!(["../../etc/passwd"])),
        ("limits", json!({ "wall_seconds": 0 })),
        ("limits", json!({ "memory_mib": -1 })),
        ("description", json!("x".repeat(4001))),
    ] {
        let mut function = good.clone();
        function[field] = value.clone();
        let refused = problem(author.post("/api/v1/functions", &function).await);
        assert_eq!(refused.status, 422, "{field}: {}", refused.detail);
    }
    let analyst = server.analyst().await;
    let refused = problem(analyst.post("/api/v1/functions", &good).await);
    assert_eq!(refused.status, 403);
    assert!(
        refused.detail.contains("Register Data Functions"),
        "{}",
        refused.detail
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_front_end_answers_over_both_versions_of_http_and_says_that_there_is_no_console() {
    let server = Server::shared();
    let address: Address = format!("https://{}", server.front_end())
        .parse()
        .expect("an endpoint");
    for alpn in ["h2", "http/1.1"] {
        let mut config = client(&[&rustls::version::TLS13], None);
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let transport = Transport::tls(std::sync::Arc::new(config), Limits::default());
        let connection = transport.connect(&address).await.expect("connected");
        let answer = connection.send(Request::get("/")).await.expect("an answer");
        assert!(
            String::from_utf8_lossy(&answer.body).contains("no web console yet"),
            "{alpn}"
        );
    }
}
