//! The story of a join, and the ways it goes wrong.

use std::time::Duration;

use muster_agent::{
    credentials::Credentials,
    home::Home,
    join::{Joined, Joiner, News},
};
use muster_daemon::{Clock, Random};
use muster_ids::Digest;

use crate::{
    node::{GENEROUS, Node},
    registration::{Registration, Will},
};

#[tokio::test]
async fn a_pinned_join_shows_the_code_is_approved_and_makes_a_member() {
    let control = Registration::start(Will::Approve).await;
    let node = Node::new();
    let pin = control.pin();
    let arguments = [
        "join",
        &control.url(),
        "--capability",
        "R",
        "--name",
        "terr01",
        "--ca-fingerprint",
        &pin,
    ];
    let ended = node.run(&arguments, None).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let code = control.codes().pop().expect("one request");
    assert!(
        ended.err.contains(&format!("Verification code: {code}")),
        "{}",
        ended.err
    );
    let status = node.status().await;
    assert_eq!(
        (&status["state"], &status["name"]),
        (&"trusted".into(), &"terr01".into())
    );
    assert_eq!(status["ca_fingerprints"][0], pin.as_str());
    let written = std::fs::read_to_string(node.config()).expect("node.toml");
    assert!(
        written.contains(&pin) && written.contains("capabilities = [\"R\"]"),
        "{written}"
    );
    let again = node.run(&arguments, None).await;
    assert!(
        again.code == Some(1) && again.err.contains("a member already"),
        "{}",
        again.err
    );
}

#[tokio::test]
async fn another_collective_than_the_pinned_one_is_told_nothing() {
    let control = Registration::start(Will::Approve).await;
    let node = Node::new();
    let pin = Digest::of(b"another root").to_string();
    let arguments = [
        "join",
        &control.url(),
        "--capability",
        "R",
        "--ca-fingerprint",
        &pin,
        "--output",
        "json",
    ];
    let ended = node.run(&arguments, None).await;
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.err.contains(&pin) && ended.err.contains(&control.pin()),
        "{}",
        ended.err
    );
    let problem: serde_json::Value = serde_json::from_str(&ended.out).expect("a problem object");
    assert_eq!(problem["type"], "urn:muster:problem:join");
    assert!(control.codes().is_empty(), "nothing was revealed");
}

#[tokio::test]
async fn without_a_pin_a_node_stays_unconfirmed_until_a_person_confirms() {
    let control = Registration::start(Will::Approve).await;
    let node = Node::new();
    let ended = node
        .run(&["join", &control.url(), "--capability", "PYTHON"], None)
        .await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.err.contains("muster-node confirm"), "{}", ended.err);
    assert_eq!(node.status().await["state"], "unconfirmed");
    let other = Digest::of(b"another root").to_string();
    let refused = node.run(&["confirm", "--ca-fingerprint", &other], None).await;
    assert!(
        refused.code == Some(1) && refused.err.contains(&control.pin()),
        "{}",
        refused.err
    );
    assert_eq!(node.status().await["state"], "unconfirmed");
    let asked = node.run(&["confirm"], None).await;
    assert!(
        asked.code == Some(1) && asked.err.contains("no terminal"),
        "{}",
        asked.err
    );
    let confirmed = node
        .run(&["confirm", "--ca-fingerprint", &control.pin()], None)
        .await;
    assert_eq!(confirmed.code, Some(0), "{}", confirmed.err);
    assert_eq!(node.status().await["state"], "trusted");
}

#[tokio::test]
async fn a_rejection_is_said_with_its_reason_and_the_next_join_has_another_key() {
    let control = Registration::start(Will::Reject).await;
    let node = Node::new();
    let pin = control.pin();
    let arguments = [
        "join",
        &control.url(),
        "--capability",
        "R",
        "--ca-fingerprint",
        &pin,
    ];
    let ended = node.run(&arguments, None).await;
    assert!(
        ended.code == Some(1) && ended.err.contains("rejected (\"not ours\")"),
        "{}",
        ended.err
    );
    assert_eq!(node.status().await["state"], "rejected");
    let service = node.run(&["run"], None).await;
    assert!(
        service.code == Some(1) && service.err.contains("rejected"),
        "{}",
        service.err
    );
    control.decide(Will::Approve);
    let again = node.run(&arguments, None).await;
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert_eq!(control.log.lock().expect("no panic").keys.len(), 2);
}

