//! Licenses are asked for by the control plane: every change that needs one is refused to somebody who has everything else.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Method;
use muster_code_trust::{CUSTOM_QUERY_AUTHOR, Feature, Item, ItemKind, SCRIPT_AUTHOR};
use muster_ids::Sha512;
use muster_tests::{Person, Server, problem, unique};
use muster_wire::admin::v1::function::Function;
use serde_json::{Value, json};

use crate::rights::{Things, endpoints};

/// Changes for which no license is needed, and why.
const FREE: [(&str, &str); 16] = [
    ("DELETE /api/v1/library/{item}", LIBRARY),
    ("DELETE /api/v1/sessions/current", "one's own session"),
    ("DELETE /api/v1/trust/items/{id}", WITHDRAWN),
    ("DELETE /api/v1/trust/signers/{id}", WITHDRAWN),
    ("PATCH /api/v1/library/{item}", LIBRARY),
    ("POST /api/v1/expressions", RUN),
    ("POST /api/v1/functions/{function}/runs", RUN),
    ("POST /api/v1/library/folders", LIBRARY),
    ("POST /api/v1/runs/{run}/cancel", "who asked for a run may end it"),
    ("POST /api/v1/sessions", "nobody has a license before"),
    ("POST /api/v1/trust/certificates/{number}/revoke", REVOKED),
    (
        "POST /api/v1/trust/openings",
        "it changes nothing but the audit log",
    ),
    ("POST /api/v1/trust/revocations", REVOKED),
    ("POST /api/v1/trust/signatures/verify", "it changes nothing"),
    (
        "POST /api/v1/trust/time-stamps",
        "it vouches for a time and for nobody",
    ),
    ("PUT /api/v1/library/{item}/permissions", LIBRARY),
];
const LIBRARY: &str = "the right to write the item is needed, and no kind of item is made by it";
const WITHDRAWN: &str = "what users decided themselves they may withdraw, whatever they have lost since";
const REVOKED: &str = "making one's own signatures void only takes away";
const RUN: &str = "the license table asks for none to run data functions and expressions";

const TRUST_ITEM: &str = "POST /api/v1/trust/items";

/// One change: the endpoint, the license that it needs, and what is sent.
struct Change {
    endpoint: &'static str,
    feature: Feature,
    path: String,
    body: Value,
}

fn change(endpoint: &'static str, feature: Feature, body: Value) -> Change {
    let path = endpoint.split_once(' ').expect("a method").1.to_owned();
    Change {
        endpoint,
        feature,
        path,
        body,
    }
}

