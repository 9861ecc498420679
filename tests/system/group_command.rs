//! Groups and licenses by the documented commands.

use muster_tests::{CommandLine, Server, folder, unique};
use serde_json::Value;

/// A group as the API shows it.
async fn group(server: &Server, name: &str) -> Value {
    server.admin().await.show(&["groups", name]).await
}

fn words(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_license_is_the_functions_that_are_documented_under_it() {
    let server = Server::private();
    let muster = CommandLine::log_in(&server);
    let admin = server.admin().await;
    let team = unique("team");
    admin.create("/api/v1/groups", &team).await;
    let done = |arguments: &[&str]| {
        let (code, said, complained) = muster.run(&[&["compat"], arguments].concat());
        assert_eq!(code, Some(0), "{arguments:?}: {said}{complained}");
        said
    };
    let refused = |arguments: &[&str]| {
        let (code, _, complained) = muster.run(&[&["compat"], arguments].concat());
        assert_eq!(code, Some(1), "{arguments:?}: {complained}");
        complained
    };
    let listed = done(&["list-licenses"]);
    assert!(
        listed.contains("Spotfire.Dxp.Extensions") && listed.contains("ModsUseTrust"),
        "{listed}"
    );
    done(&["set-license", "-g", &team, "-l", "Spotfire.Dxp.Extensions"]);
    let all = group(&server, &team).await["features"].clone();
    assert_eq!(words(&all).len(), 6);
    // What is set is all there is; the other license stays.
    done(&["set-license", "-g", &team, "-l", "Spotfire Consumer"]);
    let said = done(&[
        "set-license",
        "--group",
        &format!("SPOTFIRE\\{team}"),
        "--license=Spotfire.Dxp.Extensions",
        "--functions",
        "AuthorScripts, Trust Mods",
    ]);
    assert!(
        said.contains("Taken: ") && said.contains("Open Action Mod from Library"),
        "{said}"
    );
    let excluded = admin.audited("admin.exclude_license").await;
    let mine: Vec<&Value> = excluded
        .iter()
        .filter(|record| record["subject"] == team.as_str())
        .collect();
    assert_eq!(mine.len(), 1);
    assert_eq!(mine[0]["detail"]["license"], "Spotfire.Dxp.Extensions");
    assert_eq!(words(&mine[0]["detail"]["features"]).len(), 4);
    let some = group(&server, &team).await["features"].clone();
    let mut given = words(&some);
    given.sort_unstable();
    assert_eq!(given, ["Author Scripts", "Trust Mods", "Use External Actions"]);

    let with = |function: &'static str| {
        [
            "set-license",
            "-g",
            &team,
            "-l",
            "Spotfire.Dxp.Extensions",
            "-f",
            function,
        ]
    };
    assert!(refused(&with("AuthorScripts,openFile")).contains("openFile"));
    assert_eq!(
        group(&server, &team).await["features"],
        some,
        "nothing was changed"
    );
    let ignoring = [&with("AuthorScripts,openFile")[..], &["-i", "true"]].concat();
    done(&ignoring);
    assert_eq!(words(&group(&server, &team).await["features"]).len(), 2);
    let elsewhere = ["set-license", "-g", &team, "-l", "Spotfire.Dxp.Metrics"];
    assert!(refused(&elsewhere).contains("nothing that it permits exists here"));
    done(&[&elsewhere[..], &["--ignore-non-existing=true"]].concat());
    assert!(refused(&["set-license", "-g", "Nobody", "-l", "Spotfire Analyst"]).contains("Nobody"));

    let removal = ["remove-license", "-g", &team, "-l", "Spotfire.Dxp.Extensions"];
    done(&removal);
    assert_eq!(
        words(&group(&server, &team).await["features"]),
        ["Use External Actions"]
    );
    assert!(refused(&removal).contains("by itself"));
    done(&[&removal[..], &["-i", "true"]].concat());
    let records = admin.audited("admin.remove_license").await;
    assert!(records.iter().any(|record| record["subject"] == team.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_version_gave_is_listed_and_deleted() {
    let server = Server::private();
    let muster = CommandLine::log_in(&server);
    let team = unique("team");
    server.admin().await.create("/api/v1/groups", &team).await;
    let (code, said, _) = muster.run(&["compat", "list-obsolete-licenses"]);
    assert!(code == Some(0) && said.contains("does not know"), "{said}");
    server.database().change(&format!(
        "INSERT INTO group_features (group_id, feature) SELECT id, 'Old Feature' FROM groups WHERE name = '{team}'"
    ));
    let (_, said, _) = muster.run(&["compat", "list-obsolete-licenses"]);
    assert!(said.contains("Old Feature") && said.contains(&team), "{said}");
    let (code, _, complained) = muster.run(&["compat", "delete-obsolete-licenses"]);
    assert!(code == Some(1) && complained.contains("give -f"), "{complained}");
    let (code, said, complained) = muster.run(&["compat", "delete-obsolete-licenses", "-f"]);
    assert!(
        code == Some(0) && said.contains("Deleted 1"),
        "{said}{complained}"
    );
    assert!(words(&group(&server, &team).await["features"]).is_empty());
    let (code, said, _) = muster.run(&["compat", "delete-obsolete-licenses", "--force"]);
    assert!(code == Some(0) && said.contains("nothing was changed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn memberships_are_changed_copied_exported_and_imported() {
    let (server, other) = (Server::private(), Server::private());
    let (muster, elsewhere) = (CommandLine::log_in(&server), CommandLine::log_in(&other));
    for one in [&server, &other] {
        let admin = one.admin().await;
        for user in ["ann@SPOTFIRE", "bob@SPOTFIRE"] {
            admin.create_user(user, muster_tests::PASSWORD).await;
        }
    }
    let admin = server.admin().await;
    for name in ["Staff", "Analysts", "Others"] {
        admin.create("/api/v1/groups", name).await;
    }
    let done = |muster: &CommandLine, arguments: &[&str]| {
        let (code, said, complained) = muster.run(&[&["compat"], arguments].concat());
        assert_eq!(code, Some(0), "{arguments:?}: {said}{complained}");
        said
    };
    let refused = |muster: &CommandLine, arguments: &[&str]| {
        let (code, said, complained) = muster.run(&[&["compat"], arguments].concat());
        assert_ne!(code, Some(0), "{arguments:?}: {said}");
        complained
    };
    done(&muster, &["add-member", "-g", "Staff", "-u", "SPOTFIRE\\ann"]);
    done(&muster, &["add-member", "-g", "Staff", "-m", "Analysts"]);
    done(
        &muster,
        &["add-member", "-g", "Others", "--member-username", "ann"],
    );
    assert!(refused(&muster, &["add-member", "-g", "Analysts", "-m", "Staff"]).contains("inherits"));
    assert!(refused(&muster, &["add-member", "-g", "RESEARCH\\x", "-u", "ann"]).contains("other domains"));
    assert_eq!(words(&group(&server, "Analysts").await["parents"]), ["Staff"]);

    let copied = done(
        &muster,
        &["copy-group-membership", "-u", "ann", "-n", "bob@SPOTFIRE"],
    );
    assert!(copied.contains("Others") && copied.contains("Staff"), "{copied}");
    done(
        &muster,
        &["copy-group-membership", "-g", "Analysts", "-p", "Others"],
    );
    assert_eq!(words(&group(&server, "Others").await["parents"]), ["Staff"]);
    done(&muster, &["remove-member", "-g", "Others", "-u", "ann"]);
    assert_eq!(
        words(&group(&server, "Others").await["members"]),
        ["bob@SPOTFIRE"]
    );

    let shown = done(&muster, &["list-groups", "-s", "staf, Oth*", "-m"]);
    assert!(
        shown.contains("Staff") && shown.contains("bob@SPOTFIRE") && !shown.contains("Analysts\n"),
        "{shown}"
    );
    assert!(done(&muster, &["list-groups", "-l", "2"]).contains("more are not listed"));

    let place = folder("groups");
    let (text, plain) = (place.join("groups.txt"), place.join("groups.csv"));
    let (text, plain) = (
        text.to_string_lossy().into_owned(),
        plain.to_string_lossy().into_owned(),
    );
    done(&muster, &["export-groups", "-m", "true", "-u", "true", &text]);
    assert!(refused(&muster, &["export-groups", &text]).contains("-f"));
    done(
        &muster,
        &[
            "export-groups",
            "-s",
            "false",
            "-n",
            "true",
            "-m",
            "true",
            "-u",
            "true",
            &plain,
            "-f",
        ],
    );
    assert!(refused(&muster, &["export-groups", "-g", "true", &text, "-f"]).contains("identifiers"));

    // Without the options only the groups come; with them the rest does, and a second time nothing.
    let said = done(&elsewhere, &["import-groups", &text]);
    assert!(said.contains("Made 3 groups and 0 memberships"), "{said}");
    let all = ["import-groups", "-m", "true", "-u", "true", &text];
    let said = done(&elsewhere, &all);
    assert!(said.contains("Made 0 groups and 5 memberships"), "{said}");
    assert!(done(&elsewhere, &all).contains("Made 0 groups and 0 memberships"));
    let said = done(
        &elsewhere,
        &["import-groups", "-n", "true", "-m", "true", "-u", "true", &plain],
    );
    assert!(said.contains("Made 0 groups and 0 memberships"), "{said}");
    for name in ["Staff", "Analysts", "Others", "Everyone"] {
        let (here, there) = (group(&server, name).await, group(&other, name).await);
        assert_eq!(
            (&here["members"], &here["parents"]),
            (&there["members"], &there["parents"]),
            "{name}"
        );
    }
    let unknown = place.join("unknown.csv");
    std::fs::write(&unknown, "New,,,,,,\nNew,,,,carl,SPOTFIRE,user\n").expect("written");
    let said = refused(
        &elsewhere,
        &["import-groups", "-u", "true", &unknown.to_string_lossy()],
    );
    assert!(
        said.contains("carl@SPOTFIRE") && said.contains("nothing was changed"),
        "{said}"
    );
    let (code, _, _) = elsewhere.run(&["group", "show", "New"]);
    assert_eq!(code, Some(1), "not even the group was made");
    // What only the control plane sees is refused as a whole, too.
    let circle = place.join("circle.csv");
    let rows = "New,,,,,,\nNewer,,,,,,\nNew,,,,Newer,,group\nNewer,,,,New,,group\n";
    std::fs::write(&circle, rows).expect("written");
    let said = refused(
        &elsewhere,
        &["import-groups", "-m", "true", &circle.to_string_lossy()],
    );
    assert!(
        said.contains("inherits") && said.contains("nothing was changed"),
        "{said}"
    );
    let (code, _, _) = elsewhere.run(&["group", "show", "New"]);
    assert_eq!(code, Some(1), "nothing of the file was made");

    // A file is replaced as a whole, and what a link leads to stays.
    let (kept, link) = (place.join("kept"), place.join("link.txt"));
    std::fs::write(&kept, "mine").expect("written");
    std::os::unix::fs::symlink(&kept, &link).expect("linked");
    done(&muster, &["export-groups", "-f", &link.to_string_lossy()]);
    assert_eq!(std::fs::read_to_string(&kept).expect("there"), "mine");
    assert!(std::fs::read_to_string(&link).expect("there").contains("Staff"));

    done(&muster, &["enable-user", "--username=bob", "-e", "false"]);
    let state = async || admin.show::<Value>(&["users", "bob@SPOTFIRE"]).await["state"].clone();
    assert_eq!(state().await, "disabled");
    done(&muster, &["enable-user", "-u", "bob@SPOTFIRE"]);
    assert_eq!(state().await, "active");
}
