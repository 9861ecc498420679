//! The command line of administrators, as scripts use it.

use std::time::Duration;

use muster_client::Request;
use muster_tests::{Applicant, CommandLine, Server, problem, unique, within};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_approves_by_the_code_and_by_nothing_else() {
    let server = Server::private();
    let muster = CommandLine::log_in(&server);
    let node = Applicant::new("terr01").await;
    let transcript = node.apply(&server).await;
    let code = transcript.code().to_string();

    let (exit, said, complained) = muster.run(&["join", "approve", "--code", "0000-0000-0000", "--yes"]);
    assert_eq!((exit, said.as_str()), (Some(1), ""));
    let sentence = "No waiting request has this code. 1 request waits; read the code on the node with muster-node status.";
    assert!(complained.contains(sentence), "{complained}");
    assert_eq!(node.ask(&server, &transcript, 1).await.state, "pending");

    let (exit, listed, _) = muster.run(&["join", "list", "--output", "json"]);
    assert_eq!(exit, Some(0));
    assert!(
        listed.contains("terr01") && !listed.contains(&code) && !listed.contains(&node.fingerprint().hex()),
        "{listed}"
    );
    let (exit, _, complained) = muster.run(&["join", "approve", "terr01", "--yes"]);
    assert_eq!(exit, Some(2), "by name is wrong usage: {complained}");

    let (exit, _, complained) = muster.run(&["join", "approve", "--code", &code, "--yes"]);
    assert_eq!(exit, Some(0), "{complained}");
    assert_eq!(node.ask(&server, &transcript, 2).await.state, "issued");
    let (exit, shown, _) = muster.run(&["node", "show", "terr01", "--output", "json"]);
    assert_eq!(exit, Some(0));
    let shown: Value = serde_json::from_str(&shown).expect("stable JSON");
    assert_eq!(shown["trust"], "trusted");
    let (exit, _, complained) = muster.run(&["node", "untrust", "terr01", "--yes"]);
    assert_eq!(exit, Some(0), "{complained}");
    let (exit, _, complained) = muster.run(&["audit", "verify"]);
    assert_eq!(exit, Some(0), "{complained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_one_sentence_and_for_programs_one_problem() {
    let server = Server::private();
    let muster = CommandLine::log_in(&server);
    let name = unique("nothing");
    let (exit, said, complained) = muster.run(&["node", "show", &name, "--output", "json"]);
    assert_eq!(exit, Some(1));
    let problem: Value = serde_json::from_str(&said).expect("one problem object");
    assert_eq!(problem["status"], 404);
    assert!(
        complained.contains(&name) && complained.lines().count() == 1,
        "{complained}"
    );
    let (exit, _, complained) = muster.run(&["no-such-noun"]);
    assert_eq!(exit, Some(2), "{complained}");
    server.kill();
    let (exit, _, complained) = muster.run(&["status"]);
    assert_eq!(exit, Some(1));
    assert!(
        complained.contains("check that muster-server runs there"),
        "{complained}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn known_nodes_whose_certificates_have_ended_are_approved_together() {
    let server = Server::private();
    server.restart_in(&[("MUSTER_CERTIFICATES__NODE_LIFETIME", "10s")]);
    let muster = CommandLine::log_in(&server);
    let member = Applicant::new("terr01").await.join(&server).await;
    within(
        Duration::from_secs(40),
        "the certificate ends",
        async || match member.try_connect().await {
            Ok(connection) => member.heartbeat(&connection, &[]).await.is_err().then_some(()),
            Err(_) => Some(()),
        },
    )
    .await;
    let back = Applicant::with_key("terr01", member.into_key()).await;
    let transcript = back.apply(&server).await;
    let (exit, said, _) = muster.run(&["join", "approve", "--renewals", "--yes"]);
    assert_eq!((exit, said.as_str()), (Some(0), "Approved 1 of 1.\n"));
    assert!(back.ask(&server, &transcript, 1).await.issued.is_some());
    let (exit, said, _) = muster.run(&["join", "approve", "--renewals", "--yes"]);
    assert_eq!(
        (exit, said.as_str()),
        (Some(0), "No known node waits for a renewal.\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_locked_out_by_rotations_of_the_authority() {
    let server = Server::private();
    let [rotates, logs_in, sleeps] = [(); 3].map(|()| CommandLine::log_in(&server));
    let works = |muster: &CommandLine, when: &str| {
        let (exit, _, complained) = muster.run(&["whoami"]);
        assert_eq!(exit, Some(0), "{when}: {complained}");
    };
    for round in 1..=3 {
        for step in ["prepare", "activate", "taint", "revoke"] {
            let (exit, _, complained) = rotates.run(&["ca", "rotate", step, "--force"]);
            assert_eq!(exit, Some(0), "{step} in rotation {round}: {complained}");
            works(&logs_in, step);
        }
        // Over the bridge, and from the next log-in on by the new root.
        logs_in.log_in_again(&server);
    }
    // Each root vouches for the next one, so that who was away for all of them works and goes over to the last.
    works(&sleeps, "after three rotations");
    sleeps.log_in_again(&server);
    works(&sleeps, "by the root of today");
    let stranger = Server::private();
    let address = format!("https://{}", stranger.front_end());
    let root = server.root().to_string();
    let (exit, _, complained) = sleeps.run(&["whoami", "--server", &address, "--ca-fingerprint", &root]);
    assert_ne!(exit, Some(0));
    let (_, _, refused) = sleeps.run(&[
        "login",
        &address,
        "--user",
        "admin@SPOTFIRE",
        "--password-file",
        &password(&server),
        "--ca-fingerprint",
        &root,
    ]);
    assert!(
        refused.contains("is not accepted")
            && refused.contains("muster login URL --ca-fingerprint FINGERPRINT"),
        "{complained}{refused}"
    );
}

fn password(server: &Server) -> String {
    let file = server.state_dir().join("admin-password");
    file.to_string_lossy().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_deleted_one_by_one_or_when_nothing_speaks_for_keeping_them() {
    let server = Server::private();
    let admin = server.admin().await;
    let command_line = CommandLine::log_in(&server);
    let word = "a long enough password";
    for name in [
        "ann@SPOTFIRE",
        "bob@SPOTFIRE",
        "cid@SPOTFIRE",
        "dan@SPOTFIRE",
        "eve@SPOTFIRE",
    ] {
        admin.create_user(name, word).await;
    }
    admin.create("/api/v1/groups", "Circle").await;
    admin.add_member("Circle", "bob@SPOTFIRE").await;
    let run = |arguments: &[&str]| command_line.run(arguments);
    let done = |arguments: &[&str]| {
        let (code, said, complained) = run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {complained}");
        said
    };
    let (code, _, complained) = run(&["user", "delete", "ann@SPOTFIRE"]);
    assert!(
        code == Some(1) && complained.contains("give --yes"),
        "{complained}"
    );
    assert_eq!(
        done(&["user", "delete", "ann@SPOTFIRE", "--yes"]),
        "Deleted ann@SPOTFIRE.\n"
    );
    assert_eq!(run(&["user", "enable", "ann@SPOTFIRE"]).0, Some(1));
    let (code, _, complained) = run(&["user", "delete", "admin@SPOTFIRE", "--yes"]);
    assert!(
        code == Some(1) && complained.contains("their own account"),
        "{complained}"
    );
    done(&["compat", "delete-user", "-u", "eve@SPOTFIRE"]);
    assert_eq!(
        run(&["compat", "delete-user", "--username=eve@SPOTFIRE"]).0,
        Some(1)
    );
    assert_eq!(run(&["compat", "delete-user"]).0, Some(2));

    // Bob is in a group, and dan has logged in once; cid is of no use to anybody.
    muster_tests::Person::log_in(&server, "dan@SPOTFIRE", word).await;
    for name in ["bob@SPOTFIRE", "cid@SPOTFIRE", "dan@SPOTFIRE"] {
        done(&["user", "disable", name]);
    }
    let listed = done(&["user", "delete-disabled", "--dry-run"]);
    assert!(
        listed.contains("cid@SPOTFIRE") && !listed.contains("bob@") && !listed.contains("dan@"),
        "{listed}"
    );
    let (code, _, complained) = run(&["compat", "delete-disabled-users"]);
    assert!(code == Some(1) && complained.contains("give -f"), "{complained}");
    let said = done(&["compat", "delete-disabled-users", "-f"]);
    assert_eq!(said, "Deleted cid@SPOTFIRE.\n");
    let said = done(&["compat", "delete-disabled-users", "-m", "false", "-f"]);
    assert_eq!(said, "Deleted bob@SPOTFIRE.\n");
    let said = done(&["user", "delete-disabled", "--even-once-active", "--yes"]);
    assert_eq!(said, "Deleted dan@SPOTFIRE.\n");
    let said = done(&[
        "compat",
        "delete-disabled-users",
        "--keep-library-authors=false",
        "-f",
    ]);
    assert!(said.contains("nothing was deleted"), "{said}");
    assert_eq!(admin.audited("user.deleted").await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn preferences_of_groups_are_set_and_shown_with_the_group_that_decides() {
    let server = Server::private();
    let admin = server.admin().await;
    let command_line = CommandLine::log_in(&server);
    for group in ["Circle", "Staff", "Visitors"] {
        admin.create("/api/v1/groups", group).await;
    }
    admin.create_user("ann@SPOTFIRE", "a long enough password").await;
    admin.add_member("Circle", "ann@SPOTFIRE").await;
    let done = |arguments: &[&str]| {
        let (code, said, complained) = command_line.run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {complained}");
        said
    };
    let require = "Require valid signature to allow trust";
    for (group, value) in [("Staff", "true"), ("Visitors", "false")] {
        done(&["group", "add-parent", "Circle", group]);
        done(&["group", "preference", "set", group, require, value]);
    }
    let held = || {
        let said = done(&["--output", "json", "user", "preferences", "ann@SPOTFIRE"]);
        let held: Value = serde_json::from_str(&said).expect("JSON");
        (held[0]["value"].clone(), held[0]["from"].clone())
    };
    assert_eq!(held(), ("true".into(), "Staff".into()));
    done(&["group", "set-primary", "Circle", "Visitors"]);
    assert_eq!(held(), ("false".into(), "Visitors".into()));
    let shown = done(&["group", "show", "Circle"]);
    assert!(shown.contains("Visitors") && !shown.contains(require), "{shown}");
    assert!(done(&["group", "show", "Staff"]).contains(&format!("{require} = true")));
    assert!(done(&["group", "preference", "show", "Circle"]).contains("Visitors"));
    done(&["group", "clear-primary", "Circle", "Visitors"]);
    done(&["group", "preference", "clear", "Staff", require]);
    assert_eq!(held(), ("false".into(), "Visitors".into()));
    let (code, _, complained) = command_line.run(&["group", "preference", "clear", "Staff", require]);
    assert_eq!(code, Some(1), "{complained}");
    let (code, _, complained) =
        command_line.run(&["group", "preference", "set", "Staff", require, "perhaps"]);
    assert!(
        code == Some(1) && complained.contains("true or false"),
        "{complained}"
    );
    assert_eq!(admin.audited("admin.set_preference").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn licenses_are_listed_with_the_group_that_gives_them() {
    let server = Server::private();
    let admin = server.admin().await;
    let muster = CommandLine::log_in(&server);
    for (group, feature) in [
        ("Circle", "Author Scripts"),
        ("Staff", "Trust Mods"),
        ("Visitors", "Use External Actions"),
    ] {
        admin.create("/api/v1/groups", group).await;
        admin.put_empty(&["groups", group, "licenses", feature]).await;
    }
    admin.put_empty(&["groups", "Circle", "parents", "Staff"]).await;
    admin
        .put_empty(&["groups", "Staff", "licenses", "Author Scripts"])
        .await;
    let ann = server.person(&["Circle"]).await;
    let held = |arguments: &[&str]| {
        let (code, said, complained) =
            muster.run(&[&["--output", "json", "license", "list"], arguments].concat());
        assert_eq!(code, Some(0), "{arguments:?}: {complained}");
        let held: Vec<Value> = serde_json::from_str(&said).expect("JSON");
        let pair = |held: &Value| format!("{} from {}", held["feature"], held["from"]).replace('"', "");
        held.iter().map(pair).collect::<Vec<_>>()
    };
    let own = ["Author Scripts from Circle"];
    assert_eq!(held(&["--group", "Circle"]), own);
    // From the nearest group; what everybody has is not shown here.
    let inherited = held(&["--group", "Circle", "--inherited"]);
    let of_circle = |held: &[String]| -> Vec<String> {
        let mut of_circle: Vec<_> = held
            .iter()
            .filter(|held| !held.ends_with("Everyone"))
            .cloned()
            .collect();
        of_circle.sort();
        of_circle
    };
    assert_eq!(
        of_circle(&inherited),
        ["Author Scripts from Circle", "Trust Mods from Staff"]
    );
    let hers = held(&["--user", ann.name()]);
    assert_eq!(of_circle(&hers), of_circle(&inherited));
    let shown: Vec<Value> = ann.show(&["users", ann.name(), "licenses"]).await;
    assert_eq!(shown.len(), hers.len(), "everybody may look at their own");
    let others = problem(
        ann.send(Request::get("/api/v1/users/admin@SPOTFIRE/licenses"))
            .await,
    );
    assert_eq!(others.status, 403, "{others:?}");
    for wrong in [["--user", "nobody@SPOTFIRE"], ["--group", "Nobody"]] {
        let (code, _, complained) = muster.run(&[&["license", "list"], &wrong[..]].concat());
        assert!(
            code == Some(1) && complained.contains("shows all of them"),
            "{complained}"
        );
    }
    for wrong in [&["--inherited"][..], &["--user", "a@B", "--group", "C"]] {
        let (code, _, complained) = muster.run(&[&["license", "list"], wrong].concat());
        assert_eq!(code, Some(2), "{complained}");
    }
}
