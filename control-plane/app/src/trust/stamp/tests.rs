use std::time::Duration;

use muster_daemon::clock::Clock;
use muster_wire::admin::v1::library::LibraryItem as WireItem;
use serde_json::Value;

use super::*;
use crate::fixture::{self, form as of, name};

const ANN: &str = "ann@SPOTFIRE";
const BOB: &str = "bob@SPOTFIRE";

async fn caller(app: &App, user: &str) -> Caller {
    let user = app.user_named(&name(user)).await.expect("a user");
    Caller::User(app.user_caller(&user).await.expect("their rights"))
}

/// Makes a Script Author, who may write the root of the library by a permission of their own.
async fn author(app: &App, admin: &Caller, user: &str) -> Caller {
    app.create_user(admin, of(json!({ "name": user })))
        .await
        .expect("made");
    app.add_member(admin, &name("Script Author"), &name(user))
        .await
        .expect("added");
    let everybody = json!({ "grants": [{ "group": "Everyone", "right": "write" }] });
    app.library_permit(admin, "/", &of(everybody))
        .await
        .expect("permitted");
    caller(app, user).await
}

async fn save(app: &App, caller: &Caller, body: Value) -> WireItem {
    app.library_save(caller, &of(body)).await.expect("saved")
}

fn analysis(content: &Value) -> Value {
    json!({ "folder": "/", "name": "plan", "kind": "analysis", "manifest": content.to_string() })
}

fn script(text: &str) -> Value {
    let manifest = json!({ "language": "ironpython", "packages": [], "parameters": [], "transaction": true });
    let code = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    json!({
        "folder": "/", "name": "refresh", "kind": "script", "manifest": manifest.to_string(),
        "files": { "code": code },
    })
}

#[tokio::test]
async fn what_an_analysis_names_is_trusted_only_as_it_is_when_it_is_trusted() {
    let (app, _folder) = fixture::app().await;
    let admin = caller(&app, "admin@SPOTFIRE").await;
    let ann = author(&app, &admin, ANN).await;
    let named = save(&app, &ann, script("1")).await;
    let plan = json!({ "muster_analysis": 1, "scripts": [{ "name": "refresh", "item": named.id }] });
    save(&app, &ann, analysis(&plan)).await;
    let user = person(&ann).expect("a user");
    let item = app.library_item_for(user, "/plan").await.expect("there");
    let read = app.code_in(user, &item).await.expect("its code");
    // Somebody saves the script after it was read, and before the lock is taken.
    save(&app, &ann, script("2")).await;
    let refused = app.stamp(&ann, &item, read).await;
    assert!(
        matches!(
            refused,
            Err(Error::Conflict {
                kind: "content-changed",
                ..
            })
        ),
        "{refused:?}"
    );
    assert!(app.stamps_on(item.id).await.expect("read").is_empty());
    let read = app.code_in(user, &item).await.expect("its code");
    let done = app.stamp(&ann, &item, read).await.expect("trusted");
    assert_eq!(done.stamped.len(), 1);

    // A version that is named by its digest is trusted whatever the script is now.
    let fixed = json!({
        "muster_analysis": 1, "scripts": [{ "name": "refresh", "item": named.id, "digest": named.digest }],
    });
    save(&app, &ann, analysis(&fixed)).await;
    let item = app.library_item_for(user, "/plan").await.expect("there");
    let read = app.code_in(user, &item).await.expect("its code");
    save(&app, &ann, script("3")).await;
    let done = app.stamp(&ann, &item, read).await.expect("trusted");
    assert_eq!(Some(&done.stamped[0].hash), named.digest.as_ref());
}

#[tokio::test]
async fn another_account_of_the_name_removes_no_stamp_of_the_deleted_one() {
    let (clock, hand) = Clock::by_hand(1_700_000_000_000);
    let (app, _folder) = fixture::app_with(clock, std::sync::Arc::default()).await;
    let admin = caller(&app, "admin@SPOTFIRE").await;
    let ann = author(&app, &admin, ANN).await;
    let item = save(&app, &ann, script("1")).await;
    let everything = StampChoice::default();
    let path = item.path.as_str();
    app.library_trust(&ann, path, &everything).await.expect("trusted");
    app.delete_user(&admin, &name(ANN), &of(json!({})))
        .await
        .expect("deleted");
    hand.advance(Duration::from_secs(1));
    let again = author(&app, &admin, ANN).await;
    let refused = app.library_untrust(&again, path, &everything).await;
    assert!(matches!(refused, Err(Error::Denied { .. })), "{refused:?}");
    // Nor is the item said to be of that account.
    let shown = app.library_show(&again, path).await.expect("shown");
    assert_eq!((shown.created_by, shown.updated_by), (None, None));
    let gone = app
        .library_untrust(&admin, path, &everything)
        .await
        .expect("removed");
    assert_eq!(gone.removed.len(), 1);
    // What they stamp themselves they remove.
    app.library_trust(&again, path, &everything)
        .await
        .expect("trusted");
    let gone = app
        .library_untrust(&again, path, &everything)
        .await
        .expect("removed");
    assert_eq!(gone.removed.len(), 1);
}

