//! `kill -9` of the control plane while it works: what it said is true, and nothing happens twice.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use muster_daemon::{Random, file::WRITE_POINTS};
use muster_ids::RunId;
use muster_tests::{Applicant, Blank, Server, Settings, needs_crash_points, until};
use muster_wire::admin::v1::function::Function;
use serde_json::{Value, json};

/// Times that the control plane is killed.
const ROUNDS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_is_killed_keeps_what_it_acknowledged() {
    let server = Arc::new(Server::private());
    let author = server.author().await;
    let function = author.register("f", "terr", "1").await;
    let mut promised = Promised::default();
    for round in 0..ROUNDS {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let tasks = [
            tokio::spawn(submissions(
                server.clone(),
                author.token().to_owned(),
                function.clone(),
                acknowledged.clone(),
            )),
            tokio::spawn(approvals(server.clone(), round, acknowledged.clone())),
            tokio::spawn(changes(server.clone(), round, acknowledged.clone())),
        ];
        // A moment that nobody chose: all three are in the midst of something.
        let enough = 5 + Random::system().below(30);
        until("enough was acknowledged", async || {
            (acknowledged.load(Ordering::Relaxed) >= enough).then_some(())
        })
        .await;
        server.kill();
        for task in tasks {
            promised.extend(task.await.expect("the task ends when the control plane does"));
        }
        server.restart();
        promised.kept(&server).await;
    }
    assert!(
        !promised.runs.is_empty() && !promised.nodes.is_empty() && !promised.settings.is_empty(),
        "every kind of work was acknowledged before some kill: {promised:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_that_is_killed_anywhere_is_simply_run_again() {
    needs_crash_points("muster-server");
    let files = [
        "root.pem",
        "root.key",
        "issuing.pem",
        "issuing.key",
        "policy.pem",
        "policy.key",
        "master.key",
    ];
    let mut writes = files.map(|file| format!("server.{file}")).to_vec();
    writes.push("server.admin-password".to_owned());
    for point in points(&writes) {
        let blank = Blank::new(&Settings::default());
        let (killed, said) = blank.init(&[("MUSTER_CRASH_AT", &point)]);
        assert_eq!(killed.code(), None, "{point} was not reached: {said}");
        let (status, said) = blank.init(&[]);
        assert!(status.success(), "{point}: {said}");
        let (status, said) = blank.init(&[]);
        assert!(
            !status.success() && said.contains("nothing was changed"),
            "{point}: a second collective: {said}"
        );
    }
    for point in points(&["server.sample".to_owned()]) {
        let blank = Blank::new(&Settings::default());
        let (killed, said) = blank.init(&[("MUSTER_CRASH_AT", &point)]);
        assert_eq!(killed.code(), None, "{point} was not reached: {said}");
        let (status, said) = blank.init(&[]);
        assert!(
            !status.success() && said.contains("reset-admin"),
            "{point}: the collective was made; only its words are missing: {said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_that_does_not_find_the_database_of_its_keys_makes_no_other_collective() {
    let blank = Blank::new(&Settings::default());
    let (status, said) = blank.init(&[]);
    assert!(status.success(), "{said}");
    let state = blank.state_dir();
    let kept = ["keys/root.pem", "admin-password"].map(|name| state.join(name));
    let before = kept.each_ref().map(|file| fs::read(file).expect("readable"));
    fs::rename(state.join("muster.db"), state.join("lost.db")).expect("moved");
    let (status, said) = blank.init(&[]);
    assert!(!status.success() && said.contains("bring it back"), "{said}");
    assert_eq!(
        before,
        kept.each_ref().map(|file| fs::read(file).expect("readable"))
    );
    assert!(!state.join("muster.db").exists(), "another database was made");
    fs::rename(state.join("lost.db"), state.join("muster.db")).expect("moved");
    let (status, said) = blank.init(&[]);
    assert!(!status.success() && said.contains("reset-admin"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_is_killed_while_it_starts_simply_starts_again() {
    needs_crash_points("muster-server");
    let server = Server::private();
    let keys = server.state_dir().join("keys");
    let files = ["front-end.key", "front-end.pem", "front-end.names"];
    let mut writes = files.map(|file| format!("server.{file}")).to_vec();
    writes.push("server.instance".to_owned());
    for point in points(&writes) {
        server.kill();
        // Other names are configured than those that the certificate was made for; the pair itself is there.
        fs::write(keys.join("front-end.names"), "other").expect("written");
        server.begin(&[("MUSTER_CRASH_AT", &point)]);
        let killed = until("the control plane is killed", async || server.process().ended()).await;
        assert_eq!(killed.code(), None, "{point} was not reached: {}", server.log());
        server.restart();
        let admin = server.admin().await;
        assert_eq!(admin.audit_broken().await, None, "{point}");
    }
}

/// The points of these writes.
fn points(writes: &[String]) -> Vec<String> {
    writes
        .iter()
        .flat_map(|write| WRITE_POINTS.map(|step| format!("{write}.{step}")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_survives_the_control_plane_and_is_claimed_once() {
    let server = Server::private();
    let author = server.author().await;
    let function = author.register("f", "terr", "1").await;
    let member = Applicant::new("terr01").await.join(&server).await;
    let mut runs = Vec::new();
    for _ in 0..8 {
        runs.push(author.run(&function, &json!({})).await.id);
    }
    let mut claimed = Vec::new();
    for kill in [true, false, true, false, true, false, true, false] {
        let connection = member.connect().await;
        let claim = member.claim(&connection).await.expect("a run");
        assert!(!claimed.contains(&claim.grant.run), "a run was granted twice");
        claimed.push(claim.grant.run);
        if kill {
            server.kill();
            server.restart();
        }
        let connection = member.connect().await;
        let signer = member.receipt_signer(&connection).await;
        let outcome = member.outcome(&claim, &signer, "succeeded").await;
        member
            .report(&connection, claim.grant.run, &outcome)
            .await
            .expect("a result that waited still counts");
        if kill {
            server.kill();
            server.restart();
        }
        let connection = member.connect().await;
        member
            .report(&connection, claim.grant.run, &outcome)
            .await
            .expect("said again, it is the same");
    }
    assert_eq!(claimed, runs, "each once, in their order");
    for run in runs {
        assert_eq!(author.run_now(run).await.state, "succeeded");
    }
    let admin = server.admin().await;
    assert_eq!(admin.audited("run.granted").await.len(), 8);
    assert_eq!(admin.audited("run.ended").await.len(), 8);
    assert_eq!(admin.audit_broken().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_join_survives_the_control_plane() {
    let server = Server::private();
    let node = Applicant::new("terr01").await;
    let offered = node.greet(&server).await;
    server.kill();
    server.restart();
    let reveal = node.reveal(&offered).await;
    server
        .registers("/join/v1/reveal", &reveal)
        .await
        .expect("an offer outlives the process that made it");
    let transcript = node.transcript(&offered);
    server.kill();
    server.restart();
    assert_eq!(node.ask(&server, &transcript, 1).await.state, "pending");
    let body = json!({ "code": transcript.code().to_string() });
    let parts = ["joins", &transcript.join_id().to_string(), "approve"];
    server.admin().await.tell(&parts, &body).await.expect("approved");
    server.kill();
    server.restart();
    let answer = node.ask(&server, &transcript, 2).await;
    assert!(
        answer.issued.is_some(),
        "the certificate that was acknowledged is there"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_end_is_orderly() {
    let server = Server::private();
    let member = Applicant::new("terr01").await.join(&server).await;
    let connection = member.connect().await;
    let mut lines = member.control(&connection, &muster_tests::challenge()).await;
    muster_tests::member::next(&mut lines).await;
    member.heartbeat(&connection, &[]).await.expect("a heartbeat");
    let mut process = std::mem::replace(&mut *server.process(), idle());
    let status = process.terminate().await;
    assert!(status.success(), "{status}");
    drop(process);
    server.restart();
    let shown: Value = server.admin().await.show(&["nodes", "terr01"]).await;
    assert!(
        shown["inventory"]["cpus"] == 2,
        "the last sign of life was written: {shown}"
    );
}

/// A program that waits, in place of one that was taken away.
fn idle() -> muster_tests::Process {
    let log = std::env::temp_dir().join(muster_tests::unique("muster-idle"));
    let process = muster_tests::Process::start(std::path::Path::new("sleep"), ["1000"], &[], &log);
    let _ = fs::remove_file(log);
    process
}

/// What the control plane said yes to.
#[derive(Debug, Default)]
struct Promised {
    runs: Vec<RunId>,
    nodes: Vec<String>,
    settings: Vec<String>,
}

impl Promised {
    fn extend(&mut self, more: Self) {
        self.runs.extend(more.runs);
        self.nodes.extend(more.nodes);
        self.settings.extend(more.settings);
    }

    async fn kept(&self, server: &Server) {
        let admin = server.admin().await;
        assert_eq!(admin.audit_broken().await, None);
        let database = server.database();
        let count = |sql: &str| database.number(sql);
        for run in &self.runs {
            let found = format!("SELECT COUNT(*) FROM runs WHERE id = '{run}'");
            assert_eq!(count(&found), 1, "the run {run} was acknowledged");
        }
        for node in &self.nodes {
            let shown: Value = admin.show(&["nodes", node]).await;
            assert_eq!(shown["trust"], "trusted");
        }
        for pool in &self.settings {
            let found = format!(
                "SELECT COUNT(*) FROM trust_entries WHERE entry_key LIKE '%' || (SELECT id FROM pools WHERE name = '{pool}') || '%'"
            );
            assert_eq!(count(&found), 1, "the setting of {pool} was acknowledged");
        }
        assert_eq!(
            count(
                "SELECT COUNT(*) FROM nodes n WHERE NOT EXISTS (SELECT 1 FROM certificates c WHERE c.subject_id = n.id)"
            ),
            0,
            "a node without a certificate"
        );
        assert_eq!(
            count(
                "SELECT COUNT(*) FROM joins WHERE state IN ('approved') OR (state = 'issued' AND issued_chain IS NULL)"
            ),
            0,
            "an approval without its certificate"
        );
        assert_eq!(
            count(
                "SELECT COUNT(*) FROM runs r WHERE NOT EXISTS (SELECT 1 FROM audit a WHERE a.event = 'run.submitted' AND a.subject = r.id)"
            ),
            0,
            "a run without its record"
        );
        assert_eq!(
            count("SELECT number FROM trust_head"),
            count("SELECT COUNT(*) FROM audit WHERE event = 'setting.changed'"),
            "the trust state and its records differ"
        );
    }
}

async fn submissions(
    server: Arc<Server>,
    token: String,
    function: Function,
    acknowledged: Arc<AtomicUsize>,
) -> Promised {
    let person = muster_tests::Person::with_token(&server, "author", &token);
    let mut promised = Promised::default();
    while let Ok(run) = person.try_run(&function, &json!({}), None).await {
        promised.runs.push(run.id);
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    promised
}

async fn approvals(server: Arc<Server>, round: usize, acknowledged: Arc<AtomicUsize>) -> Promised {
    let admin = server.admin().await;
    let mut promised = Promised::default();
    for n in 0.. {
        let name = format!("node-{round}-{n}");
        let node = Applicant::new(&name).await;
        let Some(approved) = approve(&server, &admin, &node).await else {
            break;
        };
        promised.nodes.extend(approved.then_some(name));
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    promised
}

/// Whether the node was approved; `None` once the control plane does not answer.
async fn approve(server: &Server, admin: &muster_tests::Person, node: &Applicant) -> Option<bool> {
    let hello = serde_json::to_vec(&node.hello).expect("JSON");
    let answer = server.try_registers("/join/v1/hello", hello.clone()).await.ok()?;
    let offered = muster_tests::Offered::of(hello, &answer);
    let reveal = serde_json::to_vec(&node.reveal(&offered).await).expect("JSON");
    server.try_registers("/join/v1/reveal", reveal).await.ok()?;
    let transcript = node.transcript(&offered);
    let body = json!({ "code": transcript.code().to_string() });
    let parts = ["joins", &transcript.join_id().to_string(), "approve"];
    Some(admin.tell(&parts, &body).await.is_ok())
}

async fn changes(server: Arc<Server>, round: usize, acknowledged: Arc<AtomicUsize>) -> Promised {
    let admin = server.admin().await;
    let mut promised = Promised::default();
    for n in 0.. {
        let pool = format!("pool-{round}-{n}");
        if admin
            .post("/api/v1/pools", &json!({ "name": pool }))
            .await
            .is_err()
        {
            break;
        }
        let scope = format!("pool:{pool}");
        if admin
            .try_set("restricted_engines", &scope, "r_service")
            .await
            .is_err()
        {
            break;
        }
        promised.settings.push(pool);
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    promised
}
