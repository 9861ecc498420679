//! Every endpoint of the REST API, called by people with too few rights.

use std::{collections::BTreeMap, fmt::Write as _};

use http::Method;
use muster_client::{ClientError, Request, Rest};
use muster_ids::Sha512;
use muster_pki::Outline;
use muster_tests::{Applicant, Person, Server, golden};
use serde_json::{Value, json};

/// What everybody may do without a session: verify certificates of the collective, and log in.
const PUBLIC: [&str; 4] = [
    "GET /api/v1/authority/certificates.pem",
    "GET /api/v1/authority/crl",
    "GET /api/v1/authority/crl.pem",
    "POST /api/v1/sessions",
];

/// One method at one path, as the description of the API has it.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// Whether it takes JSON.
    pub(crate) takes_json: bool,
    /// Whether it takes a body of any kind.
    pub(crate) takes_body: bool,
    /// Whether it takes an `Idempotency-Key`.
    pub(crate) takes_key: bool,
    /// Names of the parameters of the query.
    pub(crate) query: Vec<String>,
}

/// Every endpoint, in the order of paths.
pub(crate) async fn endpoints(server: &Server) -> Vec<Endpoint> {
    let description: Value = Person::stranger(server)
        .get("/api/v1/openapi.json")
        .await
        .expect("everybody may read the description");
    let mut endpoints = Vec::new();
    for (path, methods) in description["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            endpoints.push(Endpoint {
                method: method.to_uppercase().parse().expect("a method"),
                path: path.clone(),
                takes_json: operation["requestBody"]["content"]["application/json"].is_object(),
                takes_body: operation["requestBody"].is_object(),
                takes_key: parameters
                    .iter()
                    .any(|parameter| parameter["name"] == "Idempotency-Key"),
                query: parameters
                    .iter()
                    .filter(|parameter| parameter["in"] == "query")
                    .filter_map(|parameter| parameter["name"].as_str().map(str::to_owned))
                    .collect(),
            });
        }
    }
    assert!(endpoints.len() > 40, "the description lists the endpoints");
    endpoints
}

/// Things that exist, so that a refusal is one for lack of rights.
pub(crate) struct Things {
    paths: BTreeMap<&'static str, String>,
    bodies: BTreeMap<&'static str, Value>,
    queries: BTreeMap<&'static str, String>,
}