/// Every change that needs a license, in all its kinds.
fn changes(function: &Function, signer: &Person) -> Vec<Change> {
    // Writing one is one license, saving it in the library another.
    let another = || json!({ "name": unique("another"), "language": "r", "script": "1" });
    let mut changes: Vec<Change> = [Feature::AuthorScripts, Feature::RegisterDataFunctions]
        .map(|feature| change("POST /api/v1/functions", feature, another()))
        .into();
    for (endpoint, body) in [
        (
            "POST /api/v1/functions/{function}/trust",
            json!({ "digest": function.digest }),
        ),
        ("POST /api/v1/functions/{function}/untrust", Value::Null),
    ] {
        let one = change(endpoint, Feature::AuthorScripts, body);
        let path = one.path.replace("{function}", &function.id.to_string());
        changes.push(Change { path, ..one });
    }
    for (kind, role, trust, make) in [
        (
            "visualization_mod",
            "developer",
            Feature::TrustMods,
            Feature::DevelopVisualizationMod,
        ),
        (
            "action_mod",
            "developer",
            Feature::TrustMods,
            Feature::DevelopVisualizationMod,
        ),
        (
            "external_action",
            "configurator",
            Feature::TrustExternalActions,
            Feature::ConfigureExternalActions,
        ),
    ] {
        let (manifest, files) = content(kind);
        let digests = files
            .iter()
            .map(|(path, text)| (*path, Sha512::of(text.as_bytes())));
        let kind_of: ItemKind = kind.parse().expect("a kind");
        let item = Item::new(kind_of, manifest.clone().into_bytes(), digests).expect("an item");
        if kind != "action_mod" {
            let signer = json!({ "user": signer.name(), "role": role });
            changes.push(change(
                "POST /api/v1/trust/signers",
                trust,
                json!({ "signer": signer }),
            ));
        }
        changes.extend(made(kind, make, &manifest, &files));
        // What was signed before is trusted after.
        let item = json!({ "type": kind, "hash": item.hash() });
        changes.push(change(TRUST_ITEM, trust, json!({ "item": item })));
    }
    for (kind, make) in [
        ("script", Feature::AuthorScripts),
        ("custom_query", Feature::CustomQuery),
        ("job_script", Feature::AuthorScripts),
    ] {
        let (manifest, files) = content(kind);
        changes.extend(made(kind, make, &manifest, &files));
    }
    // By an analysis nobody makes what they may not make as an item.
    for (section, make, part) in [
        (
            "scripts",
            Feature::AuthorScripts,
            json!({ "name": "p", "language": "ironpython", "code": "1" }),
        ),
        (
            "queries",
            Feature::CustomQuery,
            json!({ "name": "p", "language": "sql", "code": "select 1" }),
        ),
        (
            "actions",
            Feature::ConfigureExternalActions,
            json!({ "name": "p", "configuration": { "service": "crm" } }),
        ),
    ] {
        let manifest = json!({ "muster_analysis": 1, section: [part] });
        let saved = json!({
            "folder": "/", "name": unique("analysis"), "kind": "analysis", "manifest": manifest.to_string(),
        });
        changes.push(change("POST /api/v1/library/items", make, saved));
    }
    let item = json!({ "type": "data_function", "hash": function.digest });
    changes.push(change(
        "POST /api/v1/trust/signatures",
        Feature::AuthorScripts,
        json!({ "item": item }),
    ));
    changes
}

/// Signing and saving such an item.
fn made(kind: &str, feature: Feature, manifest: &str, files: &[(&str, &str)]) -> [Change; 2] {
    let of = |value: &dyn Fn(&str) -> Value| -> Value {
        let entries = files.iter().map(|(path, text)| ((*path).to_owned(), value(text)));
        Value::Object(entries.collect())
    };
    let digests = of(&|text| json!(Sha512::of(text.as_bytes())));
    let bytes = of(&|text| json!(STANDARD.encode(text)));
    let item = json!({ "type": kind, "manifest": manifest, "files": digests });
    let saved = json!({
        "folder": "/", "name": unique(kind), "kind": kind, "manifest": manifest, "files": bytes,
    });
    [
        change("POST /api/v1/trust/signatures", feature, json!({ "item": item })),
        change("POST /api/v1/library/items", feature, saved),
    ]
}

/// Manifest and files of an item of this kind.
fn content(kind: &str) -> (String, Vec<(&'static str, &'static str)>) {
    let code = |language: &str| {
        json!({ "language": language, "packages": [], "parameters": [], "transaction": true }).to_string()
    };
    match kind {
        "visualization_mod" => {
            let manifest = json!({
                "apiVersion": "1.2", "version": "1.0", "name": "rose", "id": "rose", "icon": "icon.svg",
                "files": ["index.html"],
            });
            (
                manifest.to_string(),
                vec![("icon.svg", "<svg/>"), ("index.html", "<p/>")],
            )
        }
        "action_mod" => {
            let script = json!({ "id": "s", "name": "s", "file": "s.js", "entryPoint": "s" });
            let manifest = json!({
                "apiVersion": "2.1", "version": "1.0", "name": "act", "id": "act", "type": "action",
                "icon": "icon.svg", "scripts": [script],
            });
            (manifest.to_string(), vec![("icon.svg", "<svg/>"), ("s.js", "1")])
        }
        "external_action" => (json!({ "service": "crm" }).to_string(), vec![]),
        "custom_query" => (code("sql"), vec![("code", "SELECT 1")]),
        _ => (code("ironpython"), vec![("code", "1")]),
    }
}

