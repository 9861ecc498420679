//! A node joins: by its code or its fingerprint, once, and not otherwise.

use std::time::Duration;

use muster_client::Request;
use muster_pki::{Role, Signer as _, Subject};
use muster_tests::{Applicant, Person, Server, problem, refusal, unique};
use muster_wire::node::v1::join::POLL_PATH;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_by_the_code_that_it_shows() {
    let server = Server::shared();
    let admin = server.admin().await;
    let node = Applicant::new(&unique("terr")).await;
    let transcript = node.apply(server).await;
    let id = transcript.join_id().to_string();
    assert_eq!(node.ask(server, &transcript, 1).await.state, "pending");

    let code = transcript.code().to_string();
    let found = admin
        .post("/api/v1/joins/match", &json!({ "code": code.replace('-', "") }))
        .await;
    assert_eq!(found.expect("found by its code")["id"], id.as_str());
    approve(&admin, &id, &code).await.expect("approved");

    let answer = node.ask(server, &transcript, 2).await;
    assert_eq!(answer.state, "issued");
    let issued = answer.issued.expect("issued");
    assert_eq!((issued.role.as_str(), issued.epoch), ("node", 1));
    assert_eq!(issued.name.as_str(), node.hello.name.as_str());
    assert_eq!(issued.back_ends, [server.back_end().to_string()]);
    let shown: Value = admin.show(&["nodes", issued.name.as_str()]).await;
    assert_eq!(
        (&shown["id"], &shown["trust"]),
        (&json!(issued.node), &json!("trusted"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_by_its_full_fingerprint() {
    let server = Server::shared();
    let node = Applicant::new(&unique("terr")).await;
    let transcript = node.apply(server).await;
    let parts = ["joins", &transcript.join_id().to_string(), "approve"];
    let body = json!({ "fingerprint": node.fingerprint() });
    server.admin().await.tell(&parts, &body).await.expect("approved");
    assert_eq!(node.ask(server, &transcript, 1).await.state, "issued");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_holds_what_its_profile_says() {
    let server = Server::shared();
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let chain = member.chain();
    let facts = server
        .roots()
        .verify(&chain, Role::Node, muster_tests::now())
        .expect("a certificate of the collective");
    assert_eq!(facts.id.subject, Subject::Node(member.id()));
    assert_eq!(&facts.public_key, member.key().public_key());
    let lifetime = facts.validity.not_after_ms() - facts.validity.not_before_ms();
    let week = i64::try_from(Duration::from_hours(7 * 24).as_millis()).expect("fits");
    assert!((week..week + 10 * 60 * 1000).contains(&lifetime), "{lifetime} ms");
    assert_eq!(chain.len(), 2, "leaf and intermediate");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_code_changes_nothing_and_says_where_the_right_one_is() {
    let server = Server::shared();
    let admin = server.administrator().await;
    let node = Applicant::new(&unique("terr")).await;
    let transcript = node.apply(server).await;
    let id = transcript.join_id().to_string();
    let tried = [
        admin
            .post("/api/v1/joins/match", &json!({ "code": "0000-0000-0000" }))
            .await,
        approve(&admin, &id, "0000-0000-0000").await,
    ];
    for tried in tried {
        let problem = problem(tried);
        assert_eq!(problem.status, 404);
        let said = &problem.detail;
        assert!(
            said.starts_with("No waiting request has this code. ")
                && said.ends_with("; read the code on the node with muster-node status."),
            "{said}"
        );
    }
    assert_eq!(admin.join(&id).await.state, "pending");
    let failures = admin.audited("join.approval_failed").await;
    let mine = format!("user {}", admin.name());
    assert_eq!(
        failures
            .iter()
            .filter(|row| row["actor"] == mine.as_str())
            .count(),
        2
    );
    approve(&admin, &id, &transcript.code().to_string())
        .await
        .expect("the right code still works");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_of_one_request_does_not_approve_another() {
    let server = Server::shared();
    let admin = server.administrator().await;
    let (one, other) = (
        Applicant::new(&unique("terr")).await,
        Applicant::new(&unique("terr")).await,
    );
    let (one, other) = (one.apply(server).await, other.apply(server).await);
    let tried = approve(&admin, &one.join_id().to_string(), &other.code().to_string()).await;
    assert_eq!(refusal(tried).0, 404);
    for transcript in [one, other] {
        assert_eq!(admin.join(transcript.join_id()).await.state, "pending");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_or_part_of_a_fingerprint_approves_nothing() {
    let server = Server::shared();
    let admin = server.admin().await;
    let node = Applicant::new(&unique("terr")).await;
    let transcript = node.apply(server).await;
    let (id, code) = (transcript.join_id().to_string(), transcript.code().to_string());
    let (fingerprint, name) = (node.fingerprint(), node.hello.name.as_str());
    let hex = fingerprint.hex();
    let bodies = [
        json!({}),
        json!({ "code": null }),
        json!({ "name": name }),
        json!({ "code": name }),
        json!({ "code": "" }),
        json!({ "code": &code[..9] }),
        json!({ "fingerprint": &hex[..8] }),
        json!({ "fingerprint": hex }),
        json!({ "fingerprint": format!("sha256:{}", &hex[..63]) }),
        json!({ "fingerprint": "" }),
        json!({ "fingerprint": "sha256:" }),
        json!({ "code": code, "fingerprint": fingerprint }),
        json!({ "code": code, "name": name }),
    ];
    for body in bodies {
        let tried = admin.tell(&["joins", &id, "approve"], &body).await;
        assert_eq!(refusal(tried), (422, "invalid-request".to_owned()), "{body}");
    }
    let by_name = admin
        .tell(&["joins", name, "approve"], &json!({ "code": code }))
        .await;
    assert_eq!(refusal(by_name).0, 422);
    assert_eq!(admin.join(&id).await.state, "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_wrong_codes_make_an_approver_wait() {
    let server = Server::shared();
    let (hasty, other) = (server.administrator().await, server.administrator().await);
    let node = Applicant::new(&unique("terr")).await;
    let transcript = node.apply(server).await;
    let (id, code) = (transcript.join_id().to_string(), transcript.code().to_string());
    for wrong in 0..10 {
        let tried = approve(&hasty, &id, &format!("0000-0000-{wrong:04}")).await;
        assert_eq!(refusal(tried).0, 404, "the {wrong}. try");
    }
    assert_eq!(
        refusal(approve(&hasty, &id, &code).await),
        (429, "too-many".to_owned())
    );
    approve(&other, &id, &code)
        .await
        .expect("another administrator is not held up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_reaches_the_node_with_its_reason() {
    let server = Server::shared();
    let admin = server.admin().await;
    let node = Applicant::new(&unique("terr")).await;
    let transcript = node.apply(server).await;
    let id = transcript.join_id().to_string();
    let reason = "this machine is not ours";
    admin
        .tell(&["joins", &id, "reject"], &json!({ "reason": reason }))
        .await
        .expect("rejected");
    let answer = node.ask(server, &transcript, 1).await;
    assert_eq!(
        (answer.state.as_str(), answer.reason.as_deref()),
        ("rejected", Some(reason))
    );
    assert!(answer.issued.is_none());
    let tried = approve(&admin, &id, &transcript.code().to_string()).await;
    assert_eq!(refusal(tried), (409, "join-state".to_owned()));
    for reason in ["two\nlines", "\u{1b}[2J", &"x".repeat(501)] {
        let tried = admin
            .tell(&["joins", &id, "reject"], &json!({ "reason": reason }))
            .await;
        assert_eq!(refusal(tried).0, 422, "{reason:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_lives_an_hour_and_a_new_exchange_renews_the_request() {
    let server = Server::private();
    let admin = server.admin().await;
    let node = Applicant::new("terr01").await;
    let old = node.apply(&server).await;
    server
        .database()
        .change("UPDATE joins SET revealed_at = revealed_at - 3600000");
    let tried = approve(&admin, &old.join_id().to_string(), &old.code().to_string()).await;
    let problem = problem(tried);
    assert_eq!(problem.status, 409);
    assert!(
        problem.detail.contains("older than an hour") && problem.detail.contains("muster-node status"),
        "{}",
        problem.detail
    );

    let again = Applicant::with_key("terr01", node.key).await;
    let new = again.apply(&server).await;
    assert_eq!(server.database().number("SELECT COUNT(*) FROM joins"), 1);
    let gone = approve(&admin, &old.join_id().to_string(), &old.code().to_string()).await;
    assert_eq!(refusal(gone).0, 404, "the old exchange is no request any more");
    approve(&admin, &new.join_id().to_string(), &new.code().to_string())
        .await
        .expect("the new code works");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_nobody_answers_expires_after_a_day() {
    let server = Server::private();
    let admin = server.admin().await;
    let node = Applicant::new("terr01").await;
    let transcript = node.apply(&server).await;
    server
        .database()
        .change("UPDATE joins SET revealed_at = revealed_at - 86400000");
    assert_eq!(admin.join(transcript.join_id()).await.state, "expired");
    assert_eq!(node.ask(&server, &transcript, 1).await.state, "expired");
    let status: Value = admin.get("/api/v1/status").await;
    assert_eq!(status["joins_waiting"], 0);
    for answer in [
        json!({ "code": transcript.code().to_string() }),
        json!({ "fingerprint": node.fingerprint() }),
    ] {
        let parts = ["joins", &transcript.join_id().to_string(), "approve"];
        assert_eq!(
            refusal(admin.tell(&parts, &answer).await),
            (409, "join-state".to_owned())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_counts_once_and_only_by_the_key_of_its_request() {
    let server = Server::shared();
    let (node, thief) = (
        Applicant::new(&unique("terr")).await,
        Applicant::new(&unique("terr")).await,
    );
    let transcript = node.apply(server).await;
    let poll = node.poll(&transcript, 5).await;
    server.registers(POLL_PATH, &poll).await.expect("answered");
    for counter in [5, 4, 0] {
        let poll = node.poll(&transcript, counter).await;
        let tried = server.registers(POLL_PATH, &poll).await;
        assert_eq!(refusal(tried), (409, "join-replayed".to_owned()), "{counter}");
    }
    assert_eq!(node.ask(server, &transcript, 6).await.state, "pending");

    let foreign = thief.poll(&transcript, 7).await;
    let mut unknown = thief.poll(&transcript, 7).await;
    unknown.id = muster_ids::JoinId::from_bytes([7; 16]);
    let mut changed = node.poll(&transcript, 7).await;
    changed.counter = 8;
    let said = [
        problem(server.registers(POLL_PATH, &foreign).await),
        problem(server.registers(POLL_PATH, &unknown).await),
        problem(server.registers(POLL_PATH, &changed).await),
    ];
    assert_eq!(said[0].status, 404);
    assert!(
        said.iter().all(|problem| *problem == said[0]),
        "a stranger can tell whether a request exists: {said:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_approvals_at_once_one_makes_the_node() {
    let server = Server::shared();
    let admin = server.admin().await;
    let node = Applicant::new(&unique("terr")).await;
    let transcript = node.apply(server).await;
    let (id, code) = (transcript.join_id().to_string(), transcript.code().to_string());
    let answers = tokio::join!(
        approve(&admin, &id, &code),
        approve(&admin, &id, &code),
        approve(&admin, &id, &code)
    );
    let answers = [answers.0, answers.1, answers.2];
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for refused in answers.into_iter().filter(Result::is_err) {
        assert_eq!(refusal(refused).0, 409);
    }
    let issued = node
        .ask(server, &transcript, 1)
        .await
        .issued
        .expect("a certificate");
    let path = format!("/api/v1/certificates?subject={}", issued.node);
    let certificates: Value = admin.get(&path).await;
    assert_eq!(certificates["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_node_comes_back_under_its_key_as_itself() {
    let server = Server::shared();
    let admin = server.admin().await;
    let node = Applicant::new(&unique("terr")).await;
    let pkcs8 = node.key.to_pkcs8().expect("a key");
    let member = node.join(server).await;
    let key = muster_pki::SoftwareSigner::from_pkcs8(&pkcs8, muster_pki::KeyUse::Tls).expect("a key");
    let back = Applicant::with_key(member.name(), key).await;
    let transcript = back.apply(server).await;
    let shown = admin.join(transcript.join_id()).await;
    assert_eq!(shown.renewal_of, Some(member.id()));
    let again = back.join(server).await;
    assert_eq!(again.id(), member.id());
    assert!(again.claim(&again.connect().await).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untrusted_node_needs_a_new_key() {
    let server = Server::shared();
    let admin = server.admin().await;
    let node = Applicant::new(&unique("terr")).await;
    let pkcs8 = node.key.to_pkcs8().expect("a key");
    let member = node.join(server).await;
    admin
        .tell(&["nodes", member.name(), "untrust"], &json!({}))
        .await
        .expect("untrusted");
    let key = muster_pki::SoftwareSigner::from_pkcs8(&pkcs8, muster_pki::KeyUse::Tls).expect("a key");
    let back = Applicant::with_key(&unique("terr"), key).await;
    let transcript = back.apply(server).await;
    let tried = approve(
        &admin,
        &transcript.join_id().to_string(),
        &transcript.code().to_string(),
    )
    .await;
    let problem = problem(tried);
    assert_eq!(problem.status, 409);
    assert!(problem.detail.contains("muster-node leave"), "{}", problem.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_given_once_whatever_its_case() {
    let server = Server::shared();
    let admin = server.admin().await;
    let name = unique("terr");
    let (first, second) = (
        Applicant::new(&name).await,
        Applicant::new(&name.to_uppercase()).await,
    );
    let (one, two) = (first.apply(server).await, second.apply(server).await);
    approve(&admin, &one.join_id().to_string(), &one.code().to_string())
        .await
        .expect("approved");
    let answer = second.ask(server, &two, 1).await;
    assert_eq!(answer.state, "superseded");
    assert!(
        answer
            .reason
            .is_some_and(|reason| reason.contains(&one.join_id().to_string()))
    );

    let third = Applicant::new(&name).await;
    let three = third.apply(server).await;
    let tried = approve(&admin, &three.join_id().to_string(), &three.code().to_string()).await;
    assert_eq!(refusal(tried), (409, "duplicate-node-name".to_owned()));
    assert_eq!(admin.join(three.join_id()).await.state, "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_does_not_exist_is_no_approval() {
    let server = Server::shared();
    let admin = server.admin().await;
    let node = Applicant::new(&unique("terr")).await.in_pool("nowhere at all");
    let transcript = node.apply(server).await;
    let id = transcript.join_id().to_string();
    let problem = problem(approve(&admin, &id, &transcript.code().to_string()).await);
    assert_eq!(problem.status, 404);
    assert!(
        problem.detail.contains("nowhere at all") && problem.detail.contains("muster pool list"),
        "{}",
        problem.detail
    );
    assert_eq!(admin.join(&id).await.state, "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_is_on_the_node_only() {
    let server = Server::private();
    let admin = server.admin().await;
    let mut seen = String::new();
    let mut secrets = Vec::new();
    for n in 0..3 {
        let node = Applicant::new(&format!("terr{n}")).await;
        let transcript = node.apply(&server).await;
        let (id, code) = (transcript.join_id().to_string(), transcript.code().to_string());
        secrets.push((code.clone(), node.fingerprint().hex()));
        let shown: Value = admin.show(&["joins", &id]).await;
        assert_eq!(shown["key_prefix"], &node.fingerprint().hex()[..8]);
        for answer in [
            shown,
            admin.get("/api/v1/joins").await,
            admin.get("/api/v1/status").await,
            admin
                .post("/api/v1/joins/match", &json!({ "code": code }))
                .await
                .expect("matches"),
        ] {
            seen.push_str(&answer.to_string());
        }
        if n == 0 {
            seen.push_str(&approve(&admin, &id, &code).await.expect("approved").to_string());
        }
        if n == 1 {
            admin
                .tell(&["joins", &id, "reject"], &json!({}))
                .await
                .expect("rejected");
        }
        node.ask(&server, &transcript, 1).await;
        seen.push_str(&admin.get::<Value>("/api/v1/joins").await.to_string());
    }
    for (_, fingerprint) in &secrets {
        assert!(
            !seen.contains(fingerprint.as_str()),
            "a whole fingerprint is shown"
        );
    }
    let audit: Value = admin.get("/api/v1/audit?limit=1000").await;
    seen.push_str(&audit.to_string());
    seen.push_str(&server.database().dump());
    seen.push_str(&server.log());
    let metrics = server.plain(server.operations()).await;
    let metrics = metrics.send(Request::get("/metrics")).await.expect("metrics");
    seen.push_str(&String::from_utf8_lossy(&metrics.body));
    for (code, _) in secrets {
        assert!(!seen.contains(&code), "a code is shown or kept");
        assert!(!seen.contains(&code.replace('-', "")), "a code is shown or kept");
    }
}

async fn approve(admin: &Person, id: &str, code: &str) -> Result<Value, muster_client::ClientError> {
    admin
        .tell(&["joins", id, "approve"], &json!({ "code": code }))
        .await?
        .json()
}
