use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::*;
use crate::fixture::{self, form as of, name};

const ANN: &str = "ann@SPOTFIRE";

/// A control plane with ann, who may open and trust mods by the group Circle.
struct World {
    app: App,
    _folder: tempfile::TempDir,
    admin: Caller,
}

impl World {
    async fn new() -> Self {
        let (app, folder) = fixture::app().await;
        let world = Self {
            admin: caller(&app, "admin@SPOTFIRE").await,
            app,
            _folder: folder,
        };
        let (app, admin) = (&world.app, &world.admin);
        let ann = of(json!({ "name": ANN }));
        app.create_user(admin, ann).await.expect("made");
        app.create_group(admin, name("Circle")).await.expect("made");
        for feature in [
            "Trust Mods",
            "Open Action Mod from Library",
            "Open Visualization Mod from Library",
        ] {
            let given = app.set_feature(admin, &name("Circle"), feature, true).await;
            given.expect("given");
        }
        let added = app.add_member(admin, &name("Circle"), &name(ANN)).await;
        added.expect("added");
        world
    }

    /// Saves an item into the root, and has it signed by an administrator; its identifier and hash.
    async fn save(
        &self,
        name: &str,
        kind: &str,
        manifest: &Value,
        files: &[&str],
        sign: bool,
    ) -> (String, String) {
        let files: BTreeMap<&str, String> = files.iter().map(|path| (*path, STANDARD.encode("x"))).collect();
        let new = of(json!({
            "folder": "/", "name": name, "kind": kind, "description": "", "manifest": manifest.to_string(), "files": files,
        }));
        let saved = self.app.library_save(&self.admin, &new).await.expect("saved");
        let hash = saved.digest.expect("a digest");
        if sign {
            let digests: BTreeMap<&str, String> = files
                .keys()
                .map(|path| (*path, muster_ids::Sha512::of(b"x").to_string()))
                .collect();
            let item =
                json!({ "type": kind, "manifest": manifest.to_string(), "files": digests, "hash": hash });
            let new = of(json!({ "item": item, "user": "admin@SPOTFIRE" }));
            self.app.sign_item(&self.admin, &new).await.expect("signed");
        }
        (saved.id.to_string(), hash)
    }

    async fn ask(&self, by: &Caller, query: Value) -> Result<Explanation, Error> {
        self.app.explain(by, &of(query)).await
    }
}

async fn caller(app: &App, user: &str) -> Caller {
    let user = app.user_named(&name(user)).await.expect("a user");
    Caller::User(app.user_caller(&user).await.expect("their rights"))
}

fn action_mod(version: &str) -> Value {
    let script = json!({ "id": "s", "name": "s", "file": "s.js", "entryPoint": "s" });
    json!({
        "apiVersion": "2.1", "version": version, "name": "act", "id": "act", "type": "action", "icon": "icon.svg",
        "scripts": [script], "capabilities": ["LibraryRead"],
    })
}

fn refused(answer: Result<Explanation, Error>, words: &str) {
    let error = answer.expect_err("it must be refused");
    assert!(error.to_string().contains(words), "{error}");
}

