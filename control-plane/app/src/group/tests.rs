use std::collections::BTreeSet;

use muster_code_trust::SYSTEM_GROUPS;
use muster_store::{AuditFilter, AuditFrom};
use muster_wire::admin::v1::library::{CreateFolder, SetPermissions};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::fixture;

fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the form of the interface")
}

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a name")
}

async fn caller(app: &App, user: &str) -> Caller {
    let user = app.user_named(&name(user)).await.expect("a user");
    Caller::User(app.user_caller(&user).await.expect("their rights"))
}

/// A control plane with the user ann, and the administrator.
async fn with_ann() -> (App, tempfile::TempDir, Caller) {
    let (app, folder) = fixture::app().await;
    let admin = caller(&app, "admin@SPOTFIRE").await;
    let new = of(json!({ "name": "ann@SPOTFIRE" }));
    app.create_user(&admin, new).await.expect("made");
    (app, folder, admin)
}

/// What the audit log says about groups, the newest first.
async fn recorded(app: &App) -> Vec<(Event, String)> {
    let all = AuditFilter::default();
    let rows = app.store().audit_list(&all, AuditFrom::Newest, 1000);
    let rows = rows.await.expect("the audit log").into_iter();
    let about = rows.map(|row| (row.record.event, row.record.subject));
    about
        .filter(|(event, _)| [Event::GroupCreated, Event::GroupChanged].contains(event))
        .collect()
}

#[test]
fn the_built_in_groups_are_those_that_decisions_know() {
    let ours: BTreeSet<&str> = BUILTIN_GROUPS.into_iter().collect();
    assert_eq!(ours, SYSTEM_GROUPS.iter().copied().collect());
    assert_eq!(ours.len(), BUILTIN_GROUPS.len());
}

#[tokio::test]
async fn a_database_of_before_gets_the_groups_that_are_missing() {
    let (app, _folder, admin) = with_ann().await;
    let (people, ann) = (name("library administrator"), name("ann@SPOTFIRE"));
    app.create_group(&admin, people).await.expect("made");
    app.add_member(&admin, &name("library administrator"), &ann)
        .await
        .expect("added");
    let Caller::User(before) = caller(&app, "ann@SPOTFIRE").await else {
        panic!("a user");
    };
    assert!(!before.controls_library());
    let records = recorded(&app).await.len();
    app.complete_groups().await.expect("completed");
    let builtin: BTreeSet<String> = app
        .list_groups(&admin)
        .await
        .expect("groups")
        .into_iter()
        .filter(|group| group.builtin)
        .map(|group| group.name.to_string())
        .collect();
    assert_eq!(
        builtin,
        BUILTIN_GROUPS.iter().map(|&name| name.to_owned()).collect()
    );
    let Caller::User(after) = caller(&app, "ann@SPOTFIRE").await else {
        panic!("a user");
    };
    assert!(after.controls_library(), "{:?}", after.groups);

    // Each with its record, and once.
    let new = recorded(&app).await;
    assert_eq!(new.len() - records, 8, "{new:?}");
    let taken_up = (Event::GroupChanged, LIBRARY_ADMINISTRATOR.to_owned());
    assert_eq!(
        new.iter().filter(|record| **record == taken_up).count(),
        1,
        "{new:?}"
    );
    app.complete_groups().await.expect("is so");
    assert_eq!(recorded(&app).await.len(), new.len());

    for group in BUILTIN_GROUPS {
        let refused = app.delete_group(&admin, &name(group)).await.expect_err(group);
        assert!(
            matches!(refused, Error::Conflict { kind: "builtin", .. }),
            "{group}: {refused}"
        );
    }
}

#[tokio::test]
async fn administrators_are_library_administrators_until_somebody_ends_it() {
    let (app, _folder, admin) = with_ann().await;
    app.complete_groups().await.expect("completed");
    let administrator = name(ADMINISTRATOR);
    let library = name(LIBRARY_ADMINISTRATOR);
    let shown = app.show_group(&admin, &administrator).await.expect("shown");
    assert_eq!(shown.parents, [LIBRARY_ADMINISTRATOR.parse().expect("a name")]);
    app.remove_parent(&admin, &administrator, &library)
        .await
        .expect("ended");
    app.complete_groups().await.expect("is so");
    let shown = app.show_group(&admin, &administrator).await.expect("shown");
    assert_eq!(shown.parents, []);
}

#[tokio::test]
async fn a_library_administrator_has_the_whole_library_and_nothing_else() {
    let (app, _folder, admin) = with_ann().await;
    app.complete_groups().await.expect("completed");
    let closed: CreateFolder = of(json!({ "folder": "/", "name": "Closed" }));
    app.library_create_folder(&admin, &closed).await.expect("made");
    let nobody: SetPermissions = of(json!({ "inherits": false, "grants": [] }));
    app.library_permit(&admin, "/Closed", &nobody)
        .await
        .expect("closed");
    let inside: CreateFolder = of(json!({ "folder": "/Closed", "name": "In" }));

    let ann = caller(&app, "ann@SPOTFIRE").await;
    assert!(app.library_create_folder(&ann, &inside).await.is_err());
    app.add_member(&admin, &name(LIBRARY_ADMINISTRATOR), &name("ann@SPOTFIRE"))
        .await
        .expect("added");
    let ann = caller(&app, "ann@SPOTFIRE").await;
    app.library_create_folder(&ann, &inside)
        .await
        .expect("made in a closed folder");
    let open: SetPermissions =
        of(json!({ "inherits": false, "grants": [{ "group": "Everyone", "right": "read" }] }));
    app.library_permit(&ann, "/", &open)
        .await
        .expect("set for the root");
    let refused = app.create_group(&ann, name("Hers")).await;
    assert!(matches!(refused, Err(Error::Denied { .. })), "{refused:?}");
    let refused = app.list_groups(&ann).await;
    assert!(matches!(refused, Err(Error::Denied { .. })), "{refused:?}");
}
