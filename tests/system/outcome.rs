//! How a run ends, or does not: by its own node, under its own claim, with its own receipt.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_client::Request;
use muster_ids::Digest;
use muster_tests::{Applicant, ReceiptSigner, member::sign, problem, refusal, unique, within};
use muster_wire::{
    function::BlobRef,
    node::v1::outcome::{Captured, Contents, Outcome, Subject},
};
use serde_json::{Value, json};

use crate::run::Work;

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_node_hands_a_run_back_and_after_ten_minutes_it_is_refused() {
    let work = Work::new().await;
    let claimed = work.claimed().await;
    let run = claimed.grant.run;
    work.member
        .put_back(&work.connection, run, 1)
        .await
        .expect("handed back");
    let shown = work.author.run_now(run).await;
    assert_eq!(
        (shown.state.as_str(), shown.mode, shown.node),
        ("queued", None, None)
    );
    assert_eq!(
        refusal(work.member.put_back(&work.connection, run, 1).await).0,
        409,
        "once"
    );
    let again = work.member.claim(&work.connection).await.expect("the same run");
    assert_eq!((again.grant.run, again.grant.fence), (run, 2));
    let old = work.member.put_back(&work.connection, run, 1).await;
    assert_eq!(refusal(old).0, 409, "under the fence of the claim before");
    work.server.database().change(&format!(
        "UPDATE runs SET stale_since = stale_since - 600000 WHERE id = '{run}'"
    ));
    work.member
        .put_back(&work.connection, run, 2)
        .await
        .expect("handed back");
    let shown = work.author.run_now(run).await;
    assert_eq!(shown.state, "refused");
    assert_eq!(
        shown.ending.and_then(|ending| ending.problem).as_deref(),
        Some("trust-state-stale")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_counts_under_its_own_claim_only() {
    let work = Work::new().await;
    let first = work.claimed().await;
    let run = first.grant.run;
    let old = work.member.outcome(&first, &work.signer, "succeeded").await;
    work.member
        .put_back(&work.connection, run, 1)
        .await
        .expect("handed back");
    assert_eq!(
        refusal(work.report(&first, &old).await),
        (409, "outcome-does-not-count".to_owned()),
        "while nobody holds it"
    );
    let second = work.member.claim(&work.connection).await.expect("again");
    assert_eq!(
        refusal(work.report(&first, &old).await),
        (409, "outcome-does-not-count".to_owned()),
        "under the fence before"
    );
    let new = work.member.outcome(&second, &work.signer, "failed").await;
    work.report(&second, &new).await.expect("counts");
    let late = work.member.outcome(&second, &work.signer, "succeeded").await;
    assert_eq!(
        refusal(work.report(&second, &late).await).0,
        409,
        "after another outcome"
    );
    assert_eq!(work.state(&second).await, "failed");
    let rejected = work.server.admin().await.audited("run.outcome_rejected").await;
    let subject = run.to_string();
    assert_eq!(
        rejected
            .iter()
            .filter(|row| row["subject"] == subject.as_str())
            .count(),
        3
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_node_is_silent_for_its_lease_is_lost_for_good() {
    let work = Work::new().await;
    let (silent, alive) = (work.claimed().await, work.claimed().await);
    let (silent_run, alive_run) = (silent.grant.run, alive.grant.run);
    // One has had no time left for long, the other still some.
    for (run, past) in [(silent_run, 60_000), (alive_run, 30_000)] {
        work.server.database().change(&format!(
            "UPDATE runs SET lease_until = lease_until - {past} WHERE id = '{run}'"
        ));
    }
    let lease = || {
        let sql = format!("SELECT lease_until FROM runs WHERE id = '{alive_run}'");
        work.server.database().number(&sql)
    };
    let before = lease();
    let reply = work
        .member
        .heartbeat(&work.connection, &[(alive_run, 1)])
        .await
        .expect("a heartbeat");
    assert!(reply.stop.is_empty());
    assert!(lease() > before, "a run that a heartbeat names has time again");
    within(Duration::from_mins(1), "the silent run is lost", async || {
        (work.state(&silent).await == "lost").then_some(())
    })
    .await;
    assert_eq!(work.state(&alive).await, "running", "named by a heartbeat");
    let reply = work
        .member
        .heartbeat(&work.connection, &[(silent_run, 1), (alive_run, 1)])
        .await
        .expect("a heartbeat");
    assert_eq!(reply.stop, [silent_run], "the node is told to end it");
    let late = work.member.outcome(&silent, &work.signer, "succeeded").await;
    assert_eq!(
        refusal(work.report(&silent, &late).await),
        (409, "outcome-does-not-count".to_owned())
    );
    assert_eq!(work.state(&silent).await, "lost");
    assert!(
        work.member.claim(&work.connection).await.is_none(),
        "nothing is repeated by itself"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_must_be_this_nodes_and_speak_of_this_run() {
    let work = Work::new().await;
    let claimed = work.claimed().await;
    let other = Applicant::new(&unique("terr")).await.join(work.server).await;
    let others = other.receipt_signer(&other.connect().await).await;
    let (statement, ending) = work.member.statement(&claimed, "succeeded", Some("restricted"));
    let outcome = |receipt: Value| Outcome {
        fence: 1,
        state: "succeeded".to_owned(),
        ending: ending.clone(),
        outputs: std::collections::BTreeMap::new(),
        contents: Contents::new(),
        receipt,
    };
    let by_tls_key = {
        // The key of the node itself, with its certificate for TLS.
        let key = muster_pki::SoftwareSigner::from_pkcs8(
            &work.member.key().to_pkcs8().expect("a key"),
            muster_pki::KeyUse::Receipt,
        );
        let signer = ReceiptSigner {
            key: key.expect("a key"),
            chain: work.member.chain(),
        };
        sign(&signer, &statement).await
    };
    let mut changed = Vec::new();
    for change in 0..7 {
        let mut statement = statement.clone();
        match change {
            0 => statement.predicate.run = muster_ids::RunId::new(1, [1; 10]),
            1 => statement.predicate.fence = 2,
            2 => statement.predicate.node = other.id(),
            3 => "failed".clone_into(&mut statement.predicate.state),
            4 => "https://example.com/another".clone_into(&mut statement.predicate_type),
            5 => statement.predicate.trust_number += 1,
            _ => statement.predicate.mode = None,
        }
        changed.push(sign(&work.signer, &statement).await);
    }
    let good = sign(&work.signer, &statement).await;
    let mut tampered = good.clone();
    tampered["payload"] = changed[3]["payload"].clone();
    let cases = [
        ("signed by another node", sign(&others, &statement).await),
        ("signed by the key for TLS", by_tls_key),
        ("changed after it was signed", tampered),
        ("nothing", json!(null)),
        ("an empty object", json!({})),
    ];
    let changed = changed.into_iter().map(|receipt| ("of something else", receipt));
    for (what, receipt) in cases.into_iter().chain(changed) {
        let refused = refusal(work.report(&claimed, &outcome(receipt)).await);
        assert_eq!(refused, (422, "invalid-receipt".to_owned()), "{what}");
    }
    assert_eq!(work.state(&claimed).await, "running");
    work.report(&claimed, &outcome(good))
        .await
        .expect("its own counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ran_wider_than_granted_is_not_believed() {
    let work = Work::new().await;
    let claimed = work.claimed().await;
    assert_eq!(claimed.grant.mode, "restricted");
    let wider = work
        .member
        .outcome_as(&claimed, &work.signer, "succeeded", Some("unrestricted"))
        .await;
    let problem = problem(work.report(&claimed, &wider).await);
    assert_eq!(problem.status, 409);
    assert!(
        problem.detail.contains("wider than granted"),
        "{}",
        problem.detail
    );
    let narrower = work
        .member
        .outcome_as(&claimed, &work.signer, "refused", None)
        .await;
    work.report(&claimed, &narrower).await.expect("stricter is fine");
    assert_eq!(work.state(&claimed).await, "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_needs_its_outputs_stored() {
    let work = Work::new().await;
    let claimed = work.claimed().await;
    let run = claimed.grant.run;
    let digest = Digest::of(run.to_string().as_bytes());
    let (mut statement, ending) = work.member.statement(&claimed, "succeeded", Some("restricted"));
    statement.subject.push(Subject {
        name: "y".to_owned(),
        digest: [("sha256".to_owned(), digest.hex())].into(),
    });
    let blob = BlobRef {
        digest,
        size: 1,
        format: "json".to_owned(),
    };
    let outcome = Outcome {
        fence: 1,
        state: "succeeded".to_owned(),
        ending,
        outputs: [("y".to_owned(), blob)].into(),
        contents: Contents::new(),
        receipt: sign(&work.signer, &statement).await,
    };
    assert_eq!(
        refusal(work.report(&claimed, &outcome).await),
        (409, "blob-missing".to_owned())
    );
    let wrong = work
        .member
        .upload(&work.connection, run, 1, &digest, b"other")
        .await;
    assert_eq!(refusal(wrong), (422, "invalid-blob".to_owned()));
    let unfenced = Request::put(format!("/node/v1/blobs/{digest}"))
        .query("run", &run.to_string())
        .bytes("application/octet-stream", run.to_string());
    assert_eq!(refusal(work.connection.send(unfenced).await).0, 422);
    work.member
        .upload(&work.connection, run, 1, &digest, run.to_string().as_bytes())
        .await
        .expect("stored");
    work.report(&claimed, &outcome).await.expect("now it counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn small_blobs_come_in_the_outcome_and_only_those_that_it_names() {
    let work = Work::new().await;
    let claimed = work.claimed().await;
    let run = claimed.grant.run;
    let (output, printed) = (run.to_string().into_bytes(), b"hello\n".to_vec());
    let stored = |bytes: &[u8], format: &str| BlobRef {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        format: format.to_owned(),
    };
    let (mut statement, mut ending) = work.member.statement(&claimed, "succeeded", Some("restricted"));
    statement.subject.push(Subject {
        name: "y".to_owned(),
        digest: [("sha256".to_owned(), Digest::of(&output).hex())].into(),
    });
    ending.stdout = Some(Captured {
        blob: stored(&printed, "text"),
        truncated: false,
    });
    let outcome = Outcome {
        fence: 1,
        state: "succeeded".to_owned(),
        ending,
        outputs: [("y".to_owned(), stored(&output, "json"))].into(),
        contents: [&output, &printed]
            .map(|bytes| (Digest::of(bytes), STANDARD.encode(bytes)))
            .into(),
        receipt: sign(&work.signer, &statement).await,
    };
    let large = vec![b'x'; 4097];
    let wrong = [
        (Digest::of(b"foreign"), STANDARD.encode(b"foreign")),
        (Digest::of(&output), STANDARD.encode(b"other")),
        (Digest::of(&output), "no base64!".to_owned()),
        (Digest::of(&large), STANDARD.encode(&large)),
    ];
    for (digest, text) in wrong {
        let mut outcome = outcome.clone();
        outcome.contents.insert(digest, text.clone());
        let refused = refusal(work.report(&claimed, &outcome).await);
        assert_eq!(refused, (422, "invalid-blob".to_owned()), "{text}");
    }
    let mut without = outcome.clone();
    without.contents.remove(&Digest::of(&printed));
    let refused = refusal(work.report(&claimed, &without).await);
    assert_eq!(refused, (409, "blob-missing".to_owned()));
    assert_eq!(work.state(&claimed).await, "running");
    work.report(&claimed, &outcome).await.expect("now it counts");
    work.report(&claimed, &outcome).await.expect("twice is once");
    for (what, content) in [("outputs/y", &output), ("stdout", &printed)] {
        let request = Request::get(format!("/api/v1/runs/{run}/{what}"));
        let answer = work.author.send(request).await.expect(what);
        assert_eq!(answer.body, content[..], "{what}");
    }
    let logs: Value = work
        .author
        .get(&format!("/api/v1/runs/{run}/logs?after=2.0."))
        .await;
    assert_eq!(
        logs["printed"][0]["data"],
        STANDARD.encode(&printed[2..]),
        "{logs}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_cannot_touch_a_run() {
    let work = Work::new().await;
    let request = json!({ "pool": work.pool, "inputs": { "x": "a secret" } });
    work.author.run(&work.function, &request).await;
    let claimed = work.member.claim(&work.connection).await.expect("a run");
    let run = claimed.grant.run;
    let input = claimed.grant.inputs["x"].digest;
    let thief = Applicant::new(&unique("terr"))
        .await
        .in_pool(&work.pool)
        .join(work.server)
        .await;
    let connection = thief.connect().await;
    let signer = thief.receipt_signer(&connection).await;
    assert!(thief.claim(&connection).await.is_none());
    assert_eq!(refusal(thief.input(&connection, run, &input).await).0, 404);
    let upload = thief.upload(&connection, run, 1, &Digest::of(b"1"), b"1").await;
    assert_eq!(refusal(upload).0, 409);
    assert_eq!(refusal(thief.put_back(&connection, run, 1).await).0, 409);
    let outcome = thief.outcome(&claimed, &signer, "succeeded").await;
    assert_eq!(refusal(thief.report(&connection, run, &outcome).await).0, 409);
    let reply = thief
        .heartbeat(&connection, &[(run, 1)])
        .await
        .expect("a heartbeat");
    assert_eq!(reply.stop, [run], "it is not the thief's to work on");
    assert_eq!(work.state(&claimed).await, "running");
    let unknown = muster_ids::RunId::new(1, [1; 10]);
    assert_eq!(refusal(thief.input(&connection, unknown, &input).await).0, 404);
    let wrong = work
        .member
        .input(&work.connection, run, &Digest::of(b"other"))
        .await;
    assert_eq!(refusal(wrong).0, 404, "not an input of this run");
}
