use muster_ids::Sha512;
use muster_wire::admin::v1::signing::VerifyItem;
use serde_json::Value;

use super::*;
use crate::fixture::{self, form, name};

const REQUIRE: &str = "Require valid signature to allow trust";

async fn caller(app: &App, user: &str) -> Caller {
    let user = app.user_named(&name(user)).await.expect("a user");
    Caller::User(app.user_caller(&user).await.expect("their rights"))
}

/// A control plane with ann, who may open and trust mods by her group Circle, which is in Staff and Visitors.
async fn with_ann() -> (App, tempfile::TempDir, Caller) {
    let (app, folder) = fixture::app().await;
    let admin = caller(&app, "admin@SPOTFIRE").await;
    let ann = form(json!({ "name": "ann@SPOTFIRE" }));
    app.create_user(&admin, ann).await.expect("made");
    for group in ["Circle", "Staff", "Visitors"] {
        app.create_group(&admin, name(group)).await.expect("made");
    }
    for parent in ["Staff", "Visitors"] {
        app.add_parent(&admin, &name("Circle"), &name(parent))
            .await
            .expect("added");
    }
    for feature in ["Trust Mods", "Open Visualization Mod from Library"] {
        app.set_feature(&admin, &name("Circle"), feature, true)
            .await
            .expect("given");
    }
    app.add_member(&admin, &name("Circle"), &name("ann@SPOTFIRE"))
        .await
        .expect("added");
    (app, folder, admin)
}

/// What comes of it when ann opens a mod that nobody signed.
async fn opened(app: &App) -> (String, String) {
    let manifest = json!({
        "apiVersion": "1.2", "version": "1.0", "name": "rose", "id": "rose", "icon": "icon.svg", "files": [],
    });
    let asked: VerifyItem = form(json!({ "item": {
        "type": "visualization_mod", "manifest": manifest.to_string(),
        "files": { "icon.svg": Sha512::of(b"<svg/>") },
    } }));
    let ann = caller(app, "ann@SPOTFIRE").await;
    let shown = app.verify_item(&ann, &asked).await.expect("an answer");
    let why = shown.why.expect("a reason");
    (shown.outcome.expect("an outcome"), why.rule)
}

async fn holds(app: &App, by: &Caller) -> (String, Option<String>) {
    let held = app.user_preferences(by, &name("ann@SPOTFIRE")).await;
    let [one] = held.expect("preferences").try_into().expect("one of them");
    let WirePreference { value, from, .. } = one;
    (value, from.map(|group| group.to_string()))
}

#[tokio::test]
async fn what_has_no_valid_signature_is_refused_until_a_group_lets_its_members_be_asked() {
    let (app, _folder, admin) = with_ann().await;
    let set = async |group: &str, value: Option<&str>| {
        app.set_preference(&admin, &name(group), REQUIRE, value).await
    };
    assert_eq!(holds(&app, &admin).await, ("true".to_owned(), None));
    let (outcome, rule) = opened(&app).await;
    assert_eq!((outcome.as_str(), rule.as_str()), ("deny", "signature-invalid"));
    // Of two parents that differ the first by name goes before, unless one is the primary group.
    set("Staff", Some("TRUE")).await.expect("set");
    set("Visitors", Some("false")).await.expect("set");
    assert_eq!(opened(&app).await.0, "deny");
    assert_eq!(
        holds(&app, &admin).await,
        ("true".to_owned(), Some("Staff".to_owned()))
    );
    let (circle, visitors) = (name("Circle"), name("Visitors"));
    app.set_primary(&admin, &circle, &visitors, true)
        .await
        .expect("set");
    assert_eq!(opened(&app).await.0, "prompt");
    let ann = caller(&app, "ann@SPOTFIRE").await;
    let own = holds(&app, &ann).await;
    assert_eq!(own, ("false".to_owned(), Some("Visitors".to_owned())));
    let facts = app.user_named(&name("ann@SPOTFIRE")).await.expect("there");
    let facts = app.known_facts(facts.id, &facts.name).await.expect("facts");
    assert!(facts.accepts_invalid_signatures, "what grants carry to nodes");
    // The group's own word goes before both.
    set("Circle", Some("true")).await.expect("set");
    assert_eq!(opened(&app).await.0, "deny");
    set("Circle", None).await.expect("cleared");
    assert_eq!(opened(&app).await.0, "prompt");
    // What is no parent any more is no primary group.
    app.remove_parent(&admin, &circle, &visitors)
        .await
        .expect("removed");
    assert_eq!(opened(&app).await.0, "deny");
    let shown = app.show_group(&admin, &circle).await.expect("a group");
    assert_eq!(shown.primary, None);
}

#[tokio::test]
async fn only_administrators_set_preferences_and_each_change_is_audited_once() {
    let (app, _folder, admin) = with_ann().await;
    let ann = caller(&app, "ann@SPOTFIRE").await;
    let group = name("Circle");
    let refused = app.set_preference(&ann, &group, REQUIRE, Some("false")).await;
    assert!(matches!(refused, Err(Error::Denied { .. })));
    let refused = app.user_preferences(&ann, &name("admin@SPOTFIRE")).await;
    assert!(matches!(refused, Err(Error::Denied { .. })));
    for _ in 0..2 {
        app.set_preference(&admin, &group, REQUIRE, Some("false"))
            .await
            .expect("set");
    }
    app.set_preference(&admin, &group, REQUIRE, None)
        .await
        .expect("cleared");
    let refused = app.set_preference(&admin, &group, REQUIRE, None).await;
    assert!(matches!(refused, Err(Error::NotFound { .. })));
    let refused = app.set_preference(&admin, &group, "Color", Some("true")).await;
    assert!(matches!(refused, Err(Error::NotFound { .. })));
    let refused = app.set_preference(&admin, &group, REQUIRE, Some("perhaps")).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })));
    let refused = app.set_primary(&admin, &group, &name("Everyone"), true).await;
    assert!(matches!(refused, Err(Error::NotFound { .. })));
    let rows = app
        .store()
        .audit_list(
            &muster_store::AuditFilter::default(),
            muster_store::AuditFrom::Newest,
            100,
        )
        .await
        .expect("read");
    let values: Vec<Value> = rows
        .into_iter()
        .filter(|row| row.record.event == Event::PreferenceSet)
        .map(|row| row.record.detail["value"].clone())
        .collect();
    assert_eq!(values, [Value::Null, Value::Bool(false)]);
}
