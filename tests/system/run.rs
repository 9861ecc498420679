//! A run from the request to its end: claimed once, ended once, by whoever holds it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_client::{
    Connection, Multipart, Request,
    receipt::{Anchors, verify},
};
use muster_daemon::Random;
use muster_ids::Digest;
use muster_pki::{Envelope, PayloadType};
use muster_tests::{
    Applicant, Claimed, Member, Person, ReceiptSigner, Server,
    member::{next, sign},
    refusal, unique,
};
use muster_wire::{
    admin::v1::{function::Function, run::Run},
    function::BlobRef,
    node::v1::{
        control::ControlMessage,
        outcome::{Captured, Contents, Outcome, Subject},
    },
};
use serde_json::{Value, json};

/// A node alone in its pool, with a function and somebody who runs it.
pub(crate) struct Work {
    pub(crate) server: &'static Server,
    pub(crate) pool: String,
    pub(crate) member: Member,
    pub(crate) connection: Connection,
    pub(crate) signer: ReceiptSigner,
    pub(crate) author: Person,
    pub(crate) function: Function,
}

impl Work {
    pub(crate) async fn new() -> Self {
        let server = Server::shared();
        let pool = server.pool().await;
        let member = Applicant::new(&unique("terr"))
            .await
            .in_pool(&pool)
            .join(server)
            .await;
        let connection = member.connect().await;
        let signer = member.receipt_signer(&connection).await;
        let author = server.author().await;
        let definition = json!({
            "name": unique("f"), "language": "terr", "script": "y <- x",
            "inputs": [
                { "name": "x", "kind": "value", "optional": true },
                { "name": "t", "kind": "table", "optional": true },
            ],
            "outputs": [{ "name": "y", "kind": "value" }],
        });
        let function = author.register_definition(&definition).await;
        Self {
            server,
            pool,
            member,
            connection,
            signer,
            author,
            function,
        }
    }

    pub(crate) async fn submit(&self) -> Run {
        self.author
            .run(&self.function, &json!({ "pool": self.pool }))
            .await
    }

    pub(crate) async fn claimed(&self) -> Claimed {
        self.submit().await;
        self.member.claim(&self.connection).await.expect("a run")
    }

    pub(crate) async fn report(
        &self,
        claimed: &Claimed,
        outcome: &Outcome,
    ) -> Result<(), muster_client::ClientError> {
        let sent = self.member.report(&self.connection, claimed.grant.run, outcome);
        sent.await.map(drop)
    }

