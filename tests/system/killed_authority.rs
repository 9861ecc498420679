//! `kill -9` of the control plane on both sides of every commit of a rotation of its authority, and between the commit and
//! what follows from it: each step is taken once or not at all, and nodes go on.

use muster_client::ClientError;
use muster_pki::{KeyUse, SoftwareSigner};
use muster_tests::{
    Applicant, Blank, Member, Person, Server, Settings, WrongClock, needs_crash_points, until, within,
};
use serde_json::{Value, json};

use crate::real_node::PATIENCE;

const DAY: i64 = 24 * 60 * 60 * 1000;

/// A control plane that is killed during a rotation and started again.
struct World {
    server: Server,
    admin: Person,
}

impl World {
    async fn new() -> Self {
        needs_crash_points("muster-server");
        let server = Server::private();
        let admin = server.admin().await;
        Self { server, admin }
    }

    async fn rotate(&self, step: &str) -> Result<Value, ClientError> {
        let body = json!({ "step": step, "force": true });
        self.admin.post("/api/v1/authority/rotation", &body).await
    }

    async fn shown(&self) -> Value {
        self.admin.get("/api/v1/authority").await
    }

    async fn stage(&self) -> String {
        let shown = self.shown().await;
        shown["stage"].as_str().expect("a stage").to_owned()
    }

    /// Takes `step` in a process that is killed at `point`; the next one finds the rotation at `after`.
    async fn killed(&self, step: &str, point: &str, after: &str) {
        self.server.restart_in(&[("MUSTER_CRASH_AT", point)]);
        let error = self
            .rotate(step)
            .await
            .expect_err("nobody was answered before that");
        assert!(error.problem().is_none(), "{point} was not reached: {error}");
        self.dead(point).await;
        self.server.restart();
        assert_eq!(self.stage().await, after, "{step} killed at {point}");
    }

    /// Waits until it was killed at `point`.
    async fn dead(&self, point: &str) {
        let killed = within(PATIENCE, &format!("it is killed at {point}"), async || {
            self.server.process().ended()
        })
        .await;
        assert_eq!(killed.code(), None, "{point}: {}", self.server.log());
    }

    /// Waits until the authority number `number` has keys, or none.
    async fn keys(&self, number: usize, there: bool) {
        let shown = self.shown().await;
        let root = shown["authorities"][number]["root"].as_str().expect("a root");
        let hex = root.strip_prefix("sha256:").expect("a fingerprint");
        let folder = self.server.state_dir().join("keys").join(&hex[..16]);
        until(&format!("the keys of authority {number}: {there}"), async || {
            let names = ["root.key", "issuing.key", "policy.key"];
            let all = names.iter().all(|name| folder.join(name).exists() == there);
            all.then_some(())
        })
        .await;
    }

    /// Each of these was recorded so often, and the chain of the audit log is whole.
    async fn recorded(&self, events: &[(&str, usize)]) {
        for (event, times) in events {
            assert_eq!(self.admin.audited(event).await.len(), *times, "{event}");
        }
        assert_eq!(self.admin.audit_broken().await, None);
    }

    /// A node that joins now and uses its certificate.
    async fn joined(&self, name: &str, roots: usize) -> Member {
        until("the roots are written", async || {
            (self.server.roots().certificates().len() == roots).then_some(())
        })
        .await;
        let member = Applicant::new(name).await.join(&self.server).await;
        speaks(&member).await.expect("a new node is let in");
        member
    }
}

async fn speaks(member: &Member) -> Result<(), ClientError> {
    let connection = member.try_connect().await?;
    member.heartbeat(&connection, &[]).await.map(drop)
}