#[tokio::test]
async fn a_mod_of_the_library_is_explained_with_what_a_prompt_shows() {
    let world = World::new().await;
    let files = ["icon.svg", "s.js"];
    let (item, first) = world
        .save("Act", "action_mod", &action_mod("1"), &files, true)
        .await;
    let ann = caller(&world.app, ANN).await;
    let found = world
        .ask(&ann, json!({ "item": "/Act" }))
        .await
        .expect("an answer");
    assert_eq!(found.item.to_string(), item);
    assert_eq!(
        (found.kind.as_str(), found.action.as_str(), found.node.as_str()),
        ("action_mod", "open", "none")
    );
    assert_eq!(
        (
            found.outcome.as_str(),
            found.why.rule.as_str(),
            found.mode.as_deref()
        ),
        ("prompt", "ask-user", None)
    );
    let signed = found.signed.as_deref().expect("what holds of its signature");
    assert_eq!(
        (signed.status.as_str(), signed.signer.as_deref()),
        ("valid", Some("CN=admin@SPOTFIRE"))
    );
    assert_eq!(signed.capabilities, ["LibraryRead"]);
    assert_eq!(signed.options, ["item", "signer"]);
    // Another action, another client, and the same of somebody else.
    for (more, rule) in [
        (json!({ "action": "trust_item" }), "may-trust"),
        (json!({ "action": "create" }), "license-missing"),
        (json!({ "client": "automation" }), "non-interactive"),
        (json!({ "client": "installed", "action": "add" }), "ask-user"),
    ] {
        let mut query = json!({ "item": "/Act" });
        for (field, value) in more.as_object().expect("fields") {
            query[field] = value.clone();
        }
        let own = world.ask(&ann, query.clone()).await.expect("an answer");
        assert_eq!(own.why.rule, rule, "{more}");
        query["user"] = json!(ANN);
        let asked = world.ask(&world.admin, query).await.expect("an answer");
        assert_eq!(asked, own, "{more}");
    }
    let of_admin = json!({ "item": "/Act", "user": "admin@SPOTFIRE" });
    assert!(matches!(
        world.ask(&ann, of_admin).await,
        Err(Error::Denied { .. })
    ));
    refused(
        world.ask(&ann, json!({ "item": "/Act", "node": "n" })).await,
        "on no node",
    );
    refused(
        world
            .ask(&ann, json!({ "item": "/Act", "action": "steal" }))
            .await,
        "field action",
    );

    // A new version is another matter, and the older one is still known by its hash.
    let (_, second) = world
        .save("Act", "action_mod", &action_mod("2"), &files, false)
        .await;
    let now = world
        .ask(&ann, json!({ "item": "/Act" }))
        .await
        .expect("an answer");
    assert_eq!(
        (&now.digest, now.why.rule.as_str()),
        (&second, "signature-invalid")
    );
    let older = json!({ "item": "/Act", "hash": first });
    let older = world.ask(&ann, older).await.expect("an answer");
    assert_eq!((&older.digest, older.outcome.as_str()), (&first, "prompt"));
    refused(
        world
            .ask(&ann, json!({ "item": "/Act", "hash": "sha512=x" }))
            .await,
        "holds no such",
    );
    // What a user may not read is not there for them; who explains it for them says so.
    let closed = of(json!({ "inherits": false }));
    let permitted = world.app.library_permit(&world.admin, &item, &closed).await;
    permitted.expect("closed");
    assert!(matches!(
        world.ask(&ann, json!({ "item": "/Act" })).await,
        Err(Error::NotFound { .. })
    ));
    let for_ann = json!({ "item": "/Act", "user": ANN });
    let for_ann = world.ask(&world.admin, for_ann).await.expect("an answer");
    assert_eq!(
        (for_ann.outcome.as_str(), for_ann.why.rule.as_str()),
        ("deny", "function-not-readable")
    );
}

#[tokio::test]
async fn a_mod_or_action_of_an_analysis_is_named_by_its_hash() {
    let world = World::new().await;
    let rose = json!({
        "apiVersion": "1.2", "version": "1.0", "name": "rose", "id": "rose", "icon": "icon.svg", "files": [],
        "externalResources": ["https://example.com"],
    });
    let (rose_id, rose_hash) = world
        .save("Rose", "visualization_mod", &rose, &["icon.svg"], true)
        .await;
    let analysis = json!({
        "muster_analysis": 1,
        "mods": [ { "name": "Rose", "item": rose_id } ],
        "actions": [ { "name": "Order", "configuration": { "service": "orders", "a": 1 } } ],
        "scripts": [ { "name": "S", "language": "ironpython", "code": "1" } ],
    });
    world.save("Sales", "analysis", &analysis, &[], false).await;
    let ann = caller(&world.app, ANN).await;
    let found = world
        .ask(&ann, json!({ "item": "/Sales", "hash": rose_hash }))
        .await
        .expect("an answer");
    let signed = found.signed.expect("what holds of its signature");
    assert_eq!(
        (found.outcome.as_str(), signed.external_resources.as_slice()),
        ("prompt", &["https://example.com".to_owned()][..])
    );
    refused(
        world.ask(&ann, json!({ "item": "/Sales" })).await,
        "several parts",
    );
    // Written as somebody may write it, it is the action that is embedded.
    let (_, action) = world
        .save(
            "Order",
            "external_action",
            &json!({ "service": "orders", "a": 1 }),
            &[],
            false,
        )
        .await;
    let found = world
        .ask(&ann, json!({ "item": "/Sales", "hash": action }))
        .await
        .expect("an answer");
    assert_eq!(
        (
            found.kind.as_str(),
            found.action.as_str(),
            found.why.rule.as_str()
        ),
        ("external_action", "run", "license-missing")
    );
    let codes = world.app.library_code(&ann, "/Sales").await.expect("its code");
    let code = json!({ "item": "/Sales", "hash": codes[0].hash, "action": "open" });
    refused(world.ask(&ann, code).await, "the field action");
    // What ann may do with the code itself, and the word for why not.
    for (client, action, outcome, reason) in [
        ("web", "create", "deny", Some("web_cannot_trust")),
        ("installed", "create", "deny", Some("no_license")),
        ("installed_no_server", "create", "allow", None),
        ("installed", "trust_item", "deny", Some("no_license")),
        ("installed", "save_trusted", "deny", Some("not_script_author")),
        ("web", "run", "deny", Some("untrusted")),
    ] {
        let query = json!({ "item": "/Sales", "hash": codes[0].hash, "client": client, "action": action });
        let found = world.ask(&ann, query).await.expect("an answer");
        let said = (found.outcome.as_str(), found.why.reason.as_deref());
        assert_eq!(said, (outcome, reason), "{client} {action}: {found:?}");
        assert_eq!((found.action.as_str(), found.mode), (action, None));
    }
}

