//! `kill -9` of the control plane on both sides of every commit of a join and a run, and at each step of a blob's way
//! in: nothing is lost, nothing comes twice.

mod world;

use http::header::AUTHORIZATION;
use muster_client::{ClientError, Request};
use muster_daemon::file::WRITE_POINTS;
use muster_ids::{Digest, RunId};
use muster_tests::{
    Applicant, Claimed, Member, Person, RealNode, ReceiptSigner, Settings, answer_of, member::sign,
    needs_crash_points, refusal, unique, until, within,
};
use muster_wire::{
    admin::v1::{function::Function, run::Run},
    function::BlobRef,
    node::v1::{
        join::{POLL_PATH, REVEAL_PATH},
        outcome::{Contents, Outcome, Subject},
    },
};
use serde_json::{Value, json};

use self::world::{World, points, points_of_commit};
use crate::real_node::{PATIENCE, ended, value};

/// The points of a commit: directly before it and directly after it, when nobody was answered yet.
const COMMIT: [&str; 2] = ["ready", "committed"];

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_is_killed_at_any_change_of_a_join_makes_one_node() {
    let world = World::new().await;
    let server = &world.server;
    let node = Applicant::new("terr01").await;
    let offered = node.greet(server).await;
    let reveal = serde_json::to_vec(&node.reveal(&offered).await).expect("JSON");
    let answer = world
        .killed_in("join.revealed", async || {
            server.try_registers(REVEAL_PATH, reveal.clone()).await
        })
        .await
        .expect("said again, it is the same");
    assert_eq!(answer_of(&server.roots(), &answer).state, "pending");

    let transcript = node.transcript(&offered);
    let mut counter = 0;
    let poll = async || {
        counter += 1;
        let poll = node.poll(&transcript, counter).await;
        let poll = serde_json::to_vec(&poll).expect("JSON");
        server.try_registers(POLL_PATH, poll).await
    };
    let answer = world.killed_at(&["join.polled"], poll).await.expect("the next");
    assert_eq!(answer_of(&server.roots(), &answer).state, "pending");

    // A wrong code: each is counted, but for the one that was not written.
    let wrong = async || {
        let body = json!({ "code": "0000-0000-0000" });
        world.admin.post("/api/v1/joins/match", &body).await
    };
    let wrong = world.killed_in("join.approval_failed", wrong).await;
    let (status, kind) = refusal(wrong);
    let failed = world.count("join.approval_failed", "join").await;
    assert_eq!((status, failed), (404, 2), "{kind}");

    let id = transcript.join_id().to_string();
    let body = json!({ "code": transcript.code().to_string() });
    let approve = async || world.admin.tell(&["joins", &id, "approve"], &body).await;
    let approved = world.killed_in("join.approved", approve).await;
    assert_eq!(refusal(approved).0, 409, "it was approved before");
    let mut chains = Vec::new();
    for counter in 3..5 {
        let answer = node.ask(server, &transcript, counter).await;
        chains.push(answer.issued.expect("an approved join is issued").chain);
    }
    assert_eq!(chains[0], chains[1], "one certificate, said twice");

    let other = Applicant::new("terr02").await;
    let transcript = other.apply(server).await;
    let id = transcript.join_id().to_string();
    let body = json!({ "reason": "not one of ours" });
    let reject = async || world.admin.tell(&["joins", &id, "reject"], &body).await;
    let rejected = world.killed_in("join.rejected", reject).await;
    assert_eq!(refusal(rejected).0, 409, "it was rejected before");
    assert_eq!(other.ask(server, &transcript, 1).await.state, "rejected");

    // Under a key nothing is carried out once more: the person is told to look.
    let third = Applicant::new("terr03").await;
    let transcript = third.apply(server).await;
    let body = json!({ "code": transcript.code().to_string() });
    for (point, state) in [
        ("join.approved.ready", "pending"),
        ("join.approved.committed", "issued"),
    ] {
        let key = unique("key");
        let approve = async || {
            let path = format!("/api/v1/joins/{}/approve", transcript.join_id());
            let request = Request::post(path).json(&body).idempotency_key(&key);
            world.admin.send(request).await
        };
        let again = world.killed_at(&[point], approve).await;
        assert_eq!(refusal(again), (409, "idempotency-unknown".to_owned()), "{point}");
        assert_eq!(
            world.admin.join(transcript.join_id()).await.state,
            state,
            "{point}"
        );
    }

    for event in ["join.revealed", "join.approved"] {
        assert_eq!(world.count(event, "terr01").await, 1, "{event}");
        assert_eq!(world.count(event, "terr03").await, 1, "{event}");
    }
    for event in ["join.revealed", "join.rejected"] {
        assert_eq!(world.count(event, "terr02").await, 1, "{event}");
    }
    let number = |sql: &str| server.database().number(sql);
    assert_eq!(number("SELECT COUNT(*) FROM joins"), 3);
    assert_eq!(number("SELECT COUNT(*) FROM nodes"), 2);
    let certificates = "SELECT COUNT(*) FROM certificates WHERE purpose = 'node'";
    assert_eq!(number(certificates), 2);

    // Its own certificate, which the control plane gives itself at every start.
    for step in COMMIT {
        let point = format!("certificate.issued.{step}");
        server.begin(&[("MUSTER_CRASH_AT", &point)]);
        world.dead(&point).await;
    }
    server.restart();
    world.holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_is_killed_at_any_change_of_a_run_ends_it_once() {
    let world = World::new().await;
    let (server, author) = (&world.server, &world.author);
    let member = Applicant::new("terr01").await.join(server).await;

    // The first certificate of a process is its own, which it gets when it starts.
    let signer = world
        .killed_after(1, "certificate.issued", async || {
            let connection = member.try_connect().await?;
            member.try_receipt_signer(&connection).await
        })
        .await
        .expect("asked once more");
    let receipts = "SELECT COUNT(*) FROM certificates WHERE purpose = 'receipt'";
    assert_eq!(
        server.database().number(receipts),
        2,
        "one a commit, each for a key of its own"
    );

    let function = world.function().await;
    let trust = async || author.try_trust(&function).await;
    let trusted = world.killed_in("trust.stamped", trust).await;
    trusted.expect("it is trusted");
    assert_eq!(world.count("trust.stamped", "f").await, 1);

    // One key, and one run, however often it is sent.
    let key = unique("key");
    let mut points = points("server.blob", &WRITE_POINTS);
    points.extend(points_of_commit("run.submitted"));
    let request = json!({ "inputs": { "x": 20 } });
    // So large a value is a blob.
    let large = json!({ "inputs": { "x": "x".repeat(8192) } });
    let submit = async || author.try_run(&function, &large, Some(&key)).await;
    let points: Vec<&str> = points.iter().map(String::as_str).collect();
    let run = world.killed_at(&points, submit).await.expect("queued").id;
    assert_eq!(server.database().number("SELECT COUNT(*) FROM runs"), 1);
    assert_eq!(world.count("run.submitted", run).await, 1);

    // Granted without anybody hearing of it, it is lost when its lease is over, and not run by somebody else.
    let claimed = world
        .killed_in("run.granted", async || claim(&member).await)
        .await
        .expect("asked");
    assert!(claimed.is_none(), "it was granted once");
    for step in COMMIT {
        let point = format!("run.ended.{step}");
        // It gives every lease anew when it starts.
        server.restart_in(&[("MUSTER_CRASH_AT", &point)]);
        server.database().change(LEASES_END);
        world.dead(&point).await;
    }
    server.restart();
    world.one_end(run, "lost").await;

    // Handed back and granted anew.
    let run = author.run(&function, &request).await.id;
    let connection = member.connect().await;
    let first = member.claim(&connection).await.expect("a run");
    let back = async || {
        let connection = member.try_connect().await?;
        member.put_back(&connection, run, first.grant.fence).await
    };
    let put_back = world.killed_in("run.put_back", back).await;
    assert_eq!(refusal(put_back).0, 409, "it was handed back before");
    assert_eq!(world.count("run.put_back", run).await, 1);
    let claimed = member.claim(&member.connect().await).await.expect("once more");
    assert!(claimed.grant.run == run && claimed.grant.fence > first.grant.fence);
    world.reported(&member, &claimed, &signer).await;

    world.cancelled(&member, &signer, &function).await;
    world.cut_off(member, &function).await;
    world.holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_is_killed_at_any_vote_counts_each_person_once() {
    let world = World::with(&Settings {
        join: "[[join.approvals]]\ncapability = \"R\"\n".to_owned(),
        ..Settings::default()
    })
    .await;
    let server = &world.server;
    let [ann, bob, eve] = [(); 3].map(|()| server.administrator());
    let (ann, bob, eve) = (ann.await, bob.await, eve.await);
    let node = Applicant::new("terr01").await;
    let transcript = node.apply(server).await;
    let id = transcript.join_id().to_string();
    let body = json!({ "code": transcript.code().to_string() });
    let approve = async |person: &Person| person.tell(&["joins", &id, "approve"], &body).await;
    let voted = world.killed_in("join.voted", async || approve(&ann).await);
    assert_eq!(refusal(voted.await).0, 409, "she has voted before");
    assert_eq!(world.count("join.voted", "terr01").await, 1);

    let parts = ["groups", "Administrator", "members", ann.name()];
    world.admin.delete(&parts).await.expect("removed");
    let voted = world.killed_in("join.voted", async || approve(&bob).await);
    assert_eq!(refusal(voted.await).0, 409, "he has voted before");
    for (event, times) in [("join.voted", 2), ("join.vote_void", 1)] {
        assert_eq!(world.count(event, "terr01").await, times, "{event}");
    }

    // What is refused is written down each time, also twice above.
    let refused = world.killed_in("join.answer_refused", async || approve(&bob).await);
    assert_eq!(refusal(refused.await).0, 409);
    assert_eq!(world.count("join.answer_refused", "terr01").await, 4);

    let approved = world.killed_in("join.approved", async || approve(&eve).await);
    assert_eq!(refusal(approved.await).0, 409, "it was approved before");
    assert_eq!(world.count("join.approved", "terr01").await, 1);
    assert!(node.ask(server, &transcript, 1).await.issued.is_some());
    let nodes = server.database().number("SELECT COUNT(*) FROM nodes");
    assert_eq!(nodes, 1);
    world.holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_is_killed_at_any_change_of_a_token_counts_each_use_once() {
    let world = World::new().await;
    let (server, admin) = (&world.server, &world.admin);
    let create = async || admin.post("/api/v1/join-tokens", &json!({ "uses": 1 })).await;
    let new = world.killed_in("join_token.created", create).await.expect("made");
    let id = new["join_token"]["id"].as_str().expect("an identifier");
    let number = |sql: &str| server.database().number(sql);
    assert_eq!(number("SELECT COUNT(*) FROM join_tokens"), 2, "one a commit");
    assert_eq!(admin.audited("join_token.created").await.len(), 2);

    let text = new["token"].as_str().expect("a text");
    let node = Applicant::new("terr01").await.with_token(text);
    let offered = node.greet(server).await;
    let reveal = serde_json::to_vec(&node.reveal(&offered).await).expect("JSON");
    let answer = world
        .killed_in("join.approved", async || {
            server.try_registers(REVEAL_PATH, reveal.clone()).await
        })
        .await
        .expect("said again, it is the same");
    assert!(answer_of(&server.roots(), &answer).issued.is_some());
    assert_eq!(world.count("join.approved", "terr01").await, 1);
    let used = async || -> Value { admin.show(&["join-tokens", id]).await };
    assert_eq!(used().await["used"], 1);
    assert_eq!(number("SELECT COUNT(*) FROM nodes"), 1);

    // What strangers do is counted in memory and written later, at the latest in the end: else it is lost.
    for event in ["join.refused", "join.replay", "secret.leaked"] {
        for point in points_of_commit(event) {
            server.restart_in(&[("MUSTER_CRASH_AT", &point)]);
            match event {
                "join.refused" => {
                    let late = Applicant::new("terr02").await.with_token(text);
                    // It may be killed with the answer on its way.
                    let refused = late.enter(server).await.expect_err("its use is spent");
                    assert!(
                        refused.problem().is_none_or(|problem| problem.status == 403),
                        "{refused}"
                    );
                }
                "join.replay" => {
                    // As if the request had come from another host.
                    server.database().change("UPDATE joins SET source = '192.0.2.7'");
                    let answer = server.try_registers(REVEAL_PATH, reveal.clone()).await;
                    // Whoever is killed at the first look already, with the answer on its way, has refused nothing.
                    let refused = answer.err().and_then(|error| error.problem().cloned());
                    assert!(refused.is_none(), "the answer is no secret: {refused:?}");
                }
                _ => {
                    let request = Request::get("/").header(AUTHORIZATION, "Bearer unknown");
                    let connection = server.plain(server.registration()).await;
                    connection.send(request).await.expect_err("refused");
                }
            }
            server.process().ask_to_end();
            world.dead(&point).await;
        }
        server.restart();
        assert_eq!(admin.audited(event).await.len(), 1, "{event}");
    }
    assert_eq!(world.count("join_token.refused", id).await, 1);
    assert_eq!(used().await["refused"], 1);

    let revoke = async || admin.tell(&["join-tokens", id, "revoke"], &json!({})).await;
    let revoked = world.killed_in("join_token.revoked", revoke).await;
    revoked.expect("it is revoked");
    assert_eq!(world.count("join_token.revoked", id).await, 1);
    world.holds().await;
}

/// Every lease is over, also one that a start has forgiven.
const LEASES_END: &str = "UPDATE runs SET lease_until = lease_until - 200000 WHERE state = 'running'";

impl World {
    /// A claim whose output is uploaded and whose outcome is reported.
    async fn reported(&self, member: &Member, claimed: &Claimed, signer: &ReceiptSigner) {
        let (run, fence) = (claimed.grant.run, claimed.grant.fence);
        let bytes = br#"{"value":21}"#;
        let digest = Digest::of(bytes);
        let upload = async || {
            let connection = member.try_connect().await?;
            member.upload(&connection, run, fence, &digest, bytes).await
        };
        let points = points("server.blob", &WRITE_POINTS);
        let points: Vec<&str> = points.iter().map(String::as_str).collect();
        let uploaded = self.killed_at(&points, upload).await;
        uploaded.expect("sent again, it is the same");

        let (mut statement, ending) = member.statement(claimed, "succeeded", Some(&claimed.grant.mode));
        statement.subject.push(Subject {
            name: "y".to_owned(),
            digest: [("sha256".to_owned(), digest.hex())].into(),
        });
        let blob = BlobRef {
            digest,
            size: bytes.len() as u64,
            format: "json".to_owned(),
        };
        let outcome = Outcome {
            fence,
            state: "succeeded".to_owned(),
            ending,
            outputs: [("y".to_owned(), blob)].into(),
            contents: Contents::new(),
            receipt: sign(signer, &statement).await,
        };
        self.killed_in("run.ended", async || report(member, run, &outcome).await)
            .await
            .expect("said again, it is the same");
        self.one_end(run, "succeeded").await;
        assert_eq!(value(&self.author, run, "y").await, 21);

        // What does not count is written down each time.
        let late = member.outcome(claimed, signer, "failed").await;
        let rejected = self
            .killed_in("run.outcome_rejected", async || report(member, run, &late).await)
            .await;
        assert_eq!(refusal(rejected), (409, "outcome-does-not-count".to_owned()));
        assert_eq!(self.count("run.outcome_rejected", run).await, 2);
        self.one_end(run, "succeeded").await;
    }

    /// A run that is cancelled while it runs, and one that is before.
    async fn cancelled(&self, member: &Member, signer: &ReceiptSigner, function: &Function) {
        let request = json!({ "inputs": { "x": 22 } });
        let running = self.author.run(function, &request).await.id;
        let claimed = member.claim(&member.connect().await).await.expect("a run");
        let cancel = async |run: RunId| {
            let parts = ["runs", &run.to_string(), "cancel"];
            self.author.tell(&parts, &Value::Null).await
        };
        self.killed_in("run.cancel_requested", async || cancel(running).await)
            .await
            .expect("it ends soon");
        assert_eq!(self.count("run.cancel_requested", running).await, 1);
        let connection = member.connect().await;
        let held = [(running, claimed.grant.fence)];
        let reply = member.heartbeat(&connection, &held).await.expect("a reply");
        assert_eq!(reply.stop, [running]);
        let outcome = member.outcome(&claimed, signer, "cancelled").await;
        let reported = member.report(&connection, running, &outcome).await;
        reported.expect("it counts");
        self.one_end(running, "cancelled").await;

        let queued = self.author.run(function, &request).await.id;
        let cancelled = self.killed_in("run.ended", async || cancel(queued).await).await;
        assert_eq!(refusal(cancelled).0, 409, "it was cancelled before");
        self.one_end(queued, "cancelled").await;
    }

    /// A node that is untrusted in a run, and one that leaves.
    async fn cut_off(&self, member: Member, function: &Function) {
        let run = self.author.run(function, &json!({ "inputs": { "x": 23 } })).await;
        assert!(member.claim(&member.connect().await).await.is_some());
        let untrust = async || {
            let parts = ["nodes", member.name(), "untrust"];
            self.admin.tell(&parts, &json!({})).await
        };
        let untrusted = self.killed_in("node.untrusted", untrust).await;
        untrusted.expect("it is untrusted");
        assert_eq!(self.count("node.untrusted", member.name()).await, 1);
        self.one_end(run.id, "lost").await;
        assert!(claim(&member).await.is_err(), "it is cut off");

        let leaving = Applicant::new("terr02").await.join(&self.server).await;
        let leave = async || {
            let connection = leaving.try_connect().await?;
            leaving.leave(&connection).await
        };
        let left = self.killed_in("node.untrusted", leave).await;
        left.expect_err("it has left before");
        assert_eq!(self.count("node.untrusted", "terr02").await, 1);
        let valid =
            "SELECT COUNT(*) FROM certificates WHERE state = 'valid' AND purpose IN ('node', 'receipt')";
        assert_eq!(self.server.database().number(valid), 0);
    }
}

async fn claim(member: &Member) -> Result<Option<Claimed>, ClientError> {
    let connection = member.try_connect().await?;
    member.try_claim(&connection).await
}

async fn report(
    member: &Member,
    run: RunId,
    outcome: &Outcome,
) -> Result<muster_client::Answer, ClientError> {
    let connection = member.try_connect().await?;
    member.report(&connection, run, outcome).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_node_goes_on_by_itself_wherever_its_control_plane_is_killed() {
    needs_crash_points("muster-node");
    let world = World::new().await;
    let (server, author) = (&world.server, &world.author);
    let node = RealNode::folder(server, "default", server.root());
    let mut points = points_of_commit("join.revealed");
    points.push("join.polled".to_owned());
    for (begin, point) in points.iter().enumerate() {
        // Once the node asks, it may be killed before it says that it is ready.
        server.begin(&[("MUSTER_CRASH_AT", point)]);
        if begin == 0 {
            server.wait_ready();
            node.begin("join", &[]);
        }
        world.dead(point).await;
    }
    let code = node.code().expect("it was shown before the first reveal");
    let approve = async || {
        let body = json!({ "code": code });
        let found = world.admin.post("/api/v1/joins/match", &body).await?;
        let id = found["id"].as_str().expect("an identifier");
        world.admin.tell(&["joins", id, "approve"], &body).await
    };
    let approved = world.killed_in("join.approved", approve).await;
    assert_eq!(refusal(approved).0, 404, "none waits any more");
    let status = within(PATIENCE, "the join ends", async || node.process().ended()).await;
    assert!(status.success(), "{}", node.log());
    for event in ["join.revealed", "join.approved"] {
        assert_eq!(world.count(event, node.name()).await, 1, "{event}");
    }

    let definition = json!({
        "name": "g", "language": "terr", "script": "print('printed'); y <- 1",
        "outputs": [{ "name": "y", "kind": "value" }],
    });
    let function = author.register_definition(&definition).await;
    node.run(&[]);
    for step in COMMIT {
        let point = format!("certificate.issued.{step}");
        server.begin(&[("MUSTER_CRASH_AT", &point), ("MUSTER_CRASH_SPARED", "1")]);
        world.dead(&point).await;
    }
    // Anew in between, because it waits the longer the more often it is disappointed.
    node.run(&[]);
    let run: Run = world.killed_with_work("run.granted", &function).await;
    node.connected(server).await;
    server.database().change(LEASES_END);
    assert_eq!(ended(author, &run).await.state, "lost");
    world.one_end(run.id, "lost").await;

    node.run(&[]);
    node.connected(server).await;
    let run: Run = world.killed_with_work("run.ended", &function).await;
    assert_eq!(ended(author, &run).await.state, "succeeded");
    world.one_end(run.id, "succeeded").await;
    assert_eq!(value(author, run.id, "y").await, 1);
    let printed = Request::get(format!("/api/v1/runs/{}/stdout", run.id));
    let printed = author.send(printed).await.expect("what was printed").body;
    assert_eq!(String::from_utf8_lossy(&printed).matches("printed").count(), 1);
    until("nothing waits any more", async || {
        (node.waiting_results() == 0).then_some(())
    })
    .await;
    assert_eq!(world.admin.audited("run.outcome_rejected").await.len(), 0);
    world.holds().await;
}