    pub(crate) async fn state(&self, claimed: &Claimed) -> String {
        self.author.run_now(claimed.grant.run).await.state
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_with_outputs_and_a_countersigned_receipt() {
    let work = Work::new().await;
    let form = Multipart::new(Random::system().bytes())
        .field(
            "request",
            json!({ "pool": work.pool, "inputs": { "x": 4.5 } }).to_string(),
        )
        .bytes("input:t", "t.csv", "text/csv", &b"a,b\n1,2\n"[..]);
    let run = work
        .author
        .submit(&work.function, form, None)
        .await
        .expect("queued");
    assert_eq!(run.state, "queued");
    let claimed = work.member.claim(&work.connection).await.expect("a run");
    let run = claimed.grant.run;
    let inputs = &claimed.grant.inputs;
    for (name, format, content) in [("x", "json", &b"4.5"[..]), ("t", "csv", b"a,b\n1,2\n")] {
        let blob = &inputs[name];
        assert_eq!((blob.format.as_str(), blob.digest), (format, Digest::of(content)));
        let read = work.member.input(&work.connection, run, &blob.digest).await;
        assert_eq!(read.expect("readable"), content);
    }

    let stored = |bytes: &[u8], format: &str| BlobRef {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        format: format.to_owned(),
    };
    let (output, printed) = (&b"9"[..], &b"hello\n"[..]);
    for bytes in [output, printed] {
        work.member
            .upload(&work.connection, run, 1, &Digest::of(bytes), bytes)
            .await
            .expect("stored");
    }
    let (mut statement, mut ending) = work.member.statement(&claimed, "succeeded", Some("restricted"));
    statement.subject.push(Subject {
        name: "y".to_owned(),
        digest: [("sha256".to_owned(), Digest::of(output).hex())].into(),
    });
    ending.stdout = Some(Captured {
        blob: stored(printed, "text"),
        truncated: false,
    });
    let outcome = Outcome {
        fence: 1,
        state: "succeeded".to_owned(),
        ending,
        outputs: [("y".to_owned(), stored(output, "json"))].into(),
        contents: Contents::new(),
        receipt: sign(&work.signer, &statement).await,
    };
    work.report(&claimed, &outcome).await.expect("counts");
    work.report(&claimed, &outcome).await.expect("twice is once");

    let ended = work.author.run_ended(run).await;
    assert_eq!(
        (ended.state.as_str(), ended.mode.as_deref()),
        ("succeeded", Some("restricted"))
    );
    let path = |what: &str| format!("/api/v1/runs/{run}/{what}");
    for (what, content) in [("outputs/y", output), ("stdout", printed), ("stderr", b"")] {
        let answer = work.author.send(Request::get(path(what))).await.expect(what);
        assert_eq!(answer.body, content, "{what}");
    }
    let missing = work.author.send(Request::get(path("outputs/z"))).await;
    assert_eq!(refusal(missing).0, 404);
    let receipt = work
        .author
        .send(Request::get(path("receipt")))
        .await
        .expect("a receipt");
    let ended = work.server.admin().await.audited("run.ended").await;
    let subject = run.to_string();
    assert_eq!(
        ended
            .iter()
            .filter(|row| row["subject"] == subject.as_str())
            .count(),
        1
    );
    let pin = Anchors::Pins(vec![work.server.root()]);
    let proven = verify(&receipt.body, &pin).expect("a receipt that proves");
    assert_eq!(proven.statement, statement);
    let record = ended.iter().find(|row| row["subject"] == subject.as_str());
    assert_eq!(
        record.and_then(|row| row["sequence"].as_u64()),
        Some(proven.countersignature.audit_sequence)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_run_is_claimed_once_however_many_nodes_ask() {
    let work = Work::new().await;
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let node = Applicant::new(&unique("terr")).await.in_pool(&work.pool);
        let member = node.join(work.server).await;
        let connection = member.connect().await;
        nodes.push((member, connection));
    }
    let mut runs = std::collections::BTreeSet::new();
    for _ in 0..12 {
        runs.insert(work.submit().await.id);
    }
    let tasks: Vec<_> = nodes
        .into_iter()
        .map(|(member, connection)| {
            tokio::spawn(async move {
                let mut mine = Vec::new();
                while let Some(claimed) = member.claim(&connection).await {
                    mine.push(claimed.grant.run);
                }
                mine
            })
        })
        .collect();
    let mut claimed = Vec::new();
    for task in tasks {
        claimed.extend(task.await.expect("claims"));
    }
    assert_eq!(claimed.len(), runs.len(), "a run was granted twice or not at all");
    assert_eq!(
        claimed.into_iter().collect::<std::collections::BTreeSet<_>>(),
        runs
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_takes_runs_of_its_pool_and_site_and_only_while_it_is_active() {
    let work = Work::new().await;
    let admin = work.server.admin().await;
    let elsewhere = work.server.pool().await;
    let site = work.server.site().await;
    for request in [
        json!({ "pool": elsewhere }),
        json!({ "pool": work.pool, "site": site }),
    ] {
        work.author.run(&work.function, &request).await;
        assert!(work.member.claim(&work.connection).await.is_none(), "{request}");
    }
    work.submit().await;
    for scheduling in ["cordoned", "draining"] {
        admin
            .patch(
                &["nodes", work.member.name()],
                &json!({ "scheduling": scheduling }),
            )
            .await
            .expect("changed");
        assert!(
            work.member.claim(&work.connection).await.is_none(),
            "{scheduling}"
        );
    }
    admin
        .patch(&["nodes", work.member.name()], &json!({ "scheduling": "active" }))
        .await
        .expect("changed");
    assert!(work.member.claim(&work.connection).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_ends_at_once_or_by_its_node() {
    let work = Work::new().await;
    let waiting = work.submit().await;
    let cancel = |run: &Run| ["runs".to_owned(), run.id.to_string(), "cancel".to_owned()];
    let parts = cancel(&waiting);
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    work.author.tell(&parts, &json!(null)).await.expect("cancelled");
    assert_eq!(work.author.run_now(waiting.id).await.state, "cancelled");
    assert_eq!(
        refusal(work.author.tell(&parts, &json!(null)).await).0,
        409,
        "it has ended"
    );
    assert!(work.member.claim(&work.connection).await.is_none());

    let mut lines = work
        .member
        .control(&work.connection, &muster_tests::challenge())
        .await;
    let running = work.submit().await;
    let claimed = work.member.claim(&work.connection).await.expect("a run");
    let parts = cancel(&running);
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    work.author.tell(&parts, &json!(null)).await.expect("asked");
    let told = loop {
        if let ControlMessage::Cancel { run, fence } = next(&mut lines).await {
            break (run, fence);
        }
    };
    assert_eq!(told, (running.id, 1));
    let reply = work
        .member
        .heartbeat(&work.connection, &[(running.id, 1)])
        .await
        .expect("a heartbeat");
    assert_eq!(reply.stop, [running.id], "said again, should the line be lost");
    let shown = work.author.run_now(running.id).await;
    assert!(shown.state == "running" && shown.cancel_requested);
    let outcome = work.member.outcome(&claimed, &work.signer, "cancelled").await;
    work.report(&claimed, &outcome).await.expect("counts");
    assert_eq!(work.state(&claimed).await, "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_its_owners_and_the_administrators() {
    let work = Work::new().await;
    let (analyst, admin) = (work.server.analyst().await, work.server.administrator().await);
    let run = work.submit().await;
    let id = run.id.to_string();
    for (method, path) in [
        (http::Method::GET, format!("/api/v1/runs/{id}")),
        (http::Method::POST, format!("/api/v1/runs/{id}/cancel")),
        (http::Method::GET, format!("/api/v1/runs/{id}/stdout")),
        (http::Method::GET, format!("/api/v1/runs/{id}/receipt")),
        (http::Method::GET, format!("/api/v1/runs/{id}/outputs/y")),
    ] {
        let tried = analyst.ask(&method, &path, &Value::Null).await;
        assert_eq!(refusal(tried).0, 404, "{method} {path}");
    }
    let mine: Value = analyst.get("/api/v1/runs").await;
    assert_eq!(mine["items"], json!([]));
    admin
        .tell(&["runs", &id, "cancel"], &json!(null))
        .await
        .expect("an administrator may");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_under_one_key_is_one_run() {
    let work = Work::new().await;
    let (key, request) = (unique("key"), json!({ "pool": work.pool, "inputs": { "x": 1 } }));
    let run = work
        .author
        .try_run(&work.function, &request, Some(&key))
        .await
        .expect("queued");
    for _ in 0..2 {
        let again = work.author.try_run(&work.function, &request, Some(&key)).await;
        assert_eq!(again.expect("the same").id, run.id);
    }
    let other = json!({ "pool": work.pool, "inputs": { "x": 2 } });
    assert_eq!(
        refusal(work.author.try_run(&work.function, &other, Some(&key)).await),
        (422, "idempotency-key-reused".to_owned())
    );
    let other = work.server.author().await;
    let theirs = other
        .try_run(&work.function, &request, Some(&key))
        .await
        .expect("queued");
    assert_ne!(theirs.id, run.id, "keys of different users do not meet");
    let both = tokio::join!(
        work.author.try_run(&work.function, &request, Some("at once")),
        work.author.try_run(&work.function, &request, Some("at once")),
    );
    let ids: Vec<_> = [both.0, both.1].into_iter().flatten().map(|run| run.id).collect();
    assert!(!ids.is_empty() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(
        refusal(
            work.author
                .try_run(&work.function, &request, Some(&"k".repeat(201)))
                .await
        )
        .0,
        422
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_are_checked_before_a_run_is_queued() {
    let work = Work::new().await;
    let pool = &work.pool;
    let count = || {
        work.server.database().number(&format!(
            "SELECT COUNT(*) FROM runs WHERE user_name = '{}'",
            work.author.name()
        ))
    };
    let before = count();
    for request in [
        json!({ "inputs": { "nothing": 1 } }),
        json!({ "inputs": { "x": [1, 2] } }),
        json!({ "inputs": { "x": { "a": 1 } } }),
        json!({ "inputs": { "t": 1 } }),
        json!({ "outputs": { "nothing": "csv" } }),
        json!({ "outputs": { "y": "sbdf" } }),
        json!({ "limits": { "wall_seconds": 0 } }),
        json!({ "limits": { "wall_seconds": -1 } }),
        json!({ "pool": "nowhere" }),
        json!({ "pool": pool, "site": "nowhere" }),
        json!({ "pool": pool, "wish": 1 }),
        json!([]),
        json!("x"),
    ] {
        let refused = refusal(work.author.try_run(&work.function, &request, None).await);
        assert!([404, 422].contains(&refused.0), "{request}: {refused:?}");
    }
    let form = || Multipart::new(Random::system().bytes());
    let big = vec![b'1'; 1024 * 1024 + 1];
    let forms = [
        (
            "a file of an unknown format",
            form().bytes("input:t", "t.exe", "text/csv", &b"a\n1\n"[..]),
        ),
        (
            "a file without a format",
            form().bytes("input:t", "t", "text/csv", &b"a\n1\n"[..]),
        ),
        (
            "an input that is not declared",
            form().bytes("input:z", "z.csv", "text/csv", &b"a\n1\n"[..]),
        ),
        ("a part of another name", form().field("hello", "1")),
        (
            "an input twice",
            form().bytes("input:t", "t.csv", "text/csv", &b"a\n"[..]).bytes(
                "input:t",
                "t.csv",
                "text/csv",
                &b"b\n"[..],
            ),
        ),
        (
            "an input that is too large",
            form().bytes("input:t", "t.csv", "text/csv", big.clone()),
        ),
        ("a request that is too large", form().field("request", big)),
    ];
    for (what, form) in forms {
        let refused = refusal(work.author.submit(&work.function, form, None).await);
        assert_eq!(refused.0, 422, "{what}: {}", refused.1);
    }
    assert_eq!(count(), before, "nothing was queued");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_grant_does_not_verify() {
    let work = Work::new().await;
    work.submit().await;
    let claim = json!({ "boot_nonce": work.member.boot_nonce, "engines": ["terr"] });
    let answer = work
        .connection
        .send(Request::post("/node/v1/runs/claim").json(&claim))
        .await
        .expect("a run");
    let granted: Value = answer.json().expect("a grant");
    let good = &granted["grant"];
    work.member
        .verified(good, PayloadType::RunGrant)
        .expect("as it was sent");
    let payload = STANDARD
        .decode(good["payload"].as_str().expect("base64"))
        .expect("base64");
    let text = String::from_utf8(payload).expect("JSON");
    for (from, to) in [
        ("\"mode\":\"restricted\"", "\"mode\":\"unrestricted\""),
        ("\"fence\":1", "\"fence\":2"),
        ("\"network\":\"none\"", "\"network\":\"host\""),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        let mut grant = good.clone();
        grant["payload"] = json!(STANDARD.encode(changed));
        assert!(
            work.member.verified(&grant, PayloadType::RunGrant).is_err(),
            "{to}"
        );
    }
    let json = serde_json::to_vec(good).expect("JSON");
    for kind in [
        PayloadType::Beacon,
        PayloadType::TrustState,
        PayloadType::JoinAnswer,
    ] {
        assert!(
            Envelope::from_json(&json, kind).is_err(),
            "a grant passes for a {kind}"
        );
    }
}