#[tokio::test]
async fn the_script_of_a_job_is_explained_by_the_standing_of_its_people() {
    let world = World::new().await;
    let manifest = json!({ "language": "ironpython", "parameters": [], "packages": [], "transaction": true });
    let (item, hash) = world
        .save("Nightly", "job_script", &manifest, &["code"], false)
        .await;
    let ann = caller(&world.app, ANN).await;
    let rule = |found: Explanation| (found.outcome, found.why.rule);
    let found = world
        .ask(&ann, json!({ "item": "/Nightly" }))
        .await
        .expect("an answer");
    assert_eq!(
        (
            found.item.to_string(),
            found.digest.clone(),
            found.kind.as_str(),
            found.client.as_str()
        ),
        (item, hash.clone(), "job_script", "automation")
    );
    assert_eq!(rule(found), ("deny".to_owned(), "job-needs-authors".to_owned()));

    // The account that executes it must be one too, and only administrators ask for others.
    let admin = "admin@SPOTFIRE";
    let authors = name("Script Author");
    let author = async |user| {
        let added = world.app.add_member(&world.admin, &authors, &name(user)).await;
        added.expect("added");
    };
    author(ANN).await;
    let by_admin = json!({ "item": "/Nightly", "user": ANN, "executing": admin, "hash": hash });
    let found = world
        .ask(&world.admin, by_admin.clone())
        .await
        .expect("an answer");
    assert!(found.why.reasons.concat().contains(admin), "{found:?}");
    assert_eq!(rule(found).1, "job-needs-authors");
    author(admin).await;
    let found = world.ask(&world.admin, by_admin).await.expect("an answer");
    assert_eq!(rule(found), ("allow".to_owned(), "job-of-authors".to_owned()));
    let ann = caller(&world.app, ANN).await;
    let found = world
        .ask(&ann, json!({ "item": "/Nightly" }))
        .await
        .expect("an answer");
    assert_eq!(
        rule(found).1,
        "job-of-authors",
        "who executes their own job is asked about once"
    );

    for (query, words) in [
        (json!({ "item": "/Nightly", "executing": admin }), "may not"),
        (json!({ "item": "/Nightly", "client": "web" }), "automation only"),
        (json!({ "item": "/Nightly", "action": "create" }), "if it runs"),
        (
            json!({ "item": "/Nightly", "action": "open" }),
            "the field action",
        ),
        (
            json!({ "item": "/Nightly", "node": "terr01" }),
            "leave the field node away",
        ),
        (json!({ "item": "/Nightly", "hash": "sha512=x" }), "no such"),
    ] {
        refused(world.ask(&ann, query).await, words);
    }
    world.save("Plain", "script", &manifest, &["code"], false).await;
    refused(
        world
            .ask(&ann, json!({ "item": "/Plain", "executing": ANN }))
            .await,
        "for the scripts of jobs",
    );
}
