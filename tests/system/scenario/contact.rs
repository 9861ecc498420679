//! First contact: what strangers on the registration listener achieve, and those who listen to them.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::header::{AUTHORIZATION, COOKIE};
use muster_client::{ClientError, Connection, Request};
use muster_daemon::{Clock, clock::format_rfc3339};
use muster_ids::JoinId;
use muster_pki::{Facts, Purpose, Signer as _};
use muster_tests::{Applicant, Person, Server, answer_of, problem, refusal, unique};
use muster_wire::{
    node::v1::join::{HELLO_PATH, POLL_PATH, Poll, REVEAL_PATH},
    problem::KIND_PREFIX,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test(flavor = "multi_thread")]
async fn join_01_the_same_request_sent_again_is_the_same_request() {
    let server = Server::shared();
    let node = Applicant::new(&unique("terr")).await;
    let offered = node.greet(server).await;
    let reveal = node.reveal(&offered).await;
    let transcript = node.transcript(&offered);
    for _ in 0..2 {
        let answer = server.registers(REVEAL_PATH, &reveal).await.expect("revealed");
        let answer = answer_of(&server.roots(), &answer);
        assert_eq!(answer.transcript, transcript.digest());
        assert_eq!((answer.state.as_str(), answer.counter), ("pending", 0));
    }
    let admin = server.admin().await;
    let first = admin.join(transcript.join_id()).await;
    let poll = node.poll(&transcript, 7).await;
    server.registers(POLL_PATH, &poll).await.expect("answered");
    server.registers(REVEAL_PATH, &reveal).await.expect("revealed");

    let replayed = server.registers(POLL_PATH, &poll).await;
    assert_eq!(
        refusal(replayed),
        (409, "join-replayed".to_owned()),
        "the counter was not reset"
    );
    let again = admin.join(transcript.join_id()).await;
    assert_eq!((again.id, again.created), (first.id, first.created));
    let revealed = admin.audited("join.revealed").await;
    let mine = revealed
        .iter()
        .filter(|row| row["subject"] == node.hello.name.as_str());
    assert_eq!(mine.count(), 1, "one entry");
}

#[tokio::test(flavor = "multi_thread")]
async fn join_02_a_request_replayed_by_another_host_is_unusable_and_recorded() {
    let server = Server::private();
    let admin = server.admin().await;
    let node = Applicant::new("terr01").await;
    let offered = node.greet(&server).await;
    let reveal = node.reveal(&offered).await;
    let transcript = node.transcript(&offered);
    server.registers(REVEAL_PATH, &reveal).await.expect("revealed");
    approve(&admin, &transcript.join_id(), &transcript.code().to_string()).await;
    let poll = node.poll(&transcript, 1).await;
    server.registers(POLL_PATH, &poll).await.expect("answered");
    // As if the request had come from elsewhere, so that this machine is another host.
    server.database().change("UPDATE joins SET source = '192.0.2.7'");

    assert_eq!(
        refusal(server.registers(POLL_PATH, &poll).await),
        (409, "join-replayed".to_owned())
    );
    let answer = server
        .registers(REVEAL_PATH, &reveal)
        .await
        .expect("the answer is no secret");
    let answer = answer_of(&server.roots(), &answer);
    assert_eq!(answer.transcript, transcript.digest());
    let chain = &answer.issued.expect("issued").chain;
    let leaf = STANDARD.decode(&chain[0]).expect("base64");
    assert_eq!(
        &Facts::of(&leaf).expect("a leaf").public_key,
        node.key.public_key(),
        "worth nothing without the node's key"
    );
    let replays = muster_tests::within(Duration::from_mins(2), "the replay is recorded", async || {
        let rows = admin.audited("join.replay").await;
        (!rows.is_empty()).then_some(rows)
    })
    .await;
    let said = serde_json::to_string(&replays).expect("JSON");
    assert!(
        said.contains("terr01")
            && said.contains("127.0.0.1")
            && said.contains(&transcript.join_id().to_string()),
        "{said}"
    );
    let nodes: Value = admin.get("/api/v1/nodes").await;
    let nodes = nodes["items"].as_array().map(Vec::len);
    assert_eq!(nodes, Some(1), "it made no other node");
}

