//! The life of a run where something goes wrong: it is cancelled, its node dies, restarts or has no room, a grant is for
//! somebody else.

use muster_agent::run::admit::{Answer, Ground, NotAdmitted, Used, check};
use muster_client::Request;
use muster_tests::{
    Applicant, CommandLine, Member, Person, RealNode, Server, folder, refusal, unique, until, within,
};
use muster_wire::{
    admin::v1::{function::Function, run::Run},
    node::v1::run::{CLAIM_PATH, Claim, Granted},
};
use serde_json::{Value, json};

use super::storage::SmallDisk;
use crate::{
    real_node::{PATIENCE, ended, is_running},
    run::Work,
};

/// A mark that is a number of seconds as well.
fn mark() -> String {
    let digits = unique("").trim_start_matches('-').to_owned();
    format!("1000.{}", u32::from_str_radix(&digits, 16).expect("digits"))
}

/// A function that starts a tree of processes, some of which leave their parents; all of them have the mark.
async fn tree(author: &Person, mark: &str) -> Function {
    let script = format!(
        "import os, subprocess\n\
         both = 'sleep {mark} & sleep {mark}; exit'\n\
         deaf = 'trap \"\" TERM INT HUP; sleep {mark}; exit'\n\
         for i in range(4):\n    subprocess.Popen(['/bin/sh', '-c', both], start_new_session=True)\n\
         if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        subprocess.call(['/bin/sh', '-c', deaf])\n    os._exit(0)\n\
         subprocess.call(['/bin/sh', '-c', both])\n"
    );
    author.register(&unique("tree"), "python", &script).await
}

async fn cancel(person: &Person, run: &Run) -> Result<(), (u16, String)> {
    let id = run.id.to_string();
    match person.tell(&["runs", &id, "cancel"], &Value::Null).await {
        Ok(_) => Ok(()),
        refused => Err(refusal(refused)),
    }
}

