//! What a run shows before it has ended: its place in the queue, what it prints, how far it is.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_client::ClientError;
use muster_ids::{Digest, RunId};
use muster_tests::{
    Applicant, CommandLine, Person, RealNode, Server, Settings, member::sign, problem, refusal, unique,
    until, within,
};
use muster_wire::{
    admin::v1::run::{Run, RunLogs},
    function::BlobRef,
    node::v1::{
        outcome::{Captured, Contents, Outcome},
        output::{MAX_PRINTED, Output, Printed, Progress, RunOutput},
    },
};
use serde_json::{Value, json};

use crate::{
    real_node::{PATIENCE, ended},
    run::Work,
};

fn piece(stream: &str, offset: u64, bytes: &[u8]) -> Printed {
    Printed {
        stream: stream.to_owned(),
        offset,
        data: STANDARD.encode(bytes),
    }
}

fn output(run: RunId, fence: i64, printed: Vec<Printed>, progress: Option<(f64, &str)>) -> Output {
    let progress = progress.map(|(fraction, text)| Progress {
        fraction: Some(fraction),
        text: text.to_owned(),
    });
    Output {
        runs: vec![RunOutput {
            run,
            fence,
            printed,
            progress,
        }],
    }
}

async fn logs(person: &Person, run: RunId, query: &str) -> Result<RunLogs, ClientError> {
    let path = format!("/api/v1/runs/{run}/logs{query}");
    person.ask(&http::Method::GET, &path, &Value::Null).await?.json()
}

/// Stream, place and text of each piece.
fn shown(logs: &RunLogs) -> Vec<(String, u64, String)> {
    let text = |data: &str| String::from_utf8_lossy(&STANDARD.decode(data).expect("base64")).into_owned();
    let pieces = logs.printed.iter();
    pieces
        .map(|piece| (piece.stream.clone(), piece.offset, text(&piece.data)))
        .collect()
}