#[tokio::test(flavor = "multi_thread")]
async fn join_03_a_denied_or_expired_request_stays_so_when_it_is_replayed() {
    let server = Server::private();
    let admin = server.admin().await;
    let state = async |node: &Applicant| {
        let offered = node.greet(&server).await;
        let reveal = node.reveal(&offered).await;
        let answer = server.registers(REVEAL_PATH, &reveal).await.expect("answered");
        answer_of(&server.roots(), &answer).state
    };
    let denied = Applicant::new("terr01").await;
    let transcript = denied.apply(&server).await;
    let id = transcript.join_id().to_string();
    admin
        .tell(&["joins", &id, "reject"], &json!({}))
        .await
        .expect("rejected");
    for _ in 0..2 {
        assert_eq!(state(&denied).await, "rejected", "the same nonce and time");
    }
    let anew = Applicant::with_key("terr01", denied.key).await;
    assert_eq!(state(&anew).await, "rejected", "a retry does not undo an answer");
    server
        .database()
        .change("UPDATE joins SET revealed_at = revealed_at - 3600000");
    assert_eq!(state(&anew).await, "pending", "after an hour it may ask again");

    let late = Applicant::new("terr02").await;
    late.apply(&server).await;
    server
        .database()
        .change("UPDATE joins SET revealed_at = revealed_at - 86400000");
    assert_eq!(state(&late).await, "expired", "the same nonce and time");
    let anew = Applicant::with_key("terr02", late.key).await;
    assert_eq!(state(&anew).await, "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn join_04_a_request_outside_its_time_is_refused_with_the_time_of_the_server() {
    let server = Server::shared();
    let hour = 3_600_000;
    for (name, off) in [("late", -2 * hour), ("early", 2 * hour)] {
        let mut node = Applicant::new(&unique(name)).await;
        node.hello.created += off;
        node.hello.expires += off;
        let said = problem(server.registers(HELLO_PATH, &node.hello).await);
        assert_eq!(said.kind, format!("{KIND_PREFIX}clock-difference"));
        // To the minute: the time goes on meanwhile.
        let times = [muster_tests::now() - 60_000, muster_tests::now()].map(format_rfc3339);
        assert!(
            times.iter().any(|time| said.detail.contains(&time[..16]))
                && said.detail.ends_with("set the clock of the node"),
            "{}",
            said.detail
        );
    }
    let mut node = Applicant::new(&unique("forever")).await;
    node.hello.expires = node.hello.created + 25 * hour;
    let said = problem(server.registers(HELLO_PATH, &node.hello).await);
    assert!(said.detail.contains("at most 24 hours"), "{}", said.detail);
    let mut node = Applicant::new(&unique("nearly")).await;
    node.hello.created += 4 * 60 * 1000;
    server
        .registers(HELLO_PATH, &node.hello)
        .await
        .expect("a few minutes do not matter");
}

#[tokio::test(flavor = "multi_thread")]
async fn join_05_a_stolen_pending_id_is_answered_like_an_unknown_one() {
    /// Pairs of answers whose times are compared.
    const PAIRS: usize = 150;
    let server = Server::shared();
    let (node, thief) = (
        Applicant::new(&unique("terr")).await,
        Applicant::new(&unique("terr")).await,
    );
    let transcript = node.apply(server).await;
    let stolen = thief.poll(&transcript, 7).await;
    let unknown = Poll {
        id: JoinId::from_bytes([7; 16]),
        ..stolen.clone()
    };
    let changed = Poll {
        counter: 8,
        ..node.poll(&transcript, 7).await
    };
    let said = [&stolen, &unknown, &changed].map(|poll| {
        let body = serde_json::to_string(poll).expect("JSON");
        format!(
            "POST {POLL_PATH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    });
    let mut answers = Vec::new();
    for message in &said {
        answers.push(without_date(&say(server, message).await));
    }
    assert!(answers[0].starts_with("http/1.1 404"), "{answers:?}");
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "a stranger can tell whether a request exists: {answers:?}"
    );

    // However long the message is that asks: what is wrong with it is found by the same work.
    let long = |poll: &Poll| Poll {
        signature: STANDARD.encode(vec![9; 20_000]),
        ..poll.clone()
    };
    let connection = server.plain(server.registration()).await;
    for (stolen, unknown) in [(stolen.clone(), unknown.clone()), (long(&stolen), long(&unknown))] {
        let (mut seen, mut alike) = (Vec::new(), false);
        // What a request gives away it gives away each time; what else the machine does it does not do each time.
        for _ in 0..3 {
            let mut times = [Vec::new(), Vec::new()];
            for _ in 0..PAIRS {
                for (poll, times) in [&stolen, &unknown].into_iter().zip(&mut times) {
                    times.push(refused_after(&connection, poll).await);
                }
            }
            let [known, unknown] = times.map(|mut times| {
                times.sort();
                times[PAIRS / 2]
            });
            seen.push((known, unknown));
            alike = known < unknown * 3 / 2 && unknown < known * 3 / 2;
            if alike {
                break;
            }
        }
        assert!(alike, "the time tells whether a request exists: {seen:?}");
    }
    assert_eq!(node.ask(server, &transcript, 1).await.state, "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn join_06_another_key_is_another_request_and_the_admin_sees_both() {
    let server = Server::shared();
    let admin = server.admin().await;
    let name = unique("terr");
    let (before, after) = (Applicant::new(&name).await, Applicant::new(&name).await);
    let first = before.apply(server).await;
    // The same identifier cannot have another key: it follows from the exchange. A poll by another key is refused.
    let foreign = after.poll(&first, 1).await;
    assert_eq!(refusal(server.registers(POLL_PATH, &foreign).await).0, 404);
    let second = after.apply(server).await;
    let (old, new) = (
        admin.join(first.join_id()).await,
        admin.join(second.join_id()).await,
    );
    assert_eq!(
        (old.name.as_str(), new.name.as_str()),
        (name.as_str(), name.as_str())
    );
    assert_eq!((old.state.as_str(), new.state.as_str()), ("pending", "pending"));
    assert_eq!(old.key_prefix, before.fingerprint().hex()[..8]);
    assert_eq!(new.key_prefix, after.fingerprint().hex()[..8]);
    // A stranger who asks under a name takes nobody's place; an administrator's approval does.
    approve(&admin, &second.join_id(), &second.code().to_string()).await;
    let old = admin.join(first.join_id()).await;
    assert_eq!(old.state, "superseded");
    assert!(
        old.reason
            .is_some_and(|reason| reason.contains(&second.join_id().to_string())),
        "it says by what"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn join_07_the_certificate_is_for_the_approved_key_only() {
    let server = Server::shared();
    let admin = server.admin().await;
    let name = unique("terr");
    let (node, other) = (Applicant::new(&name).await, Applicant::new(&name).await);
    let offered = node.greet(server).await;
    let transcript = node.transcript(&offered);
    let reveal = node.reveal(&offered).await;
    server.registers(REVEAL_PATH, &reveal).await.expect("revealed");
    approve(&admin, &transcript.join_id(), &transcript.code().to_string()).await;

    let foreign = other.poll(&transcript, 1).await;
    assert_eq!(refusal(server.registers(POLL_PATH, &foreign).await).0, 404);
    let input = transcript.reveal_input();
    let signature = other.key.sign(Purpose::JoinReveal, &input).await.expect("signed");
    let mut swapped = reveal;
    swapped.signature = STANDARD.encode(signature);
    assert_eq!(refusal(server.registers(REVEAL_PATH, &swapped).await).0, 422);
    let transcript_of_other = other.apply(server).await;
    assert_eq!(other.ask(server, &transcript_of_other, 1).await.state, "pending");

    let issued = node.ask(server, &transcript, 1).await.issued.expect("issued");
    let leaf = STANDARD.decode(&issued.chain[0]).expect("base64");
    assert_eq!(
        &Facts::of(&leaf).expect("a leaf").public_key,
        node.key.public_key()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn join_11_the_plain_port_answers_join_messages_and_nothing_else() {
    let server = Server::private();
    let rows = "SELECT (SELECT COUNT(*) FROM audit) + (SELECT COUNT(*) FROM joins)";
    let before = server.database().number(rows);
    let connection = server.plain(server.registration()).await;
    let paths = [
        "/",
        "/api/v1/status",
        "/api/v1/sessions",
        "/api/v1/openapi.json",
        "/node/v1/heartbeat",
        "/node/v1/runs/claim",
        "/healthz",
        "/metrics",
        "/join/v1",
        "/join/v1/hello/",
        "/join/v2/hello",
        "/JOIN/V1/HELLO",
    ];
    let get = paths.iter().map(|path| Request::get(*path));
    let post = paths.iter().map(|path| Request::post(*path).json(&json!({})));
    let wrong_method = [
        Request::get(HELLO_PATH),
        Request::put(REVEAL_PATH),
        Request::delete(POLL_PATH),
    ];
    for request in get.chain(post).chain(wrong_method) {
        let what = format!("{request:?}");
        let error = connection.send(request).await.expect_err("not here");
        let said = error.problem().expect("an answer");
        // The client makes this up where the answer itself says nothing.
        assert_eq!((said.status, said.kind.as_str()), (404, "about:blank"), "{what}");
    }
    for method in ["HEAD", "OPTIONS", "TRACE", "PATCH", "BREW", "post"] {
        for path in [HELLO_PATH, "/api/v1/status", "*"] {
            let said = say(
                &server,
                &format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
            )
            .await;
            let (head, body) = said.split_once("\r\n\r\n").expect("an answer");
            let head = head.to_lowercase();
            assert!(
                [" 400 ", " 404 ", " 405 "]
                    .iter()
                    .any(|status| head.contains(status))
                    && body.is_empty(),
                "{method} {path}: {said}"
            );
            assert!(!head.contains("server:"), "{said}");
        }
    }
    assert_eq!(server.database().number(rows), before, "no work was done");
}

#[tokio::test(flavor = "multi_thread")]
async fn join_12_a_session_that_comes_over_the_plain_port_is_refused_flagged_and_ended() {
    let server = Server::private();
    let admin = server.admin().await;
    let node = Applicant::new("terr01").await;
    let paths = ["/node/v1/heartbeat", "/api/v1/status", HELLO_PATH];
    for (path, by_cookie) in paths.into_iter().zip([false, true, false]) {
        let (leaked, other) = (server.administrator().await, server.administrator().await);
        let request = Request::post(path).json(&node.hello);
        let request = if by_cookie {
            request.header(COOKIE, &format!("theme=dark; session={}", leaked.token()))
        } else {
            request.header(AUTHORIZATION, &format!("Bearer {}", leaked.token()))
        };
        let connection = server.plain(server.registration()).await;
        let refused = connection.send(request).await.expect_err("refused");
        let said = refused.problem().expect("an answer");
        assert_eq!((said.status, said.kind.as_str()), (404, "about:blank"), "{path}");

        let now = leaked.send(Request::get("/api/v1/sessions/current")).await;
        assert_eq!(refusal(now).0, 401, "the session has ended");
        let still: Value = other.get("/api/v1/status").await;
        assert!(still.is_object(), "sessions of others go on");
        let rows = admin.audited("secret.leaked").await;
        assert!(
            rows.iter().any(|row| row["subject"] == leaked.name()
                && row["detail"].to_string().contains("127.0.0.1")
                && row["detail"]["ended"] == true),
            "{rows:?}"
        );
        let seen = format!("{rows:?}{}{}", server.log(), server.database().dump());
        assert!(!seen.contains(leaked.token()), "and nobody reads it there");
    }
    let before = admin.audited("secret.leaked").await.len();
    let connection = server.plain(server.registration()).await;
    for n in 0..50 {
        let request = Request::get("/").header(AUTHORIZATION, &format!("Bearer unknown{n}"));
        let refused = connection.send(request).await.expect_err("refused");
        assert_eq!(refused.problem().map(|problem| problem.status), Some(404));
    }
    node.greet(&server).await;
    let after = muster_tests::within(Duration::from_mins(2), "it is recorded", async || {
        let after = admin.audited("secret.leaked").await.len();
        (after > before).then_some(after)
    })
    .await;
    assert!(after <= before + 2, "what is no session is one row a minute");
}

/// What the registration listener answers to these bytes.
async fn say(server: &Server, message: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(server.registration())
        .await
        .expect("a connection");
    stream.write_all(message.as_bytes()).await.expect("sent");
    let mut said = Vec::new();
    // A connection that is cut has said what it had to say.
    let _ = stream.read_to_end(&mut said).await;
    String::from_utf8_lossy(&said).into_owned()
}

/// The one header that time alone changes is taken out.
fn without_date(answer: &str) -> String {
    let lines = answer.lines().map(str::to_lowercase);
    lines
        .filter(|line| !line.starts_with("date:"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// How long it takes until this poll is refused.
async fn refused_after(connection: &Connection, poll: &Poll) -> Duration {
    let clock = Clock::system();
    let begin = clock.boot();
    let answer = connection.send(Request::post(POLL_PATH).json(poll)).await;
    let after = clock.boot().saturating_sub(begin);
    assert!(
        matches!(&answer, Err(ClientError::Refused { .. })),
        "not refused: {answer:?}"
    );
    after
}

async fn approve(admin: &Person, id: &JoinId, code: &str) {
    admin
        .tell(&["joins", &id.to_string(), "approve"], &json!({ "code": code }))
        .await
        .unwrap_or_else(|error| panic!("the approval was refused: {error}"));
}
