//! The same story on PostgreSQL.

#[path = "../../control-plane/store/tests/support/postgres.rs"]
pub(crate) mod support;

use std::sync::Arc;

use muster_tests::{Applicant, Server, Settings, challenge, member::next};
use muster_wire::node::v1::{
    control::ControlMessage,
    epoch::{Known, KnownState},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_learns_what_is_trusted_and_runs_a_function() {
    let server = Server::start(&Settings {
        database_url: Some(support::database()),
        ..Settings::default()
    });
    let (admin, author, analyst) = (
        server.admin().await,
        server.author().await,
        server.analyst().await,
    );
    let member = Applicant::new("terr01").await.join(&server).await;
    let connection = member.connect().await;
    let mut lines = member.control(&connection, &challenge()).await;
    let first = member.next_beacon(&mut lines).await;

    let function = author.register("f", "terr", "1").await;
    author.trust(&function).await;
    admin.set("terr.restricted.execution.mode", "all", "false").await;
    while member.next_trust_number(&mut lines).await < first.version.number + 2 {}
    let (head, reply) = member.trust_state(&connection, Some(0)).await;
    assert_eq!(
        (head.version.number, reply.changes.map(|changes| changes.len())),
        (2, Some(2))
    );

    let run = analyst.run(&function, &json!({})).await;
    while !matches!(next(&mut lines).await, ControlMessage::RunAvailable) {}
    let claimed = member.claim(&connection).await.expect("a run");
    assert_eq!(
        (claimed.grant.mode.as_str(), claimed.grant.rule.as_str()),
        ("unrestricted", "stamped")
    );
    let signer = member.receipt_signer(&connection).await;
    let outcome = member.outcome(&claimed, &signer, "succeeded").await;
    member
        .report(&connection, run.id, &outcome)
        .await
        .expect("counts");
    member
        .report(&connection, run.id, &outcome)
        .await
        .expect("twice is once");
    assert_eq!(analyst.run_ended(run.id).await.state, "succeeded");

    server.kill();
    server.restart();
    assert_eq!(analyst.run_now(run.id).await.state, "succeeded");
    admin
        .tell(&["nodes", "terr01", "untrust"], &json!({}))
        .await
        .expect("untrusted");
    assert!(member.try_claim(&member.connect().await).await.is_err());
    assert_eq!(admin.audit_broken().await, None);
    let page: Value = admin.get("/api/v1/audit?limit=3").await;
    assert!(page["next"].is_string());
}

/// A database as it was, beside the one that goes on.
struct Kept {
    /// Where statements about databases are said.
    beside: String,
    name: String,
}

impl Kept {
    fn take(url: &str) -> Self {
        let name = url.split(['/', '?']).nth(3).expect("a name").to_owned();
        let beside = support::database();
        support::change(&beside, &format!("CREATE DATABASE {name}_kept TEMPLATE {name}"));
        Self { beside, name }
    }

    fn put_back(&self) {
        let name = &self.name;
        for sql in [
            format!("DROP DATABASE {name} WITH (FORCE)"),
            format!("ALTER DATABASE {name}_kept RENAME TO {name}"),
        ] {
            support::change(&self.beside, &sql);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_at_once_end_as_reports_one_after_the_other() {
    let url = support::database();
    let server = Server::start(&Settings {
        database_url: Some(url.clone()),
        ..Settings::default()
    });
    let mut members = Vec::new();
    for number in 0..8 {
        let member = Applicant::new(&format!("terr{number:02}"))
            .await
            .join(&server)
            .await;
        members.push(Arc::new(member));
    }
    server.kill();
    let kept = Kept::take(&url);
    server.restart();
    let admin = server.admin().await;
    let known = async || {
        let (_, reply) = members[0].trust_state(&members[0].connect().await, None).await;
        let (head, entries) = (reply.head, reply.entries.expect("all of it"));
        Known {
            state: Some(KnownState { head, entries }),
        }
    };
    let path = "/api/v1/trust/blocks";
    let block = json!({ "user": "lifted@SPOTFIRE" });
    let lifted = admin.post(path, &block).await.expect("blocked");
    let with_the_block = known().await;
    let id = lifted["id"].as_str().expect("an identity");
    admin.delete(&["trust", "blocks", id]).await.expect("lifted");
    let gone = members[7].name().to_owned();
    let untrusted = admin.tell(&["nodes", &gone, "untrust"], &json!({})).await;
    untrusted.expect("untrusted");
    let block = json!({ "user": "new@SPOTFIRE" });
    admin.post(path, &block).await.expect("blocked");
    let with_the_lifting = known().await;

    server.kill();
    kept.put_back();
    let (done, said) = server.command("new-epoch");
    assert!(done, "{said}");
    server.restart();
    server.sessions_ended().await;
    let mut reports = JoinSet::new();
    for (number, member) in members[..6].iter().enumerate() {
        let known = [&with_the_block, &with_the_lifting][number % 2].clone();
        let (member, connection) = (Arc::clone(member), member.connect().await);
        reports.spawn(async move {
            member
                .hand_in(&connection, &known)
                .await
                .map(|answer| answer.status)
        });
    }
    for status in reports.join_all().await {
        assert_eq!(status.expect("taken"), 204);
    }
    let admin = server.admin().await;
    assert_eq!(admin.audited("epoch.united").await.len(), 6);
    assert_eq!(admin.audited("node.untrusted").await.len(), 1, "once");
    let blocks: Value = admin.get(path).await;
    let users: Vec<_> = blocks["items"].as_array().expect("a list").iter().collect();
    assert!(
        users.len() == 1 && users[0]["user"] == "new@SPOTFIRE",
        "{users:?}"
    );
    let known = known().await.state.expect("held").entries;
    let begin = |prefix: &str| known.keys().filter(|key| key.starts_with(prefix)).count();
    assert_eq!(
        ["blocking/", "block/", "tombstone/block/", "tombstone/node/"].map(begin),
        [1, 1, 1, 1]
    );
    assert_eq!(admin.audit_broken().await, None);
}
