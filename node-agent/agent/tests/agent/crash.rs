//! The process is killed at each named point of a join, and where it keeps what it knows; the next process goes on
//! from there.

use std::{sync::atomic::Ordering, time::Duration};

use muster_code_trust::{Entry, Scope, Setting};
use muster_daemon::file::WRITE_POINTS;
use muster_ids::Digest;
use tokio::task::JoinSet;

use crate::{
    node::{Ended, GENEROUS, Node},
    registration::{Registration, Will},
    working::{REFUSES, World},
};

/// The point after a join whose request a control plane knows.
const ASKED: &str = "join.reveal.stored";
/// How long a certificate lasts that is to be over soon; a join stores it within this time.
const SHORT: Duration = Duration::from_secs(5);

/// The points of one write.
fn points_of(write: &str) -> Vec<String> {
    WRITE_POINTS
        .iter()
        .map(|step| format!("{write}.{step}"))
        .collect()
}

/// The points of one write of the identity.
pub(crate) fn points_of_identity(write: &str) -> Vec<String> {
    let mut points = points_of(write);
    points.push(format!("{write}.stored"));
    points
}

/// Tells the story for each of the points.
pub(crate) async fn at_each<F>(points: Vec<String>, story: impl Fn(String) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut points = points.into_iter();
    let mut running = JoinSet::new();
    // A few at a time: each is two processes on a machine with two processors.
    for point in points.by_ref().take(6) {
        running.spawn(story(point));
    }
    while let Some(ended) = running.join_next().await {
        ended.expect("no failure");
        if let Some(point) = points.next() {
            running.spawn(story(point));
        }
    }
}

/// A node that joins this control plane.
struct Joining {
    control: std::sync::Arc<Registration>,
    node: Node,
    arguments: Vec<String>,
}

impl Joining {
    async fn new(will: Will) -> Self {
        let control = Registration::start(will).await;
        let arguments = ["join", &control.url(), "--capability", "R"].map(str::to_owned);
        Self {
            control,
            node: Node::new(),
            arguments: arguments.to_vec(),
        }
    }

    /// One that knows the collective's root.
    async fn pinned(will: Will) -> Self {
        let mut joining = Self::new(will).await;
        let pin = joining.control.pin();
        joining.arguments.extend(["--ca-fingerprint".to_owned(), pin]);
        joining
    }

    async fn run(&self, crash_at: Option<&str>) -> Ended {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        self.node.run(&arguments, crash_at).await
    }

    /// Joins until it is killed at `point`; its state then.
    async fn killed(&self, point: &str) -> serde_json::Value {
        let killed = self.run(Some(point)).await;
        assert_eq!(killed.code, None, "{point} was not reached: {}", killed.err);
        // The settings are written first; before they are there, there is nothing to look at.
        if self.node.config().exists() {
            self.node.status().await
        } else {
            serde_json::json!({})
        }
    }

    /// Joins to the end.
    async fn goes_on(&self, point: &str) {
        let ended = self.run(None).await;
        assert_eq!(ended.code, Some(0), "{point}: {}", ended.err);
    }