#[tokio::test]
async fn forged_and_repeated_answers_and_certificates_for_other_keys_are_not_believed() {
    for (will, words) in [
        (Will::Forge, "is not accepted"),
        (Will::OtherKey, "for another key"),
        (Will::Repeat, "another question"),
    ] {
        let control = Registration::start(will).await;
        let node = Node::new();
        let arguments = [
            "join",
            &control.url(),
            "--capability",
            "R",
            "--ca-fingerprint",
            &control.pin(),
        ];
        let (mut child, line) = node.until(&arguments, words).await;
        assert!(line.contains("trying again"), "{line}");
        child.kill().await.expect("killed");
        assert_eq!(node.status().await["state"], "joining", "{will:?}");
    }
}

#[tokio::test]
async fn a_node_whose_answers_cannot_be_believed_begins_anew_after_an_hour() {
    let control = Registration::start(Will::Repeat).await;
    let node = Node::new();
    let arguments = [
        "join",
        &control.url(),
        "--capability",
        "R",
        "--ca-fingerprint",
        &control.pin(),
    ];
    let (mut child, _) = node.until(&arguments, "another question").await;
    child.kill().await.expect("killed");
    let first = control.codes();
    let home = Home::open(&node.state()).expect("the folder of the node");
    let (clock, hand) = Clock::by_hand(Clock::system().unix_ms());
    hand.advance(Duration::from_mins(61));
    let credentials = Credentials::load(&home, 0).expect("readable").expect("joining");
    let mut joiner = Joiner::new(credentials, None, clock, Random::system());
    let told = joiner.run(|news| {
        if let News::Code { code, .. } = news
            && !first.contains(&code.to_string())
        {
            control.decide(Will::Approve);
        }
    });
    let joined = tokio::time::timeout(GENEROUS, told).await.expect("it goes on");
    assert_eq!(joined.expect("a member"), Joined::Trusted);
    assert_eq!(control.codes().len(), first.len() + 1, "one exchange more");
}

#[tokio::test]
async fn an_offer_of_a_later_version_is_said_with_what_to_do() {
    let control = Registration::start(Will::SpeakLater).await;
    let node = Node::new();
    let arguments = [
        "join",
        &control.url(),
        "--capability",
        "R",
        "--ca-fingerprint",
        &control.pin(),
    ];
    let ended = node.run(&arguments, None).await;
    assert!(
        ended.code == Some(1)
            && ended.err.contains("unknown field `later`")
            && ended
                .err
                .contains("install the muster-node of the control plane's version"),
        "{}",
        ended.err
    );
    assert!(control.codes().is_empty(), "nothing was revealed");
    control.decide(Will::Approve);
    let ended = node.run(&arguments, None).await;
    assert_eq!(ended.code, Some(0), "it is not stranded: {}", ended.err);
}

#[tokio::test]
async fn a_pending_join_is_locked_survives_its_process_and_is_continued_by_the_service() {
    let control = Registration::start(Will::Wait).await;
    let node = Node::new();
    let arguments = [
        "join",
        &control.url(),
        "--capability",
        "R",
        "--ca-fingerprint",
        &control.pin(),
    ];
    let (mut child, line) = node.until(&arguments, "Verification code").await;
    let busy = node.run(&["run"], None).await;
    assert!(
        busy.code == Some(1) && busy.err.contains("in use by muster-node"),
        "{}",
        busy.err
    );
    child.kill().await.expect("killed");
    let status = node.status().await;
    assert!(line.contains(status["code"].as_str().expect("a code")), "{line}");
    control.decide(Will::Approve);
    let (mut service, _) = node.until(&["run"], "approved").await;
    service.kill().await.expect("killed");
    assert_eq!(node.status().await["state"], "trusted");
    assert_eq!(control.log.lock().expect("no panic").keys.len(), 1);
}

