//! Stamps on scripts, custom queries and analyses of the library: who gives and takes them, and for whom they count.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_client::{ClientError, Request};
use muster_tests::{Person, Server, problem, refusal, unique};
use muster_wire::admin::v1::{
    Page,
    function::Untrusted,
    library::LibraryItem,
    stamp::{ItemCode, Stamp, Stamped, Unstamped},
};
use serde_json::{Value, json};

const LIBRARY: &str = "/api/v1/library";
const SCRIPT: &str = r#"{"language":"ironpython","packages":[],"parameters":[],"transaction":true}"#;
const QUERY: &str = r#"{"language":"sql","packages":[],"parameters":[],"transaction":true}"#;

fn code(name: &str, kind: &str, manifest: &str, text: &str) -> Value {
    let files = json!({ "code": STANDARD.encode(text) });
    json!({ "folder": "/", "name": name, "kind": kind, "manifest": manifest, "files": files })
}

fn analysis(name: &str, content: &Value) -> Value {
    json!({ "folder": "/", "name": name, "kind": "analysis", "manifest": content.to_string() })
}

async fn save(person: &Person, body: &Value) -> LibraryItem {
    let saved = person.post(&format!("{LIBRARY}/items"), body).await;
    serde_json::from_value(saved.expect("saved")).expect("a library item")
}

async fn trust(person: &Person, item: &LibraryItem, body: &Value) -> Result<Stamped, ClientError> {
    let parts = ["library", &item.id.to_string(), "trust"];
    person.tell(&parts, body).await?.json()
}

async fn untrust(person: &Person, item: &LibraryItem, body: &Value) -> Result<Unstamped, ClientError> {
    let parts = ["library", &item.id.to_string(), "untrust"];
    person.tell(&parts, body).await?.json()
}

async fn codes(person: &Person, item: &LibraryItem) -> Vec<ItemCode> {
    person.get(&format!("{LIBRARY}/{}/code", item.id)).await
}

async fn stamps(person: &Person, item: &LibraryItem) -> Vec<Stamp> {
    let page: Page<Stamp> = person
        .get(&format!("/api/v1/trust/stamps?limit=1000&item={}", item.id))
        .await;
    page.items
}

/// Outcome and rule of a run of the code with this hash that is in an item.
async fn explained(person: &Person, item: &LibraryItem, hash: &str) -> (String, String) {
    let request = Request::get("/api/v1/trust/explain")
        .query("item", &item.id.to_string())
        .query("hash", hash);
    let explained: Value = person
        .send(request)
        .await
        .and_then(|answer| answer.json())
        .expect("an explanation");
    let word = |value: &Value| value.as_str().expect("a text").to_owned();
    (word(&explained["outcome"]), word(&explained["why"]["rule"]))
}

fn allowed() -> (String, String) {
    ("allow".to_owned(), "stamped".to_owned())
}

fn denied() -> (String, String) {
    ("deny".to_owned(), "untrusted".to_owned())
}

async fn permit(person: &Person, item: &LibraryItem, body: &Value) {
    let request = Request::put(LIBRARY)
        .segment(&item.id.to_string())
        .segment("permissions")
        .json(body);
    person.send(request).await.expect("permitted");
}

/// Somebody in the group of authors who may also save and trust what the built-in group may.
async fn author_of(server: &Server, group: &str, features: &[&str]) -> Person {
    let admin = server.admin().await;
    let name = unique("makers");
    admin.create("/api/v1/groups", &name).await;
    // Who has this one may write the root of the library.
    for feature in features.iter().chain(&["Register Data Functions"]) {
        admin.put_empty(&["groups", &name, "licenses", feature]).await;
    }
    server.person(&[group, &name]).await
}

