use std::collections::BTreeSet;

use muster_code_trust::SYSTEM_GROUPS;
use muster_store::{AuditFilter, AuditFrom};
use muster_wire::admin::v1::{
    group::{LicenseSet, SetLicense},
    library::{CreateFolder, SetPermissions},
};
use serde_json::{Value, json};

use super::*;
use crate::fixture::{self, form as of, name};

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
    let trusted = of(json!({
        "principal": { "group": "library administrator" }, "signer": { "user": "ann@SPOTFIRE", "role": "developer" },
        "reason": "ours",
    }));
    app.trust_signer(&admin, &trusted).await.expect("trusted");
    let grants = of(json!({ "grants": [{ "group": "library administrator", "right": "read" }] }));
    app.library_permit(&admin, "/", &grants).await.expect("permitted");
    let records = recorded(&app).await.len();
    app.complete_groups().await.expect("completed");
    let builtin: BTreeSet<String> = app
        .all_groups(&admin)
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
    // What is called so by people is another group, with all that it had, and gets nothing.
    assert!(!after.controls_library(), "{:?}", after.groups);
    let aside: Name = name("library administrator (own 1)");
    assert!(after.is_in(aside.as_str()), "{:?}", after.groups);
    let library = app
        .show_group(&admin, &name(LIBRARY_ADMINISTRATOR))
        .await
        .expect("shown");
    assert!(library.builtin && library.members.is_empty());
    let trust = app
        .list_signers(&admin, &of(json!({})))
        .await
        .expect("listed")
        .items;
    assert_eq!(trust.len(), 1);
    assert_eq!(trust[0].principal.group.as_ref(), Some(&aside));
    assert_eq!(trust[0].decided.reason.as_deref(), Some("ours"));
    let permitted = app.library_permissions(&admin, "/").await.expect("read").grants;
    assert_eq!(permitted[0].group.as_ref(), Some(&aside));

    // Each with its record, and once.
    let new = recorded(&app).await;
    assert_eq!(new.len() - records, 9, "{new:?}");
    let taken_up = (Event::GroupChanged, aside.to_string());
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
    let refused = app.all_groups(&ann).await;
    assert!(matches!(refused, Err(Error::Denied { .. })), "{refused:?}");
}

/// Events about the group, each with its detail, the oldest first.
async fn story(app: &App, group: &str) -> Vec<(Event, Value)> {
    let all = AuditFilter::default();
    let rows = app.store().audit_list(&all, AuditFrom::Newest, 1000);
    let rows = rows.await.expect("the audit log").into_iter().rev();
    rows.filter(|row| row.record.subject == group)
        .map(|row| (row.record.event, row.record.detail))
        .collect()
}

#[tokio::test]
async fn what_is_so_already_is_no_record() {
    let (app, _folder, admin) = with_ann().await;
    let [circle, above]: [Name; 2] = ["Circle", "Above"].map(name);
    for group in [&circle, &above] {
        app.create_group(&admin, group.clone()).await.expect("made");
    }
    let begun = story(&app, "Circle").await.len();
    for _ in 0..2 {
        app.add_member(&admin, &circle, &name("ann@SPOTFIRE"))
            .await
            .expect("in it");
        app.add_parent(&admin, &circle, &above).await.expect("in it");
        app.set_feature(&admin, &circle, "Trust Mods", true)
            .await
            .expect("given");
    }
    let events: Vec<Event> = story(&app, "Circle")
        .await
        .split_off(begun)
        .into_iter()
        .map(|(event, _)| event)
        .collect();
    assert_eq!(
        events,
        [Event::MemberAdded, Event::GroupChanged, Event::LicenseSet]
    );
}