#[tokio::test]
async fn the_service_begins_no_join_that_nothing_would_prove() {
    let control = Registration::start(Will::Approve).await;
    let node = Node::new();
    let registration = format!("[control_plane]\nregistration = [\"{}\"]\n", control.url());
    std::fs::write(node.config(), &registration).expect("written");
    let ended = node.run(&["run"], None).await;
    assert!(
        ended.code == Some(1) && ended.err.contains("join.ca_fingerprint"),
        "{}",
        ended.err
    );
    assert_eq!(node.status().await["state"], "not_joined");
    let more = format!("{registration}[node]\ncapabilities = [\"R\"]\n[join]\naccept_unverified_ca = true\n");
    std::fs::write(node.config(), more).expect("written");
    let (mut service, _) = node.until(&["run"], "muster-node confirm").await;
    let confirmed = node
        .run(&["confirm", "--ca-fingerprint", &control.pin()], None)
        .await;
    assert_eq!(
        confirmed.code,
        Some(0),
        "a waiting service leaves the lock: {}",
        confirmed.err
    );
    service.kill().await.expect("killed");
}

#[tokio::test]
async fn a_damaged_identity_is_set_aside_and_the_service_makes_no_other() {
    let control = Registration::start(Will::Approve).await;
    let node = Node::new();
    let arguments = [
        "join",
        &control.url(),
        "--capability",
        "R",
        "--ca-fingerprint",
        &control.pin(),
    ];
    assert_eq!(node.run(&arguments, None).await.code, Some(0));
    let identity = node.state().join("identity.json");
    let bytes = std::fs::read(&identity).expect("read");
    muster_daemon::file::write(&identity, &bytes[..bytes.len() - 9], 0o600, "test").expect("cut");
    let ended = node.run(&["run"], None).await;
    assert!(
        ended.code == Some(1) && ended.err.contains("identity.json.damaged-"),
        "{}",
        ended.err
    );
    let again = node.run(&["run"], None).await;
    assert!(
        again.code == Some(1) && again.err.contains("damaged"),
        "{}",
        again.err
    );
    assert_eq!(control.log.lock().expect("no panic").keys.len(), 1);
}

#[tokio::test]
async fn leaving_forgets_everything_even_when_nobody_can_be_told() {
    let control = Registration::start(Will::Approve).await;
    let node = Node::new();
    let arguments = [
        "join",
        &control.url(),
        "--capability",
        "R",
        "--ca-fingerprint",
        &control.pin(),
    ];
    assert_eq!(node.run(&arguments, None).await.code, Some(0));
    let asked = node.run(&["leave"], None).await;
    assert!(
        asked.code == Some(1) && asked.err.contains("--yes"),
        "{}",
        asked.err
    );
    let left = node.run(&["leave", "--yes"], None).await;
    assert!(
        left.code == Some(0) && left.err.contains("could not be told"),
        "{}",
        left.err
    );
    assert_eq!(node.status().await["state"], "not_joined");
    let missing = node.run(&["confirm"], None).await;
    assert!(
        missing.code == Some(1) && missing.err.contains("has not joined"),
        "{}",
        missing.err
    );
}

#[tokio::test]
async fn folders_given_relative_to_the_present_one_are_written_as_they_are_meant() {
    let control = Registration::start(Will::Approve).await;
    let node = Node::new();
    let arguments = [
        "join",
        &control.url(),
        "--capability",
        "R",
        "--ca-fingerprint",
        &control.pin(),
    ];
    let mut command = node.command_at(&arguments, "state".as_ref());
    let ended = command
        .current_dir(node.folder())
        .output()
        .await
        .expect("started");
    assert_eq!(
        ended.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    let written = std::fs::read_to_string(node.config()).expect("node.toml");
    let folder = node.state().canonicalize().expect("made");
    assert!(written.contains(&format!("state_dir = {folder:?}")), "{written}");
    assert_eq!(node.status().await["state"], "trusted");
}

#[tokio::test]
async fn a_wrong_command_line_is_a_problem_object_for_programs() {
    let ended = Node::new().run(&["--output", "json", "join", "12"], None).await;
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    let problem: serde_json::Value = serde_json::from_str(&ended.out).expect("JSON");
    assert_eq!(problem["type"], "urn:muster:problem:usage");
}

#[tokio::test]
async fn a_wrong_command_line_is_one_sentence_for_programs() {
    let ended = Node::new().run(&["--output", "json", "explode"], None).await;
    assert_eq!(ended.code, Some(2));
    let problem: serde_json::Value = serde_json::from_str(&ended.out).expect("JSON");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(
        detail.starts_with("unrecognized subcommand 'explode'; usage: muster-node ")
            && detail.ends_with("; --help tells more"),
        "{detail}"
    );
    // What people read stays as it was.
    assert!(
        ended
            .err
            .starts_with("error: unrecognized subcommand 'explode'\n"),
        "{}",
        ended.err
    );
}
