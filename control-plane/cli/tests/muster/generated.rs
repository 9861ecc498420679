use crate::program::Home;

#[test]
fn completions_know_the_commands_in_three_shells() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.muster(&["completions", shell]).printed();
        for word in ["set-password", "explain", "uncordon", "ca-fingerprint"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
    let script = home.muster(&["completions", "bash"]).printed();
    let path = home.write("muster.bash", &script);
    let output = home
        .command("bash")
        .args(["-n", &path])
        .output()
        .expect("bash starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let home = Home::new();
    std::fs::create_dir(home.path().join("man")).expect("a folder");
    home.muster(&["man", "man"]).printed();
    for page in ["muster.1", "muster-join-approve.1", "muster-function-run.1"] {
        let text = home.read(&format!("man/{page}"));
        assert!(
            text.contains(".SH NAME") && (page == "muster.1" || text.contains("Examples")),
            "{page}"
        );
    }
    let complaint = home.muster(&["man", "missing"]).complaint(1);
    assert!(complaint.contains("name an existing folder"), "{complaint}");
}

#[test]
fn the_documented_commands_are_listed_with_their_state() {
    let home = Home::new();
    let listed = home.muster(&["compat", "--list"]).printed();
    for name in ["create-user", "config-ldap-group-sync", "graceful-shutdown"] {
        let line = listed
            .lines()
            .find(|line| line.split(' ').next() == Some(name))
            .expect(name);
        assert!(line.contains("  not yet  "), "{line}");
    }
    let json = home.muster(&["compat", "--list", "--output", "json"]).json();
    assert_eq!(json.as_array().map(Vec::len), Some(listed.lines().count() - 1));
    for name in [
        "list-nodes",
        "untrust-node",
        "delete-node",
        "list-certificates",
        "reset-trust",
        "reset-code-trust",
        "import-code-signing-certificate",
    ] {
        let line = listed
            .lines()
            .find(|line| line.split(' ').next() == Some(name))
            .expect(name);
        assert!(line.contains("  partly (-b, -k and -t are refused"), "{line}");
    }
    let complaint = home.muster(&["compat", "list-users"]).complaint(1);
    assert_eq!(
        complaint,
        "list-users does not work under its documented name yet; use muster user list\n"
    );
    let complaint = home.muster(&["compat", "config-oidc", "-e", "true"]).complaint(1);
    assert_eq!(
        complaint,
        "config-oidc does not work yet: this version has nothing that does the same\n"
    );
    let complaint = home.muster(&["compat", "frobnicate"]).complaint(2);
    assert_eq!(
        complaint,
        "\"frobnicate\" is not a documented command; muster compat --list shows all\n"
    );
}

#[test]
fn documented_commands_take_global_options_and_have_companions() {
    let home = Home::new();
    let done = home.muster(&["compat", "list-users", "--output", "json"]);
    assert_eq!(
        (done.json()["type"].as_str(), done.code),
        (Some("urn:muster:problem:not-yet"), Some(1))
    );
    let help = home.muster(&["compat", "list-nodes", "--help"]).printed();
    assert!(
        help.contains("Usage: muster compat list-nodes") && help.contains("--output json"),
        "{help}"
    );
    let complaint = home
        .muster(&["compat", "add-code-trust", "--trust-user", "a@B"])
        .complaint(2);
    assert!(
        complaint.contains("muster compat add-code-trust --help"),
        "{complaint}"
    );
    for (beside, usage) in [
        ("unblock-code-trust", "muster compat unblock-code-trust"),
        ("explain-code-trust", "muster trust explain"),
    ] {
        let help = home.muster(&["compat", beside, "--help"]).printed();
        assert!(help.contains(&format!("Usage: {usage}")), "{help}");
        let complaint = home.muster(&["compat", beside, "--frobnicate"]).complaint(2);
        assert!(complaint.contains("--frobnicate"), "{complaint}");
    }
}

#[test]
fn what_needs_no_session_needs_no_home() {
    let home = Home::new();
    let file = home.write("cases.json", "{}");
    let nowhere = [("HOME", ""), ("XDG_CONFIG_HOME", "")];
    let done = home.muster_with(&["policy", "test", &file], &nowhere);
    let complaint = done.complaint(2);
    assert!(!complaint.contains("HOME"), "{complaint}");
    assert_eq!(home.muster_with(&["compat", "--list"], &nowhere).code, Some(0));
}
