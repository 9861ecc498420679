use std::time::Duration;

use muster_ids::Digest;
use muster_model::audit::Event;
use muster_store::{AuditFilter, AuditFrom, Draft};
use muster_wire::{admin::v1::library::CreateFolder, function::FunctionDefinition};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::fixture::{self, form as of, name};

const LICENSES: [&str; 2] = ["Register Data Functions", "Author Scripts"];

async fn caller(app: &App, user: &str) -> Caller {
    let user = app.user_named(&name(user)).await.expect("a user");
    Caller::User(app.user_caller(&user).await.expect("their rights"))
}

/// A control plane with ann, who may write in the root by the license of her group.
async fn with_ann() -> (App, tempfile::TempDir, Caller) {
    let (app, folder) = fixture::app().await;
    let admin = caller(&app, "admin@SPOTFIRE").await;
    let new = of(json!({ "name": "ann@SPOTFIRE" }));
    app.create_user(&admin, new).await.expect("made");
    app.create_group(&admin, name("Circle")).await.expect("made");
    for feature in LICENSES {
        app.set_feature(&admin, &name("Circle"), feature, true)
            .await
            .expect("given");
    }
    let ann = name("ann@SPOTFIRE");
    app.add_member(&admin, &name("Circle"), &ann)
        .await
        .expect("added");
    (app, folder, admin)
}

async fn register(app: &App, caller: &Caller, name: &str) -> Result<(FunctionId, Digest), Error> {
    let definition: FunctionDefinition = of(json!({ "name": name, "language": "terr", "script": "1" }));
    let function = app.register_function(caller, definition, None).await?;
    Ok((function.id, function.digest))
}

async fn make_folder(app: &App, caller: &Caller, name: &str) -> Result<WireItem, Error> {
    let new: CreateFolder = of(json!({ "folder": "/", "name": name }));
    app.library_create_folder(caller, &new).await
}

#[tokio::test]
async fn what_waited_is_done_with_the_rights_that_are_left() {
    let (app, _folder, admin) = with_ann().await;
    // The request came while she had them.
    let before = caller(&app, "ann@SPOTFIRE").await;
    register(&app, &before, "f").await.expect("registered");
    make_folder(&app, &before, "hers").await.expect("made");
    let (circle, ann) = (name("Circle"), name("ann@SPOTFIRE"));
    app.remove_member(&admin, &circle, &ann).await.expect("taken out");
    let refused = async |before: &Caller| {
        let new_version = register(&app, before, "f").await.map(drop);
        let new = register(&app, before, "g").await.map(drop);
        let made = make_folder(&app, before, "another").await.map(drop);
        let nobody = of(json!({ "grants": [] }));
        let permitted = app.library_permit(before, "/hers", &nobody).await.map(drop);
        let deleted = app.library_delete(before, "/hers", false).await;
        for done in [new_version, new, made, permitted, deleted] {
            assert!(matches!(done, Err(Error::Denied { .. })), "{done:?}");
        }
    };
    refused(&before).await;
    app.add_member(&admin, &circle, &ann).await.expect("added again");
    let before = caller(&app, "ann@SPOTFIRE").await;
    let disabled = of(json!({ "state": "disabled" }));
    app.patch_user(&admin, &ann, &disabled).await.expect("disabled");
    refused(&before).await;
    // Nor of the root by an administrator who is none any more.
    let disabled = of(json!({ "state": "active" }));
    app.patch_user(&admin, &ann, &disabled).await.expect("enabled");
    let administrators = name("Administrator");
    app.add_member(&admin, &administrators, &ann)
        .await
        .expect("added");
    let before = caller(&app, "ann@SPOTFIRE").await;
    app.remove_member(&admin, &administrators, &ann)
        .await
        .expect("taken out");
    let root = app
        .library_permit(&before, "/", &of(json!({ "grants": [] })))
        .await;
    assert!(matches!(root, Err(Error::Denied { .. })), "{root:?}");
}

#[tokio::test]
async fn nothing_is_decided_about_what_is_deleted_meanwhile() {
    let (app, _folder, admin) = with_ann().await;
    let (authors, administrator) = (name("Script Author"), name("admin@SPOTFIRE"));
    app.add_member(&admin, &authors, &administrator)
        .await
        .expect("added");
    app.set_feature(&admin, &authors, "Author Scripts", true)
        .await
        .expect("given");
    let author = caller(&app, "admin@SPOTFIRE").await;
    for decision in ["stamp", "policy"] {
        let (id, digest) = register(&app, &author, "f").await.expect("registered");
        let mut tx = app.store().begin(&App::system()).await.expect("begun");
        let item = tx.library_item(id.into()).await.expect("read").expect("there");
        tx.library_delete(&item).await.expect("deleted");
        let deciding = async {
            if decision == "stamp" {
                app.trust_function(&author, "f", &digest).await.map(drop)
            } else {
                let policy = json!({ "network": { "class": "none" } });
                app.set_function_policy(&author, "f", &policy).await.map(drop)
            }
        };
        let deleting = async {
            // Long enough for it to have found the function; it waits for who deletes it.
            tokio::time::sleep(Duration::from_millis(200)).await;
            let draft = Draft::new(Event::LibraryItemDeleted, "/f", json!({}));
            tx.commit(draft, app.now()).await.expect("committed");
        };
        let (decided, ()) = tokio::join!(deciding, deleting);
        assert!(
            matches!(decided, Err(Error::NotFound { .. })),
            "{decision}: {decided:?}"
        );
        assert!(app.store().trust_entries().await.expect("read").is_empty());
    }
}