fn told(pieces: &[(&str, u64, &str)]) -> Vec<(String, u64, String)> {
    pieces
        .iter()
        .map(|(stream, offset, text)| ((*stream).to_owned(), *offset, (*text).to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_prints_is_read_while_it_goes_on_and_continues_with_its_outcome() {
    let work = Work::new().await;
    let claimed = work.claimed().await;
    let run = claimed.grant.run;
    let print = async |fence, printed, progress| {
        let output = output(run, fence, printed, progress);
        let reply = work.member.print(&work.connection, &output).await;
        reply.expect("taken").not_held.is_empty()
    };
    let nothing = logs(&work.author, run, "").await.expect("nothing yet");
    assert!(nothing.printed.is_empty() && !nothing.complete && nothing.state == "running");

    // Whoever waits is told as soon as there is something.
    let query = format!("?after={}&wait=30s", nothing.next);
    let (first, taken) = tokio::join!(
        logs(&work.author, run, &query),
        print(
            1,
            vec![piece("stdout", 0, b"one\n"), piece("stderr", 0, b"oh\n")],
            None
        )
    );
    assert!(taken);
    let first = first.expect("news");
    assert_eq!(
        shown(&first),
        told(&[("stdout", 0, "one\n"), ("stderr", 0, "oh\n")])
    );
    assert!(print(1, vec![piece("stdout", 4, b"two\n")], Some((0.5, "half"))).await);
    let second = logs(&work.author, run, &format!("?after={}", first.next)).await;
    let second = second.expect("news");
    assert_eq!(shown(&second), told(&[("stdout", 4, "two\n")]));
    assert_eq!(
        second.progress.as_ref().map(|said| said.text.as_str()),
        Some("half")
    );
    let now: Run = work.author.show(&["runs", &run.to_string()]).await;
    assert_eq!(now.progress.and_then(|said| said.fraction), Some(0.5));
    let same = logs(&work.author, run, &format!("?after={}", second.next)).await;
    assert_eq!(same.expect("nothing new").next, second.next);

    // Others neither read nor write it.
    let analyst = work.server.analyst().await;
    assert_eq!(refusal(logs(&analyst, run, "").await).0, 404);
    let administrator = work.server.administrator().await;
    assert_eq!(shown(&logs(&administrator, run, "").await.expect("may")).len(), 3);
    let thief = Applicant::new(&unique("terr")).await.join(work.server).await;
    let stolen = output(run, 1, vec![piece("stdout", 8, b"lies\n")], None);
    let reply = thief.print(&thief.connect().await, &stolen).await;
    assert_eq!(reply.expect("heard").not_held, [run]);
    assert!(
        !print(2, vec![piece("stdout", 8, b"lies\n")], None).await,
        "another claim"
    );
    assert_eq!(refusal(logs(&work.author, run, "?after=nonsense").await).0, 422);

    // The outcome holds the first bytes of a long log; what came after them is still there.
    assert!(
        print(
            1,
            vec![piece("stdout", 8, b"three\n"), piece("stdout", 90, b"end\n")],
            None
        )
        .await
    );
    let head = b"one\ntwo\nthree\n....";
    let outcome = captured(&work, &claimed, head).await;
    work.report(&claimed, &outcome).await.expect("counts");
    assert!(
        !print(1, vec![piece("stdout", 94, b"late\n")], None).await,
        "it has ended"
    );
    let mut after = format!("?after={}", second.next);
    let mut rest = Vec::new();
    let complete = loop {
        let logs = logs(&work.author, run, &after).await.expect("the rest");
        after = format!("?after={}", logs.next);
        rest.extend(shown(&logs));
        if logs.complete {
            break logs;
        }
    };
    assert_eq!(
        rest,
        told(&[("stdout", 8, "three\n...."), ("stdout", 90, "end\n")])
    );
    assert_eq!(complete.state, "failed");
    let rows = work
        .server
        .database()
        .number(&format!("SELECT COUNT(*) FROM run_output WHERE run_id = '{run}'"));
    assert_eq!(
        rows, 2,
        "the end of one stream, and the other one; nothing is kept twice"
    );
}

/// A failed outcome whose standard output begins with `head`.
async fn captured(work: &Work, claimed: &muster_tests::Claimed, head: &[u8]) -> Outcome {
    let digest = Digest::of(head);
    work.member
        .upload(&work.connection, claimed.grant.run, 1, &digest, head)
        .await
        .expect("stored");
    let (statement, mut ending) = work.member.statement(claimed, "failed", Some("restricted"));
    ending.stdout = Some(Captured {
        blob: BlobRef {
            digest,
            size: head.len() as u64,
            format: "text".to_owned(),
        },
        truncated: true,
    });
    Outcome {
        fence: 1,
        state: "failed".to_owned(),
        ending,
        outputs: BTreeMap::new(),
        contents: Contents::new(),
        receipt: sign(&work.signer, &statement).await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn however_much_a_run_prints_a_bounded_end_of_it_is_kept() {
    let work = Work::new().await;
    let run = work.claimed().await.grant.run;
    let block = vec![b'x'; MAX_PRINTED];
    // A gigabyte a second, as the agent tells of it.
    for number in 0..60_u64 {
        let printed = vec![
            piece("stdout", number << 30, &block),
            piece("stderr", number * MAX_PRINTED as u64, &block),
        ];
        let output = output(run, 1, printed, None);
        let reply = work.member.print(&work.connection, &output).await;
        reply.expect("taken");
    }
    let sql = format!("SELECT COALESCE(SUM(LENGTH(bytes)), 0) FROM run_output WHERE run_id = '{run}'");
    let kept = work.server.database().number(&sql);
    assert!(kept <= 10 * 64 * 1024, "{kept} bytes are kept");
    let too_much = output(run, 1, vec![piece("stdout", 0, &block); 5], None);
    let refused = work.member.print(&work.connection, &too_much).await;
    assert_eq!(refusal(refused).0, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_run_says_its_place_and_a_full_queue_what_to_do() {
    let server = Server::start(&Settings {
        runs: "queued_per_queue = 4\nqueued_per_user = 3\n".to_owned(),
        ..Settings::default()
    });
    let (author, other) = (server.author().await, server.author().await);
    let function = author.register(&unique("f"), "terr", "1").await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(author.run(&function, &json!({})).await.id);
    }
    let place = async |run: RunId| {
        let shown: Run = author.show(&["runs", &run.to_string()]).await;
        shown.queued_before
    };
    assert_eq!(
        (place(runs[0]).await, place(runs[1]).await, place(runs[2]).await),
        (Some(0), Some(1), Some(2))
    );
    let refused = problem(author.try_run(&function, &json!({}), Some("again")).await);
    assert_eq!(
        (refused.status, refused.kind.as_str()),
        (429, "urn:muster:problem:queue-full")
    );
    assert!(refused.detail.contains("muster run cancel"), "{}", refused.detail);
    other.run(&function, &json!({})).await;
    let refused = problem(other.try_run(&function, &json!({}), None).await);
    assert_eq!(refused.kind, "urn:muster:problem:queue-full");
    assert!(
        refused.detail.contains("in this pool and site"),
        "{}",
        refused.detail
    );

    // Whoever follows a waiting run sees it move up.
    let before = logs(&author, runs[2], "").await.expect("how it stands");
    assert_eq!(before.queued_before, Some(2));
    let id = runs[0].to_string();
    let cancel = ["runs", id.as_str(), "cancel"];
    let query = format!("?after={}&wait=30s", before.next);
    let (moved, cancelled) = tokio::join!(logs(&author, runs[2], &query), author.tell(&cancel, &Value::Null));
    cancelled.expect("cancelled");
    assert_eq!(moved.expect("news").queued_before, Some(1));
    let again = author.try_run(&function, &json!({}), Some("again")).await;
    assert_eq!(again.expect("there is room again").state, "queued");
    let muster = CommandLine::log_in(&server);
    let (_, said, _) = muster.run(&["run", "show", &runs[1].to_string()]);
    assert!(said.contains("next in its queue"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_run_is_followed_from_another_terminal_and_a_flood_leaves_the_agent_as_it_was() {
    let server = Server::private();
    let author = server.author().await;
    server
        .admin()
        .await
        .set("restricted_engines", "all", "python_service,r_service")
        .await;
    let node = RealNode::start(&server, "default").await;
    let muster = CommandLine::log_in(&server);
    let scripts = [
        (
            "terr",
            "cat('first line\\n'); muster_progress(0.25, 'fitting'); Sys.sleep(12); message('second line')",
        ),
        (
            "python",
            "import sys, time\nprint('first line')\nmuster_progress(0.25, 'fitting')\ntime.sleep(12)\n\
             print('second line', file=sys.stderr)",
        ),
    ];
    for (language, script) in scripts {
        let function = author.register(&unique("f"), language, script).await;
        let run = author.run(&function, &json!({})).await;
        let seen = within(PATIENCE, "what it prints is seen", async || {
            let logs = logs(&author, run.id, "").await.expect("logs");
            let seen = shown(&logs)
                .iter()
                .any(|(_, _, text)| text.contains("first line"));
            (seen && logs.progress.is_some()).then_some(logs)
        })
        .await;
        assert_eq!(seen.state, "running", "{language}: before it has ended");
        let (exit, printed, said) = muster.run(&["run", "logs", &run.id.to_string(), "--follow"]);
        assert_eq!(exit, Some(0), "{said}");
        assert_eq!(printed, "first line\n", "{language}");
        assert!(said.contains("[25 %: fitting]"), "{language}: {said}");
        assert!(
            said.contains("second line") && said.contains("is succeeded"),
            "{language}: {said}"
        );
    }

    let flood = "line = 'x' * 99 + '\\n'\nimport sys\nfor i in range(1_000): sys.stdout.write(line * 1_000)\nprint('done')";
    let function = author.register(&unique("f"), "python", flood).await;
    let warm = author.run(&function, &json!({})).await;
    assert_eq!(ended(&author, &warm).await.state, "succeeded");
    let (agent, control_plane) = (resident_kib(node.process().id()), server.resident_kib());
    for _ in 0..3 {
        let run = author.run(&function, &json!({})).await;
        let run = ended(&author, &run).await;
        assert_eq!(run.state, "succeeded", "{:?}", run.ending);
        assert!(
            run.ending
                .and_then(|ending| ending.stdout)
                .is_some_and(|stdout| stdout.truncated)
        );
    }
    let grown = resident_kib(node.process().id()).saturating_sub(agent);
    assert!(
        grown < 8 * 1024,
        "the agent grew by {grown} KiB at 300 MB of output"
    );
    let grown = server.resident_kib().saturating_sub(control_plane);
    assert!(grown < 16 * 1024, "the control plane grew by {grown} KiB");
    until("no claim is left", async || {
        (node.waiting_results() == 0).then_some(())
    })
    .await;
}

fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.expect("its size")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_by_memory_or_time_names_the_peak() {
    let server = Server::private();
    let author = server.author().await;
    let _node = RealNode::start(&server, "default").await;
    let scripts = [
        (
            "x = []\nwhile True: x.append(bytearray(20_000_000))",
            "memory-limit",
            "memory limit of 512 MiB; its largest process used ",
        ),
        (
            "x = bytearray(50_000_000)\nwhile True: pass",
            "time-limit",
            "(its largest process used ",
        ),
    ];
    for (script, kind, words) in scripts {
        let definition = json!({
            "name": unique("f"), "language": "python", "script": script,
            "limits": { "wall_seconds": 5, "memory_mib": 512 },
        });
        let function = author.register_definition(&definition).await;
        let run = author.run(&function, &json!({})).await;
        let run = ended(&author, &run).await;
        let ending = run.ending.expect("an ending");
        assert_eq!(ending.problem.as_deref(), Some(kind), "{}", ending.message);
        assert!(ending.message.contains(words), "{}", ending.message);
        assert!(ending.peak_bytes > 40 << 20, "{} bytes", ending.peak_bytes);
        let muster = CommandLine::log_in(&server);
        let (_, said, _) = muster.run(&["run", "show", &run.id.to_string()]);
        assert!(said.contains("Peak memory") && said.contains(words), "{said}");
    }
}
