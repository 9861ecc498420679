//! An older database is put back: nodes notice, the root vouches for it, and what was taken away stays away.

use std::{collections::BTreeSet, fs, time::Duration};

use muster_agent::trust::{Trust, wire_version};
use muster_pki::PayloadType;
use muster_tests::{Applicant, Person, RealNode, Server, folder, now, problem, refusal, unique, within};
use muster_wire::{
    admin::v1::{Page, node::Node, signing::SigningRoot, stamp::Stamp, status::Status},
    node::v1::{
        control::ControlMessage,
        epoch::{Known, KnownState},
        join::{HELLO_PATH, REVEAL_PATH},
    },
};
use serde_json::json;

/// Longer than an agent waits between two tries to connect.
const PATIENCE: Duration = Duration::from_mins(3);

/// The files of the database while nothing runs on it.
struct Backup(Vec<(&'static str, Option<Vec<u8>>)>);

impl Backup {
    fn take(server: &Server) -> Self {
        server.kill();
        let files = ["muster.db", "muster.db-wal", "muster.db-shm"];
        let kept = files.map(|name| (name, fs::read(server.state_dir().join(name)).ok()));
        server.restart();
        Self(kept.into())
    }

    fn put_back(&self, server: &Server) {
        server.kill();
        for (name, bytes) in &self.0 {
            let path = server.state_dir().join(name);
            match bytes {
                Some(bytes) => fs::write(path, bytes).expect("the database is put back"),
                None => {
                    let _ = fs::remove_file(path);
                }
            }
        }
    }
}

fn serials(server: &Server) -> BTreeSet<String> {
    let rows = server.database().rows("SELECT serial FROM certificates");
    rows.iter()
        .map(|row| row["serial"].as_str().expect("a serial").to_owned())
        .collect()
}

async fn holds_number(node: &RealNode, number: i64) {
    within(PATIENCE, "the node holds the trust state", async || {
        (node.status()["agent"]["trust_number"] == number).then_some(())
    })
    .await;
}

fn number(server: &Server) -> i64 {
    server.database().number("SELECT number FROM trust_head")
}

async fn new_epoch(server: &Server) -> String {
    server.kill();
    let (done, said) = server.command("new-epoch");
    assert!(done, "{said}");
    server.restart();
    server.sessions_ended().await;
    said
}

async fn stamps(admin: &Person) -> Vec<Stamp> {
    let page: Page<Stamp> = admin.get("/api/v1/trust/stamps").await;
    page.items
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_database_is_refused_until_the_root_vouches_for_it_and_then_learns_what_was_taken_away() {
    let server = Server::private();
    let (admin, author) = (server.admin().await, server.author().await);
    let pool = server.pool().await;
    let node = RealNode::start(&server, &pool).await;
    let gone = Applicant::new(&unique("gone")).await.join(&server).await;
    let function = author.register("double", "r", "y <- 2").await;
    author.trust(&function).await;
    let waiting = Applicant::new(&unique("waiting")).await;
    let code = waiting.apply(&server).await.code().to_string();
    let token = json!({ "capabilities": ["R"], "uses": 3, "ttl_seconds": 3600 });
    admin.post("/api/v1/join-tokens", &token).await.expect("a token");
    let backup = Backup::take(&server);

    let untrust = ["functions", "double", "untrust"];
    author
        .tell(&untrust, &serde_json::Value::Null)
        .await
        .expect("untrusted");
    let reason = json!({ "reason": "stolen" });
    let untrusted = admin.tell(&["nodes", gone.name(), "untrust"], &reason).await;
    untrusted.expect("untrusted");
    let late = Applicant::new(&unique("late")).await.join(&server).await;
    node.connected(&server).await;
    holds_number(&node, number(&server)).await;
    let mut issued = serials(&server);

    backup.put_back(&server);
    let known = serials(&server);
    server.restart();
    within(PATIENCE, "the node is turned away", async || {
        node.log().contains("run muster-server new-epoch").then_some(())
    })
    .await;
    assert!(server.log().contains("a node knows another database"));
    let status: Status = admin.get("/api/v1/status").await;
    let told = status
        .problems
        .iter()
        .any(|problem| problem.contains(node.name()) && problem.contains("run muster-server new-epoch"));
    assert!(told, "{:?}", status.problems);
    let unknown = late.try_claim(&late.connect().await).await.map(drop);
    assert_eq!(refusal(unknown), (403, "node-unknown".to_owned()));
    assert_eq!(stamps(&admin).await.len(), 1, "the old database has forgotten");

    let said = new_epoch(&server).await;
    assert!(
        said.contains("Epoch 2 began") && said.contains("1 waiting join requests, 1 join tokens"),
        "{said}"
    );
    assert!(refusal(admin.post("/api/v1/joins/match", &json!({ "code": code })).await).0 == 401);
    let admin = server.admin().await;
    let matched = admin.post("/api/v1/joins/match", &json!({ "code": code })).await;
    assert_eq!(problem(matched).status, 404, "what waited is void");

    within(PATIENCE, "what the node knew was taken away again", async || {
        (!admin.audited("epoch.united").await.is_empty()).then_some(())
    })
    .await;
    assert!(stamps(&admin).await.is_empty(), "the stamp stays removed");
    let shown: Node = admin.show(&["nodes", gone.name()]).await;
    assert_eq!(shown.trust, "revoked", "the node stays untrusted");
    let speaks = match gone.try_connect().await {
        Ok(connection) => gone.try_claim(&connection).await.is_ok(),
        Err(_) => false,
    };
    assert!(!speaks, "its certificate is of no use");
    holds_number(&node, number(&server)).await;
    node.connected(&server).await;
    assert_eq!(admin.audited("epoch.begun").await.len(), 1);
    assert_eq!(admin.audit_broken().await, None);

    let fresh = Applicant::new(&unique("fresh")).await.join(&server).await;
    assert_eq!(fresh.issued.epoch, 2);
    let after = serials(&server);
    let new: Vec<_> = after.difference(&known).collect();
    assert!(!new.is_empty() && new.iter().all(|serial| issued.insert((*serial).clone())));
    assert!(issued.iter().all(|serial| serial.len() == 32));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_granted_before_a_node_has_handed_in_what_it_knows_and_fences_begin_anew() {
    let server = Server::private();
    let author = server.author().await;
    let pool = server.pool().await;
    let member = Applicant::new(&unique("terr"))
        .await
        .in_pool(&pool)
        .join(&server)
        .await;
    let function = author.register("double", "r", "y <- 2").await;
    author.trust(&function).await;
    let connection = member.connect().await;
    let (head, reply) = member.trust_state(&connection, None).await;
    assert!(reply.bump.is_none(), "the first epoch has none");
    let answered = member.control_holding(&connection, None).await.expect("welcome");
    assert!(matches!(
        answered,
        ControlMessage::Welcome {
            report_known: false,
            ..
        }
    ));

    new_epoch(&server).await;
    let admin = server.admin().await;
    let author = author.again(&server).await;
    author
        .run(&function, &json!({ "pool": pool, "inputs": {} }))
        .await;
    let connection = member.connect().await;
    let held = Some(head.version.clone());
    let answered = member
        .control_holding(&connection, held.clone())
        .await
        .expect("welcome");
    // It holds exactly what the epoch began with: there is nothing to learn.
    assert!(matches!(
        answered,
        ControlMessage::Welcome {
            report_known: false,
            ..
        }
    ));
    let claimed = member.claim(&connection).await.expect("granted");
    assert!(
        claimed.grant.fence > i64::from(u32::MAX),
        "{}",
        claimed.grant.fence
    );

    let other = Applicant::new(&unique("terr"))
        .await
        .in_pool(&pool)
        .join(&server)
        .await;
    author
        .run(&function, &json!({ "pool": pool, "inputs": {} }))
        .await;
    let connection = other.connect().await;
    let answered = other.control_holding(&connection, None).await.expect("welcome");
    assert!(matches!(
        answered,
        ControlMessage::Welcome {
            report_known: true,
            ..
        }
    ));
    assert!(other.claim(&connection).await.is_none(), "not before its report");

    // A report that nobody signed takes nothing away.
    let mut entries = reply.entries.expect("entries");
    let stamp = entries
        .keys()
        .find_map(|key| key.strip_prefix("stamp/"))
        .expect("a stamp");
    let forged = format!("tombstone/stamp/{stamp}");
    let value = format!(r#"{{"at":"2026-01-01T00:00:00Z","stamp":"{stamp}"}}"#);
    entries.insert(forged, value);
    let state = Some(KnownState {
        head: reply.head,
        entries,
    });
    let answer = other.hand_in(&connection, &Known { state }).await.expect("taken");
    assert_eq!(answer.status, 204);
    assert_eq!(stamps(&admin).await.len(), 1);
    assert_eq!(admin.audited("epoch.report_refused").await.len(), 1);
    assert!(admin.audited("epoch.united").await.is_empty());
    assert!(other.claim(&connection).await.is_some(), "its report was read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_copy_of_an_epoch_is_refused_by_nodes_and_refuses_them() {
    let server = Server::private();
    let pool = server.pool().await;
    let member = Applicant::new(&unique("terr"))
        .await
        .in_pool(&pool)
        .join(&server)
        .await;
    let twin = server.twin();
    new_epoch(&server).await;
    new_epoch(&twin).await;

    let folder = folder("trust");
    let (roots, now) = (server.roots(), now());
    let file = folder.join("trust-state.json");
    let trust = Trust::load(file, &roots, member.issued.epoch, Duration::from_mins(15), now);
    let (_, reply) = member.trust_state(&member.connect().await, None).await;
    let bump = reply.bump.clone().expect("the bump comes along");
    assert!(
        member.verified(&bump, PayloadType::EpochBump).is_err(),
        "no member signs it"
    );
    trust
        .install(&reply, &roots, now)
        .expect("the root vouches for it");

    let connection = member.connect_to(&twin).await;
    let (head, other) = member.trust_state(&connection, None).await;
    assert_eq!(head.version.epoch, 2);
    let error = trust.install(&other, &roots, now).expect_err("a second copy");
    assert!(error.is_of_another_database(), "{error}");
    let held = trust.held().expect("held").version;
    let turned_away = member
        .control_holding(&connection, Some(wire_version(&held)))
        .await;
    assert_eq!(refusal(turned_away), (409, "second-copy".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_needs_a_stopped_control_plane_the_roots_key_and_a_number_that_can_be() {
    let server = Server::private();
    let refused = |command: &str, why: &str| {
        let (done, said) = server.command(command);
        assert!(!done && said.contains(why), "{command}: {said}");
    };
    refused("new-epoch", "while the control plane is stopped");
    server.kill();
    refused(
        "new-epoch --above 2147483648",
        "there are at most 2147483648 epochs",
    );
    refused(
        "new-epoch --above 18446744073709551615",
        "there are at most 2147483648 epochs",
    );
    for above in ["-1", "two", "18446744073709551616", ""] {
        refused(&format!("new-epoch --above={above}"), "--above");
    }
    let away = folder("away").join("root.key");
    let (done, said) = server.command(&format!("root-key export {} --remove", away.display()));
    assert!(done, "{said}");
    refused("new-epoch", "root-key import");

    let (epochs, records) = {
        let database = server.database();
        (
            database.number("SELECT epoch FROM meta"),
            database.number("SELECT COUNT(*) FROM epochs"),
        )
    };
    assert_eq!((epochs, records), (1, 0), "nothing of all that was an epoch");
    let (done, said) = server.command(&format!("root-key import {}", away.display()));
    assert!(done, "{said}");
    let (done, said) = server.command("new-epoch --above 6");
    assert!(done && said.contains("Epoch 7 began"), "{said}");
    server.restart();
    server.sessions_ended().await;
    let admin = server.admin().await;
    assert_eq!(admin.audited("epoch.begun").await.len(), 1);
    assert_eq!(admin.audit_broken().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_before_an_epoch_lets_nobody_in_after_it() {
    let server = Server::private();
    let wishes = json!({ "capabilities": ["TERR", "R", "PYTHON"], "uses": 3, "ttl_seconds": 3600 });
    let token = server.join_token(&wishes).await;
    let with_token = async || Applicant::new(&unique("token")).await.with_token(&token);
    let before = with_token().await.join_by_token(&server).await;
    let offered = Applicant::new(&unique("offered")).await;
    let offer = offered.greet(&server).await;
    let waiting = Applicant::new(&unique("waiting")).await;
    let transcript = waiting.apply(&server).await;

    new_epoch(&server).await;
    // The offer was made with the join key of the epoch before.
    let revealed = server.registers(REVEAL_PATH, &offered.reveal(&offer).await).await;
    assert_eq!(problem(revealed).status, 422);
    let answer = waiting.ask(&server, &transcript, 1).await;
    assert_eq!(answer.state, "expired");
    assert!(answer.issued.is_none());
    let refused = with_token().await.enter(&server).await;
    assert!(refused.is_err(), "{refused:?}");
    let admin = server.admin().await;
    let tokens: serde_json::Value = admin.get("/api/v1/join-tokens").await;
    assert!(
        tokens.to_string().contains("a new epoch began"),
        "it says why: {tokens}"
    );

    // Whoever is in stays in, and who begins anew comes in.
    let connection = before.connect().await;
    before.heartbeat(&connection, &[]).await.expect("a member");
    let hello = server.registers(HELLO_PATH, &waiting.hello).await;
    assert!(hello.is_ok(), "the same node begins again: {hello:?}");
    let fresh = Applicant::new(&unique("fresh")).await.join(&server).await;
    assert_eq!(fresh.issued.epoch, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_refuses_an_older_epoch_and_names_the_one_to_be_above() {
    let server = Server::private();
    let member = Applicant::new(&unique("terr")).await.join(&server).await;
    let backup = Backup::take(&server);
    new_epoch(&server).await;
    let (roots, file) = (server.roots(), folder("trust").join("trust-state.json"));
    let trust = Trust::load(file, &roots, 1, Duration::from_mins(15), now());
    let offered = async || member.trust_state(&member.connect().await, None).await.1;
    trust.install(&offered().await, &roots, now()).expect("epoch 2");
    let held = trust.held().expect("held").version;
    assert_eq!(held.epoch, 2);
    let known = trust.known();

    backup.put_back(&server);
    server.restart();
    let error = trust
        .install(&offered().await, &roots, now())
        .expect_err("epoch 1");
    let said = muster_agent::sentence(&error);
    assert!(said.contains("new-epoch --above 2"), "{said}");
    let answer = member
        .control_holding(&member.connect().await, Some(wire_version(&held)))
        .await;
    let refused = problem(answer);
    assert!(refused.kind.ends_with("older-database"), "{refused:?}");
    assert!(refused.detail.contains("new-epoch --above 2"), "{refused:?}");
    // Who does not heed it has made a second copy of epoch 2.
    new_epoch(&server).await;
    let error = trust
        .install(&offered().await, &roots, now())
        .expect_err("another epoch 2");
    assert!(error.is_of_another_database(), "{error}");

    backup.put_back(&server);
    let (done, said) = server.command("new-epoch --above 2");
    assert!(done && said.contains("Epoch 3 began"), "{said}");
    server.restart();
    server.sessions_ended().await;
    trust.install(&offered().await, &roots, now()).expect("epoch 3");
    assert_eq!(trust.held().expect("held").version.epoch, 3);
    let connection = member.connect().await;
    let welcome = member
        .control_holding(&connection, Some(wire_version(&held)))
        .await;
    let welcome = welcome.expect("it comes from an earlier epoch");
    assert!(
        matches!(
            welcome,
            ControlMessage::Welcome {
                report_known: true,
                ..
            }
        ),
        "{welcome:?}"
    );
    member.hand_in(&connection, &known).await.expect("taken");
    let united = server.admin().await.audited("epoch.united").await;
    assert_eq!(united.len(), 1);
    assert_eq!(united[0]["detail"]["epoch"], 2, "{united:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_an_older_database_has_forgotten_comes_back_and_one_that_was_lifted_stays_lifted() {
    let server = Server::private();
    let admin = server.admin().await;
    let pool = server.pool().await;
    let node = RealNode::start(&server, &pool).await;
    let path = "/api/v1/trust/blocks";
    let block = async |admin: &Person, user: &str| {
        let made = admin.post(path, &json!({ "user": user })).await.expect("blocked");
        made["id"].as_str().expect("an identity").to_owned()
    };
    let blocked = async |admin: &Person| -> Vec<String> {
        let page: Page<muster_wire::admin::v1::trust::Block> = admin.get(path).await;
        page.items
            .iter()
            .map(|block| block.user.as_ref().expect("a user").to_string())
            .collect()
    };
    let lifted = block(&admin, "lifted@SPOTFIRE").await;
    let again = block(&admin, "again@SPOTFIRE").await;
    let backup = Backup::take(&server);
    admin.delete(&["trust", "blocks", &lifted]).await.expect("lifted");
    admin.delete(&["trust", "blocks", &again]).await.expect("lifted");
    block(&admin, "again@SPOTFIRE").await;
    block(&admin, "new@SPOTFIRE").await;
    let revoked = json!({ "user": admin.name(), "from": "2020-01-01T00:00:00Z" });
    admin
        .post("/api/v1/trust/revocations", &revoked)
        .await
        .expect("revoked");
    node.connected(&server).await;
    holds_number(&node, number(&server)).await;

    backup.put_back(&server);
    server.restart();
    let backed_up = blocked(&admin).await;
    assert_eq!(
        backed_up,
        ["again@SPOTFIRE", "lifted@SPOTFIRE"],
        "the old database has forgotten"
    );
    new_epoch(&server).await;
    let admin = server.admin().await;
    within(PATIENCE, "what the node knew was united", async || {
        (!admin.audited("epoch.united").await.is_empty()).then_some(())
    })
    .await;
    assert_eq!(blocked(&admin).await, ["again@SPOTFIRE", "new@SPOTFIRE"]);
    let united = &admin.audited("epoch.united").await[0]["detail"];
    assert_eq!(
        [&united["blocked"], &united["unblocked"], &united["revocations"]],
        [&json!(1), &json!(1), &json!(1)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_of_signatures_that_was_removed_or_reset_does_not_come_back_with_an_older_database() {
    let server = Server::private();
    let admin = server.admin().await;
    let pool = server.pool().await;
    let node = RealNode::start(&server, &pool).await;
    let kept = crate::signing::known_root(&admin).await;
    let removed = crate::signing::known_root(&admin).await;
    let own = async |admin: &Person| {
        let made = admin.post("/api/v1/trust/roots/internal", &json!({})).await;
        made.expect("the root")["fingerprint"]
            .as_str()
            .expect("a digest")
            .to_owned()
    };
    let roots = async |admin: &Person| -> BTreeSet<String> {
        let roots: Page<SigningRoot> = admin.get("/api/v1/trust/roots").await;
        roots
            .items
            .iter()
            .map(|root| root.fingerprint.to_string())
            .collect()
    };
    let left = own(&admin).await;
    let backup = Backup::take(&server);
    admin
        .delete(&["trust", "roots", &removed])
        .await
        .expect("removed");
    admin
        .post("/api/v1/trust/reset", &json!({}))
        .await
        .expect("made anew");
    assert_ne!(own(&admin).await, left);
    node.connected(&server).await;
    holds_number(&node, number(&server)).await;

    backup.put_back(&server);
    server.restart();
    let all = [&kept, &removed, &left].map(String::clone).into();
    assert_eq!(roots(&admin).await, all, "the old database has forgotten");
    new_epoch(&server).await;
    let admin = server.admin().await;
    within(PATIENCE, "what the node knew was united", async || {
        (!admin.audited("epoch.united").await.is_empty()).then_some(())
    })
    .await;
    assert_eq!(roots(&admin).await, [kept].into());
    assert_eq!(admin.audited("epoch.united").await[0]["detail"]["roots"], 2);
    assert_ne!(own(&admin).await, left);
}