#[tokio::test]
async fn a_record_names_all_that_was_deleted_and_too_much_is_refused() {
    let (app, _folder, admin) = with_ann().await;
    let top = make_folder(&app, &admin, "top").await.expect("made");
    let mut tx = app.store().begin(&App::system()).await.expect("begun");
    let model = tx.library_item(top.id).await.expect("read").expect("there");
    for number in 0..1_000 {
        let inside = LibraryItem {
            id: app.random().id(app.now(), LibraryItemId::new),
            parent: Some(top.id),
            name: name(&format!("f{number}")),
            ..model.clone()
        };
        tx.library_insert(&inside).await.expect("added");
    }
    let draft = Draft::new(Event::LibraryFolderCreated, "/top", json!({}));
    tx.commit(draft, app.now()).await.expect("committed");
    let refused = app.library_delete(&admin, "/top", true).await;
    assert!(
        matches!(
            refused,
            Err(Error::Conflict {
                kind: "folder-too-large",
                ..
            })
        ),
        "{refused:?}"
    );
    app.library_delete(&admin, "/top/f7", false)
        .await
        .expect("deleted");
    app.library_delete(&admin, "/top", true).await.expect("deleted");
    let rows = app
        .store()
        .audit_list(&AuditFilter::default(), AuditFrom::Newest, 1)
        .await
        .expect("read");
    let ids = rows[0].record.detail["ids"].as_array().expect("all of them");
    assert_eq!(ids.len(), 1_000);
    assert_eq!(ids[0], top.id.to_string());
}

#[tokio::test]
async fn permissions_are_put_only_while_what_they_inherit_is_as_it_was() {
    let (app, _folder, admin) = with_ann().await;
    make_folder(&app, &admin, "top").await.expect("made");
    let inside: CreateFolder = of(json!({ "folder": "/top", "name": "in" }));
    app.library_create_folder(&admin, &inside).await.expect("made");
    let everyone = json!({ "group": "Everyone", "right": "read" });
    let ann = json!({ "user": "ann@SPOTFIRE", "right": "write" });
    let put = async |item: &str, body: Value| app.library_permit(&admin, item, &of(body)).await;
    put("/top", json!({ "grants": [everyone, ann] }))
        .await
        .expect("set");
    let read = async || app.library_permissions(&admin, "/top/in").await.expect("read");
    let seen = read().await;
    assert!(seen.inherits && seen.grants.len() == 2);
    // Ann is taken out above; who read before does not bring her back below.
    put("/top", json!({ "grants": [everyone] })).await.expect("set");
    let back = json!({ "grants": [everyone, ann], "version": seen.version });
    let refused = put("/top/in", back).await;
    assert!(
        matches!(refused, Err(Error::Conflict { kind: "conflict", .. })),
        "{refused:?}"
    );
    assert_eq!(read().await.grants.len(), 1);
    // Nor where it inherits from another folder by now, or has its own.
    let seen = read().await;
    let own = put(
        "/top/in",
        json!({ "grants": [everyone], "version": seen.version }),
    )
    .await
    .expect("set");
    assert_eq!(
        own.version,
        read().await.version,
        "what is answered is what is there"
    );
    let refused = put("/top/in", json!({ "grants": [], "version": seen.version })).await;
    assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
    let inherited = put("/top/in", json!({ "inherits": true, "version": own.version }))
        .await
        .expect("set");
    assert_eq!(inherited.version, read().await.version);
    put("/top", json!({ "inherits": true })).await.expect("set");
    let refused = put("/top/in", json!({ "grants": [], "version": inherited.version })).await;
    assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
}

#[test]
fn a_path_that_is_too_long_names_nothing() {
    let deepest = "/d".repeat(library::DEEPEST) + "/f";
    assert_eq!(names(&deepest).expect("a path").len(), library::DEEPEST + 1);
    assert!(names(&(deepest + "/g")).is_err());
}

#[test]
fn a_path_names_every_folder_on_the_way() {
    assert_eq!(names("/").expect("the root"), []);
    let names = names("/Team A/x/").expect("a path");
    assert_eq!(
        names.iter().map(Name::as_str).collect::<Vec<_>>(),
        ["Team A", "x"]
    );
    for wrong in ["", "x", "//", "/a//b", "/a/ b", "/\u{202e}"] {
        assert!(super::names(wrong).is_err(), "{wrong}");
    }
}

proptest! {
    /// Whatever is typed as a path is one or is refused; what is one leads to the same names again.
    #[test]
    fn a_path_is_read_one_way(text in "/?[a-c/ .]{0,12}") {
        if let Ok(read) = names(&text) {
            let again: Vec<&str> = read.iter().map(Name::as_str).collect();
            let again = format!("/{}", again.join("/"));
            prop_assert_eq!(names(&again).expect("a path"), read);
        }
    }
}