/// How many records of this kind there are about a run.
async fn records(server: &Server, event: &str, run: &Run) -> usize {
    let subject = run.id.to_string();
    let rows = server.admin().await.audited(event).await;
    rows.iter()
        .filter(|row| row["subject"] == subject.as_str())
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn sandbox_62_a_run_cancelled_at_any_stage_has_one_end_and_leaves_nothing_behind() {
    let server = Server::private();
    let author = server.author().await;
    let node = RealNode::start(&server, "default").await;
    let mark = mark();
    let function = tree(&author, &mark).await;
    for stage in ["queued", "starting", "running", "twice"] {
        let run = author.run(&function, &json!({})).await;
        match stage {
            "queued" => {}
            "starting" => {
                within(PATIENCE, "the run is claimed", async || {
                    (author.run_now(run.id).await.state == "running").then_some(())
                })
                .await;
            }
            _ => {
                within(PATIENCE, "the whole tree runs", async || {
                    let now = author.run_now(run.id).await;
                    assert_ne!(now.state, "failed", "{:?}", now.ending);
                    is_running(&mark).then_some(())
                })
                .await;
            }
        }
        if stage == "twice" {
            let both = tokio::join!(cancel(&author, &run), cancel(&author, &run));
            for answer in [both.0, both.1] {
                let late = Err((409, "run-state".to_owned()));
                assert!(answer == Ok(()) || answer == late, "{answer:?}");
            }
        } else {
            assert_eq!(cancel(&author, &run).await, Ok(()), "{stage}");
        }
        let now = ended(&author, &run).await;
        assert_eq!(now.state, "cancelled", "{stage}: {:?}", now.ending);
        until("the whole tree is gone", async || {
            (!is_running(&mark)).then_some(())
        })
        .await;
        assert_eq!(
            cancel(&author, &run).await,
            Err((409, "run-state".to_owned())),
            "{stage}: it has ended"
        );
        assert_eq!(author.run_now(run.id).await.state, "cancelled", "{stage}");
        assert_eq!(records(&server, "run.ended", &run).await, 1, "{stage}");
    }

    // One that has succeeded stays so.
    let function = author.register(&unique("f"), "python", "x = 1").await;
    let run = author.run(&function, &json!({})).await;
    assert_eq!(ended(&author, &run).await.state, "succeeded");
    assert_eq!(cancel(&author, &run).await, Err((409, "run-state".to_owned())));
    assert_eq!(author.run_now(run.id).await.state, "succeeded");
    until("the node has nothing left", async || {
        (node.waiting_results() == 0).then_some(())
    })
    .await;
    assert_eq!(
        server.admin().await.audited("run.outcome_rejected").await.len(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sandbox_63_of_a_node_that_died_and_another_that_took_over_one_result_counts() {
    let work = Work::new().await;
    let first = work.claimed().await;
    let run = first.grant.run;
    let result = work.member.outcome(&first, &work.signer, "succeeded").await;
    // It handed the run back and died before it heard that this was taken; another node has the run since.
    work.member
        .put_back(&work.connection, run, first.grant.fence)
        .await
        .expect("handed back");
    let other = Applicant::new(&unique("terr"))
        .await
        .in_pool(&work.pool)
        .join(work.server)
        .await;
    let connection = other.connect().await;
    let second = other.claim(&connection).await.expect("the same run");
    assert_eq!(
        (second.grant.run, second.grant.fence),
        (run, first.grant.fence + 1)
    );
    let does_not_count = (409, "outcome-does-not-count".to_owned());
    assert_eq!(
        refusal(work.report(&first, &result).await),
        does_not_count,
        "while it runs"
    );
    let signer = other.receipt_signer(&connection).await;
    let outcome = other.outcome(&second, &signer, "failed").await;
    other.report(&connection, run, &outcome).await.expect("counts");
    assert_eq!(
        refusal(work.report(&first, &result).await),
        does_not_count,
        "afterwards"
    );
    other
        .report(&connection, run, &outcome)
        .await
        .expect("said twice is said once");
    let now = work.author.run_now(run).await;
    assert_eq!((now.state.as_str(), now.node), ("failed", Some(other.id())));
    assert_eq!(records(work.server, "run.ended", &now).await, 1);

    // A real node that dies in its run comes back when the run is lost: what it says then changes nothing.
    let server = Server::private();
    let author = server.author().await;
    let node = RealNode::start(&server, "default").await;
    let function = author
        .register(&unique("f"), "python", "import time\ntime.sleep(1000)")
        .await;
    let run = author.run(&function, &json!({})).await;
    within(PATIENCE, "the node has stored its claim", async || {
        node.holds_claim(run.id).then_some(())
    })
    .await;
    node.process().kill();
    server
        .database()
        .change("UPDATE runs SET lease_until = lease_until - 45000 WHERE state = 'running'");
    assert_eq!(ended(&author, &run).await.state, "lost");
    node.run(&[]);
    node.connected(&server).await;
    within(
        PATIENCE,
        "the node has said what it knows, and was told",
        async || (node.waiting_results() == 0).then_some(()),
    )
    .await;
    let now = author.run_now(run.id).await;
    assert_eq!((now.state.as_str(), now.attempts), ("lost", 1));
    assert_eq!(records(&server, "run.ended", &run).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sandbox_64_an_agent_that_restarts_finishes_its_runs_or_reports_them_as_failed() {
    let server = Server::private();
    let author = server.author().await;
    let node = RealNode::start(&server, "default").await;
    let mark = mark();
    let long = tree(&author, &mark).await;
    let short = author
        .register_definition(&json!({
            "name": unique("short"), "language": "python", "script": "import time\ntime.sleep(3)\ny = 42",
            "outputs": [{ "name": "y", "kind": "value" }],
        }))
        .await;

    // Told to stop, it lets a run end that does so soon, and keeps the result.
    let run = author.run(&short, &json!({})).await;
    within(PATIENCE, "the node has stored its claim", async || {
        node.holds_claim(run.id).then_some(())
    })
    .await;
    node.process().ask_to_end();
    within(PATIENCE, "the agent ends", async || node.process().ended()).await;
    node.run(&[]);
    let now = ended(&author, &run).await;
    assert_eq!(now.state, "succeeded", "{:?}", now.ending);
    node.connected(&server).await;

    // One that goes on is ended with everything that it started, and the agent says so before it goes.
    let run = author.run(&long, &json!({})).await;
    within(PATIENCE, "the whole tree runs", async || {
        is_running(&mark).then_some(())
    })
    .await;
    node.process().ask_to_end();
    within(PATIENCE, "the agent ends", async || node.process().ended()).await;
    until("the whole tree is gone", async || {
        (!is_running(&mark)).then_some(())
    })
    .await;
    let now = ended(&author, &run).await;
    let problem = now.ending.and_then(|ending| ending.problem);
    assert_eq!(
        (now.state.as_str(), problem.as_deref()),
        ("failed", Some("agent-stopped"))
    );

    // Killed, it takes everything with it, and says so when it is back.
    node.run(&[("MUSTER_SLOTS__PER_ENGINE", "2")]);
    node.connected(&server).await;
    let runs = [
        author.run(&long, &json!({})).await,
        author.run(&long, &json!({})).await,
    ];
    within(PATIENCE, "the whole tree runs", async || {
        is_running(&mark).then_some(())
    })
    .await;
    for run in &runs {
        within(PATIENCE, "the node has stored its claim", async || {
            node.holds_claim(run.id).then_some(())
        })
        .await;
    }
    node.process().kill();
    until("the whole tree is gone", async || {
        (!is_running(&mark)).then_some(())
    })
    .await;
    node.run(&[]);
    for run in &runs {
        let now = ended(&author, run).await;
        let problem = now.ending.and_then(|ending| ending.problem);
        assert_eq!(
            (now.state.as_str(), problem.as_deref()),
            ("failed", Some("agent-restarted"))
        );
        assert_eq!((now.attempts, records(&server, "run.ended", run).await), (1, 1));
    }
    let running = server
        .database()
        .number("SELECT COUNT(*) FROM runs WHERE state IN ('running', 'queued')");
    assert_eq!(running, 0, "nothing runs that nobody runs");
    let run = author.run(&short, &json!({})).await;
    assert_eq!(
        ended(&author, &run).await.state,
        "succeeded",
        "and it takes new ones"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sandbox_65_a_grant_for_another_node_another_life_or_an_older_epoch_is_refused() {
    let work = Work::new().await;
    work.submit().await;
    let claim = Claim {
        boot_nonce: work.member.boot_nonce.clone(),
        engines: vec!["terr".to_owned()],
        sessions: false,
    };
    let granted: Granted = work
        .connection
        .send(Request::post(CLAIM_PATH).json(&claim))
        .await
        .expect("a run")
        .json()
        .expect("a grant");
    let other = Applicant::new(&unique("terr")).await.join(work.server).await;
    let admit = |member: &Member, boot_nonce: &str, now_ms: i64, used: &mut Used| {
        let ground = Ground {
            node: member.id(),
            boot_nonce,
            roots: member.roots(),
            now_ms,
        };
        check(granted.clone(), &ground, used)
    };
    let now = muster_tests::now();
    let mut used = Used::default();
    let refused = admit(&other, &other.boot_nonce, now, &mut used).expect_err("for another node");
    assert!(matches!(refused.why, NotAdmitted::OtherNode(node) if node == work.member.id()));
    assert_eq!(
        refused.why.answer(),
        Answer::Ignore,
        "it has no say about that run"
    );
    let refused = admit(&work.member, &other.boot_nonce, now, &mut used).expect_err("for another life");
    assert!(matches!(refused.why, NotAdmitted::OtherLife));
    let hour = 60 * 60 * 1000;
    let refused = admit(&work.member, &work.member.boot_nonce, now + hour, &mut used).expect_err("too late");
    assert!(matches!(refused.why, NotAdmitted::Time));
    let admitted = admit(&work.member, &work.member.boot_nonce, now, &mut used).expect("its own");
    let refused = admit(&work.member, &work.member.boot_nonce, now, &mut used).expect_err("twice");
    assert!(matches!(refused.why, NotAdmitted::Used));

    // The trust state of the grant is older than what the node holds: nothing is decided by it.
    let wanted = muster_agent::trust::version(&admitted.grant.trust);
    let held = muster_code_trust::StateVersion {
        epoch: wanted.epoch + 1,
        ..wanted
    };
    let refused = muster_agent::trust::reachable(&held, &wanted).expect_err("an older epoch");
    assert!(refused.to_string().contains("epoch"), "{refused}");
    muster_agent::trust::reachable(&wanted, &wanted).expect("its own epoch");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_room_ends_its_run_in_words_and_takes_no_other_until_there_is_some() {
    let server = Server::private();
    let author = server.author().await;
    let outer = folder("node");
    let disk = SmallDisk::with(outer.join("state"), c"size=64m,mode=0700");
    let node = RealNode::towards(server.registration(), "default", Some(server.root()), outer);
    node.join(&server, &[]).await;
    node.run(&[]);
    node.connected(&server).await;
    let large = author
        .register_definition(&json!({
            "name": unique("large"), "language": "python", "script": "print('printed')\ny = 'x' * 100_000_000",
            "outputs": [{ "name": "y", "kind": "value" }],
        }))
        .await;
    let small = author.register(&unique("small"), "python", "x = 1").await;
    let run = author.run(&large, &json!({})).await;
    let run = ended(&author, &run).await;
    let ending = run.ending.expect("an ending");
    assert_eq!(run.state, "failed");
    assert!(
        ending.message.contains("could not be kept") || ending.message.contains("could not be stored"),
        "{}",
        ending.message
    );
    until("its results are given up", async || {
        (node.waiting_results() == 0).then_some(())
    })
    .await;
    let run = author.run(&small, &json!({})).await;
    assert_eq!(
        ended(&author, &run).await.state,
        "succeeded",
        "there is room again"
    );

    disk.fill();
    let run = author.run(&small, &json!({})).await;
    let admin = server.admin().await;
    within(PATIENCE, "the node says why it takes nothing", async || {
        let shown: Value = admin.show(&["nodes", node.name()]).await;
        let conditions = shown["inventory"]["conditions"].to_string();
        conditions
            .contains("no run is taken until there is room")
            .then_some(())
    })
    .await;
    let waiting: Run = author.show(&["runs", &run.id.to_string()]).await;
    assert_eq!((waiting.state.as_str(), waiting.attempts), ("queued", 0));
    let (exit, said, complained) = CommandLine::log_in(&server).run(&["status"]);
    assert_eq!(exit, Some(0), "{complained}");
    let told = |words: [&str; 2]| {
        said.lines()
            .any(|line| words.iter().all(|word| line.contains(word)))
    };
    let ill = format!("the node \"{}\" is ", node.name());
    assert!(
        told([
            &ill,
            "degraded: no run is taken until there is room: less than 16 MiB"
        ]),
        "{said}"
    );
    assert!(told(["1 run waits for PYTHON", "no active node there"]), "{said}");
    disk.make_room();
    assert_eq!(ended(&author, &run).await.state, "succeeded");
}
