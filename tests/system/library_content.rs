//! Items of the library: what they hold, in which versions, and who may save which.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_client::{ClientError, Request};
use muster_tests::{Person, Server, problem, refusal, unique};
use muster_wire::admin::v1::{
    Page,
    library::{Content, LibraryItem, Version},
};
use serde_json::{Value, json};

const LIBRARY: &str = "/api/v1/library";
const SCRIPT: &str = r#"{"language":"ironpython","packages":[],"parameters":[],"transaction":true}"#;
const QUERY: &str = r#"{"language":"sql","packages":[],"parameters":[],"transaction":true}"#;

async fn save(person: &Person, body: &Value) -> Result<LibraryItem, ClientError> {
    let saved = person.post(&format!("{LIBRARY}/items"), body).await?;
    Ok(serde_json::from_value(saved).expect("a library item"))
}

fn code(name: &str, kind: &str, manifest: &str, text: &str) -> Value {
    let files = json!({ "code": STANDARD.encode(text) });
    json!({ "folder": "/", "name": name, "kind": kind, "manifest": manifest, "files": files })
}

fn analysis(name: &str, content: &Value) -> Value {
    json!({ "folder": "/", "name": name, "kind": "analysis", "manifest": content.to_string() })
}

/// A visualization mod in the published layout.
fn visualization(name: &str, text: &str) -> Value {
    let manifest = json!({
        "apiVersion": "1.2", "version": "1.0", "name": name, "id": "gantt", "type": "visualization",
        "icon": "icon.svg", "files": ["index.html", "src/main.js"],
    });
    json!({
        "folder": "/", "name": name, "kind": "visualization_mod", "manifest": manifest.to_string(),
        "files": {
            "icon.svg": STANDARD.encode("<svg/>"),
            "index.html": STANDARD.encode("<html></html>"),
            "src/main.js": STANDARD.encode(text),
        },
    })
}

