use muster_model::permission::ADMINISTRATOR;

use super::*;
use crate::fixture::{self, form as of, name};

async fn caller(app: &App, user: &str) -> Caller {
    let user = app.user_named(&name(user)).await.expect("a user");
    Caller::User(app.user_caller(&user).await.expect("their rights"))
}

async fn delete(app: &App, caller: &Caller, user: &str) -> Result<(), Error> {
    app.delete_user(caller, &name(user), &DeleteUser::default()).await
}

/// A control plane with ann, a member of the group Circle.
async fn with_ann() -> (App, tempfile::TempDir, Caller) {
    let (app, folder) = fixture::app().await;
    let admin = caller(&app, "admin@SPOTFIRE").await;
    add(&app, &admin).await;
    app.create_group(&admin, name("Circle")).await.expect("made");
    app.add_member(&admin, &name("Circle"), &name("ann@SPOTFIRE"))
        .await
        .expect("added");
    (app, folder, admin)
}

async fn add(app: &App, admin: &Caller) {
    let new = of(json!({ "name": "ann@SPOTFIRE", "password": "a long enough password" }));
    app.create_user(admin, new).await.expect("made");
}

#[tokio::test]
async fn another_account_of_the_name_has_nothing_of_the_deleted_one() {
    let (app, _folder, admin) = with_ann().await;
    let ann: UserName = name("ann@SPOTFIRE");
    let before = app.user_named(&ann).await.expect("there").id;
    let signer = json!({
        "principal": { "group": "Circle" }, "signer": { "user": "ann@SPOTFIRE", "role": "developer" },
    });
    app.trust_signer(&admin, &of(signer)).await.expect("trusted");
    let action = json!({ "item": { "type": "external_action", "manifest": "{}" }, "user": "admin@SPOTFIRE" });
    let signed = app.sign_item(&admin, &of(action)).await.expect("signed");
    let item = json!({ "principal": { "user": "ann@SPOTFIRE" }, "item": signed.item });
    app.trust_item(&admin, &of(item)).await.expect("trusted");
    // Of somebody whose name begins alike.
    let other = json!({ "name": "joann@SPOTFIRE" });
    app.create_user(&admin, of(other)).await.expect("made");
    let joann = json!({
        "principal": { "group": "Circle" }, "signer": { "user": "joann@SPOTFIRE", "role": "developer" },
    });
    app.trust_signer(&admin, &of(joann)).await.expect("trusted");
    app.create_block(&admin, &of(json!({ "user": "ann@SPOTFIRE" })))
        .await
        .expect("blocked");
    let grants = json!({ "grants": [
        { "user": "ann@SPOTFIRE", "right": "write" }, { "group": "Everyone", "right": "read" },
    ] });
    app.library_permit(&admin, "/", &of(grants))
        .await
        .expect("permitted");
    let login = json!({ "user": "ann@SPOTFIRE", "password": "a long enough password" });
    let session = app.log_in(of(login), "10.0.0.1").await.expect("a session");

    delete(&app, &admin, "ANN@spotfire").await.expect("deleted");
    assert!(
        app.caller_of(&session.token).await.is_err(),
        "the session has ended"
    );
    assert!(app.user_named(&ann).await.is_err());
    let page = PageQuery::default();
    let users = app.list_users(&admin, &page).await.expect("a list").items;
    assert!(users.iter().all(|user| user.name != ann));
    assert!(delete(&app, &admin, "ann@SPOTFIRE").await.is_err(), "only once");
    let row = app
        .store()
        .user(before)
        .await
        .expect("read")
        .expect("a tombstone");
    assert_eq!(row.state, muster_store::UserState::Deleted);

    add(&app, &admin).await;
    let again = app.show_user(&admin, &ann).await.expect("another account");
    assert!(again.id != before && again.groups.is_empty());
    let entries = app.store().trust_entries().await.expect("read");
    let about: Vec<&str> = entries
        .keys()
        .filter(|key| key.contains("ann@spotfire"))
        .map(String::as_str)
        .collect();
    assert_eq!(
        about,
        [
            "block/user/ann@spotfire",
            "trust/group/circle/user/developer/joann@spotfire"
        ]
    );
    let root = app.library_permissions(&admin, "/").await.expect("read");
    assert_eq!(root.grants.len(), 1);
    assert_eq!(root.grants[0].user, None);
}