    /// What must hold after every story.
    async fn is_as_it_should(&self, point: &str, state: &str) {
        assert_eq!(self.node.status().await["state"], state, "{point}");
        let log = self.control.log.lock().expect("no panic");
        assert!(
            log.offers_of_nonce.values().all(|offers| offers.len() == 1),
            "{point}: one offer a nonce"
        );
        assert!(
            log.nonces_of_hello.values().all(|nonces| nonces.len() == 1),
            "{point}: one nonce a hello"
        );
        assert_eq!(log.replayed_counters, 0, "{point}: no counter is used twice");
        assert_eq!(log.keys.len(), 1, "{point}: one key");
        assert!(log.refused.is_empty(), "{point}: {:?}", log.refused);
        let left = std::fs::read_dir(self.node.state()).expect("read");
        let unfinished = left
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().to_string_lossy().contains("muster-new"));
        assert_eq!(unfinished.count(), 0, "{point}: nothing unfinished is left");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_that_is_killed_anywhere_is_finished_by_the_next_process() {
    let mut points = points_of("join.config");
    points.push("join.revealed".to_owned());
    for write in [
        "join.key",
        "join.offer",
        "join.reveal",
        "join.counter",
        "join.issued",
    ] {
        points.extend(points_of_identity(write));
    }
    at_each(points, async |point| {
        let joining = Joining::pinned(Will::Approve).await;
        let between = joining.killed(&point).await;
        assert!(
            ["null", "\"not_joined\"", "\"joining\"", "\"trusted\""]
                .contains(&between["state"].to_string().as_str()),
            "{point}: {between}"
        );
        if between["state"] != "trusted" {
            joining.goes_on(&point).await;
        }
        if let Some(key) = between.get("fingerprint") {
            assert_eq!(
                &joining.node.status().await["fingerprint"],
                key,
                "{point}: a key that was stored is kept"
            );
        }
        joining.is_as_it_should(&point, "trusted").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirmation_that_is_killed_is_simply_said_again() {
    at_each(points_of_identity("join.confirmed"), async |point| {
        let joining = Joining::new(Will::Approve).await;
        joining.goes_on(&point).await;
        let confirm = ["confirm", "--ca-fingerprint", &joining.control.pin()];
        let killed = joining.node.run(&confirm, Some(&point)).await;
        assert_eq!(killed.code, None, "{point} was not reached: {}", killed.err);
        let between = joining.node.status().await["state"].clone();
        assert!(
            between == "unconfirmed" || between == "trusted",
            "{point}: {between}"
        );
        let again = joining.node.run(&confirm, None).await;
        assert_eq!(again.code, Some(0), "{point}: {}", again.err);
        joining.is_as_it_should(&point, "trusted").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_that_is_killed_is_heard_again() {
    at_each(points_of_identity("join.rejected"), async |point| {
        let joining = Joining::pinned(Will::Reject).await;
        let between = joining.killed(&point).await;
        // Asked again after the rejection was stored, it would be another request with another key.
        if between["state"] != "rejected" {
            assert_eq!(between["state"], "joining", "{point}");
            let again = joining.run(None).await;
            assert!(
                again.code == Some(1) && again.err.contains("not ours"),
                "{point}: {}",
                again.err
            );
        }
        joining.is_as_it_should(&point, "rejected").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_request_that_is_killed_asks_for_what_was_wanted_last() {
    at_each(points_of_identity("join.changed"), async |point| {
        let mut joining = Joining::pinned(Will::Approve).await;
        joining.killed(ASKED).await;
        joining
            .arguments
            .extend(["--capability", "PYTHON"].map(str::to_owned));
        let between = joining.killed(&point).await;
        assert_eq!(between["state"], "joining", "{point}: {between}");
        joining.goes_on(&point).await;
        let capabilities = joining.control.asked_for();
        assert_eq!(capabilities, ["R", "PYTHON"], "{point}");
        joining.is_as_it_should(&point, "trusted").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_killed_while_it_is_given_up_is_made_again() {
    at_each(points_of_identity("join.forgotten"), async |point| {
        let joining = Joining::pinned(Will::Supersede).await;
        let between = joining.killed(&point).await;
        assert_eq!(between["state"], "joining", "{point}: {between}");
        joining.control.decide(Will::Approve);
        joining.goes_on(&point).await;
        joining.is_as_it_should(&point, "trusted").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_killed_while_its_code_before_is_taken_up_again_goes_on() {
    at_each(points_of_identity("join.restored"), async |point| {
        let joining = Joining::pinned(Will::RefuseReveals).await;
        joining.control.decide(Will::Wait);
        let code = joining.killed(ASKED).await["code"].clone();
        age(&joining.node);
        // Its code is old, so it begins anew; but the control plane has decided about the old one.
        joining.control.decide(Will::RefuseReveals);
        let between = joining.killed(&point).await;
        assert_eq!(between["state"], "joining", "{point}: {between}");
        let restored = ["renamed", "settled", "stored"]
            .iter()
            .any(|step| point.ends_with(step));
        assert_eq!(between["code"] == code, restored, "{point}: {between}");
        joining.control.decide(Will::Approve);
        joining.goes_on(&point).await;
        joining.is_as_it_should(&point, "trusted").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_killed_while_its_certificate_ends_asks_again_with_the_same_key() {
    at_each(points_of_identity("join.renewal"), async |point| {
        let joining = Joining::pinned(Will::ApproveFor(SHORT)).await;
        joining.goes_on(&point).await;
        let key = joining.node.status().await["fingerprint"].clone();
        let killed = joining.node.run(&["run"], Some(&point)).await;
        assert_eq!(killed.code, None, "{point} was not reached: {}", killed.err);
        let between = joining.node.status().await;
        assert!(
            between["state"] == "trusted" || between["state"] == "joining",
            "{point}: {between}"
        );
        joining.control.decide(Will::Approve);
        let (mut service, _) = joining.node.until(&["run"], "approved").await;
        service.kill().await.expect("killed");
        assert_eq!(joining.node.status().await["fingerprint"], key, "{point}");
        joining.is_as_it_should(&point, "trusted").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_killed_when_its_clock_is_right_again_is_a_member_as_before() {
    at_each(points_of_identity("join.resumed"), async |point| {
        let joining = Joining::pinned(Will::Approve).await;
        joining.goes_on(&point).await;
        let key = joining.node.status().await["fingerprint"].clone();
        joining.control.decide(Will::Wait);
        give_up_membership(&joining.node);
        let killed = joining.node.run(&["run"], Some(&point)).await;
        assert_eq!(killed.code, None, "{point} was not reached: {}", killed.err);
        let (mut service, _) = joining.node.until(&["run"], "not connected").await;
        service.kill().await.expect("killed");
        let status = joining.node.status().await;
        assert_eq!(
            (&status["state"], &status["fingerprint"]),
            (&"trusted".into(), &key),
            "{point}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_killed_while_it_keeps_what_it_knows_learns_it_again() {
    let world = World::new(REFUSES, Vec::new()).await;
    let mut points = points_of("trust.state");
    points.extend(points_of("status"));
    for (number, point) in points.iter().enumerate() {
        // Something new, so that there is something to write; the first time there is nothing yet to replace.
        let setting = Setting::TerrRestrictedExecutionMode(number % 2 == 0);
        world.back.trust(&Entry::Setting(Scope::All, setting));
        let mut agent = world
            .node
            .command(&["run"], Some(point))
            .spawn()
            .expect("started");
        let killed = tokio::time::timeout(GENEROUS, agent.wait())
            .await
            .unwrap_or_else(|_| panic!("{point} was not reached"))
            .expect("waited");
        assert_eq!(killed.code(), None, "{point}");
        let (mut agent, _) = world.node.until(&["run"], "connected").await;
        let wanted = world.back.version().number;
        let status = world
            .node
            .status_until(|status| {
                status["agent"]["trust_fresh"] == true && status["agent"]["trust_number"] == wanted
            })
            .await;
        assert_eq!(status["agent"]["conditions"], serde_json::json!([]), "{point}");
        agent.kill().await.expect("killed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_while_it_keeps_that_it_was_revoked_learns_it_again() {
    let world = World::new(REFUSES, Vec::new()).await;
    for point in points_of("revoked") {
        world.back.revoked.store(true, Ordering::SeqCst);
        let killed = world.node.run(&["run"], Some(&point)).await;
        assert_eq!(killed.code, None, "{point} was not reached: {}", killed.err);
        let kept = point.ends_with("renamed") || point.ends_with("settled");
        let between = world.node.status().await;
        assert_eq!(between["state"] == "revoked", kept, "{point}: {between}");
        let (mut agent, _) = world.node.until(&["run"], "this node was revoked").await;
        world
            .node
            .status_until(|status| status["agent"]["link"] == "revoked")
            .await;
        agent.kill().await.expect("killed");
        assert_eq!(world.node.status().await["state"], "revoked", "{point}");
        let examined = world.node.run(&["doctor"], None).await;
        assert!(
            examined
                .out
                .contains("PROBLEM  The collective does not trust this node any more")
                && !examined.out.contains("the agent renews it"),
            "{}",
            examined.out
        );
        // Whoever revoked it takes it back: nothing is kept against it.
        world.back.revoked.store(false, Ordering::SeqCst);
        world.connected().await.kill().await.expect("killed");
        assert_eq!(world.node.status().await["state"], "trusted", "{point}");
    }
}

/// Makes the exchange that a node has stored older than any code's life.
fn age(node: &Node) {
    rewrite(node, |stage| stage["exchange"]["begun"] = 1.into());
}

/// Makes a member one that asks to be let in again, as it does when its clock says that its certificate has ended.
fn give_up_membership(node: &Node) {
    rewrite(node, |stage| {
        let mut former = stage.take();
        let member = former.as_object_mut().expect("a membership");
        member.remove("state");
        *stage = serde_json::json!({
            "state": "joining", "pins": [], "addresses": [], "renewal": "its certificate is over",
            "registration": member["registration"], "name": member["name"], "pool": member["pool"],
            "site": member["site"], "capabilities": member["capabilities"], "former": former,
        });
    });
}

/// Changes the stage that a node has stored.
fn rewrite(node: &Node, change: impl FnOnce(&mut serde_json::Value)) {
    let path = node.state().join("identity.json");
    let bytes = std::fs::read(&path).expect("read");
    let mut file: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    change(&mut file["content"]["stage"]);
    let content = file["content"].to_string();
    let digest = Digest::of(content.as_bytes());
    let text = format!("{{\"format\":1,\"digest\":\"{digest}\",\"content\":{content}}}\n");
    muster_daemon::file::write(&path, text.as_bytes(), 0o600, "test").expect("written");
}
