//! Certificates of nodes over time: renewed while they work, found out when copied, never a dead end when they end.

use std::time::Duration;

use muster_client::{ClientError, Request};
use muster_ids::NodeId;
use muster_pki::{KeyUse, SoftwareSigner};
use muster_tests::{
    Applicant, Member, Person, RealNode, Server, challenge, member::next, needs_crash_points, problem,
    refusal, unique, until, within,
};
use muster_wire::{
    admin::v1::join::Join,
    node::v1::join::{HELLO_PATH, Hello},
};
use serde_json::{Value, json};

/// For certificates that end while a test waits.
const SHORT: [(&str, &str); 1] = [("MUSTER_CERTIFICATES__NODE_LIFETIME", "10s")];
/// Longer than such a certificate lives.
const ITS_END: Duration = Duration::from_secs(40);
const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;

fn key() -> SoftwareSigner {
    SoftwareSigner::generate(KeyUse::Tls).expect("a key")
}

/// Whether the back end answers this member on a new connection.
async fn speaks(member: &Member) -> Result<(), ClientError> {
    let connection = member.try_connect().await?;
    member.heartbeat(&connection, &[]).await.map(drop)
}

/// Asks for the next certificate, and uses it.
async fn renew(member: &Member) -> Member {
    let connection = member.connect().await;
    let next = key();
    let renewed = member.renew(&connection, &next).await.expect("renewed");
    let member = member.renewed(next, renewed);
    speaks(&member).await.expect("the new certificate is good");
    member
}

async fn node_shown(admin: &Person, member: &Member) -> Value {
    admin.show(&["nodes", member.name()]).await
}

