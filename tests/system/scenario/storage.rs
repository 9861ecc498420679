//! What lies on the disk of a node: a full disk, crashes, files that others could have read, and damage.

use std::{
    ffi::CStr,
    fs,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
};

use muster_daemon::file::WRITE_POINTS;
use muster_tests::{RealNode, Server, approve, folder, needs_crash_points, until, within};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::Value;
use tokio::task::{JoinSet, LocalSet};

use crate::real_node::PATIENCE;

/// A small file system in memory, mounted for as long as this lives; tests run as root for the jail's sake.
pub(super) struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(path: PathBuf) -> Self {
        Self::with(path, c"size=1m,mode=0700")
    }

    /// With these options of the file system.
    pub(super) fn with(path: PathBuf, options: &CStr) -> Self {
        fs::create_dir_all(&path).expect("a folder");
        mount("tmpfs", &path, "tmpfs", MountFlags::empty(), options).expect("root can mount a file system");
        Self(path)
    }

    /// Leaves room for nothing.
    pub(super) fn fill(&self) {
        let mut filler = fs::File::create(self.filler()).expect("a file");
        let block = [1; 4096];
        while std::io::Write::write_all(&mut filler, &block).is_ok() {}
    }

    pub(super) fn make_room(&self) {
        fs::remove_file(self.filler()).expect("removed");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("spool-of-something-else")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn join_45_a_full_disk_touches_no_credentials_and_is_tried_again() {
    let server = Server::shared();
    let pool = server.pool().await;
    let outer = folder("node");
    let disk = SmallDisk::at(outer.join("state"));
    let node = RealNode::towards(server.registration(), &pool, Some(server.root()), outer);
    node.begin("join", &[]);
    let code = until("the node shows its code", async || node.code()).await;
    let before = until("the request is on its way", async || {
        let status = node.status();
        let asked = server
            .admin()
            .await
            .get::<Value>("/api/v1/joins?state=pending")
            .await;
        asked.to_string().contains(node.name()).then_some(status)
    })
    .await;
    disk.fill();
    let identity = node.state_dir().join("identity.json");
    let stored = fs::read(&identity).expect("the identity");
    approve(server, &code).await;
    until("the node says what is wrong", async || {
        node.log().contains("No space left on device").then_some(())
    })
    .await;
    assert!(node.process().ended().is_none(), "it tries again: {}", node.log());
    assert_eq!(fs::read(&identity).expect("the identity"), stored, "untouched");
    let status = node.status();
    assert_eq!(
        (&status["state"], &status["fingerprint"]),
        (&before["state"], &before["fingerprint"])
    );
    let (well, said) = node.command("doctor");
    assert!(!well && said.contains("room"), "its health is degraded: {said}");

    disk.make_room();
    let ended = within(PATIENCE, "the join ends", async || node.process().ended()).await;
    assert!(ended.success(), "{}", node.log());
    let status = node.status();
    assert_eq!(status["state"], "trusted");
    assert_eq!(status["fingerprint"], before["fingerprint"], "the same key");

    // A member whose disk is full keeps what it has, and says so to its control plane.
    node.run(&[]);
    node.connected(server).await;
    disk.fill();
    let admin = server.admin().await;
    within(PATIENCE, "the control plane hears of it", async || {
        let shown: Value = admin.show(&["nodes", node.name()]).await;
        shown["inventory"]["conditions"]
            .to_string()
            .contains("degraded")
            .then_some(())
    })
    .await;
    assert!(node.process().ended().is_none(), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_at_a_renewal_keeps_the_certificate_until_there_is_room() {
    let server = Server::private();
    server.restart_in(&[("MUSTER_CERTIFICATES__NODE_LIFETIME", "2m")]);
    let (admin, pool) = (server.admin().await, server.pool().await);
    let outer = folder("node");
    let disk = SmallDisk::at(outer.join("state"));
    let node = RealNode::towards(server.registration(), &pool, Some(server.root()), outer);
    node.join(&server, &[]).await;
    node.run(&[]);
    node.connected(&server).await;
    disk.fill();
    let stored = fs::read(node.identity()).expect("the identity");
    // It is due at half of its life.
    within(PATIENCE, "the renewal fails", async || {
        let log = node.log();
        let failed = log.lines().find(|line| line.contains("was not renewed"))?;
        failed.contains("No space left on device").then_some(())
    })
    .await;
    assert_eq!(
        fs::read(node.identity()).expect("the identity"),
        stored,
        "untouched"
    );
    within(PATIENCE, "the control plane hears of it", async || {
        let shown: Value = admin.show(&["nodes", node.name()]).await;
        let conditions = shown["inventory"]["conditions"].to_string();
        conditions.contains("degraded: certificate ends").then_some(())
    })
    .await;
    node.connected(&server).await;

    disk.make_room();
    within(PATIENCE, "the certificate is renewed", async || {
        node.log()
            .contains("renewed the certificate of this node")
            .then_some(())
    })
    .await;
    assert_ne!(fs::read(node.identity()).expect("the identity"), stored);
    node.connected(&server).await;
    assert!(node.process().ended().is_none(), "{}", node.log());
    let used = within(PATIENCE, "it is used", async || {
        let used = admin.audited("certificate.first_used").await;
        (!used.is_empty()).then_some(used)
    })
    .await;
    assert_eq!(used[0]["detail"]["generation"], 2, "{used:?}");
    assert!(admin.audited("node.clone_detected").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn join_46_a_crash_at_any_write_resumes_the_request_or_keeps_the_pair() {
    needs_crash_points("muster-node");
    let server = Server::shared();
    let pool = server.pool().await;
    let mut points = vec!["join.revealed".to_owned()];
    for write in ["join.key", "join.offer", "join.reveal", "join.counter", ISSUED] {
        points.extend(WRITE_POINTS.iter().map(|step| format!("{write}.{step}")));
        points.push(format!("{write}.stored"));
    }
    let mut points = points.into_iter();
    let stories = async {
        let mut running = JoinSet::new();
        // A few at a time: most of a join is waiting.
        for point in points.by_ref().take(8) {
            running.spawn_local(killed_at(server, pool.clone(), point));
        }
        while let Some(done) = running.join_next().await {
            done.expect("no failure");
            if let Some(point) = points.next() {
                running.spawn_local(killed_at(server, pool.clone(), point));
            }
        }
    };
    LocalSet::new().run_until(stories).await;
}

/// The write of a join that only a node reaches that was approved.
const ISSUED: &str = "join.issued";

/// A node that is killed at `point` of its join, and joins again.
async fn killed_at(server: &'static Server, pool: String, point: String) {
    let node = RealNode::folder(server, &pool, server.root());
    node.begin("join", &[("MUSTER_CRASH_AT", &point)]);
    let approved = point.starts_with(ISSUED);
    if approved {
        let code = until("the node shows its code", async || node.code()).await;
        approve(server, &code).await;
    }
    let killed = within(PATIENCE, &format!("the node is killed at {point}"), async || {
        node.process().ended()
    })
    .await;
    assert_eq!(killed.code(), None, "{point} was not reached: {}", node.log());
    let between = node.status()["fingerprint"].clone();
    if node.status()["state"] != "trusted" {
        node.begin("join", &[]);
        if !approved {
            let code = until("the node shows its code", async || node.code()).await;
            approve(server, &code).await;
        }
        let status = within(PATIENCE, "the join ends", async || node.process().ended()).await;
        assert!(status.success(), "{point}: {}", node.log());
    }
    let after = node.status();
    assert_eq!(after["state"], "trusted", "{point}");
    assert!(
        between.is_null() || between == after["fingerprint"],
        "{point}: a key that was stored is kept"
    );
    let admin = server.admin().await;
    let shown: Value = admin.show(&["nodes", node.name()]).await;
    assert_eq!(shown["trust"], "trusted", "{point}");
    let issued: Value = admin
        .get(&format!("/api/v1/certificates?subject={}", node.name()))
        .await;
    let issued = issued["items"].as_array().expect("a page").clone();
    let mine = issued.iter().filter(|row| row["subject"] == shown["id"]);
    assert_eq!(mine.count(), 1, "{point}");
}

#[tokio::test(flavor = "multi_thread")]
async fn join_47_a_key_that_others_could_read_or_swap_is_refused_with_the_reason() {
    let server = Server::shared();
    let node = RealNode::folder(server, &server.pool().await, server.root());
    node.join(server, &[]).await;
    let identity = node.state_dir().join("identity.json");
    let bytes = fs::read(&identity).expect("the identity");
    let aside = identity.with_file_name("elsewhere");
    let owner = |id| chown(&identity, Some(id), None).expect("root gives files away");
    let mode = |mode| fs::set_permissions(&identity, fs::Permissions::from_mode(mode)).expect("changed");
    let refused = async |words: &[&str]| {
        node.run(&[]);
        let status = until("the agent refuses to start", async || node.process().ended()).await;
        let log = node.log();
        assert_eq!(status.code(), Some(1), "{log}");
        for word in words {
            assert!(log.contains(word), "{word}: {log}");
        }
    };
    for open in [0o644, 0o640, 0o666, 0o604] {
        mode(open);
        refused(&["chmod 0600", &format!("has mode {open:04o}")]).await;
    }
    mode(0o600);
    owner(12_345);
    refused(&["belongs to user id 12345"]).await;
    owner(0);
    fs::rename(&identity, &aside).expect("moved");
    symlink(&aside, &identity).expect("linked");
    refused(&["is a symbolic link"]).await;
    fs::remove_file(&identity).expect("removed");
    fs::rename(&aside, &identity).expect("moved back");
    assert_eq!(
        fs::read(&identity).expect("the identity"),
        bytes,
        "nothing was changed"
    );
    node.run(&[]);
    node.connected(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn join_48_damage_is_set_aside_and_said_and_makes_no_new_identity() {
    let server = Server::shared();
    let node = RealNode::folder(server, &server.pool().await, server.root());
    node.join(server, &[]).await;
    let fingerprint = node.status()["fingerprint"].clone();
    let identity = node.state_dir().join("identity.json");
    let good = fs::read(&identity).expect("the identity");
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for damage in [&good[..good.len() / 2], &flipped, b"", &[0; 4096]] {
        private(&identity, damage);
        node.run(&[]);
        let status = until("the agent stops", async || node.process().ended()).await;
        let log = node.log();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("damaged") && log.contains("backup"), "{log}");
        let aside = set_aside(&node.state_dir());
        assert!(
            aside
                .iter()
                .any(|path| fs::read(path).is_ok_and(|kept| kept == damage)),
            "kept as it was: {aside:?}"
        );
        // Nor does the next start make an identity of its own.
        node.run(&[]);
        let again = until("the agent stops again", async || node.process().ended()).await;
        assert_eq!(again.code(), Some(1), "{}", node.log());
        assert!(!identity.exists());
    }
    private(&identity, &good);
    // What can be fetched again is fetched again.
    private(&node.state_dir().join("trust-state.json"), b"{\"head\":");
    node.run(&[]);
    node.connected(server).await;
    assert_eq!(
        node.status()["fingerprint"],
        fingerprint,
        "a backup of it is the node"
    );
    let shown: Value = server.admin().await.show(&["nodes", node.name()]).await;
    assert_eq!(shown["trust"], "trusted");
}

fn private(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("private");
}

/// What the agent moved aside.
fn set_aside(state: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(state).expect("the state folder");
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("identity.json.damaged-"))
        .collect()
}
