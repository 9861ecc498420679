//! The library: folders, permissions, and what they do to runs and stamps.

use muster_client::{ClientError, Request};
use muster_tests::{Person, Server, problem, refusal, unique};
use muster_wire::admin::v1::{
    Page,
    function::Function,
    library::{LibraryItem, Permissions},
    stamp::Stamp,
};
use serde_json::{Value, json};

const LIBRARY: &str = "/api/v1/library";

fn item(answer: Result<Value, ClientError>) -> LibraryItem {
    serde_json::from_value(answer.expect("it is done")).expect("a library item")
}

async fn folder(person: &Person, path: &str, name: &str) -> LibraryItem {
    let body = json!({ "folder": path, "name": name });
    item(person.post(&format!("{LIBRARY}/folders"), &body).await)
}

async fn permit(person: &Person, item: &LibraryItem, body: &Value) -> Result<Permissions, ClientError> {
    let request = Request::put(LIBRARY)
        .segment(&item.id.to_string())
        .segment("permissions")
        .json(body);
    person.send(request).await?.json()
}

async fn show(person: &Person, reference: &str) -> Result<LibraryItem, ClientError> {
    person
        .send(Request::get(LIBRARY).segment(reference))
        .await?
        .json()
}

async fn listed(person: &Person, folder: &str) -> Vec<String> {
    let request = Request::get(LIBRARY)
        .query("folder", folder)
        .query("limit", "1000");
    let page: Page<LibraryItem> = person
        .send(request)
        .await
        .and_then(|answer| answer.json())
        .expect("a list");
    page.items.into_iter().map(|item| item.name.to_string()).collect()
}

