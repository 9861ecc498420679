//! The certificate authority is exchanged while nodes work, sleep, join, and while the control plane is killed.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use muster_client::{ClientError, Connection, Request};
use muster_pki::{KeyUse, SoftwareSigner};
use muster_tests::{
    Applicant, Member, Person, RealNode, Server, challenge, member::inventory, problem, until, within,
};
use muster_wire::node::v1::control::{HEARTBEAT_PATH, Heartbeat, HeartbeatReply, Inventory};
use serde_json::{Value, json};

use crate::real_node::ended;

/// Two nodes take over roots and certificates in the time of some heartbeats, which are ten seconds apart.
const FOLLOWS: Duration = Duration::from_mins(2);

async fn rotate(admin: &Person, step: &str, force: bool) -> Result<Value, ClientError> {
    let body = json!({ "step": step, "force": force });
    admin.post("/api/v1/authority/rotation", &body).await
}

async fn authority(admin: &Person) -> Value {
    admin.get("/api/v1/authority").await
}

async fn stage(admin: &Person) -> String {
    let shown = authority(admin).await;
    shown["stage"].as_str().expect("a stage").to_owned()
}

/// Takes a step as soon as everybody is ready for it.
async fn rotated(admin: &Person, step: &str) {
    within(FOLLOWS, &format!("{step} is possible"), async || {
        rotate(admin, step, false).await.ok()
    })
    .await;
}

/// The code that the service has logged.
fn logged_code(node: &RealNode) -> Option<String> {
    let log = node.log();
    let (_, rest) = log.rsplit_once("waits for approval")?;
    let (_, code) = rest.split_once(" code=")?;
    Some(code.split_whitespace().next()?.to_owned())
}