async fn events(admin: &Person, event: &str, id: NodeId) -> Vec<Value> {
    let id = id.to_string();
    let mut rows = admin.audited(event).await;
    rows.retain(|row| row["detail"]["node"] == id.as_str());
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_counts_from_its_first_use_and_the_same_key_gets_the_same_certificate() {
    let server = Server::shared();
    let admin = server.admin().await;
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let connection = member.connect().await;
    let next = key();
    let renewed = member.renew(&connection, &next).await.expect("renewed");
    assert_eq!(renewed.generation, 2);
    let again = member
        .renew(&connection, &next)
        .await
        .expect("an answer that got lost");
    assert_eq!(again, renewed, "one key, one certificate");
    speaks(&member).await.expect("until then the old one is as good");
    assert!(
        events(&admin, "certificate.first_used", member.id())
            .await
            .is_empty()
    );

    let newer = member.renewed(next, renewed.clone());
    for _ in 0..3 {
        speaks(&newer).await.expect("the new one");
    }
    let used = events(&admin, "certificate.first_used", member.id()).await;
    assert_eq!(used.len(), 1, "once: {used:?}");
    assert_eq!(used[0]["detail"]["generation"], 2);
    member
        .heartbeat(&connection, &[])
        .await
        .expect("what was under way on the old one goes on for a while");

    let newest = newer.connect().await;
    let refused = refusal(newer.renew(&newest, member.key()).await);
    assert_eq!(
        refused,
        (409, "renewal-refused".to_owned()),
        "a key does not come back"
    );
    let refused = refusal(newer.renew(&newest, newer.key()).await);
    assert_eq!(refused, (409, "renewal-refused".to_owned()), "nor is it kept");
    assert_eq!(node_shown(&admin, &member).await["trust"], "trusted");
}

#[tokio::test(flavor = "multi_thread")]
async fn join_32_a_clock_that_is_wrong_is_named_at_the_join() {
    let server = Server::shared();
    for off in [2 * HOUR, -2 * HOUR, -365 * DAY] {
        let mut node = Applicant::new(&unique("terr")).await;
        node.hello = Hello {
            created: node.hello.created + off,
            expires: node.hello.expires + off,
            ..node.hello
        };
        let answer = server.registers(HELLO_PATH, &node.hello).await;
        let problem = problem(answer);
        assert!(problem.kind.ends_with("clock-difference"), "{off}: {problem:?}");
        assert!(
            problem.detail.contains("set the clock of the node"),
            "{off}: {}",
            problem.detail
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn join_33_a_node_past_its_expiry_comes_back_as_the_node_that_it_is() {
    let server = Server::private();
    server.restart_in(&SHORT);
    let admin = server.admin().await;
    let name = unique("terr");
    let member = Applicant::new(&name).await.join(&server).await;
    expired(&member).await;

    let back = Applicant::with_key(&name, member.copied().into_key()).await;
    let transcript = back.apply(&server).await;
    let waiting: Join = admin.join(transcript.join_id()).await;
    assert_eq!(
        waiting.renewal_of,
        Some(member.id()),
        "shown as a renewal of the known node"
    );
    let body = json!({ "code": transcript.code().to_string() });
    admin
        .tell(&["joins", &waiting.id.to_string(), "approve"], &body)
        .await
        .expect("approved");
    let issued = back.ask(&server, &transcript, 1).await.issued.expect("issued");
    assert_eq!(
        (issued.node, issued.generation),
        (member.id(), 2),
        "the same node"
    );
    let member = member.with_issued(issued);
    speaks(&member).await.expect("it is back");
    expired(&member).await;

    // By policy it comes back without a person.
    server.restart_in(&[SHORT[0], ("MUSTER_JOIN__EXPIRED_RENEWAL", "automatic")]);
    let back = Applicant::with_key(&name, member.copied().into_key()).await;
    let offered = back.greet(&server).await;
    let reveal = back.reveal(&offered).await;
    let answer = server
        .registers("/join/v1/reveal", &reveal)
        .await
        .expect("revealed");
    let answer = muster_tests::answer_of(&server.roots(), &answer);
    assert_eq!(answer.state, "issued", "at the reveal");
    let member = member.with_issued(answer.issued.expect("issued"));
    speaks(&member).await.expect("it is back");

    // One that does not know the key is nobody, whatever its name is.
    let stranger = Applicant::new(&name).await;
    let transcript = stranger.apply(&server).await;
    assert_eq!(admin.join(transcript.join_id()).await.renewal_of, None);

    // One that was untrusted does not come back, however long ago.
    expired(&member).await;
    let path = ["nodes", member.name(), "untrust"];
    admin.tell(&path, &json!({})).await.expect("untrusted");
    let back = Applicant::with_key(&name, member.copied().into_key()).await;
    let transcript = back.apply(&server).await;
    let body = json!({ "code": transcript.code().to_string() });
    let id = transcript.join_id().to_string();
    let refused = admin.tell(&["joins", &id, "approve"], &body).await;
    assert_eq!(refusal(refused), (409, "node-revoked".to_owned()));
}

/// Waits until the back end no longer takes a short-lived certificate.
async fn expired(member: &Member) {
    within(ITS_END, "the certificate ends", async || {
        speaks(member).await.err()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn join_34_neither_a_revoked_node_nor_an_old_certificate_is_renewed() {
    let server = Server::shared();
    let admin = server.admin().await;
    let revoked = Applicant::new(&unique("terr")).await.join(server).await;
    let connection = revoked.connect().await;
    speaks(&revoked).await.expect("a member");
    let path = ["nodes", revoked.name(), "untrust"];
    admin.tell(&path, &json!({})).await.expect("untrusted");
    let error = revoked.renew(&connection, &key()).await.expect_err("revoked");
    assert!(
        error.problem().is_none_or(|problem| problem.status == 403),
        "refused or cut: {error}"
    );
    let issued = server.database().number(&format!(
        "SELECT COUNT(*) FROM certificates WHERE subject_id = '{}'",
        revoked.id()
    ));
    assert_eq!(issued, 1, "nothing was issued");

    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let newer = renew(&member).await;
    let (old, new) = (member.connect().await, newer.connect().await);
    speaks(&newer).await.expect("good");
    let refused = refusal(member.renew(&old, &key()).await);
    assert_eq!(refused, (403, "node-revoked".to_owned()), "renewed twice");
    clone_alarm(server, &admin, &member).await;
    assert!(
        newer.heartbeat(&new, &[]).await.is_err(),
        "both holders are locked"
    );
}

/// Asserts that the alarm about two holders of this identity was raised.
async fn clone_alarm(server: &Server, admin: &Person, member: &Member) {
    let shown = node_shown(admin, member).await;
    assert_eq!(shown["trust"], "revoked", "{shown}");
    assert_eq!(events(admin, "node.clone_detected", member.id()).await.len(), 1);
    let status: Value = admin.get("/api/v1/status").await;
    let problems = status["problems"].to_string();
    assert!(
        problems.contains(&format!("\\\"{}\\\" is locked", member.name())),
        "{problems}"
    );
    within(ITS_END, "the metric counts it", async || {
        let operations = server.plain(server.operations()).await;
        let text = operations.send(Request::get("/metrics")).await.ok()?.body;
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text
            .lines()
            .find(|line| line.contains("nodes_cloned_total") && !line.starts_with('#'))?
            .to_owned();
        (!line.ends_with(" 0")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn join_35_two_holders_of_one_identity_are_both_locked() {
    let server = Server::shared();
    let admin = server.admin().await;
    let author = server.author().await;
    let pool = server.pool().await;
    let node = Applicant::new(&unique("terr")).await.in_pool(&pool);
    let original = node.join(server).await;
    let function = author.register(&unique("f"), "terr", "1").await;
    let run = author.run(&function, &json!({ "pool": pool })).await;
    let copy = original.copied();

    let newer = renew(&original).await;
    let connection = newer.connect().await;
    newer.claim(&connection).await.expect("a run");
    let other = copy.connect().await;
    let refused = refusal(copy.renew(&other, &key()).await);
    assert_eq!(refused, (403, "node-revoked".to_owned()));
    clone_alarm(server, &admin, &original).await;
    tokio::time::timeout(ITS_END, connection.closed())
        .await
        .expect("the original is cut off too");
    for holder in [&original, &newer, &copy] {
        speaks(holder).await.expect_err("locked");
    }
    assert_eq!(
        author.run_now(run.id).await.state,
        "lost",
        "nobody knows who ran it"
    );

    // Both asked before either used what it got: the second one that uses it is found out.
    let original = Applicant::new(&unique("terr")).await.join(server).await;
    let copy = original.copied();
    let (mine, theirs) = (key(), key());
    let first = original
        .renew(&original.connect().await, &mine)
        .await
        .expect("renewed");
    let second = copy.renew(&copy.connect().await, &theirs).await.expect("renewed");
    let (original, copy) = (original.renewed(mine, first), copy.renewed(theirs, second));
    speaks(&copy).await.expect("the first to use it");
    let refused = refusal(speaks(&original).await);
    assert_eq!(refused, (403, "node-revoked".to_owned()));
    clone_alarm(server, &admin, &original).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn join_51_a_second_machine_with_the_identity_of_a_node_is_refused_and_told_of() {
    let server = Server::shared();
    let admin = server.admin().await;
    let first = Applicant::new(&unique("terr")).await.join(server).await;
    let second = first.copied();
    let (control, other) = (first.connect().await, second.connect().await);
    let mut lines = first.control(&control, &challenge()).await;
    next(&mut lines).await;
    first.heartbeat(&control, &[]).await.expect("alive");

    let refused = second.try_control(&other, &challenge()).await.err();
    let refused = refused.expect("another agent speaks for this node");
    let problem = refused.problem().expect("a problem");
    assert_eq!(problem.status, 409);
    assert!(problem.kind.ends_with("node-elsewhere"), "{problem:?}");
    assert_eq!(
        refusal(second.heartbeat(&other, &[]).await),
        (409, "node-elsewhere".to_owned())
    );
    assert!(
        events(&admin, "node.duplicate_refused", first.id())
            .await
            .is_empty(),
        "it could still be a restart"
    );
    first
        .heartbeat(&control, &[])
        .await
        .expect("the first is untouched");
    let alarms = events(&admin, "node.duplicate_refused", first.id()).await;
    assert_eq!(alarms.len(), 1, "both are there: {alarms:?}");
    let status: Value = admin.get("/api/v1/status").await;
    let problems = status["problems"].to_string();
    assert!(
        problems.contains("second machine") && problems.contains(first.name()),
        "{problems}"
    );
    assert_eq!(node_shown(&admin, &first).await["trust"], "trusted");

    // The same agent may open another stream, as when it renews; a restarted one gets in once the first is gone.
    let again = first.connect().await;
    let mut more = first.control(&again, &challenge()).await;
    next(&mut more).await;
    drop((lines, more));
    control.close();
    again.close();
    let restarted = first.copied();
    within(ITS_END, "a restarted agent gets in", async || {
        let connection = restarted.try_connect().await.ok()?;
        let lines = restarted.try_control(&connection, &challenge()).await.ok()?;
        Some((connection, lines))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn join_52_a_reinstalled_host_joins_under_its_old_name_once_the_old_node_is_deleted() {
    let server = Server::shared();
    let admin = server.admin().await;
    let name = unique("terr");
    let before = Applicant::new(&name).await.join(server).await;
    let reinstalled = Applicant::new(&name).await;
    let transcript = reinstalled.apply(server).await;
    let body = json!({ "code": transcript.code().to_string() });
    let id = transcript.join_id().to_string();
    let refused = admin.tell(&["joins", &id, "approve"], &body).await;
    assert_eq!(refusal(refused), (409, "duplicate-node-name".to_owned()));

    admin
        .tell(&["nodes", &name, "untrust"], &json!({}))
        .await
        .expect("untrusted");
    admin.delete(&["nodes", &name]).await.expect("deleted");
    admin
        .tell(&["joins", &id, "approve"], &body)
        .await
        .expect("the request that waited is enough");
    let issued = reinstalled
        .ask(server, &transcript, 1)
        .await
        .issued
        .expect("issued");
    assert_ne!(issued.node, before.id(), "a new node");
    assert_eq!(issued.generation, 1);
    speaks(&before).await.expect_err("the old one stays out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_was_away_for_two_weeks_takes_its_fleet_back_at_once() {
    let server = Server::private();
    // A real node needs some seconds to start.
    server.restart_in(&[(SHORT[0].0, "30s")]);
    let admin = server.admin().await;
    let mut members = Vec::new();
    for number in 0..3 {
        members.push(Applicant::new(&format!("terr{number}")).await.join(&server).await);
    }
    let node = RealNode::start(&server, &server.pool().await).await;
    server.kill();
    // The node renews from half of life, so that its certificate ends while nobody answers.
    within(ITS_END * 2, "the node waits to be let in again", async || {
        (node.status()["state"] == "joining").then_some(())
    })
    .await;
    move_back(&server, 14 * DAY);
    server.restart();
    let mut waiting = Vec::new();
    for member in &members {
        let back = Applicant::with_key(member.name(), member.copied().into_key()).await;
        let transcript = back.apply(&server).await;
        waiting.push((back, transcript));
    }
    let list = within(ITS_END * 2, "all of them wait", async || {
        let list: Vec<Join> = admin.get("/api/v1/joins/renewals").await;
        (list.len() == 4).then_some(list)
    })
    .await;
    assert!(list.iter().all(|join| join.renewal_of.is_some()));

    let stranger = Applicant::new(&unique("terr")).await;
    let asked = stranger.apply(&server).await;
    let joins: Vec<_> = list.iter().map(|join| join.id).chain([asked.join_id()]).collect();
    let answer = admin
        .post("/api/v1/joins/renewals/approve", &json!({ "joins": joins }))
        .await
        .expect("approved");
    assert_eq!(answer["approved"].as_array().map(Vec::len), Some(4), "{answer}");
    assert_eq!(
        answer["refused"][0]["id"],
        asked.join_id().to_string(),
        "{answer}"
    );
    assert_eq!(admin.join(asked.join_id()).await.state, "pending");
    for (member, (back, transcript)) in members.iter().zip(&waiting) {
        let issued = back.ask(&server, transcript, 1).await.issued.expect("issued");
        assert_eq!(issued.node, member.id());
        speaks(&member.with_issued(issued)).await.expect("it is back");
    }
    node.connected(&server).await;
    assert_eq!(admin.audit_broken().await, None);
}

/// Lets all certificates of nodes have ended so much earlier.
fn move_back(server: &Server, by: i64) {
    server.database().change(&format!(
        "UPDATE certificates SET not_before = not_before - {by}, not_after = not_after - {by} WHERE purpose = 'node'"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_more_than_thirty_days_a_known_node_needs_its_code_again() {
    let server = Server::private();
    server.restart_in(&[SHORT[0], ("MUSTER_JOIN__EXPIRED_RENEWAL", "automatic")]);
    let admin = server.admin().await;
    let member = Applicant::new("terr01").await.join(&server).await;
    expired(&member).await;
    move_back(&server, 31 * DAY);
    let back = Applicant::with_key("terr01", member.copied().into_key()).await;
    let transcript = back.apply(&server).await;
    let list: Vec<Join> = admin.get("/api/v1/joins/renewals").await;
    assert!(list.is_empty(), "{list:?}");
    let joins = json!({ "joins": [transcript.join_id()] });
    let answer = admin
        .post("/api/v1/joins/renewals/approve", &joins)
        .await
        .expect("answered");
    assert_eq!(answer["refused"].as_array().map(Vec::len), Some(1), "{answer}");
    let body = json!({ "code": transcript.code().to_string() });
    let id = transcript.join_id().to_string();
    admin
        .tell(&["joins", &id, "approve"], &body)
        .await
        .expect("by its code");
    let issued = back.ask(&server, &transcript, 1).await.issued.expect("issued");
    assert_eq!(issued.node, member.id(), "never a dead end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_its_node_has_left_behind_joins_nothing() {
    let server = Server::shared();
    let admin = server.admin().await;
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let newest = renew(&renew(&member).await).await;
    let thief = Applicant::with_key(member.name(), member.copied().into_key()).await;
    for _ in 0..2 {
        let offered = thief.greet(server).await;
        let reveal = thief.reveal(&offered).await;
        let answer = server.registers("/join/v1/reveal", &reveal).await;
        assert_eq!(refusal(answer), (409, "key-superseded".to_owned()));
    }
    let alarms = events(&admin, "join.old_key", member.id()).await;
    assert_eq!(alarms.len(), 1, "told once: {alarms:?}");
    speaks(&newest)
        .await
        .expect("a thief of an old backup locks nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_is_killed_while_it_renews_gives_the_same_answer_again() {
    needs_crash_points("muster-server");
    let server = Server::private();
    let mut renewed = Vec::new();
    for point in ["renewal.signed", "renewal.issued"] {
        let member = Applicant::new(&unique("terr")).await.join(&server).await;
        let next = key();
        server.kill();
        server.restart_in(&[("MUSTER_CRASH_AT", point)]);
        let connection = member.connect().await;
        assert!(member.renew(&connection, &next).await.is_err(), "{point}");
        until("it is killed", async || server.process().ended()).await;
        server.restart();
        let connection = member.connect().await;
        let answer = member.renew(&connection, &next).await.expect("the same question");
        let again = member.renew(&connection, &next).await.expect("once more");
        assert_eq!(answer, again, "{point}: one key, one certificate");
        let certificates = server.database().number(&format!(
            "SELECT COUNT(*) FROM certificates WHERE subject_id = '{}' AND generation = 2",
            member.id()
        ));
        assert_eq!(certificates, 1, "{point}");
        renewed.push((member.renewed(next, answer), member));
    }
    let (newer, member) = renewed.remove(0);

    server.kill();
    server.restart_in(&[("MUSTER_CRASH_AT", "renewal.used")]);
    speaks(&newer).await.expect_err("killed after the first use");
    until("it is killed", async || server.process().ended()).await;
    server.restart();
    speaks(&newer).await.expect("it counts");
    let admin = server.admin().await;
    let used = events(&admin, "certificate.first_used", member.id()).await;
    assert_eq!(used.len(), 1, "{used:?}");
    assert!(
        events(&admin, "node.clone_detected", member.id())
            .await
            .is_empty()
    );
    assert_eq!(admin.audit_broken().await, None);
}

/// Half a minute of work, in which a certificate of twenty seconds is renewed more than once.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_node_renews_while_it_works_and_loses_nothing() {
    let server = Server::private();
    let lifetime = [("MUSTER_CERTIFICATES__NODE_LIFETIME", "24s")];
    server.restart_in(&lifetime);
    let admin = server.admin().await;
    let author = server.author().await;
    let pool = server.pool().await;
    let node = RealNode::start(&server, &pool).await;
    let id: Value = admin.show(&["nodes", node.name()]).await;
    let id: NodeId = id["id"]
        .as_str()
        .and_then(|id| id.parse().ok())
        .expect("an identifier");
    let definition = json!({
        "name": unique("f"), "language": "python", "script": "import time\ntime.sleep(30)\ny = 7",
        "outputs": [{ "name": "y", "kind": "value" }], "limits": { "wall_seconds": 60, "memory_mib": 512 },
    });
    let function = author.register_definition(&definition).await;
    author.trust(&function).await;
    let process = node.process().id();
    let long = author.run(&function, &json!({ "pool": pool })).await;
    let short = author.register(&unique("f"), "terr", "1 + 1").await;
    let mut asked = 0;
    let ended = within(ITS_END * 3, "the run ends", async || {
        let now: Value = admin.show(&["nodes", node.name()]).await;
        assert_eq!(now["trust"], "trusted", "every call is answered: {now}");
        assert_ne!(now["health"], "offline", "{now}");
        if asked % 40 == 0 {
            author.run(&short, &json!({ "pool": pool })).await;
        }
        asked += 1;
        let run = author.run_now(long.id).await;
        (run.state != "queued" && run.state != "running").then_some(run)
    })
    .await;
    assert_eq!(ended.state, "succeeded", "{:?}: {}", ended.ending, node.log());
    let used = events(&admin, "certificate.first_used", id).await;
    assert!(used.len() >= 2, "renewed while it worked: {used:?}");
    let log = node.log();
    assert_eq!(node.process().id(), process, "without a restart");
    assert!(
        !log.contains("not connected to the control plane"),
        "without a gap: {log}"
    );
    for run in admin.audited("run.ended").await {
        assert_eq!(run["detail"]["state"], "succeeded", "{run}");
    }
    let status = node.status();
    assert!(
        status["certificate_until"].is_string() && status["agent"]["renewal"].is_string(),
        "{status}"
    );
}