/// An analysis with a script and a query of its own.
fn with_both(mark: &str) -> Value {
    json!({
        "muster_analysis": 1,
        "scripts": [{ "name": "refresh", "language": "javascript", "code": format!("// {mark}") }],
        "queries": [{ "name": "sales", "language": "sql", "code": format!("select '{mark}'") }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_is_stamped_by_its_authors_who_may_write_the_item() {
    let server = Server::shared();
    let (admin, ann) = (server.admin().await, server.analyst().await);
    let scripts = author_of(server, "Script Author", &[]).await;
    let queries = author_of(server, "Custom Query Author", &["Custom Query in Connections"]).await;
    let outsider = server.person(&["Script Author"]).await;
    let item = save(&admin, &analysis(&unique("sales"), &with_both(&unique("m")))).await;
    let held = codes(&ann, &item).await;
    let [script, query] = &held[..] else {
        panic!("two pieces of code: {held:?}")
    };
    assert_eq!(
        (
            script.kind.as_str(),
            script.language.as_str(),
            query.kind.as_str()
        ),
        ("script", "javascript", "custom_query")
    );

    let everything = json!({});
    let script_only = json!({ "scripts": [script.hash] });
    let query_only = json!({ "queries": [query.hash] });
    // No authors at all, authors of another kind, one who may not write the item, an administrator.
    for (person, body) in [
        (&ann, &everything),
        (&scripts, &everything),
        (&scripts, &query_only),
        (&queries, &script_only),
        (&outsider, &script_only),
        (&admin, &everything),
    ] {
        let problem = problem(trust(person, &item, body).await);
        assert_eq!(problem.status, 403, "{}: {problem:?}", person.name());
    }
    assert!(stamps(&admin, &item).await.is_empty());
    assert_eq!(explained(&ann, &item, &script.hash).await, denied());

    let done = trust(&scripts, &item, &script_only).await.expect("trusted");
    assert_eq!((done.stamped.len(), done.already.len()), (1, 0));
    let stamp = &done.stamped[0];
    assert_eq!(
        (
            stamp.item,
            stamp.kind.as_str(),
            &stamp.hash,
            stamp.author.as_str()
        ),
        (item.id, "script", &script.hash, scripts.name())
    );
    let again = trust(&scripts, &item, &script_only).await.expect("so already");
    assert_eq!((again.stamped.len(), &again.already[0]), (0, stamp));
    trust(&queries, &item, &query_only).await.expect("trusted");
    assert_eq!(explained(&ann, &item, &script.hash).await, allowed());
    assert_eq!(explained(&ann, &item, &query.hash).await, allowed());
    assert!(codes(&ann, &item).await.iter().all(|code| code.stamped));

    // Each has its record, and what was so already has none.
    let rows = admin.audited("trust.stamped").await;
    let mine: Vec<&Value> = rows
        .iter()
        .filter(|row| row["detail"]["item"] == item.id.to_string())
        .collect();
    assert_eq!(mine.len(), 2);
    assert_eq!(mine[0]["subject"], item.path.as_str());

    // They are taken away by who made them; administrators take away everything.
    for person in [&ann, &outsider, &queries] {
        assert_eq!(problem(untrust(person, &item, &script_only).await).status, 403);
    }
    let gone = untrust(&scripts, &item, &everything).await.expect("untrusted");
    assert_eq!((gone.removed.len(), gone.already.len(), gone.more), (1, 0, false));
    assert_eq!(gone.others[0].author.as_str(), queries.name());
    assert_eq!(explained(&ann, &item, &query.hash).await, allowed(), "it stays");
    let gone = untrust(&scripts, &item, &script_only)
        .await
        .expect("nothing to do");
    assert_eq!((gone.removed.len(), &gone.already[0]), (0, &script.hash));
    assert_eq!(explained(&ann, &item, &script.hash).await, denied());
    let gone = untrust(&admin, &item, &everything).await.expect("untrusted");
    assert_eq!(gone.removed.len(), 1);
    assert_eq!(explained(&ann, &item, &query.hash).await, denied());
    let rows = admin.audited("trust.stamp_removed").await;
    let mine = rows
        .iter()
        .filter(|row| row["detail"]["item"] == item.id.to_string());
    assert_eq!(mine.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_author_is_told_what_makes_one_of_what_they_chose() {
    let server = Server::shared();
    let (admin, ann) = (server.admin().await, server.analyst().await);
    let mark = unique("m");
    let item = save(&admin, &analysis(&unique("sales"), &with_both(&mark))).await;
    let held = codes(&admin, &item).await;
    let [script, query] = ["script", "custom_query"].map(|kind| {
        let one = held.iter().find(|code| code.kind == kind);
        one.expect("both are there").hash.clone()
    });
    let (of_scripts, of_queries) = (
        "the group Script Author and the",
        "the group Custom Query Author and the",
    );
    for (body, scripts, queries) in [
        (json!({ "scripts": [script] }), true, false),
        (json!({ "queries": [query] }), false, true),
        (json!({ "scripts": [script], "queries": [query] }), true, true),
        (json!({}), true, true),
    ] {
        for said in [
            problem(trust(&ann, &item, &body).await),
            problem(untrust(&ann, &item, &body).await),
        ] {
            assert_eq!(said.status, 403, "{said:?}");
            assert_eq!(said.detail.contains(of_scripts), scripts, "{}", said.detail);
            assert_eq!(said.detail.contains(of_queries), queries, "{}", said.detail);
        }
    }
    let denied = admin.audited("request.denied").await;
    let mine = format!("user {}", ann.name());
    let hers = denied
        .iter()
        .filter(|row| row["actor"] == mine.as_str() && row["subject"] == item.id.to_string());
    assert_eq!(hers.count(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_author_removes_own_stamps_and_is_told_whose_the_others_are() {
    let server = Server::shared();
    let (admin, ann) = (server.admin().await, server.analyst().await);
    let (author, other) = (server.author().await, server.author().await);
    let everything = json!({});
    let script = save(&admin, &code(&unique("s"), "script", SCRIPT, &unique("#"))).await;
    let hash = script.digest.clone().expect("a digest");
    let done = trust(&author, &script, &everything).await.expect("trusted");
    let refused = async |person: &Person, body: &Value| {
        let said = problem(untrust(person, &script, body).await);
        assert_eq!(said.status, 403, "{said:?}");
        assert!(said.detail.contains(author.name()), "{}", said.detail);
    };
    refused(&other, &everything).await;
    refused(&other, &json!({ "scripts": [hash] })).await;
    assert_eq!(stamps(&admin, &script).await, done.stamped);
    assert_eq!(explained(&ann, &script, &hash).await, allowed());
    // Each refusal is recorded with who tried.
    let tried = format!("user {}", other.name());
    let denied = admin.audited("request.denied").await;
    let denied = denied
        .iter()
        .filter(|row| row["actor"] == tried.as_str() && row["subject"] == script.path.as_str());
    assert_eq!(denied.count(), 2);
    // With own ones beside: these go, and the others are named.
    let function = author.register(&unique("f"), "r", &unique("#")).await;
    author.trust(&function).await;
    let next = json!({ "name": function.definition.name, "language": "r", "script": unique("#") });
    let by_id = function.id.to_string();
    // It is the first author's to change, until the other may as well.
    let open = json!({ "grants": [{ "group": "Everyone", "right": "write" }] });
    let request = Request::put(LIBRARY)
        .segment(&by_id)
        .segment("permissions")
        .json(&open);
    admin.send(request).await.expect("permitted");
    let second = other.register_definition(&next).await;
    other.trust(&second).await;
    let untrusted = async |person: &Person| -> Result<Untrusted, ClientError> {
        let parts = ["functions", by_id.as_str(), "untrust"];
        person.tell(&parts, &Value::Null).await?.json()
    };
    let done = untrusted(&other).await.expect("untrusted");
    assert_eq!((done.removed, done.others), (1, 1));
    let said = problem(untrusted(&other).await);
    assert_eq!(said.status, 403);
    assert!(said.detail.contains(author.name()), "{}", said.detail);
    let done = untrusted(&admin).await.expect("untrusted");
    assert_eq!((done.removed, done.others), (1, 0));
    // An administrator removes what is not theirs.
    let gone = untrust(&admin, &script, &everything).await.expect("untrusted");
    assert_eq!((gone.removed.len(), gone.others.len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_item_does_not_hold_is_refused_by_its_name() {
    let server = Server::shared();
    let (admin, author) = (server.admin().await, server.author().await);
    let script = save(&admin, &code(&unique("s"), "script", SCRIPT, &unique("#"))).await;
    let hash = script.digest.clone().expect("a digest");
    let other = "sha512=".to_owned() + &"A".repeat(86) + "==";
    for (body, status, word) in [
        (json!({ "scripts": [hash, other] }), 409, other.as_str()),
        (json!({ "queries": [hash] }), 409, "no custom query with the hash"),
        (json!({ "scripts": ["abc"] }), 422, "\"abc\" is no hash"),
        (json!({ "scripts": [] }), 422, "no hash is named"),
        (json!({ "script": [hash] }), 422, "unknown field"),
    ] {
        let author = if body.get("queries").is_some() {
            let feature = "Custom Query in Connections";
            author_of(server, "Custom Query Author", &[feature]).await
        } else {
            author.again(server).await
        };
        let problem = problem(trust(&author, &script, &body).await);
        assert_eq!(problem.status, status, "{body}: {problem:?}");
        assert!(problem.detail.contains(word), "{body}: {}", problem.detail);
    }
    assert!(stamps(&admin, &script).await.is_empty(), "all or nothing");

    // What is trusted by signature, or by who runs it, has no stamps.
    let job = save(&admin, &code(&unique("j"), "job_script", SCRIPT, "1")).await;
    let nothing = problem(trust(&author, &job, &json!({})).await);
    assert_eq!(nothing.status, 422, "{nothing:?}");
    assert!(nothing.detail.contains("nothing to trust"), "{}", nothing.detail);
    // Nor has what is blocked.
    let block = json!({ "item": { "type": "script", "hash": hash } });
    admin.post("/api/v1/trust/blocks", &block).await.expect("blocked");
    assert_eq!(
        refusal(trust(&author, &script, &json!({})).await),
        (409, "blocked".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stamp_goes_where_its_item_goes_and_ends_with_its_content() {
    let server = Server::shared();
    let (admin, author, ann) = (
        server.admin().await,
        server.author().await,
        server.analyst().await,
    );
    let mark = unique("m");
    let first = with_both(&mark);
    let name = unique("sales");
    let file = save(&admin, &analysis(&name, &first)).await;
    let twin = save(&admin, &analysis(&unique("twin"), &first)).await;
    let script = codes(&ann, &file).await[0].hash.clone();
    let body = json!({ "scripts": [script] });
    trust(&author, &file, &body).await.expect("trusted");
    assert_eq!(
        explained(&ann, &twin, &script).await,
        allowed(),
        "by the other file"
    );

    // Closed, moved into a closed folder, open again.
    let closed = json!({ "grants": [{ "user": author.name(), "right": "write" }] });
    permit(&admin, &file, &closed).await;
    assert_eq!(explained(&ann, &twin, &script).await, denied());
    assert_eq!(explained(&author, &twin, &script).await, allowed());
    permit(&admin, &file, &json!({ "inherits": true })).await;
    let folder = json!({ "folder": "/", "name": unique("team") });
    let folder = admin
        .post(&format!("{LIBRARY}/folders"), &folder)
        .await
        .expect("made");
    let folder: LibraryItem = serde_json::from_value(folder).expect("a folder");
    permit(&admin, &folder, &closed).await;
    let into = |folder: &str| {
        Request::patch(LIBRARY)
            .segment(&file.id.to_string())
            .json(&json!({ "folder": folder }))
    };
    admin.send(into(&folder.path)).await.expect("moved");
    assert_eq!(explained(&ann, &twin, &script).await, denied());
    admin.send(into("/")).await.expect("moved back");
    assert_eq!(explained(&ann, &twin, &script).await, allowed());

    // A version that still holds the script keeps the stamp; one that does not ends it, also for the twin.
    let mut second = first.clone();
    second["queries"] = json!([]);
    save(&admin, &analysis(&name, &second)).await;
    assert_eq!(explained(&ann, &twin, &script).await, allowed());
    let mut third = first.clone();
    third["scripts"][0]["code"] = json!("// changed");
    let saved = save(&admin, &analysis(&name, &third)).await;
    assert!(stamps(&admin, &saved).await.is_empty());
    assert_eq!(explained(&ann, &twin, &script).await, denied());
    let rows = admin.audited("trust.stamp_removed").await;
    let mine = rows
        .iter()
        .filter(|row| row["detail"]["digest"] == script.as_str());
    assert_eq!(mine.count(), 1);
    // Going back does not bring it back.
    save(&admin, &analysis(&name, &first)).await;
    assert_eq!(explained(&ann, &twin, &script).await, denied());

    // Deleting ends it.
    trust(&author, &file, &body).await.expect("trusted again");
    assert_eq!(explained(&ann, &twin, &script).await, allowed());
    admin
        .delete(&["library", &file.id.to_string()])
        .await
        .expect("deleted");
    assert_eq!(explained(&ann, &twin, &script).await, denied());
    let page: Page<Stamp> = admin.get("/api/v1/trust/stamps?limit=1000").await;
    assert!(page.items.iter().all(|stamp| stamp.item != file.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_analysis_names_is_stamped_on_it_by_who_can_read_it() {
    let server = Server::shared();
    let (admin, author, ann) = (
        server.admin().await,
        server.author().await,
        server.analyst().await,
    );
    let function = author.register(&unique("forecast"), "r", &unique("#")).await;
    let secret = save(&admin, &code(&unique("s"), "script", SCRIPT, &unique("#"))).await;
    let closed = json!({ "grants": [{ "user": ann.name(), "right": "read" }] });
    permit(&admin, &secret, &closed).await;
    let content = json!({
        "muster_analysis": 1,
        "scripts": [{ "name": "secret", "item": secret.id }],
        "data_functions": [{ "name": "forecast", "item": function.id }],
    });
    let file = save(&admin, &analysis(&unique("plan"), &content)).await;
    let held = codes(&author, &file).await;
    assert_eq!(held.len(), 1, "the other is not theirs to read: {held:?}");
    assert_eq!(
        (held[0].kind.as_str(), &held[0].hash, held[0].held_by),
        ("data_function", &function.digest.to_string(), function.id.into())
    );
    let named = json!({ "scripts": [secret.digest] });
    assert_eq!(problem(trust(&author, &file, &named).await).status, 409);
    let done = trust(&author, &file, &json!({})).await.expect("trusted");
    assert_eq!(done.stamped.len(), 1);
    // The content is trusted, whichever file says so.
    let explained: Value = ann
        .get(&format!("/api/v1/trust/explain?function={}", function.id))
        .await;
    assert_eq!(explained["why"]["rule"], "stamped");
    assert_eq!(explained["kind"], "data_function");
    let untrusted = untrust(&author, &file, &json!({})).await.expect("untrusted");
    assert_eq!(untrusted.removed, done.stamped);
}

#[tokio::test(flavor = "multi_thread")]
async fn stamps_that_are_made_at_once_are_one() {
    let server = Server::shared();
    let (admin, author) = (server.admin().await, server.author().await);
    let script = save(&admin, &code(&unique("s"), "script", SCRIPT, &unique("#"))).await;
    let everything = json!({});
    let one = || trust(&author, &script, &everything);
    let answers = tokio::join!(one(), one(), one(), one());
    let answers = [answers.0, answers.1, answers.2, answers.3].map(|answer| answer.expect("trusted"));
    let made: usize = answers.iter().map(|answer| answer.stamped.len()).sum();
    let known: usize = answers.iter().map(|answer| answer.already.len()).sum();
    assert_eq!((made, known), (1, 3));
    assert_eq!(stamps(&admin, &script).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_in_the_library_is_untrusted_a_thousand_at_a_time_by_administrators() {
    let server = Server::private();
    let (admin, author) = (server.admin().await, server.author().await);
    let query = save(&admin, &code("q", "custom_query", QUERY, "select 1")).await;
    let queries = author_of(&server, "Custom Query Author", &["Custom Query in Connections"]).await;
    trust(&queries, &query, &json!({})).await.expect("trusted");
    let parts = |from: usize| -> Vec<Value> {
        let part =
            |at| json!({ "name": format!("s{at}"), "language": "ironpython", "code": format!("# {at}") });
        (from..from + 600).map(part).collect()
    };
    let mut kept = None;
    for (name, from) in [("a", 0), ("b", 500)] {
        let content = json!({ "muster_analysis": 1, "scripts": parts(from) });
        let file = save(&admin, &analysis(name, &content)).await;
        let done = trust(&author, &file, &json!({})).await.expect("trusted");
        assert_eq!(done.stamped.len(), 600);
        kept = Some(done.stamped[0].hash.clone());
    }
    let hash = kept.expect("a hash");
    let everywhere = async |person: &Person, body: Value| -> Result<Unstamped, ClientError> {
        person.tell(&["library", "untrust"], &body).await?.json()
    };
    for person in [&author, &queries] {
        assert_eq!(problem(everywhere(person, json!({})).await).status, 403);
    }
    // One content, in both files.
    let some = everywhere(&admin, json!({ "scripts": [hash] }))
        .await
        .expect("untrusted");
    assert_eq!((some.removed.len(), some.more), (2, false));
    let first = everywhere(&admin, json!({})).await.expect("untrusted");
    assert_eq!((first.removed.len(), first.more), (1000, true));
    let last = everywhere(&admin, json!({})).await.expect("untrusted");
    assert_eq!((last.removed.len(), last.more), (199, false));
    let page: Page<Stamp> = admin.get("/api/v1/trust/stamps").await;
    assert!(page.items.is_empty());
    let none = everywhere(&admin, json!({})).await.expect("nothing to do");
    assert!(none.removed.is_empty());
    assert_eq!(admin.audited("trust.stamp_removed").await.len(), 1201);
}