async fn speaks(member: &Member) -> Result<(), ClientError> {
    let connection = member.try_connect().await?;
    member.heartbeat(&connection, &[]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn join_41_nodes_that_sleep_through_a_rotation_come_back() {
    let server = Server::private();
    let admin = server.admin().await;
    let sleeper = RealNode::start(&server, "default").await;
    sleeper.process().kill();
    for (step, force) in [
        ("prepare", false),
        ("activate", true),
        ("taint", false),
        ("revoke", true),
    ] {
        rotate(&admin, step, force).await.expect(step);
    }
    assert_eq!(stage(&admin).await, "idle");
    sleeper.run(&[]);
    let code = within(FOLLOWS, "it asks to be let in again", async || {
        logged_code(&sleeper)
    })
    .await;
    muster_tests::approve(&server, &code).await;
    sleeper.connected(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn join_42_a_rotation_is_taken_back_by_one_command_at_each_step() {
    let server = Server::private();
    let admin = server.admin().await;
    let node = RealNode::start(&server, "default").await;
    let author = server.author().await;
    let function = author.register("f", "terr", "1").await;
    let first = authority(&admin).await["root_fingerprints"].clone();
    for taken in [
        &["prepare"][..],
        &["prepare", "activate"],
        &["prepare", "activate", "taint"],
    ] {
        for step in taken {
            rotated(&admin, step).await;
        }
        rotate(&admin, "abort", false).await.expect("aborted");
        within(FOLLOWS, "the authority of before is the only one", async || {
            let shown = authority(&admin).await;
            (shown["stage"] == "idle" && shown["root_fingerprints"] == first).then_some(())
        })
        .await;
        node.connected(&server).await;
        let run = author.run(&function, &json!({})).await;
        assert_eq!(author.run_ended(run.id).await.state, "succeeded", "{taken:?}");
    }
    recorded(&server, &["prepared", "activated", "tainted", "aborted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn join_43_a_node_that_joins_in_the_middle_of_a_rotation_gets_both_roots_and_works() {
    let server = Server::private();
    let admin = server.admin().await;
    for (step, roots) in [("prepare", 2), ("activate", 2), ("taint", 2), ("revoke", 1)] {
        rotate(&admin, step, true).await.expect(step);
        until("the roots are written", async || {
            (server.roots().certificates().len() == roots).then_some(())
        })
        .await;
        let member = Applicant::new(&format!("terr-{step}")).await.join(&server).await;
        assert_eq!(member.issued.anchors.len(), roots, "{step}");
        speaks(&member).await.expect(step);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn join_44_everybody_leaves_a_tainted_authority_and_then_its_certificates_are_refused() {
    let server = Server::private();
    let admin = server.admin().await;
    let stays = Applicant::new("terr01").await.join(&server).await;
    rotated(&admin, "prepare").await;
    rotate(&admin, "activate", true).await.expect("activated");
    let connection = stays.connect().await;
    let told = stays.heartbeat(&connection, &[]).await.expect("heard");
    assert!(told.renew_within.is_some(), "it is told to renew");
    rotated(&admin, "taint").await;
    let said = problem(rotate(&admin, "revoke", false).await);
    assert!(said.detail.contains("\"terr01\""), "{}", said.detail);
    let shown = authority(&admin).await;
    let (old, new) = (&shown["authorities"][0]["root"], &shown["authorities"][1]["root"]);
    assert_eq!(&shown["nodes"][0]["certificate"], old);

    let next = SoftwareSigner::generate(KeyUse::Tls).expect("a key");
    let renewed = stays.renew(&connection, &next).await.expect("renewed");
    let copy = stays.copied();
    let stays = stays.renewed(next, renewed);
    speaks(&stays).await.expect("the new certificate is good");
    let shown = authority(&admin).await;
    assert_eq!(&shown["nodes"][0]["certificate"], new, "progress is visible");
    rotate(&admin, "revoke", false)
        .await
        .expect("nobody holds one any more");
    until("a certificate of the old authority is refused", async || {
        speaks(&copy).await.is_err().then_some(())
    })
    .await;
    speaks(&stays).await.expect("who renewed goes on");
    recorded(&server, &["prepared", "activated", "tainted", "revoked"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_fails_while_the_authority_is_exchanged_under_load() {
    let server = Server::private();
    let admin = server.admin().await;
    let nodes = [
        RealNode::start(&server, "default").await,
        RealNode::start(&server, "default").await,
    ];
    let author = server.author().await;
    let function = author.register("f", "terr", "1").await;
    let mut member = Applicant::new("simulated").await.join(&server).await;
    let mut connection = member.connect().await;
    let load = Load::default();
    let runs = load.again(0, async || {
        let run = author.run(&function, &json!({})).await;
        let ended = ended(&author, &run).await;
        assert_eq!(ended.state, "succeeded", "{:?}", ended.ending);
    });
    // Each over a connection of its own, by the root of before.
    let rest = load.again(1, async || {
        let person = Person::with_token(&server, author.name(), author.token());
        let _: Value = person.get("/api/v1/status").await;
    });
    // Signs of life on a connection that lasts, and on a new one.
    let beats = load.again(2, async || {
        let told = beat(&server, &member, &connection).await;
        let another = member.try_connect().await.expect("a new connection is taken");
        beat(&server, &member, &another).await;
        if told.renew_within.is_some() {
            let next = SoftwareSigner::generate(KeyUse::Tls).expect("a key");
            let renewed = member.renew(&connection, &next).await.expect("renewed");
            member = member.renewed(next, renewed);
            connection = member.connect().await;
        }
    });
    let exchange = async {
        for step in ["prepare", "activate", "taint", "revoke"] {
            load.goes_on(step).await;
            rotated(&admin, step).await;
        }
        load.goes_on("the end").await;
        load.stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(runs, rest, beats, exchange);
    for node in &nodes {
        node.connected(&server).await;
        let log = node.log();
        assert!(
            !log.contains("not connected to the control plane"),
            "without a gap: {log}"
        );
    }
    assert_eq!(
        authority(&admin).await["root_fingerprints"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

/// Calls of three kinds that go on until they are told to stop; one that fails ends the test.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    done: [AtomicUsize; 3],
}

impl Load {
    async fn again(&self, kind: usize, mut call: impl AsyncFnMut()) {
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        while !self.stop.load(Ordering::SeqCst) {
            pace.tick().await;
            call().await;
            self.done[kind].fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Waits until calls of each kind have gone through twice more, so that one of them began after `when`.
    async fn goes_on(&self, when: &str) {
        let done = || self.done.each_ref().map(|done| done.load(Ordering::SeqCst));
        let before = done();
        within(FOLLOWS, &format!("calls go through at {when}"), async || {
            let now = done();
            (0..now.len())
                .all(|kind| now[kind] >= before[kind] + 2)
                .then_some(())
        })
        .await;
    }
}

/// A sign of life of a node that knows the roots which are accepted.
async fn beat(server: &Server, member: &Member, connection: &Connection) -> HeartbeatReply {
    let roots = server.roots().fingerprints();
    let beat = Heartbeat {
        boot_nonce: member.boot_nonce.clone(),
        challenge: challenge(),
        inventory: Some(Inventory {
            roots: roots.iter().map(ToString::to_string).collect(),
            ..inventory()
        }),
        running: Vec::new(),
    };
    let answer = connection.send(Request::post(HEARTBEAT_PATH).json(&beat)).await;
    let answer = answer.expect("a sign of life is answered");
    answer.json().expect("a reply")
}

/// Each step has left its record.
fn recorded(server: &Server, steps: &[&str]) {
    let rows = server
        .database()
        .rows("SELECT DISTINCT event FROM audit WHERE event LIKE 'authority.%'");
    for step in steps {
        let event = format!("authority.{step}");
        assert!(
            rows.iter().any(|row| row["event"] == event.as_str()),
            "{event}: {rows:?}"
        );
    }
}