async fn get<T: serde::de::DeserializeOwned>(person: &Person, item: &LibraryItem, what: &str) -> T {
    let request = Request::get(LIBRARY).segment(&item.id.to_string()).segment(what);
    let answer = person.send(request).await.and_then(|answer| answer.json());
    answer.unwrap_or_else(|error| panic!("{what}: {error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_named_by_its_content_and_never_changes() {
    let server = Server::shared();
    let (admin, ann) = (server.admin().await, server.analyst().await);
    let name = unique("mod");
    let first = save(&admin, &visualization(&name, "1")).await.expect("saved");
    let second = save(&admin, &visualization(&name, "2")).await.expect("saved");
    assert_eq!(first.id, second.id);
    assert_ne!(first.digest, second.digest);
    let back = save(&admin, &visualization(&name, "1")).await.expect("saved");
    assert_eq!(back.digest, first.digest);
    let elsewhere = save(&admin, &visualization(&unique("mod"), "1"))
        .await
        .expect("saved");
    assert_ne!(elsewhere.digest, first.digest, "its manifest has another name");
    let versions: Page<Version> = get(&ann, &first, "versions").await;
    let current: Vec<_> = versions.items.iter().filter(|one| one.current).collect();
    assert_eq!((versions.items.len(), current.len()), (2, 1));
    assert_eq!(Some(&current[0].digest), back.digest.as_ref());

    let content: Content = get(&ann, &first, "content").await;
    assert_eq!(Some(&content.digest), back.digest.as_ref());
    let paths: Vec<&str> = content.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["icon.svg", "index.html", "src/main.js"]);
    let file = async |digest: Option<&str>, path: &str| {
        let request = Request::get(LIBRARY)
            .segment(&first.id.to_string())
            .segment("file")
            .query("path", path);
        let request = match digest {
            Some(digest) => request.query("digest", digest),
            None => request,
        };
        ann.send(request).await
    };
    let bytes = file(None, "src/main.js").await.expect("the bytes");
    assert_eq!(&bytes.body[..], b"1");
    assert_eq!(bytes.headers["content-disposition"], "attachment");
    let older = file(second.digest.as_deref(), "src/main.js")
        .await
        .expect("the bytes");
    assert_eq!(&older.body[..], b"2");
    for (digest, path) in [
        (None, "src/other.js"),
        (None, "../main.js"),
        (Some("sha512=x"), "index.html"),
    ] {
        assert_eq!(problem(file(digest, path).await).status, 404, "{path}");
    }
    let rows = admin.audited("library.saved").await;
    let mine = rows
        .iter()
        .filter(|row| row["detail"]["item"] == first.id.to_string());
    assert_eq!(mine.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_makes_something_of_a_licensed_kind_needs_its_license() {
    let server = Server::private();
    let (admin, ann) = (server.admin().await, server.analyst().await);
    let folder = json!({ "folder": "/", "name": "Team" });
    admin
        .post(&format!("{LIBRARY}/folders"), &folder)
        .await
        .expect("made");
    let open = json!({ "grants": [{ "group": "Everyone", "right": "write" }] });
    let request = Request::put(LIBRARY)
        .segment("/Team")
        .segment("permissions")
        .json(&open);
    admin.send(request).await.expect("open");
    let within = |mut body: Value| {
        body["folder"] = json!("/Team");
        body
    };
    let action = json!({ "folder": "/Team", "name": "a", "kind": "external_action", "manifest": "{}" });
    let denied = [
        (within(code("s", "script", SCRIPT, "1")), "Author Scripts"),
        (within(code("j", "job_script", SCRIPT, "1")), "Author Scripts"),
        (
            within(code("q", "custom_query", QUERY, "select 1")),
            "Custom Query in Connections",
        ),
        (within(visualization("m", "1")), "Develop Visualization Mod"),
        (action, "Configure External Actions"),
    ];
    for (body, feature) in &denied {
        let problem = problem(save(&ann, body).await);
        assert!(
            problem.status == 403 && problem.detail.contains(feature),
            "{body}: {problem:?}"
        );
    }
    let recorded = admin.audited("request.denied").await;
    let mine = format!("user {}", ann.name());
    let hers = recorded.iter().filter(|row| row["actor"] == mine.as_str());
    assert_eq!(hers.count(), denied.len());
    save(&ann, &within(analysis("plan", &json!({ "muster_analysis": 1 }))))
        .await
        .expect("saved");
    admin.create("/api/v1/groups", "makers").await;
    for (_, feature) in &denied {
        admin.put_empty(&["groups", "makers", "licenses", feature]).await;
    }
    let maker = server.person(&["makers"]).await;
    for (body, _) in &denied {
        save(&maker, body).await.expect("saved");
    }
    // Write permission is asked for besides the license.
    assert_eq!(
        problem(save(&maker, &code("s", "script", SCRIPT, "1")).await).status,
        403
    );
    let other = within(analysis("s", &json!({ "muster_analysis": 1 })));
    assert_eq!(refusal(save(&maker, &other).await), (409, "duplicate".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_analysis_embeds_is_made_by_who_may_make_it_and_saved_again_by_who_may_write() {
    let server = Server::private();
    let admin = server.admin().await;
    let features = ["Author Scripts", "Custom Query in Connections"];
    admin.create("/api/v1/groups", "makers").await;
    for feature in features {
        admin.put_empty(&["groups", "makers", "licenses", feature]).await;
    }
    let root = json!({ "grants": [{ "group": "Everyone", "right": "write" }] });
    admin
        .ask(&http::Method::PUT, "/api/v1/library/%2F/permissions", &root)
        .await
        .expect("permitted");
    let (maker, other) = (server.person(&["makers"]).await, server.person(&[]).await);
    let script = |name: &str, text: &str| json!({ "name": name, "language": "ironpython", "code": text });
    let plan = |scripts: &[Value], queries: &[Value]| {
        let content = json!({ "muster_analysis": 1, "scripts": scripts, "queries": queries });
        analysis("plan", &content)
    };
    let first = [script("a", "1"), script("b", "2")];
    let mut saved = save(&maker, &plan(&first, &[])).await.expect("saved");

    // Under other names, in another order, fewer: what is embedded was made by somebody who may.
    for scripts in [
        vec![script("c", "2"), script("a", "1"), script("d", "1")],
        vec![script("c", "2")],
    ] {
        saved = save(&other, &plan(&scripts, &[])).await.expect("saved");
    }
    // Nothing that is not there now, wherever it was before or is besides, and not as something else.
    let query = json!({ "name": "q", "language": "sql", "code": "2" });
    let mut elsewhere = plan(&[script("c", "2")], &[]);
    elsewhere["name"] = json!("copy");
    for (body, feature) in [
        (plan(&[script("c", "3")], &[]), features[0]),
        (plan(&first, &[]), features[0]),
        (plan(&[script("c", "2")], &[query]), features[1]),
        (elsewhere, features[0]),
    ] {
        let said = problem(save(&other, &body).await);
        assert_eq!(said.status, 403, "{said:?}");
        assert!(said.detail.contains(feature), "{}", said.detail);
        save(&maker, &body).await.expect("saved");
        save(&maker, &plan(&[script("c", "2")], &[]))
            .await
            .expect("saved");
    }
    let current: Content = get(&other, &saved, "content").await;
    assert_eq!(Some(current.digest), saved.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_analysis_names_only_what_is_there_and_of_its_kind() {
    let server = Server::shared();
    let (admin, author) = (server.admin().await, server.author().await);
    let function = author.register(&unique("forecast"), "r", "1").await;
    let gantt = save(&admin, &visualization(&unique("gantt"), "1"))
        .await
        .expect("saved");
    let script = save(&admin, &code(&unique("s"), "script", SCRIPT, "1"))
        .await
        .expect("saved");
    let query = save(&admin, &code(&unique("q"), "custom_query", QUERY, "select 1"))
        .await
        .expect("saved");
    let whole = json!({
        "muster_analysis": 1,
        "scripts": [
            { "name": "own", "language": "javascript", "code": "alert(1)" },
            { "name": "shared", "item": script.id, "digest": script.digest },
        ],
        "data_functions": [{ "name": "forecast", "item": function.id, "digest": function.digest }],
        "mods": [{ "name": "gantt", "item": gantt.id }],
        "actions": [{ "name": "order", "configuration": { "service": "orders" } }],
        "queries": [{ "name": "sales", "item": query.id }, { "name": "own", "language": "sql", "code": "select 2" }],
    });
    let saved = save(&admin, &analysis(&unique("sales"), &whole))
        .await
        .expect("saved");
    assert_eq!(saved.kind, "analysis");
    let closed = json!({ "grants": [{ "user": admin.name(), "right": "read" }] });
    let request = Request::put(LIBRARY)
        .segment(&query.id.to_string())
        .segment("permissions")
        .json(&closed);
    admin.send(request).await.expect("closed");
    let other = "sha512=".to_owned() + &"A".repeat(86) + "==";
    for (section, part, word) in [
        (
            "queries",
            json!({ "name": "x", "item": query.id }),
            "that you can read",
        ),
        (
            "mods",
            json!({ "name": "x", "item": script.id }),
            "is of the kind script",
        ),
        (
            "scripts",
            json!({ "name": "x", "item": function.id }),
            "is of the kind data_function",
        ),
        (
            "scripts",
            json!({ "name": "x", "item": script.id, "digest": other }),
            "has no version",
        ),
        (
            "data_functions",
            json!({ "name": "x", "item": function.id, "digest": other }),
            "has no version",
        ),
        ("data_functions", json!({ "name": "x" }), "needs the identifier"),
        (
            "scripts",
            json!({ "name": "x", "language": "cobol", "code": "1" }),
            "unknown variant",
        ),
        ("pages", json!({ "name": "x" }), "unknown field"),
    ] {
        let body = analysis(&unique("a"), &json!({ "muster_analysis": 1, section: [part] }));
        let problem = problem(save(&author, &body).await);
        assert!(problem.kind.ends_with(":invalid-item"), "{problem:?}");
        assert!(problem.detail.contains(word), "{body}: {}", problem.detail);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_item_is_refused_in_words() {
    let server = Server::shared();
    let admin = server.admin().await;
    let mut extra = visualization("m", "1");
    extra["files"]["secret.txt"] = json!("");
    let mut other = visualization("m", "1");
    other["kind"] = json!("action_mod");
    let mut broken = visualization("m", "1");
    broken["files"]["index.html"] = json!("%");
    let mut named = visualization("m", "1");
    named["name"] = json!("a/b");
    for (body, word) in [
        (extra, "not named by the manifest"),
        (other, "another kind"),
        (broken, "not base64"),
        (named, "must not contain the character"),
        (code("s", "script", QUERY, "1"), "no language of the kind script"),
        (code("s", "script", "{}", "1"), "missing field"),
        (code("s", "folder", SCRIPT, "1"), "requests of their own"),
        (code("s", "data_function", SCRIPT, "1"), "requests of their own"),
        (analysis("s", &json!([])), "not a JSON object"),
        (code("s", "analysis", "{}", "1"), "an analysis has no files"),
    ] {
        let problem = problem(save(&admin, &body).await);
        assert!(
            problem.status == 422 && problem.detail.contains(word),
            "{body}: {problem:?}"
        );
    }
    let root = Request::get(LIBRARY).segment("/").segment("content");
    assert!(
        problem(admin.send(root).await)
            .detail
            .contains("a folder has no content")
    );
}
