use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::{program::Home, server::Server, terminal::Terminal};

fn server() -> Server {
    let server = Server::start();
    let session = json!({ "token": "t0ken", "user": "ann@SPOTFIRE", "expires": "2027-01-01T00:00:00.000Z" });
    server.on("POST /api/v1/sessions", 200, &session);
    server
}

#[test]
fn a_pinned_login_asks_nothing_and_its_session_is_private() {
    let (server, home) = (server(), Home::new());
    let password = home.write_private("password", "correct horse\n");
    let url = server.url();
    let done = home.muster(&[
        "login",
        &url,
        "--user",
        "ann@SPOTFIRE",
        "--password-file",
        &password,
        "--ca-fingerprint",
        &server.pin(),
    ]);
    assert_eq!(
        done.printed(),
        format!("Logged in at {url} as ann@SPOTFIRE until 2027-01-01 00:00:00Z.\n")
    );
    let login = server.asked("POST /api/v1/sessions");
    assert_eq!(
        login[0].json(),
        json!({ "user": "ann@SPOTFIRE", "password": "correct horse" })
    );
    let mode = std::fs::metadata(home.session())
        .expect("a session")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    server.on(
        "GET /api/v1/sessions/current",
        200,
        &json!({ "user": "ann@SPOTFIRE", "groups": ["Everyone", "Analysts"], "features": [] }),
    );
    assert_eq!(
        home.muster(&["whoami"]).printed(),
        "User      ann@SPOTFIRE\nGroups    Everyone, Analysts\nFeatures  -\n"
    );
    let asked = server.asked("GET /api/v1/sessions/current");
    assert_eq!(asked[0].authorization.as_deref(), Some("Bearer t0ken"));

    server.on_empty("DELETE /api/v1/sessions/current");
    assert_eq!(home.muster(&["logout"]).printed(), "Logged out.\n");
    assert!(!home.read("muster/session.json").contains("t0ken"));
    let complaint = home.muster(&["whoami"]).complaint(1);
    assert!(complaint.contains(&format!("muster login {url}")), "{complaint}");
}

#[test]
fn a_ca_file_is_remembered_too() {
    let (server, home) = (server(), Home::new());
    let ca = home.write("ca.pem", &muster_pki::pem::write_certificates([&server.root]));
    let password = home.write_private("password", "correct horse");
    let done = home.muster(&[
        "login",
        &server.url(),
        "--user",
        "ann@SPOTFIRE",
        "--password-file",
        &password,
        "--ca-file",
        &ca,
    ]);
    assert_eq!(done.code, Some(0), "{done:?}");
    std::fs::remove_file(&ca).expect("removed");
    server.on(
        "GET /api/v1/certificates?limit=1000",
        200,
        &json!({ "items": [] }),
    );
    assert_eq!(home.muster(&["cert", "list"]).printed(), "No certificates.\n");
}

#[test]
fn a_first_login_shows_the_fingerprint_of_the_authority_and_asks_once() {
    let (server, home) = (server(), Home::new());
    let mut terminal = Terminal::muster(&home, &format!("login {}", server.url()));
    terminal
        .wait_for("Trust this control plane? [y/N] ")
        .type_line("y");
    terminal
        .wait_for("User (name@DOMAIN): ")
        .type_line("ann@SPOTFIRE");
    terminal
        .wait_for("Password of ann@SPOTFIRE: ")
        .type_secret("correct horse");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    let expected = format!(
        "The certificate authority of {} has the fingerprint\n  {}\nCompare it with the one that muster-server init printed.\n",
        server.url(),
        server.pin()
    );
    assert!(shown.contains(&expected), "{shown}");
    assert!(!shown.contains("correct horse"), "{shown}");

    // The second time it is known.
    let mut terminal = Terminal::muster(&home, "login --user ann@SPOTFIRE");
    terminal
        .wait_for("Password of ann@SPOTFIRE: ")
        .type_secret("correct horse");
    let (code, shown) = terminal.end();
    assert!(code == Some(0) && !shown.contains("[y/N]"), "{shown}");
    assert_eq!(server.asked("POST /api/v1/sessions").len(), 2);
}