/// Somebody who writes scripts and queries and has every license but this one.
async fn without(server: &Server, missing: Option<Feature>) -> Person {
    let (admin, group) = (server.admin().await, unique("licensed"));
    admin.create("/api/v1/groups", &group).await;
    for feature in Feature::ALL.iter().filter(|feature| Some(**feature) != missing) {
        admin
            .put_empty(&["groups", &group, "licenses", feature.as_str()])
            .await;
    }
    server.person(&[&group, SCRIPT_AUTHOR, CUSTOM_QUERY_AUTHOR]).await
}

async fn refused(person: &Person, change: &Change) -> Option<String> {
    let answer = person.ask(&Method::POST, &change.path, &change.body).await;
    let error = answer.err()?;
    let said = problem::<()>(Err(error));
    (said.status == 403).then_some(said.detail)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_that_needs_a_license_is_refused_to_who_has_everything_else() {
    let server = Server::private();
    let things = Things::make(&server).await;
    let admin = server.admin().await;
    // By this group authors have the license to author scripts.
    admin
        .delete(&[
            "groups",
            SCRIPT_AUTHOR,
            "licenses",
            Feature::AuthorScripts.as_str(),
        ])
        .await
        .expect("taken");
    let root = json!({ "grants": [{ "group": "Everyone", "right": "write" }] });
    admin
        .ask(&Method::PUT, "/api/v1/library/%2F/permissions", &root)
        .await
        .expect("permitted");
    let everything = without(&server, None).await;
    let function = everything.register(&unique("f"), "terr", "1").await;
    let mut changes = changes(&function, &everything);
    for (kind, feature) in [
        ("script", Feature::AuthorScripts),
        ("custom_query", Feature::CustomQuery),
    ] {
        let (manifest, files) = content(kind);
        let [_, saved] = made(kind, feature, &manifest, &files);
        let saved = everything.post(&saved.path, &saved.body).await.expect("saved");
        let id = saved["id"].as_str().expect("an identity");
        for endpoint in [
            "POST /api/v1/library/{item}/trust",
            "POST /api/v1/library/{item}/untrust",
        ] {
            let one = change(endpoint, feature, json!({}));
            let path = one.path.replace("{item}", id);
            changes.push(Change { path, ..one });
        }
    }

    // No change is forgotten: the others are free for a reason, or no license gives them.
    let licensed: BTreeSet<&str> = changes.iter().map(|change| change.endpoint).collect();
    let free: BTreeSet<&str> = FREE.iter().map(|(endpoint, _)| *endpoint).collect();
    let mut known = BTreeSet::new();
    for endpoint in endpoints(&server).await {
        let name = format!("{} {}", endpoint.method, endpoint.path);
        if endpoint.method == Method::GET {
            continue;
        }
        if !licensed.contains(name.as_str()) && !free.contains(name.as_str()) {
            let request = things
                .request(&endpoint)
                .unwrap_or_else(|| panic!("{name}: how?"));
            let answer = everything.send(request).await;
            let said = problem(answer);
            assert_eq!(said.status, 403, "{name} is neither licensed nor free: {said:?}");
        }
        known.insert(name);
    }
    for name in licensed.iter().chain(&free) {
        assert!(known.contains(*name), "{name} is no change any more");
    }

    let tried: BTreeSet<Feature> = changes.iter().map(|change| change.feature).collect();
    for missing in tried {
        let person = without(&server, Some(missing)).await;
        for change in changes.iter().filter(|change| change.feature == missing) {
            let said = refused(&person, change).await;
            let said =
                said.unwrap_or_else(|| panic!("{} without {missing}: {}", change.endpoint, change.body));
            assert!(said.contains(missing.as_str()), "{}: {said}", change.endpoint);
        }
    }
    // With the license none of them is refused for a lack of rights.
    for change in &changes {
        let said = refused(&everything, change).await;
        assert_eq!(said, None, "{} with {}", change.endpoint, change.feature);
        if change.endpoint == TRUST_ITEM {
            let again = everything.post(&change.path, &change.body).await;
            assert!(problem(again).kind.ends_with("duplicate"), "{}", change.body);
        }
    }
}