#[tokio::test]
async fn what_somebody_without_a_word_vouched_for_is_trusted_anew_by_another() {
    let (clock, hand) = Clock::by_hand(1_700_000_000_000);
    let (app, _folder) = fixture::app_with(clock, std::sync::Arc::default()).await;
    let admin = caller(&app, "admin@SPOTFIRE").await;
    let (ann, bob) = (author(&app, &admin, ANN).await, author(&app, &admin, BOB).await);
    let item = save(&app, &ann, script("1")).await;
    let everything = StampChoice::default();
    let path = item.path.as_str();
    let trust = async |who: &Caller| app.library_trust(who, path, &everything).await;
    let shown = async || app.library_code(&bob, path).await.expect("its code")[0].stamped;
    let verdict = async || {
        let query = of(json!({ "item": path, "client": "web" }));
        app.explain(&bob, &query).await.expect("explained").outcome
    };
    let first = trust(&ann).await.expect("trusted").stamped;
    assert!(shown().await && verdict().await == "allow");
    hand.advance(Duration::from_secs(1));
    app.create_block(&admin, &of(json!({ "user": ANN })))
        .await
        .expect("blocked");
    assert!(!shown().await && verdict().await == "deny");
    let kind = |refused: Result<Stamped, Error>| match refused {
        Err(Error::Conflict { kind, .. }) => kind,
        other => panic!("this must be refused: {other:?}"),
    };
    assert_eq!(kind(trust(&ann).await), "blocked");
    let second = trust(&bob).await.expect("trusted anew");
    assert_eq!((second.stamped.len(), second.already.len()), (1, 0));
    assert!(shown().await && verdict().await == "allow");
    assert_eq!(trust(&bob).await.expect("is so").already, second.stamped);
    // Both are there, and each removes their own.
    app.library_untrust(&bob, path, &everything)
        .await
        .expect("removed");
    let all = app
        .list_stamps(&admin, &of(json!({ "item": path })))
        .await
        .expect("listed");
    assert_eq!(all.items, first);

    // Who is revoked for good vouches for nothing any more, and for what was before it as ever.
    let second = trust(&bob).await.expect("trusted anew");
    hand.advance(Duration::from_secs(1));
    let from = app.now();
    let revoked = json!({ "user": BOB, "from": Moment::from_unix_ms(from) });
    app.create_revocation(&admin, &of(revoked))
        .await
        .expect("revoked");
    assert!(shown().await);
    assert_eq!(kind(trust(&bob).await), "signatures-revoked");
    let whole = json!({ "user": BOB, "from": "2020-01-01T00:00:00Z" });
    app.create_revocation(&admin, &of(whole)).await.expect("revoked");
    assert!(!shown().await && verdict().await == "deny");
    assert_eq!(second.stamped.len(), 1);
    // Nothing is revoked from a year that was mistyped.
    let later = json!({ "user": ANN, "from": "2036-01-01T00:00:00Z" });
    let refused = app.create_revocation(&admin, &of(later)).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_name_that_something_hidden_has_is_taken_and_nothing_else_is_said() {
    let (app, _folder) = fixture::app().await;
    let admin = caller(&app, "admin@SPOTFIRE").await;
    let (ann, bob) = (author(&app, &admin, ANN).await, author(&app, &admin, BOB).await);
    let hidden = save(&app, &ann, script("1")).await;
    let only = json!({ "grants": [{ "user": ANN, "right": "write" }] });
    app.library_permit(&ann, &hidden.path, &of(only))
        .await
        .expect("closed");
    let refused = app.library_save(&bob, &of(script("2"))).await.expect_err("taken");
    let said = refused.to_string();
    assert!(
        matches!(
            refused,
            Error::Conflict {
                kind: "duplicate",
                ..
            }
        ),
        "{said}"
    );
    assert!(
        said.contains("/refresh") && !said.contains(&hidden.id.to_string()),
        "{said}"
    );
    // Where they may not write the folder that is all that they are told.
    let closed = json!({ "grants": [{ "user": BOB, "right": "read" }, { "user": ANN, "right": "write" }] });
    app.library_permit(&admin, "/", &of(closed))
        .await
        .expect("closed");
    let refused = app
        .library_save(&bob, &of(script("2")))
        .await
        .expect_err("denied");
    assert!(matches!(refused, Error::Denied { .. }), "{refused}");
}