#[tokio::test]
async fn a_license_is_set_as_a_whole_with_its_records_or_not_at_all() {
    let (app, _folder, admin) = with_ann().await;
    let circle: Name = name("Circle");
    app.create_group(&admin, circle.clone()).await.expect("made");
    let set = async |of: &[&str], features: &[&str]| {
        let wanted = SetLicense {
            license: "Spotfire.Dxp.Extensions".to_owned(),
            of: of.iter().map(|&name| name.to_owned()).collect(),
            features: features.iter().map(|&name| name.to_owned()).collect(),
        };
        app.set_license(&admin, &circle, &wanted).await
    };
    let features = async || app.show_group(&admin, &circle).await.expect("shown").features;
    let of = ["Author Scripts", "Trust Mods", "Open Action Mod from Library"];
    app.set_feature(&admin, &circle, "Use External Actions", true)
        .await
        .expect("given");
    let begun = story(&app, "Circle").await.len();

    let done = set(&of, &of).await.expect("set");
    assert_eq!((done.given.len(), done.taken.len()), (3, 0));
    let done = set(&of, &["Trust Mods"]).await.expect("set");
    assert_eq!(done.given, [""; 0]);
    assert_eq!(done.taken, ["Author Scripts", "Open Action Mod from Library"]);
    assert_eq!(features().await, ["Trust Mods", "Use External Actions"]);
    // Once more is nothing, and is no record.
    assert_eq!(
        set(&of, &["Trust Mods"]).await.expect("set"),
        LicenseSet::default()
    );
    let done = set(&of, &["Author Scripts", "Trust Mods"]).await.expect("set");
    assert_eq!(done.given, ["Author Scripts"]);
    let done = set(&of, &[]).await.expect("removed");
    assert_eq!(done.taken, ["Author Scripts", "Trust Mods"]);
    let license = "Spotfire.Dxp.Extensions";
    let left_out = json!(["Author Scripts", "Open Action Mod from Library"]);
    assert_eq!(
        story(&app, "Circle").await.split_off(begun),
        [
            (
                Event::LicenseSet,
                json!({ "license": license, "features": ["Author Scripts", "Open Action Mod from Library", "Trust Mods"] })
            ),
            (
                Event::LicenseExcluded,
                json!({ "license": license, "features": left_out, "taken": left_out })
            ),
            (
                Event::LicenseSet,
                json!({ "license": license, "features": ["Author Scripts"] })
            ),
            (
                Event::LicenseExcluded,
                json!({ "license": license, "features": ["Open Action Mod from Library"], "taken": [] })
            ),
            (
                Event::LicenseRemoved,
                json!({ "license": license, "features": ["Author Scripts", "Trust Mods"] })
            ),
        ]
    );
    // One that does not exist keeps all of it.
    for (of, features) in [
        (&["Trust Mods", "Fly"][..], &["Trust Mods", "Fly"][..]),
        (&["Trust Mods"], &["Author Scripts"]),
        (&[], &[]),
    ] {
        set(of, features).await.expect_err("refused");
    }
    assert_eq!(features().await, ["Use External Actions"]);
    // What an older version gave is taken with the rest.
    assert!(set(&["Fly"], &[]).await.expect("nothing to do").taken.is_empty());
}

#[tokio::test]
async fn groups_are_imported_with_all_that_is_in_them_or_not_at_all() {
    let (app, _folder, admin) = with_ann().await;
    let import = async |wanted: Value| app.import_groups(&admin, &of(wanted)).await;
    let names = async || {
        let groups = app.all_groups(&admin).await.expect("groups");
        let made = groups.into_iter().filter(|group| !group.builtin);
        made.map(|group| (group.name.to_string(), group.parents.len(), group.members.len()))
            .collect::<Vec<_>>()
    };
    let link = |group: &str, parent: &str| json!({ "group": group, "parent": parent });
    let member = |group: &str, user: &str| json!({ "group": group, "user": user });
    for (wanted, word) in [
        (
            json!({ "groups": ["A"], "parents": [], "members": [member("A", "nobody@SPOTFIRE")] }),
            "nobody@SPOTFIRE",
        ),
        (
            json!({ "groups": ["A", "B"], "parents": [link("A", "B"), link("B", "A")], "members": [] }),
            "inherits",
        ),
        (
            json!({ "groups": ["A"], "parents": [link("A", "C")], "members": [] }),
            "C",
        ),
        (
            json!({ "groups": vec!["A"; 2_001], "parents": [], "members": [] }),
            "in parts",
        ),
    ] {
        let refused = import(wanted).await.expect_err("refused").to_string();
        assert!(refused.contains(word), "{refused}");
        assert_eq!(names().await, [], "{word}");
    }
    let done = import(json!({
        "groups": ["A", "B", "a"],
        "parents": [link("A", "B"), link("b", "Script Author")],
        "members": [
            member("A", "ann@SPOTFIRE"), member("a", "ANN@spotfire"), member("Everyone", "ann@SPOTFIRE"),
        ],
    }))
    .await
    .expect("made");
    assert_eq!(done.made, [name::<Name>("A"), name("B")]);
    assert_eq!((done.memberships, done.had), (3, 2));
    assert_eq!(names().await, [("A".to_owned(), 1, 1), ("B".to_owned(), 1, 0)]);
    let again = import(json!({
        "groups": ["A"], "parents": [link("A", "B")], "members": [member("A", "ann@SPOTFIRE")],
    }))
    .await
    .expect("nothing to do");
    assert_eq!((again.made.len(), again.memberships, again.had), (0, 0, 2));
    let told: Vec<Event> = story(&app, "A")
        .await
        .into_iter()
        .map(|(event, _)| event)
        .collect();
    assert_eq!(
        told,
        [Event::GroupCreated, Event::GroupChanged, Event::MemberAdded]
    );
}