#[test]
fn nothing_is_sent_to_a_control_plane_that_is_not_trusted() {
    let (server, home) = (server(), Home::new());
    let password = home.write_private("password", "correct horse");
    let url = server.url();
    let login = [
        "login",
        &url,
        "--user",
        "ann@SPOTFIRE",
        "--password-file",
        &password,
    ];

    let mut terminal = Terminal::muster(&home, &login.join(" "));
    terminal.wait_for("[y/N] ").type_line("");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(1), "{shown}");
    assert!(
        shown.contains("Not logged in: the control plane is not trusted."),
        "{shown}"
    );

    let complaint = home.muster(&login).complaint(1);
    assert!(
        complaint.contains("--ca-fingerprint") && complaint.contains(&server.pin()),
        "{complaint}"
    );

    let other = muster_ids::Digest::of(b"another").to_string();
    let complaint = home
        .muster(&[&login[..], &["--ca-fingerprint", &other]].concat())
        .complaint(1);
    assert!(
        complaint.contains("its certificate is not accepted"),
        "{complaint}"
    );

    assert!(server.asked("").is_empty());
    assert!(!home.session().exists());
}

#[test]
fn a_token_is_not_shown_to_another_server() {
    let (ours, other) = (server(), Server::start());
    let home = Home::at(&ours);
    let elsewhere = [
        "status",
        "--server",
        &other.url(),
        "--ca-fingerprint",
        &other.pin(),
    ];
    let complaint = home.muster(&elsewhere).complaint(1);
    assert!(complaint.contains("not logged in"), "{complaint}");
    let complaint = home.muster(&elsewhere[..3]).complaint(1);
    assert!(complaint.contains("is not known here"), "{complaint}");
    assert!(other.asked("").is_empty());
}

#[test]
fn automation_takes_a_token_from_a_private_file() {
    let (server, home) = (Server::start(), Home::new());
    server.on(
        "GET /api/v1/certificates?limit=1000",
        200,
        &json!({ "items": [] }),
    );
    let token = home.write_private("token", "from-a-file\n");
    let (url, pin) = (server.url(), server.pin());
    let arguments = ["cert", "list", "--server", &url, "--ca-fingerprint", &pin];
    let done = home.muster_with(&arguments, &[("MUSTER_TOKEN_FILE", &token)]);
    assert_eq!(done.printed(), "No certificates.\n");
    let asked = server.asked("GET /api/v1/certificates?limit=1000");
    assert_eq!(asked[0].authorization.as_deref(), Some("Bearer from-a-file"));

    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).expect("mode");
    let complaint = home
        .muster_with(&arguments, &[("MUSTER_TOKEN_FILE", &token)])
        .complaint(1);
    assert!(
        complaint.contains("chmod 0600") && !complaint.contains("from-a-file"),
        "{complaint}"
    );
}

#[test]
fn a_refused_password_and_an_absent_server_are_told_in_words() {
    let (server, home) = (Server::start(), Home::new());
    server.refuse(
        "POST /api/v1/sessions",
        401,
        "not-authenticated",
        "User or password is wrong; try again.",
    );
    let password = home.write_private("password", "wrong");
    let login = [
        "login",
        "--user",
        "ann@SPOTFIRE",
        "--password-file",
        &password,
        "--ca-fingerprint",
        &server.pin(),
    ];
    let done = home.muster(&[&login[..], &[&server.url(), "--output", "json"]].concat());
    assert_eq!(done.json()["type"], "urn:muster:problem:not-authenticated");
    assert_eq!(done.complaint(1), "User or password is wrong; try again.\n");
    assert!(!home.session().exists());

    let complaint = home
        .muster(&[&login[..], &["https://localhost:1"]].concat())
        .complaint(1);
    assert!(
        complaint.contains("cannot reach the control plane at https://localhost:1"),
        "{complaint}"
    );
}