/// The same node under a new certificate, which it has not used yet.
async fn renewed(member: &Member) -> Member {
    let connection = member.connect().await;
    let next = SoftwareSigner::generate(KeyUse::Tls).expect("a key");
    let answer = member.renew(&connection, &next).await.expect("renewed");
    member.renewed(next, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_goes_on_where_the_control_plane_was_killed() {
    let world = World::new().await;
    let old = world.joined("terr01", 1).await;
    for (step, point, after) in [
        ("prepare", "authority.keys.stored", "idle"),
        ("prepare", "authority.prepared.ready", "idle"),
        ("prepare", "authority.prepared.committed", "prepared"),
        ("activate", "authority.activated.ready", "prepared"),
        ("activate", "authority.activated.committed", "activated"),
        ("taint", "authority.tainted.ready", "activated"),
        ("taint", "authority.tainted.committed", "tainted"),
    ] {
        world.killed(step, point, after).await;
        speaks(&old)
            .await
            .unwrap_or_else(|error| panic!("nodes go on after {point}: {error}"));
        // What was committed is not done twice.
        if !point.ends_with("committed") {
            continue;
        }
        world.rotate(step).await.expect("once more is the same");
        assert_eq!(world.stage().await, after);
    }
    let new = renewed(&old).await;
    speaks(&new).await.expect("the new certificate is good");
    world.killed("revoke", "authority.revoked.ready", "tainted").await;
    for member in [&new, &old] {
        speaks(member).await.expect("nothing was revoked");
    }
    world.keys(0, true).await;
    world
        .killed("revoke", "authority.revoked.committed", "idle")
        .await;
    // The kill came before the keys were destroyed and the connections cut.
    world.keys(0, false).await;
    world.keys(1, true).await;
    speaks(&new).await.expect("who renewed goes on");
    until("a certificate of the old authority is refused", async || {
        speaks(&old).await.is_err().then_some(())
    })
    .await;
    world.joined("terr02", 1).await;
    world
        .recorded(&[
            ("authority.prepared", 1),
            ("authority.activated", 1),
            ("authority.tainted", 1),
            ("authority.revoked", 1),
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_goes_on_where_the_control_plane_was_killed() {
    let world = World::new().await;
    let first = world.shown().await["root_fingerprints"].clone();
    let stays = world.joined("terr01", 1).await;

    // Before the new authority has signed anything, it is revoked at once.
    world.killed("prepare", "authority.prepared", "prepared").await;
    world.killed("abort", "authority.aborted.ready", "prepared").await;
    world.keys(1, true).await;
    world.killed("abort", "authority.aborted.committed", "idle").await;
    world.keys(1, false).await;
    speaks(&stays).await.expect("nodes go on");

    for (round, further) in [&[][..], &["taint"]].into_iter().enumerate() {
        let before = if further.is_empty() {
            "activated"
        } else {
            "tainted"
        };
        for step in ["prepare", "activate"].iter().chain(further) {
            world.rotate(step).await.expect(step);
        }
        // It holds the new authority back until it has left it.
        let guest = world.joined(&format!("guest{round}"), 2).await;
        world.killed("abort", "authority.aborted.ready", before).await;
        let point = ["authority.aborted.committed", "authority.changed"][round];
        world.killed("abort", point, "aborted").await;
        for member in [&stays, &guest] {
            speaks(member).await.expect("nodes of both authorities go on");
        }
        world
            .server
            .restart_in(&[("MUSTER_CRASH_AT", "authority.revoked.ready")]);
        let left = renewed(&guest).await;
        // With its first use nobody is left; that may end the process before it answers.
        speaks(&left).await.ok();
        world.dead("authority.revoked.ready").await;
        // It goes on by itself, perhaps before it says that it is ready.
        world
            .server
            .begin(&[("MUSTER_CRASH_AT", "authority.revoked.committed")]);
        world.dead("authority.revoked.committed").await;
        world.server.restart();
        let shown = world.shown().await;
        assert_eq!(
            (&shown["stage"], &shown["root_fingerprints"]),
            (&json!("idle"), &first)
        );
        world.keys(round + 2, false).await;
        for member in [&stays, &left] {
            speaks(member)
                .await
                .expect("everybody is with the authority of before");
        }
        until("a certificate of what was given up is refused", async || {
            speaks(&guest).await.is_err().then_some(())
        })
        .await;
    }
    world.keys(0, true).await;
    world
        .recorded(&[("authority.aborted", 3), ("authority.revoked", 2)])
        .await;
}

/// A control plane that was away for so long finds certificates of its authority past half of their life: after three
/// years one of them is long over.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_the_authority_are_issued_anew_once_wherever_the_control_plane_is_killed() {
    needs_crash_points("muster-server");
    for (days, which) in [
        (200, json!(["policy"])),
        (3 * 365, json!(["intermediate", "policy"])),
    ] {
        let then = WrongClock::off_by(-days * DAY);
        let blank = Blank::new(&Settings::default());
        let (status, said) = blank.init(&[then.variable()]);
        assert!(status.success(), "init failed: {said}");
        let server = blank.serve_in(&said, &[then.variable()]);
        for point in ["authority.renewed.ready", "authority.renewed.committed"] {
            server.begin(&[("MUSTER_CRASH_AT", point)]);
            let killed = within(PATIENCE, point, async || server.process().ended()).await;
            assert_eq!(killed.code(), None, "{point}: {}", server.log());
        }
        server.restart();
        let admin = server.admin().await;
        let world = World { server, admin };
        world.recorded(&[("authority.renewed", 1)]).await;
        let renewed = world.admin.audited("authority.renewed").await;
        assert_eq!(renewed[0]["detail"]["certificates"], which, "after {days} days");
        let member = world.joined("terr01", 1).await;
        world.server.restart();
        speaks(&member).await.expect("and after another start");
        world.recorded(&[("authority.renewed", 1)]).await;
    }
}