#[tokio::test]
async fn nobody_deletes_themselves_and_who_was_an_administrator_does_nothing_any_more() {
    let (app, _folder, admin) = with_ann().await;
    let kind = |result: Result<(), Error>| match result {
        Err(Error::Conflict { kind, .. }) => kind,
        other => panic!("this must be refused: {other:?}"),
    };
    assert_eq!(kind(delete(&app, &admin, "admin@SPOTFIRE").await), "own-account");
    let (administrators, ann) = (name(ADMINISTRATOR), name("ann@SPOTFIRE"));
    app.add_member(&admin, &administrators, &ann)
        .await
        .expect("added");
    let late = caller(&app, "ann@SPOTFIRE").await;
    app.remove_member(&admin, &administrators, &ann)
        .await
        .expect("removed");
    // Her requests came while she could, and none of them is done.
    let circle = name("Circle");
    let blocked = of(json!({ "user": "admin@SPOTFIRE" }));
    let setting = of(json!({ "name": "disable.spotfire.trust.checks", "scope": "all", "value": "true" }));
    let signer = of(json!({
        "principal": { "group": "Circle" }, "signer": { "user": "admin@SPOTFIRE", "role": "developer" },
    }));
    let preference = "Require valid signature to allow trust";
    let done = [
        delete(&app, &late, "admin@SPOTFIRE").await,
        app.add_member(&late, &administrators, &ann).await,
        app.create_group(&late, name("Hers")).await.map(drop),
        app.delete_group(&late, &circle).await,
        app.set_feature(&late, &circle, "Trust Mods", true).await,
        app.set_preference(&late, &circle, preference, Some("false"))
            .await,
        app.create_user(&late, of(json!({ "name": "eve@SPOTFIRE" })))
            .await
            .map(drop),
        app.create_block(&late, &blocked).await.map(drop),
        app.trust_signer(&late, &signer).await.map(drop),
        app.set_setting(&late, &setting).await.map(drop),
        app.reset_code_trust(&late).await.map(drop),
    ];
    for done in done {
        assert!(matches!(done, Err(Error::Denied { .. })), "{done:?}");
    }
    assert!(delete(&app, &late, "nobody@SPOTFIRE").await.is_err());
    let plain = caller(&app, "ann@SPOTFIRE").await;
    assert!(matches!(
        delete(&app, &plain, "admin@SPOTFIRE").await,
        Err(Error::Denied { .. })
    ));
    let active = DeleteUser {
        state: Some("disabled".to_owned()),
    };
    assert_eq!(kind(app.delete_user(&admin, &ann, &active).await), "conflict");
}

#[tokio::test]
async fn disabled_users_are_listed_with_what_speaks_for_keeping_them() {
    let (app, _folder, admin) = with_ann().await;
    let page = PageQuery::default();
    let listed = app.list_disabled_users(&admin, &page).await.expect("a list");
    assert!(listed.items.is_empty());
    let login = json!({ "user": "ann@SPOTFIRE", "password": "a long enough password" });
    app.log_in(of(login), "10.0.0.1").await.expect("a session");
    for user in ["ann@SPOTFIRE", "bob@SPOTFIRE"] {
        if user == "bob@SPOTFIRE" {
            app.create_user(&admin, of(json!({ "name": user })))
                .await
                .expect("made");
        }
        app.patch_user(&admin, &name(user), &of(json!({ "state": "disabled" })))
            .await
            .expect("disabled");
    }
    let grants = json!({ "grants": [{ "user": "bob@SPOTFIRE", "right": "read" }] });
    app.library_permit(&admin, "/", &of(grants))
        .await
        .expect("permitted");
    let listed = app.list_disabled_users(&admin, &page).await.expect("a list");
    let [ann, bob] = listed.items.as_slice() else {
        panic!("{listed:?}");
    };
    assert!(ann.logged_in && !ann.library_permissions && !ann.library_author);
    assert_eq!(ann.groups, [name("Circle")]);
    assert!(!bob.logged_in && bob.library_permissions && bob.groups.is_empty());
}