async fn outcome(person: &Person, function: &Function) -> Value {
    person
        .get(&format!("/api/v1/trust/explain?function={}", function.id))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stamp_counts_for_who_can_read_the_item_and_for_nobody_else() {
    let server = Server::shared();
    let (admin, author, ann) = (
        server.admin().await,
        server.author().await,
        server.analyst().await,
    );
    let team = folder(&admin, "/", &unique("team")).await;
    let script = unique("# the same");
    // Two functions of the same content; the one in the folder is trusted.
    let hidden = author.register(&unique("hidden"), "r", &script).await;
    let open = author.register(&unique("open"), "r", &script).await;
    author.trust(&hidden).await;
    assert_eq!(hidden.digest, open.digest);
    assert_eq!(outcome(&ann, &open).await["outcome"], "allow");

    let moved = Request::patch(LIBRARY)
        .segment(&hidden.id.to_string())
        .json(&json!({ "folder": team.path }));
    author.send(moved).await.expect("it is moved");
    assert_eq!(
        outcome(&ann, &open).await["outcome"],
        "allow",
        "the folder is open"
    );
    permit(
        &admin,
        &team,
        &json!({ "grants": [{ "user": author.name(), "right": "write" }] }),
    )
    .await
    .expect("closed");
    assert_eq!(
        outcome(&ann, &open).await["outcome"],
        "deny",
        "she cannot read the stamped item"
    );
    assert_eq!(outcome(&author, &open).await["why"]["rule"], "stamped");
    let stamps: Page<Stamp> = ann.get("/api/v1/trust/stamps?limit=1000").await;
    assert!(stamps.items.iter().all(|stamp| stamp.item != hidden.id.into()));
    let shown: Function = ann.show(&["functions", &open.id.to_string()]).await;
    assert!(!shown.trusted);

    // The hidden function is not there for her, by no way.
    let path = format!("{}/{}", team.path, hidden.definition.name);
    for reference in [
        hidden.id.to_string(),
        path,
        team.id.to_string(),
        team.path.clone(),
    ] {
        assert_eq!(
            refusal(show(&ann, &reference).await),
            (404, "not-found".to_owned())
        );
    }
    assert_eq!(problem(ann.try_run(&hidden, &json!({}), None).await).status, 404);
    let by_id = ann
        .send(Request::get("/api/v1/functions").segment(&hidden.id.to_string()))
        .await;
    assert_eq!(problem(by_id).status, 404);
    assert!(!listed(&ann, "/").await.contains(&team.name.to_string()));
    assert!(listed(&author, "/").await.contains(&team.name.to_string()));

    permit(&admin, &team, &json!({ "inherits": true }))
        .await
        .expect("open again");
    assert_eq!(outcome(&ann, &open).await["why"]["rule"], "stamped");
    // Deleting the stamped item takes the trust away from its twin.
    let delete = Request::delete(LIBRARY).segment(&hidden.id.to_string());
    author.send(delete).await.expect("deleted");
    assert_eq!(outcome(&ann, &open).await["outcome"], "deny");
    let rows = admin.audited("library.deleted").await;
    assert!(
        rows.iter()
            .any(|row| row["detail"]["ids"][0] == hidden.id.to_string())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_changes_nothing_and_each_attempt_is_recorded() {
    let server = Server::private();
    let (admin, ann, registrar) = (
        server.admin().await,
        server.analyst().await,
        server.registrar().await,
    );
    let team = folder(&admin, "/", "Team").await;
    let attempts: [(Request, u16); 5] = [
        (
            Request::post(LIBRARY)
                .segment("folders")
                .json(&json!({ "folder": "/Team", "name": "x" })),
            403,
        ),
        (
            Request::patch(LIBRARY)
                .segment("/Team")
                .json(&json!({ "name": "x" })),
            403,
        ),
        (Request::delete(LIBRARY).segment("/Team"), 403),
        (
            Request::put(LIBRARY)
                .segment("/Team")
                .segment("permissions")
                .json(&json!({ "grants": [] })),
            403,
        ),
        (
            Request::put(LIBRARY)
                .segment("/")
                .segment("permissions")
                .json(&json!({ "grants": [] })),
            403,
        ),
    ];
    for (request, status) in attempts {
        assert_eq!(problem(ann.send(request).await).status, status);
    }
    let denied = admin.audited("request.denied").await;
    let mine = format!("user {}", ann.name());
    let hers = denied.iter().filter(|row| row["actor"] == mine.as_str());
    assert_eq!(hers.count(), 5);

    // Who holds the license writes in the root until an administrator takes that away; nobody else's folder opens.
    permit(
        &admin,
        &team,
        &json!({ "grants": [{ "group": "Everyone", "right": "read" }] }),
    )
    .await
    .expect("set");
    let inside = json!({ "folder": "/Team", "name": "x" });
    let refused = registrar.post(&format!("{LIBRARY}/folders"), &inside).await;
    assert_eq!(refusal(refused), (403, "denied".to_owned()));
    let definition = json!({ "name": "f", "language": "r", "script": "1" });
    let refused = registrar
        .post("/api/v1/functions?folder=%2FTeam", &definition)
        .await;
    assert_eq!(problem(refused).status, 403);
    let function = registrar.register("f", "r", "1").await;
    let root = show(&admin, "/").await.expect("the root");
    permit(
        &admin,
        &root,
        &json!({ "grants": [{ "group": "Everyone", "right": "read" }] }),
    )
    .await
    .expect("set");
    let changed = json!({ "name": "f", "language": "r", "script": "2" });
    let refused = problem(registrar.post("/api/v1/functions", &changed).await);
    assert!(
        refused.status == 403 && refused.detail.contains("may not change it"),
        "{refused:?}"
    );
    let own = json!({ "grants": [{ "user": registrar.name(), "right": "write" }] });
    let item = show(&admin, &function.id.to_string()).await.expect("shown");
    permit(&admin, &item, &own).await.expect("set");
    registrar
        .post("/api/v1/functions", &changed)
        .await
        .expect("a new version");
    assert_eq!(
        problem(ann.send(Request::get("/api/v1/functions/f")).await).status,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_are_moved_and_deleted_whole_or_not_at_all() {
    let server = Server::private();
    let (admin, registrar) = (server.admin().await, server.registrar().await);
    for (path, name) in [("/", "a"), ("/a", "b"), ("/a/b", "c"), ("/", "d")] {
        folder(&admin, path, name).await;
    }
    let patch = async |reference: &str, body: Value| {
        admin
            .send(Request::patch(LIBRARY).segment(reference).json(&body))
            .await
            .and_then(|answer| answer.json::<LibraryItem>())
    };
    let circle = patch("/a", json!({ "folder": "/a/b/c" })).await;
    assert_eq!(refusal(circle), (409, "folder-circle".to_owned()));
    assert_eq!(problem(patch("/", json!({ "name": "x" })).await).status, 422);
    let taken = patch("/d", json!({ "folder": "/", "name": "A" })).await;
    assert_eq!(refusal(taken), (409, "duplicate".to_owned()));
    let moved = patch(
        "/a/b",
        json!({ "folder": "/d", "name": "e", "description": "plans" }),
    )
    .await;
    let moved = moved.expect("moved");
    assert_eq!(
        (moved.path.as_str(), moved.description.as_str()),
        ("/d/e", "plans")
    );
    assert_eq!(listed(&admin, "/d/e").await, ["c"]);
    for name in ["x/y", &moved.id.to_string()] {
        assert_eq!(
            problem(patch("/a", json!({ "name": name })).await).status,
            422,
            "{name}"
        );
    }

    let function = registrar.register("forecast", "r", "1").await;
    patch(&function.id.to_string(), json!({ "folder": "/d/e/c" }))
        .await
        .expect("moved");
    let renamed = patch("/d/e/c/forecast", json!({ "name": "other" })).await;
    assert!(problem(renamed).detail.contains("keeps its name"));
    let delete = async |person: &Person, reference: &str, recursive: bool| {
        let request = Request::delete(LIBRARY).segment(reference);
        let request = if recursive {
            request.query("recursive", "true")
        } else {
            request
        };
        person.send(request).await
    };
    assert_eq!(
        refusal(delete(&admin, "/d", false).await),
        (409, "folder-not-empty".to_owned())
    );
    // One item inside that they may not write keeps the whole folder.
    let closed = show(&admin, "/d/e/c").await.expect("shown");
    permit(
        &admin,
        &closed,
        &json!({ "grants": [{ "user": registrar.name(), "right": "read" }] }),
    )
    .await
    .expect("set");
    assert_eq!(problem(delete(&registrar, "/d", true).await).status, 403);
    assert_eq!(listed(&admin, "/d/e/c").await, ["forecast"]);
    delete(&admin, "/d", true).await.expect("deleted");
    assert_eq!(listed(&admin, "/").await, ["a"]);
    let gone = admin.send(Request::get("/api/v1/functions/forecast")).await;
    assert_eq!(problem(gone).status, 404);
    assert_eq!(problem(delete(&admin, "/", true).await).status, 422);
    // The name is free again, and the folder too.
    registrar.register("forecast", "r", "1").await;
    folder(&admin, "/", "d").await;
    assert_eq!(admin.audit_broken().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_opened_by_who_may_not_write_it_with_the_folder_that_it_is_in() {
    let server = Server::private();
    let (admin, mover, outsider) = (
        server.admin().await,
        server.registrar().await,
        server.analyst().await,
    );
    let closed = folder(&admin, "/", "Closed").await;
    let inside = folder(&admin, "/Closed", "Sub").await;
    let secret = folder(&admin, "/Closed/Sub", "Z").await;
    let to = |person: &Person, right: &str| json!({ "grants": [{ "user": person.name(), "right": right }] });
    for (item, body) in [(&closed, to(&mover, "write")), (&secret, to(&outsider, "read"))] {
        permit(&admin, item, &body).await.expect("set");
    }
    let request = || {
        Request::patch(LIBRARY)
            .segment(&inside.id.to_string())
            .json(&json!({ "folder": "/" }))
    };
    assert_eq!(refusal(mover.send(request()).await), (403, "denied".to_owned()));
    assert_eq!(problem(show(&outsider, &secret.id.to_string()).await).status, 404);
    assert_eq!(listed(&admin, "/Closed").await, ["Sub"]);
    // Whoever may write all of it takes it along.
    permit(&admin, &secret, &to(&mover, "write")).await.expect("set");
    mover.send(request()).await.expect("moved");
    assert_eq!(listed(&mover, "/Sub").await, ["Z"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deepest_folder_takes_what_is_moved_and_nothing_is_below_it() {
    let server = Server::private();
    let (admin, registrar) = (server.admin().await, server.registrar().await);
    let mut path = "/".to_owned();
    for _ in 0..31 {
        path = folder(&admin, &path, "d").await.path;
    }
    let patch = async |reference: &str, to: &str| {
        let body = json!({ "folder": to });
        admin
            .send(Request::patch(LIBRARY).segment(reference).json(&body))
            .await
    };
    folder(&admin, "/", "last").await;
    patch("/last", &path).await.expect("moved");
    let deepest = format!("{path}/last");
    let function = registrar.register("f", "r", "1").await;
    patch(&function.id.to_string(), &deepest).await.expect("moved");
    folder(&admin, "/", "more").await;
    assert_eq!(
        refusal(patch("/more", &deepest).await),
        (409, "folder-depth".to_owned())
    );
    let named = format!("{deepest}/f");
    assert_eq!(show(&admin, &named).await.expect("shown").id, function.id.into());
    for wrong in ["anything", "f"] {
        let wrong = format!("{named}/{wrong}");
        assert_eq!(problem(show(&admin, &wrong).await).status, 404);
        let deleted = admin.send(Request::delete(LIBRARY).segment(&wrong)).await;
        assert_eq!(problem(deleted).status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_read_a_function_is_said_to_run_none() {
    let server = Server::shared();
    let (admin, author, ann) = (
        server.admin().await,
        server.author().await,
        server.analyst().await,
    );
    let function = author.register(&unique("f"), "r", &unique("#")).await;
    author.trust(&function).await;
    let explain = format!(
        "/api/v1/trust/explain?function={}&user={}",
        function.id,
        ann.name()
    );
    let before: Value = admin.get(&explain).await;
    assert_eq!(before["outcome"], "allow");
    let item = show(&admin, &function.id.to_string()).await.expect("shown");
    permit(&admin, &item, &json!({ "grants": [] }))
        .await
        .expect("closed");
    // The same content elsewhere, with a stamp that she can read.
    let twin = author
        .register(&unique("twin"), "r", &function.definition.script)
        .await;
    author.trust(&twin).await;
    let after: Value = admin.get(&explain).await;
    assert_eq!(after["outcome"], "deny");
    assert_eq!(after["why"]["rule"], "function-not-readable");
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_are_said_in_words_and_nonsense_is_refused() {
    let server = Server::shared();
    let admin = server.admin().await;
    let team = folder(&admin, "/", &unique("team")).await;
    let holding: Permissions = admin
        .show(&["library", &team.id.to_string(), "permissions"])
        .await;
    assert!(
        holding.inherits && holding.from == "/" && holding.grants.len() >= 2,
        "{holding:?}"
    );
    let grant = |who: Value| json!({ "grants": [who] });
    for (body, status, word) in [
        (
            grant(json!({ "group": "Everyone", "right": "own" })),
            422,
            "read or write",
        ),
        (grant(json!({ "right": "read" })), 422, "exactly one"),
        (
            grant(json!({ "group": "Everyone", "license": "Trust Mods", "right": "read" })),
            422,
            "exactly one",
        ),
        (
            grant(json!({ "group": "No such group", "right": "read" })),
            404,
            "group",
        ),
        (
            grant(json!({ "user": "nobody@SPOTFIRE", "right": "read" })),
            404,
            "user",
        ),
        (
            grant(json!({ "license": "Fly", "right": "read" })),
            404,
            "license feature",
        ),
        (
            json!({ "inherits": true, "grants": [{ "group": "Everyone", "right": "read" }] }),
            422,
            "inherited or given",
        ),
        (
            json!({ "grants": [
                { "group": "Everyone", "right": "read" }, { "group": "EVERYONE", "right": "write" },
            ] }),
            422,
            "twice",
        ),
    ] {
        let problem = problem(permit(&admin, &team, &body).await);
        assert_eq!(problem.status, status, "{body}: {problem:?}");
        assert!(problem.detail.contains(word), "{body}: {}", problem.detail);
    }
    // A group that is made anew under the name of one that is gone has none of its permissions.
    let (group, member) = (unique("readers"), server.analyst().await);
    admin.create("/api/v1/groups", &group).await;
    permit(&admin, &team, &grant(json!({ "group": group, "right": "read" })))
        .await
        .expect("set");
    admin.add_member(&group, member.name()).await;
    show(&member, &team.path).await.expect("readable");
    admin.delete(&["groups", &group]).await.expect("deleted");
    admin.create("/api/v1/groups", &group).await;
    admin.add_member(&group, member.name()).await;
    assert_eq!(problem(show(&member, &team.path).await).status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_change_permissions_at_once_the_later_is_told() {
    let server = Server::shared();
    let admin = server.admin().await;
    let (ann, bob) = (server.analyst().await, server.analyst().await);
    let made = folder(&admin, "/", &unique("shared")).await;
    let parts = ["library", &made.id.to_string(), "permissions"];
    let seen: Permissions = admin.show(&parts).await;
    let grant = |person: &Person| json!({ "user": person.name(), "right": "write" });
    let one = json!({ "grants": [grant(&ann)], "version": seen.version });
    let set = permit(&admin, &made, &one).await.expect("set");
    // Bob was read before, and would take back what ann was given.
    let other = json!({ "grants": [grant(&bob)], "version": seen.version });
    assert_eq!(
        refusal(permit(&admin, &made, &other).await),
        (409, "conflict".to_owned())
    );
    let now: Permissions = admin.show(&parts).await;
    assert_eq!((&now.version, now.grants.len()), (&set.version, 1));
    assert_eq!(
        now.grants[0].user.as_ref().map(ToString::to_string).as_deref(),
        Some(ann.name())
    );
    let both = json!({ "grants": [grant(&ann), grant(&bob)], "version": now.version });
    assert_eq!(permit(&admin, &made, &both).await.expect("set").grants.len(), 2);
    // Who says nothing about the version says what shall be, whatever is.
    let none = json!({ "inherits": true });
    permit(&admin, &made, &none).await.expect("set");
}