impl Things {
    /// Makes one of everything.
    pub(crate) async fn make(server: &Server) -> Self {
        let (admin, author) = (server.admin().await, server.author().await);
        let waiting = Applicant::new("waiting").await;
        let transcript = waiting.apply(server).await;
        let member = Applicant::new("member").await.join(server).await;
        let certificate = Outline::of(&member.chain()[0]).expect("a certificate");
        for (path, name) in [
            ("/api/v1/pools", "a pool"),
            ("/api/v1/sites", "a site"),
            ("/api/v1/groups", "a group"),
            ("/api/v1/groups", "a parent"),
        ] {
            admin.create(path, name).await;
        }
        admin
            .create_user("somebody@SPOTFIRE", "a long enough password")
            .await;
        let function = author.register("a function", "terr", "1").await;
        let run = author.run(&function, &json!({})).await;
        let block = admin
            .post("/api/v1/trust/blocks", &json!({ "user": "eve@SPOTFIRE" }))
            .await;
        let signer = json!({
            "principal": { "group": "Everyone" }, "signer": { "user": author.name(), "role": "developer" },
        });
        let signer = admin.post("/api/v1/trust/signers", &signer).await;
        let version = crate::trust::signed_version(&admin, "rose").await;
        let trusted = json!({ "principal": { "group": "Everyone" }, "item": version });
        let trusted = admin.post("/api/v1/trust/items", &trusted).await;
        let root = admin
            .post("/api/v1/trust/roots/internal", &json!({}))
            .await
            .expect("a root");
        let text = |made: &Value, field: &str| made[field].as_str().expect("a text").to_owned();
        let item = json!({
            "type": "script", "files": { "code": Sha512::of(b"1") },
            "manifest": "{\"language\":\"ironpython\",\"packages\":[],\"parameters\":[],\"transaction\":true}",
        });
        let signature = author
            .post("/api/v1/trust/signatures", &json!({ "item": item }))
            .await
            .expect("signed");
        let id = |made: Result<Value, ClientError>| {
            made.expect("decided")["id"]
                .as_str()
                .expect("an identity")
                .to_owned()
        };
        let token: muster_pki::join::JoinToken =
            server.join_token(&json!({})).await.parse().expect("a token");
        let folder = json!({ "folder": "/", "name": "a folder" });
        let folder = admin.post("/api/v1/library/folders", &folder).await;
        let paths = [
            ("/blocks/{id}", id(block)),
            ("/signers/{id}", id(signer)),
            ("/items/{id}", id(trusted)),
            ("{fingerprint}", text(&root, "fingerprint")),
            ("{number}", text(&signature, "serial")),
            ("/join-tokens/{id}", token.id().to_string()),
            ("/joins/{id}", transcript.join_id().to_string()),
            ("{node}", "member".to_owned()),
            ("/pools/{name}", "a%20pool".to_owned()),
            ("/sites/{name}", "a%20site".to_owned()),
            ("/users/{name}", "somebody%40SPOTFIRE".to_owned()),
            ("/groups/{name}", "a%20group".to_owned()),
            ("/outputs/{name}", "y".to_owned()),
            ("{user}", "somebody%40SPOTFIRE".to_owned()),
            ("{parent}", "a%20parent".to_owned()),
            ("{feature}", "Author%20Scripts".to_owned()),
            (
                "{preference}",
                "Require%20valid%20signature%20to%20allow%20trust".to_owned(),
            ),
            ("{function}", function.id.to_string()),
            ("{run}", run.id.to_string()),
            ("{serial}", certificate.serial.to_string()),
            ("/library/{item}", id(folder)),
        ];
        let definition = json!({ "name": "another", "language": "r", "script": "1" });
        let setting = json!({ "name": "restricted_engines", "scope": "all", "value": "r_service" });
        let password = json!({ "password": "another long password" });
        let login = json!({ "user": "somebody@SPOTFIRE", "password": "a long enough password" });
        let bodies = [
            ("POST /api/v1/sessions", login),
            ("POST /api/v1/authority/rotation", json!({ "step": "prepare" })),
            (
                "POST /api/v1/joins/renewals/approve",
                json!({ "joins": [transcript.join_id()] }),
            ),
            ("POST /api/v1/joins/match", json!({ "code": "0000-0000-0000" })),
            (
                "POST /api/v1/joins/{id}/approve",
                json!({ "code": "0000-0000-0000" }),
            ),
            ("POST /api/v1/joins/{id}/reject", json!({})),
            ("POST /api/v1/join-tokens", json!({ "uses": 2 })),
            ("POST /api/v1/join-tokens/{id}/revoke", json!({})),
            ("PATCH /api/v1/nodes/{node}", json!({ "scheduling": "active" })),
            ("POST /api/v1/nodes/{node}/untrust", json!({})),
            ("POST /api/v1/certificates/{serial}/revoke", json!({})),
            ("POST /api/v1/certificates/reset", json!({})),
            ("POST /api/v1/pools", json!({ "name": "another" })),
            ("POST /api/v1/sites", json!({ "name": "another" })),
            ("POST /api/v1/users", json!({ "name": "another@SPOTFIRE" })),
            ("PATCH /api/v1/users/{name}", json!({ "state": "disabled" })),
            ("PUT /api/v1/users/{name}/password", password),
            ("POST /api/v1/groups", json!({ "name": "another" })),
            (
                "POST /api/v1/group-imports",
                json!({ "groups": ["another"], "parents": [], "members": [] }),
            ),
            (
                "PUT /api/v1/groups/{name}/licenses",
                json!({ "license": "one", "of": ["Trust Mods"], "features": ["Trust Mods"] }),
            ),
            (
                "PUT /api/v1/groups/{name}/preferences/{preference}",
                json!({ "value": "false" }),
            ),
            ("POST /api/v1/functions", definition),
            (
                "POST /api/v1/functions/{function}/trust",
                json!({ "digest": function.digest }),
            ),
            (
                "PUT /api/v1/functions/{function}/policy",
                json!({ "policy": { "read": ["/srv/data"] } }),
            ),
            ("PUT /api/v1/settings", setting),
            (
                "POST /api/v1/library/folders",
                json!({ "folder": "/", "name": "another" }),
            ),
            (
                "POST /api/v1/library/items",
                json!({ "folder": "/", "name": "plan", "kind": "analysis", "manifest": "{\"muster_analysis\":1}" }),
            ),
            ("POST /api/v1/library/{item}/trust", json!({})),
            ("POST /api/v1/library/{item}/untrust", json!({})),
            ("POST /api/v1/library/untrust", json!({})),
            ("PATCH /api/v1/library/{item}", json!({ "name": "another" })),
            (
                "PUT /api/v1/library/{item}/permissions",
                json!({ "grants": [{ "group": "Everyone", "right": "write" }] }),
            ),
            ("POST /api/v1/trust/blocks", json!({ "user": "mallory@SPOTFIRE" })),
            (
                "POST /api/v1/trust/signers",
                json!({ "signer": { "user": author.name(), "role": "configurator" } }),
            ),
            (
                "POST /api/v1/trust/items",
                json!({ "item": { "type": "visualization_mod", "hash": Sha512::of(b"h1") } }),
            ),
            ("POST /api/v1/trust/signatures", json!({ "item": item })),
            ("POST /api/v1/trust/openings", json!({ "item": item })),
            ("POST /api/v1/trust/signatures/verify", json!({ "item": item })),
            (
                "POST /api/v1/trust/time-stamps",
                json!({ "digest": function.digest }),
            ),
            (
                "POST /api/v1/trust/certificates",
                json!({ "pem": text(&root, "pem") }),
            ),
            (
                "POST /api/v1/trust/certificates/{number}/revoke",
                json!({ "from": "2020-01-01T00:00:00Z" }),
            ),
            (
                "POST /api/v1/trust/revocations",
                json!({ "user": author.name(), "from": "2020-01-01T00:00:00Z" }),
            ),
        ];
        let queries = [
            ("GET /api/v1/trust/explain", format!("function={}", function.id)),
            (
                "DELETE /api/v1/settings",
                "name=restricted_engines&scope=all".to_owned(),
            ),
        ];
        Self {
            paths: paths.into(),
            bodies: bodies.into(),
            queries: queries.into(),
        }
    }

