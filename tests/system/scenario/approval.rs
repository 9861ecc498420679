//! Approval: who waits, who says yes, and what becomes of it.

use muster_tests::{
    Applicant, Blank, CommandLine, Person, Server, Settings, answer_of, needs_crash_points, problem, refusal,
    until,
};
use muster_wire::{admin::v1::join::Join, node::v1::join::REVEAL_PATH};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::queue::{wait_from, waiting};

const TWO_FOR_R: &str = "[[join.approvals]]\ncapability = \"R\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn join_22_a_name_that_two_requests_share_approves_neither() {
    let server = Server::private();
    let (one, other) = (Applicant::new("terr01").await, Applicant::new("TERR01").await);
    let (first, second) = (one.apply(&server).await, other.apply(&server).await);
    let admin = server.admin().await;
    let code = json!({ "code": first.code().to_string() });
    for name in ["terr01", "TERR01"] {
        assert_eq!(
            refusal(admin.tell(&["joins", name, "approve"], &code).await).0,
            422
        );
        let by_name = json!({ "name": name });
        let id = first.join_id().to_string();
        assert_eq!(
            refusal(admin.tell(&["joins", &id, "approve"], &by_name).await).0,
            422
        );
    }
    let muster = CommandLine::log_in(&server);
    let (exit, _, complained) = muster.run(&["join", "approve", "terr01", "--yes"]);
    assert_eq!(exit, Some(2), "{complained}");
    assert_eq!(waiting(&admin).await.len(), 2);

    let id = second.join_id().to_string();
    let fingerprint = other.fingerprint().to_string();
    let (exit, _, complained) = muster.run(&["join", "approve", &id, "--fingerprint", &fingerprint, "--yes"]);
    assert_eq!(exit, Some(0), "{complained}");
    assert_eq!(other.ask(&server, &second, 1).await.state, "issued");
    assert_eq!(one.ask(&server, &first, 1).await.state, "superseded");
    let superseded: Value = admin.get("/api/v1/joins?state=superseded").await;
    assert_eq!(
        superseded["items"][0]["name"], "terr01",
        "the one that lost is still to be seen"
    );
    let (exit, listed, _) = muster.run(&["join", "list", "--state", "superseded"]);
    assert!(exit == Some(0) && listed.contains("terr01"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn join_23_of_two_administrators_who_approve_and_deny_at_once_one_decides() {
    let server = Server::shared();
    for _ in 0..8 {
        let (yes, no) = (server.administrator().await, server.administrator().await);
        let node = Applicant::new(&muster_tests::unique("terr")).await;
        let transcript = node.apply(server).await;
        let id = transcript.join_id().to_string();
        let code = json!({ "code": transcript.code().to_string() });
        let reason = json!({ "reason": "not ours" });
        let (approve, reject) = (
            ["joins", id.as_str(), "approve"],
            ["joins", id.as_str(), "reject"],
        );
        let (approved, rejected) = tokio::join!(yes.tell(&approve, &code), no.tell(&reject, &reason));
        assert_ne!(approved.is_ok(), rejected.is_ok(), "exactly one outcome");
        let (state, event, winner, loser) = if approved.is_ok() {
            ("issued", "join.approved", &yes, &no)
        } else {
            ("rejected", "join.rejected", &no, &yes)
        };
        assert_eq!(node.ask(server, &transcript, 1).await.state, state);
        let late = if approved.is_ok() { rejected } else { approved };
        assert_eq!(refusal(late), (409, "join-state".to_owned()));
        let admin = server.admin().await;
        for (event, person) in [(event, winner), ("join.answer_refused", loser)] {
            let rows = admin.audited(event).await;
            let actor = format!("user {}", person.name());
            let mine = rows
                .iter()
                .filter(|row| row["actor"] == actor.as_str() && row["detail"]["join"] == id.as_str());
            assert_eq!(mine.count(), 1, "{event} by {actor}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn join_24_the_same_person_in_two_sessions_is_one_person() {
    let server = Server::start(&Settings {
        join: TWO_FOR_R.to_owned(),
        ..Settings::default()
    });
    let ann = server.administrator().await;
    let again = Person::log_in(&server, ann.name(), muster_tests::PASSWORD).await;
    let bob = server.administrator().await;
    let node = Applicant::new("terr01").await;
    let transcript = node.apply(&server).await;
    let voted = vote(&ann, &transcript).await;
    assert_eq!(
        (
            voted.state.as_str(),
            voted.approvals.len(),
            voted.approvals_needed
        ),
        ("pending", 1, 2)
    );
    assert_eq!(node.ask(&server, &transcript, 1).await.state, "pending");
    for person in [&ann, &again] {
        let id = transcript.join_id().to_string();
        let code = json!({ "code": transcript.code().to_string() });
        let said = problem(person.tell(&["joins", &id, "approve"], &code).await);
        assert!(
            said.status == 409 && said.detail.contains("another person"),
            "{}",
            said.detail
        );
    }
    let muster = CommandLine::log_in(&server);
    let (_, listed, _) = muster.run(&["join", "list"]);
    assert!(listed.contains("1 of 2 approvals"), "{listed}");

    // Each of the two types the code; a wrong one is no vote.
    let id = transcript.join_id().to_string();
    let wrong = json!({ "code": "0000-0000-0000" });
    assert_eq!(refusal(bob.tell(&["joins", &id, "approve"], &wrong).await).0, 404);
    assert_eq!(server.admin().await.join(&id).await.approvals.len(), 1);
    assert_eq!(vote(&bob, &transcript).await.state, "issued");
    assert_eq!(node.ask(&server, &transcript, 2).await.state, "issued");
    let approved = server.admin().await.audited("join.approved").await;
    let names = json!([ann.name(), bob.name()]);
    assert_eq!(approved[0]["detail"]["approvals"], names);

    // What needs nobody else is approved by one.
    let mut terr = Applicant::new("terr02").await;
    terr.hello.capabilities = vec!["TERR".to_owned()];
    let transcript = terr.apply(&server).await;
    assert_eq!(vote(&ann, &transcript).await.state, "issued");
    // And no token lets one person do alone what two must.
    let token = json!({ "capabilities": ["R"] });
    let refused = server.admin().await.post("/api/v1/join-tokens", &token).await;
    assert_eq!(refusal(refused), (409, "needs-people".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn join_25_the_vote_of_one_who_lost_the_right_is_void() {
    let server = Server::start(&Settings {
        join: TWO_FOR_R.to_owned(),
        ..Settings::default()
    });
    let admin = server.admin().await;
    let (ann, bob, eve) = (
        server.administrator().await,
        server.administrator().await,
        server.administrator().await,
    );
    let node = Applicant::new("terr01").await;
    let transcript = node.apply(&server).await;
    vote(&ann, &transcript).await;
    admin
        .delete(&["groups", "Administrator", "members", ann.name()])
        .await
        .expect("removed");
    let voted = vote(&bob, &transcript).await;
    assert_eq!((voted.state.as_str(), voted.approvals.len()), ("pending", 1));
    assert_eq!(
        voted.void_approvals.first().map(muster_ids::UserName::as_str),
        Some(ann.name())
    );
    let void = admin.audited("join.vote_void").await;
    assert_eq!(void[0]["detail"]["user"], ann.name());

    // A disabled voter does not count either.
    admin
        .patch(&["users", bob.name()], &json!({ "state": "disabled" }))
        .await
        .expect("disabled");
    let voted = vote(&eve, &transcript).await;
    assert_eq!((voted.state.as_str(), voted.approvals.len()), ("pending", 1));
    assert_eq!(vote(&admin, &transcript).await.state, "issued");

    // A vote is for one exchange: the next begins without votes.
    let node = Applicant::new("terr02").await;
    let old = node.apply(&server).await;
    vote(&eve, &old).await;
    let mut renewed = Applicant::with_key("terr02", node.key).await;
    renewed.hello.created += 1;
    let new = renewed.apply(&server).await;
    assert_eq!(admin.join(new.join_id()).await.approvals, []);
    assert_eq!(
        vote(&eve, &new).await.state,
        "pending",
        "the same person may vote for the new one"
    );
    assert_eq!(vote(&admin, &new).await.state, "issued");
}

#[tokio::test(flavor = "multi_thread")]
async fn join_26_a_request_that_waited_too_long_is_expired_and_asked_anew() {
    let server = Server::private();
    let admin = server.admin().await;
    let node = Applicant::new("terr01").await;
    let transcript = node.apply(&server).await;
    let id = transcript.join_id().to_string();
    let code = json!({ "code": transcript.code().to_string() });
    let age = |hours: i64| {
        let ms = hours * 3_600_000;
        let sql =
            format!("UPDATE joins SET revealed_at = revealed_at - {ms}, created_at = created_at - {ms}");
        server.database().change(&sql);
    };
    age(1);
    let said = problem(admin.tell(&["joins", &id, "approve"], &code).await);
    assert!(
        said.status == 409 && said.detail.contains("older than an hour"),
        "{}",
        said.detail
    );
    age(23);
    assert_eq!(
        refusal(admin.tell(&["joins", &id, "approve"], &code).await).0,
        409
    );
    assert_eq!(refusal(admin.post("/api/v1/joins/match", &code).await).0, 404);
    assert_eq!(
        node.ask(&server, &transcript, 1).await.state,
        "expired",
        "the node is told"
    );
    for (state, count) in [("pending", 0), ("expired", 1)] {
        let listed: Value = admin.get(&format!("/api/v1/joins?state={state}")).await;
        assert_eq!(listed["items"].as_array().map(Vec::len), Some(count), "{state}");
    }
    let mut again = Applicant::with_key("terr01", node.key).await;
    again.hello.created += 1;
    again.join(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn join_27_a_rule_that_goes_by_what_can_be_forged_needs_a_word_that_it_may_be() {
    let rules = "[auto_trust]\nenabled = true\nallowed_hosts = [\"auto01\"]\n\
                 allowed_ip_regexps = [\"127\\\\.0\\\\.7\\\\.1\"]\n";
    let settings = |join: String| Settings {
        join,
        ..Settings::default()
    };
    let (status, said) = Blank::new(&settings(rules.to_owned())).init(&[]);
    assert!(
        !status.success() && said.contains("auto_trust.accept_forgeable") && said.contains("join-token"),
        "{said}"
    );

    let accepted = format!("{TWO_FOR_R}{rules}accept_forgeable = true\n");
    let server = Server::start(&settings(accepted));
    assert!(server.log().contains("can be forged"), "it warns at its start");
    let (_, found) = server.command("doctor");
    assert!(found.contains("which can be forged; use join tokens"), "{found}");
    let terr = async |name: &str| {
        let mut node = Applicant::new(name).await;
        node.hello.capabilities = vec!["TERR".to_owned()];
        node
    };
    let admin = server.admin().await;
    let by_name = terr("AUTO01").await;
    let answer = by_name.enter(&server).await.expect("answered");
    assert!(answer.issued.is_some(), "issued at the reveal");
    let approved = admin.audited("join.approved").await;
    assert_eq!(
        (&approved[0]["detail"]["by"], &approved[0]["detail"]["rule"]),
        (&json!("auto_trust"), &json!("allowed_hosts auto01"))
    );
    let by_address = terr("other").await;
    wait_from(&server, &by_address, [127, 0, 7, 1]).await;
    let shown: Value = admin.show(&["nodes", "other"]).await;
    assert_eq!(shown["trust"], "trusted");

    // Whatever a person should look at waits: an address that only begins alike, a name that is taken, a known key,
    // and what two people must approve.
    wait_from(&server, &terr("neighbour").await, [127, 0, 7, 10]).await;
    wait_from(&server, &terr("other").await, [127, 0, 7, 1]).await;
    wait_from(&server, &Applicant::new("runs-r").await, [127, 0, 7, 1]).await;
    let mut again = Applicant::with_key("auto01", by_name.key).await;
    again.hello.capabilities = vec!["TERR".to_owned()];
    again.hello.created += 1;
    wait_from(&server, &again, [127, 0, 7, 1]).await;
    let names: Vec<String> = waiting(&admin)
        .await
        .iter()
        .map(|join| join.name.to_string())
        .collect();
    assert_eq!(names, ["auto01", "neighbour", "other", "runs-r"]);

    let usual = Server::shared();
    let node = Applicant::new(&muster_tests::unique("auto")).await;
    assert_eq!(
        node.enter(usual).await.expect("answered").state,
        "pending",
        "off by default"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn join_28_a_crash_between_approval_and_signature_signs_once() {
    needs_crash_points("muster-server");
    let server = Server::private();
    for (n, point) in ["join.approved", "join.signed", "join.committed"]
        .into_iter()
        .enumerate()
    {
        let node = Applicant::new(&format!("terr{n}")).await;
        let transcript = node.apply(&server).await;
        server.begin(&[("MUSTER_CRASH_AT", point)]);
        server.wait_ready();
        let id = transcript.join_id().to_string();
        let code = json!({ "code": transcript.code().to_string() });
        let admin = server.admin().await;
        admin
            .tell(&["joins", &id, "approve"], &code)
            .await
            .expect_err("the control plane is killed");
        until("it is killed", async || server.process().ended()).await;
        server.restart();
        let admin = server.admin().await;
        if point != "join.committed" {
            assert_eq!(
                admin.join(&id).await.state,
                "pending",
                "{point}: nothing happened"
            );
            admin
                .tell(&["joins", &id, "approve"], &code)
                .await
                .expect("approved");
        }
        let issued = node.ask(&server, &transcript, 1).await.issued.expect("issued");
        let database = server.database();
        let certificates = format!(
            "SELECT COUNT(*) FROM certificates WHERE subject_id = '{}'",
            issued.node
        );
        assert_eq!(database.number(&certificates), 1, "{point}: signed once");
        let named = format!("SELECT COUNT(*) FROM nodes WHERE name = 'terr{n}'");
        assert_eq!(database.number(&named), 1, "{point}");
        let approved = admin.audited("join.approved").await;
        let mine = approved.iter().filter(|row| row["detail"]["join"] == id.as_str());
        assert_eq!(mine.count(), 1, "{point}");
    }
    let serials = "SELECT COUNT(*) - COUNT(DISTINCT serial) FROM certificates";
    assert_eq!(server.database().number(serials), 0, "no serial twice");
    assert_eq!(server.admin().await.audit_broken().await, None);

    // The same with a token, where nobody types anything: the use counts once.
    let token = server.join_token(&json!({ "uses": 1 })).await;
    let node = Applicant::new("by-token").await.with_token(&token);
    let offered = node.greet(&server).await;
    let reveal = node.reveal(&offered).await;
    let bytes = serde_json::to_vec(&reveal).expect("JSON");
    for point in ["join.approved", "join.signed", "join.committed"] {
        server.begin(&[("MUSTER_CRASH_AT", point)]);
        server.wait_ready();
        server
            .try_registers(REVEAL_PATH, bytes.clone())
            .await
            .expect_err("killed");
        until("it is killed", async || server.process().ended()).await;
    }
    server.restart();
    let answer = server
        .registers(REVEAL_PATH, &reveal)
        .await
        .expect("the same use");
    let issued = answer_of(&server.roots(), &answer).issued.expect("issued");
    let certificates = format!(
        "SELECT COUNT(*) FROM certificates WHERE subject_id = '{}'",
        issued.node
    );
    assert_eq!(server.database().number(&certificates), 1);
    assert_eq!(server.database().number("SELECT used FROM join_tokens"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_codes_that_come_all_at_once_are_counted_before_they_are_looked_at() {
    let server = Server::shared();
    let admin = server.administrator().await;
    let node = Applicant::new(&muster_tests::unique("terr")).await;
    let transcript = node.apply(server).await;
    let id = transcript.join_id().to_string();
    let mut guesses = JoinSet::new();
    for n in 0..60 {
        let person = Person::with_token(server, admin.name(), admin.token());
        let parts = id.clone();
        guesses.spawn(async move {
            let code = json!({ "code": format!("0000-0000-{n:04}") });
            refusal(person.tell(&["joins", &parts, "approve"], &code).await).0
        });
    }
    let answers = guesses.join_all().await;
    assert_eq!(answers.iter().filter(|status| **status == 404).count(), 10);
    assert_eq!(answers.iter().filter(|status| **status == 429).count(), 50);
}

/// `person` types the code that the node shows.
async fn vote(person: &Person, transcript: &muster_pki::join::Transcript) -> Join {
    let code = json!({ "code": transcript.code().to_string() });
    let id = transcript.join_id().to_string();
    let answer = person.tell(&["joins", &id, "approve"], &code).await;
    answer
        .unwrap_or_else(|error| panic!("{} may not approve: {error}", person.name()))
        .json()
        .expect("a join")
}
