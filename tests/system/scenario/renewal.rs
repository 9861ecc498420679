//! Certificates of nodes over time: renewed while they work, found out when copied, never a dead end when they end.

use std::time::Duration;

use muster_client::ClientError;
use muster_ids::NodeId;
use muster_pki::{KeyUse, SoftwareSigner};
use muster_tests::{
    Applicant, Member, Person, RealNode, Server, WrongClock, needs_crash_points, problem, refusal, unique,
    until, within,
};
use muster_wire::node::v1::join::{HELLO_PATH, Hello};
use serde_json::{Value, json};

use super::copies::{clone_alarm, locked_out};
use crate::real_node::ended;

/// For certificates that end while a test waits.
pub(super) const SHORT: [(&str, &str); 1] = [("MUSTER_CERTIFICATES__NODE_LIFETIME", "10s")];
/// Longer than such a certificate lives.
pub(super) const ITS_END: Duration = Duration::from_secs(40);
const HOUR: i64 = 60 * 60 * 1000;
pub(super) const DAY: i64 = 24 * HOUR;

pub(super) fn key() -> SoftwareSigner {
    SoftwareSigner::generate(KeyUse::Tls).expect("a key")
}

/// Whether the back end answers this member on a new connection.
pub(super) async fn speaks(member: &Member) -> Result<(), ClientError> {
    let connection = member.try_connect().await?;
    member.heartbeat(&connection, &[]).await.map(drop)
}

/// Asks for the next certificate, and uses it.
pub(super) async fn renew(member: &Member) -> Member {
    let connection = member.connect().await;
    let next = key();
    let renewed = member.renew(&connection, &next).await.expect("renewed");
    let member = member.renewed(next, renewed);
    speaks(&member).await.expect("the new certificate is good");
    member
}

pub(super) async fn node_shown(admin: &Person, member: &Member) -> Value {
    admin.show(&["nodes", member.name()]).await
}

pub(super) async fn events(admin: &Person, event: &str, id: NodeId) -> Vec<Value> {
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
async fn join_32_a_wrong_clock_is_named_at_the_join_and_ends_no_running_node() {
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
    a_real_node_with_a_wrong_clock_says_so_and_works_until_its_certificate_really_ends().await;
}

async fn a_real_node_with_a_wrong_clock_says_so_and_works_until_its_certificate_really_ends() {
    needs_crash_points("muster-node");
    let server = Server::private();
    server.restart_in(&[("MUSTER_CERTIFICATES__NODE_LIFETIME", "90s")]);
    let clock = WrongClock::off_by(0);
    for off in [2 * HOUR, -2 * HOUR, -365 * DAY] {
        let node = RealNode::folder(&server, "default", server.root());
        clock.set(off);
        node.begin("join", &[clock.variable()]);
        until("the node names the clock", async || {
            let log = node.log();
            let said = ["set the clock of the node", "clock of this node differs"];
            said.iter().any(|said| log.contains(said)).then_some(())
        })
        .await;
    }
    clock.set(0);
    let node = RealNode::folder(&server, "default", server.root());
    node.join(&server, &[clock.variable()]).await;
    node.run(&[clock.variable()]);
    node.connected(&server).await;
    let author = server.author().await;
    let function = author.register(&unique("f"), "terr", "1 + 1").await;
    assert!(!node.status().to_string().contains("clock of this node"));
    for (off, seen) in [(2 * HOUR, "by -7"), (-2 * HOUR, "by 7"), (-365 * DAY, "by 31")] {
        clock.set(off);
        let what = format!("its clock is known to be off by {off}");
        within(ITS_END * 2, &what, async || {
            let said = node.status()["agent"]["conditions"].to_string();
            let named = said.contains("clock of this node differs") && said.contains(seen);
            named.then_some(())
        })
        .await;
        let run = author.run(&function, &json!({})).await;
        let ended = ended(&author, &run).await;
        assert_eq!(ended.state, "succeeded", "{off}: {:?}", ended.ending);
    }
    let log = node.log();
    assert!(!log.contains("not connected to the control plane"), "{log}");
    // Nobody renews it any more: it ends when it really does, in a year in which it has not even begun.
    server.kill();
    let shown = node.status()["certificate_until"].clone();
    let end = shown.as_str().map(muster_daemon::clock::parse_rfc3339);
    let end = end.and_then(Result::ok).expect("a time");
    within(ITS_END * 4, "the node asks to be let in again", async || {
        (node.status()["state"] == "joining").then_some(())
    })
    .await;
    let over = muster_tests::now() - end;
    assert!(
        (-1_000..60_000).contains(&over),
        "it ended at {shown}, {over} ms ago"
    );
    server.restart_in(&[("MUSTER_JOIN__EXPIRED_RENEWAL", "automatic")]);
    node.connected(&server).await;
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
    locked_out(revoked.renew(&connection, &key()).await);
    let issued = server.database().number(&format!(
        "SELECT COUNT(*) FROM certificates WHERE subject_id = '{}'",
        revoked.id()
    ));
    assert_eq!(issued, 1, "nothing was issued");

    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let newer = renew(&member).await;
    let (old, new) = (member.connect().await, newer.connect().await);
    speaks(&newer).await.expect("good");
    locked_out(member.renew(&old, &key()).await);
    clone_alarm(server, &admin, &member).await;
    assert!(
        newer.heartbeat(&new, &[]).await.is_err(),
        "both holders are locked"
    );
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