    /// A valid request to this endpoint, or `None` where this test does not know how to make one.
    pub(crate) fn request(&self, endpoint: &Endpoint) -> Option<Request> {
        let name = format!("{} {}", endpoint.method, endpoint.path);
        let body = self.bodies.get(name.as_str());
        if endpoint.takes_json && body.is_none() {
            return None;
        }
        let mut path = self.path(&endpoint.path)?;
        if let Some(query) = self.queries.get(name.as_str()) {
            path = format!("{path}?{query}");
        }
        let request = method(&endpoint.method, path);
        Some(match body {
            Some(body) => request.json(body),
            None => request,
        })
    }

    /// The path with things that exist in place of its variables.
    pub(crate) fn path(&self, path: &str) -> Option<String> {
        let mut filled = path.to_owned();
        for (variable, thing) in &self.paths {
            let begin = variable.find('{').unwrap_or(0);
            filled = filled.replace(variable, &format!("{}{thing}", &variable[..begin]));
        }
        (!filled.contains('{')).then_some(filled)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_with_too_few_rights_are_refused_everywhere() {
    let server = Server::private();
    let things = Things::make(&server).await;
    let stranger = Person::stranger(&server);
    let (analyst, author) = (server.analyst().await, server.person(&["Script Author"]).await);
    let mut endpoints = endpoints(&server).await;
    // Ending the session comes last.
    endpoints.sort_by_key(|endpoint| {
        endpoint.method == Method::DELETE && endpoint.path.ends_with("/sessions/current")
    });
    let mut rows = Vec::new();
    let mut unknown = String::from("# Endpoints that no test calls with too few rights.\n");
    for endpoint in &endpoints {
        let name = format!("{} {}", endpoint.method, endpoint.path);
        if PUBLIC.contains(&name.as_str()) {
            let request = things.request(endpoint).expect("no variables");
            assert!(stranger.send(request).await.is_ok(), "{name} is for everybody");
            continue;
        }
        let Some(request) = things.request(endpoint) else {
            let _ = writeln!(unknown, "{name}");
            continue;
        };
        let nobody = status(&stranger, request).await;
        assert_eq!(nobody, 401, "{name} without a session");
        let forged = Person::with_token(&server, "nobody", "forged");
        let request = things.request(endpoint).expect("as before");
        assert_eq!(
            problem_status(forged.send(request).await),
            401,
            "{name} with a forged token"
        );
        let mut row = format!("{name:<58} {nobody}");
        for person in [&analyst, &author] {
            let request = things.request(endpoint).expect("as before");
            let status = problem_status(person.send(request).await);
            let _ = write!(row, " {status}");
        }
        rows.push(row);
    }
    rows.sort();
    let head = "# What every endpoint answers: without a session, to an analyst, to a Script Author.\n";
    golden("endpoint-rights.txt", &format!("{head}{}\n", rows.join("\n")));
    golden("endpoints-without-rights-test.txt", &unknown);
    let admin = server.admin().await;
    let denied = admin.audited("request.denied").await;
    let mine = format!("user {}", analyst.name());
    let refused = rows
        .iter()
        .filter(|row| row.split_whitespace().nth(3) == Some("403"))
        .count();
    assert_eq!(
        denied.iter().filter(|row| row["actor"] == mine.as_str()).count(),
        refused,
        "each refusal is audited"
    );
}

async fn status(stranger: &Rest, request: Request) -> u16 {
    problem_status(stranger.send(request).await)
}

/// The status of an answer; a refusal is a problem document.
fn problem_status(answer: Result<muster_client::Answer, ClientError>) -> u16 {
    match answer {
        Ok(answer) => answer.status.as_u16(),
        refused => muster_tests::problem(refused).status,
    }
}

/// A request with this method.
pub(crate) fn method(method: &Method, path: String) -> Request {
    match *method {
        Method::GET => Request::get(path),
        Method::POST => Request::post(path),
        Method::PUT => Request::put(path),
        Method::PATCH => Request::patch(path),
        Method::DELETE => Request::delete(path),
        ref other => panic!("the API has no {other}"),
    }
}
