//! A member at work: the connection, trust, runs, and what happens when either side fails.
//!
//! The engine is a stand-in that only names a version, and the jail one that refuses or waits: what runs inside is
//! tested where it is built.

use std::{os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, sync::atomic::Ordering};

use muster_code_trust::{Block, CodeType, Entry, ItemRef, ItemType, Moment, Scope, Setting, Stamp};
use muster_ids::{Digest, FunctionId, RunId, StampId};
use muster_wire::{
    function::{BlobRef, Blobs, FunctionDefinition, Limits, Parameter},
    node::v1::{
        control::ControlMessage,
        outcome::{Captured, Outcome},
        run::{GrantLimits, RunGrant},
    },
};

use crate::{
    back_end::BackEnd,
    node::Node,
    registration::{Registration, Will},
};

/// A jail that refuses at once, or one that never answers.
pub(crate) const REFUSES: &str = "#!/bin/sh\nexit 1\n";
pub(crate) const WAITS: &str = "#!/bin/sh\nexec sleep 600\n";

pub(crate) struct World {
    pub(crate) node: Node,
    pub(crate) back: Arc<BackEnd>,
}

impl World {
    /// A trusted member whose settings name a stand-in engine and this jail.
    pub(crate) async fn new(jail: &str, entries: Vec<Entry>) -> Self {
        let control = Registration::start(Will::Approve).await;
        let back = BackEnd::start(Arc::clone(&control.collective), entries).await;
        // The first one is dead, so that every connection is a failover.
        control.name_back_ends(vec!["127.0.0.1:1".to_owned(), back.address.to_string()]);
        let node = Node::new();
        let folder = node.folder();
        program(&folder.join("R/bin/exec/R"), "#!/bin/sh\necho R version 4.2.2\n");
        std::fs::create_dir_all(folder.join("R/library/jsonlite")).expect("made");
        program(&folder.join("jail"), jail);
        let settings = format!(
            "[engines]\nr_home = \"{0}/R\"\npython = \"{0}/none\"\n[jail]\nprogram = \"{0}/jail\"\n[log]\nformat = \"text\"\n",
            folder.display()
        );
        std::fs::write(node.config(), settings).expect("written");
        let pin = control.pin();
        let arguments = [
            "join",
            &control.url(),
            "--capability",
            "R",
            "--capability",
            "TERR",
            "--ca-fingerprint",
            &pin,
        ];
        let joined = node.run(&arguments, None).await;
        assert_eq!(joined.code, Some(0), "{}", joined.err);
        Self { node, back }
    }

    pub(crate) async fn connected(&self) -> tokio::process::Child {
        let (agent, _) = self.node.until(&["run"], "connected").await;
        self.back
            .until("a heartbeat", |log| log.heartbeats.last().map(|_| ()))
            .await;
        agent
    }
}

pub(crate) fn program(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, text).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("executable");
}

pub(crate) fn definition() -> FunctionDefinition {
    FunctionDefinition {
        name: "Forecast".parse().expect("name"),
        language: "terr".to_owned(),
        script: "y <- x\n".to_owned(),
        inputs: vec![Parameter {
            name: "x".to_owned(),
            kind: "table".to_owned(),
            types: Vec::new(),
            optional: true,
        }],
        outputs: Vec::new(),
        packages: Vec::new(),
        description: String::new(),
        limits: Limits::default(),
    }
}

pub(crate) fn grant(back: &BackEnd, number: u8, mode: &str) -> RunGrant {
    RunGrant {
        run: RunId::new(i64::from(number), [number; 10]),
        fence: 1,
        user: "ann@SPOTFIRE".parse().expect("name"),
        facts: serde_json::json!({
            "user": "ann@SPOTFIRE", "groups": {"Everyone": null}, "features": {}, "readable_stamps": [stamp_id()],
        }),
        client: "web".to_owned(),
        function: Some(FunctionId::new(1, [1; 10])),
        item: item(),
        engine: "terr".to_owned(),
        inputs: Blobs::new(),
        outputs: Vec::new(),
        packages: muster_ids::PackageList::no_digest(),
        mode: mode.to_owned(),
        rule: "terr-restricted-mode".to_owned(),
        trace: false,
        session: None,
        limits: GrantLimits {
            wall_seconds: 60,
            memory_mib: 0,
        },
        network: "none".to_owned(),
        policy: None,
        node: back.collective.node,
        boot_nonce: String::new(),
        trust: back.version(),
        issued: 0,
        expires: 0,
    }
}

fn item() -> Digest {
    muster_agent::function::digest(&definition()).expect("valid")
}

fn stamp_id() -> StampId {
    StampId::new(1, [3; 10])
}

fn trusting() -> Vec<Entry> {
    vec![
        Entry::Stamp(Stamp {
            id: stamp_id(),
            kind: CodeType::DataFunction,
            hash: item().into(),
            library_item: "F".parse().expect("label"),
            author: "bob@SPOTFIRE".parse().expect("name"),
            at: Moment::from_unix_ms(0),
        }),
        Entry::Setting(Scope::All, Setting::TerrRestrictedExecutionMode(false)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_says_how_it_is_and_is_fresh() {
    let world = World::new(REFUSES, Vec::new()).await;
    let mut agent = world.connected().await;
    let inventory = world
        .back
        .until("a fresh node", |log| {
            let last = log.heartbeats.last()?;
            let inventory = last.inventory.clone()?;
            (inventory.trust_number == Some(7) && inventory.conditions.is_empty()).then_some(inventory)
        })
        .await;
    let engines: Vec<&str> = inventory
        .engines
        .iter()
        .map(|engine| engine.description.as_str())
        .collect();
    assert_eq!(engines, ["GNU R 4.2.2", "terr (GNU R 4.2.2 standing in)"]);
    let status = world
        .node
        .status_until(|status| status["agent"]["trust_fresh"] == true)
        .await;
    assert_eq!(status["agent"]["link"], "connected");
    let memory =
        std::fs::read_to_string(format!("/proc/{}/status", agent.id().expect("runs"))).expect("read");
    let kib = |name: &str| {
        let line = memory
            .lines()
            .find(|line| line.starts_with(name))
            .expect("a line");
        line.split_whitespace()
            .nth(1)
            .expect("a number")
            .parse::<u64>()
            .expect("a number")
    };
    println!(
        "resident: anonymous {} KiB, of files {} KiB",
        kib("RssAnon"),
        kib("RssFile")
    );
    // Pages of the program itself depend on how it was built; what it allocates must not.
    assert!(kib("RssAnon") < 10 * 1024, "an idle agent is small: {memory}");
    agent.kill().await.expect("killed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_ends_with_one_outcome_and_a_receipt_that_names_its_grant() {
    let world = World::new(REFUSES, Vec::new()).await;
    let input = b"x\n1\n".to_vec();
    let blob = BlobRef {
        digest: Digest::of(&input),
        size: 4,
        format: "csv".to_owned(),
    };
    world.back.log().blobs.insert(blob.digest, input);
    let mut agent = world.connected().await;
    let mut with_input = grant(&world.back, 1, "restricted");
    with_input.inputs.insert("x".to_owned(), blob.clone());
    let mut missing = grant(&world.back, 2, "restricted");
    missing.inputs.insert(
        "x".to_owned(),
        BlobRef {
            digest: Digest::of(b"missing"),
            ..blob.clone()
        },
    );
    world.back.offer(with_input, definition());
    world
        .back
        .until("the outcome", |log| (log.outcomes.len() == 1).then_some(()))
        .await;
    world.back.offer(missing, definition());
    world
        .back
        .until("both outcomes", |log| (log.outcomes.len() == 2).then_some(()))
        .await;
    {
        let log = world.back.log();
        let problems: Vec<_> = log
            .outcomes
            .iter()
            .map(|(_, outcome)| outcome.ending.problem.as_deref())
            .collect();
        assert_eq!(problems, [Some("jail-refused"), Some("inputs-missing")]);
        assert!(log.outcomes.iter().all(|(_, outcome)| outcome.state == "failed"));
        let predicate = &log.statements[0].predicate;
        assert_eq!(
            (predicate.run, predicate.fence, predicate.trust_number),
            (RunId::new(1, [1; 10]), 1, 7)
        );
        assert_eq!(predicate.trust, None, "this back end speaks version 1 only");
        assert_eq!(predicate.inputs["x"], blob.digest);
    }
    let status = world
        .node
        .status_until(|status| status["agent"]["unacknowledged"] == 0)
        .await;
    assert_eq!(status["agent"]["running"], 0);
    agent.kill().await.expect("killed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_function_is_refused_although_it_was_granted() {
    let world = World::new(REFUSES, trusting()).await;
    let mut agent = world.connected().await;
    let block = Entry::Block(Block::Item(ItemRef {
        r#type: ItemType::DataFunction,
        hash: item().into(),
    }));
    world.back.trust(&block);
    world
        .back
        .offer(grant(&world.back, 1, "unrestricted"), definition());
    let outcome = world
        .back
        .until("the outcome", |log| {
            log.outcomes.first().map(|(_, outcome)| outcome.clone())
        })
        .await;
    assert_eq!(
        (outcome.state.as_str(), outcome.ending.problem.as_deref()),
        ("refused", Some("blocked-item"))
    );
    assert!(outcome.ending.mode.is_none());
    agent.kill().await.expect("killed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_node_hands_back_what_would_run_unrestricted() {
    let world = World::new(REFUSES, trusting()).await;
    world.back.beacons.store(false, Ordering::SeqCst);
    let mut agent = world.connected().await;
    world
        .back
        .offer(grant(&world.back, 1, "unrestricted"), definition());
    let put_back = world
        .back
        .until("it handed back", |log| log.put_back.first().cloned())
        .await;
    assert!(
        put_back.1.fence == 1 && put_back.1.why.contains("stale"),
        "{put_back:?}"
    );
    world
        .back
        .offer(grant(&world.back, 2, "restricted"), definition());
    let outcome = world
        .back
        .until("an outcome", |log| log.outcomes.first().cloned())
        .await;
    assert_eq!(outcome.0, RunId::new(2, [2; 10]));
    agent.kill().await.expect("killed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_by_message_and_by_heartbeat_ends_a_run() {
    let world = World::new(WAITS, Vec::new()).await;
    let mut agent = world.connected().await;
    for number in [1, 2] {
        let grant = grant(&world.back, number, "restricted");
        let run = grant.run;
        world.back.offer(grant, definition());
        world
            .back
            .until("it works", |log| {
                log.heartbeats
                    .last()?
                    .running
                    .iter()
                    .find(|claimed| claimed.run == run)
                    .map(|_| ())
            })
            .await;
        if number == 1 {
            world.back.say(&ControlMessage::Cancel { run, fence: 1 });
        } else {
            world.back.stop(run);
        }
        let outcome = world
            .back
            .until("its end", |log| {
                log.outcomes.iter().find(|(ended, _)| *ended == run).cloned()
            })
            .await;
        assert_eq!(outcome.1.state, "cancelled");
    }
    agent.kill().await.expect("killed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_node_ends_its_work_and_says_so() {
    let world = World::new(WAITS, Vec::new()).await;
    let mut agent = world.connected().await;
    world
        .back
        .offer(grant(&world.back, 1, "restricted"), definition());
    world
        .back
        .until("it works", |log| {
            (!log.heartbeats.last()?.running.is_empty()).then_some(())
        })
        .await;
    world.back.revoked.store(true, Ordering::SeqCst);
    let status = world
        .node
        .status_until(|status| status["agent"]["link"] == "revoked")
        .await;
    assert_eq!(status["agent"]["unacknowledged"], 1, "{status}");
    assert!(
        status["agent"]["conditions"].to_string().contains("revoked: "),
        "{status}"
    );
    world
        .node
        .status_until(|status| status["agent"]["running"] == 0)
        .await;
    agent.kill().await.expect("killed");
    // While no agent runs, it is known from what was kept.
    let told = "The collective does not trust this node any more, as a control plane said first at 2";
    let shown = world.node.run(&["status"], None).await;
    assert!(
        shown.out.starts_with("State             revoked\n") && shown.out.contains(told),
        "{}",
        shown.out
    );
    // A node that comes back is turned away in the handshake already, and knows why.
    let (mut again, _) = world.node.until(&["run"], "this node was revoked").await;
    again.kill().await.expect("killed");
    let left = world.node.run(&["leave", "--yes", "--force"], None).await;
    assert_eq!(left.code, Some(0), "{}", left.err);
    assert_eq!(world.node.status().await["state"], "not_joined");
    assert!(!world.node.state().join("revoked.json").exists());
}

/// The outcome with what its receipt says, but not who signed it.
fn unsigned(outcome: &Outcome) -> Outcome {
    Outcome {
        receipt: outcome.receipt["payload"].clone(),
        ..outcome.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_anywhere_in_a_run_reports_it_once() {
    let points = [
        ("run.claimed", "agent-restarted"),
        ("run.executed", "agent-restarted"),
        ("run.outcome.written", "agent-restarted"),
        ("run.outcome.renamed", "jail-refused"),
        ("run.spooled", "jail-refused"),
        ("run.reported", "jail-refused"),
    ];
    let world = World::new(REFUSES, Vec::new()).await;
    for (number, (point, problem)) in (1..).zip(points) {
        let mut agent = world
            .node
            .command(&["run"], Some(point))
            .spawn()
            .expect("started");
        let grant = grant(&world.back, number, "restricted");
        let run = grant.run;
        world.back.offer(grant, definition());
        let killed = tokio::time::timeout(crate::node::GENEROUS, agent.wait())
            .await
            .expect("killed")
            .expect("waited");
        assert_eq!(killed.code(), None, "{point}");
        let (mut agent, _) = world.node.until(&["run"], "connected").await;
        world
            .node
            .status_until(|status| status["agent"]["unacknowledged"] == 0)
            .await;
        agent.kill().await.expect("killed");
        let log = world.back.log();
        let outcomes: Vec<_> = log
            .outcomes
            .iter()
            .filter(|(ended, _)| *ended == run)
            .map(|(_, outcome)| outcome)
            .collect();
        assert!(!outcomes.is_empty(), "{point}: reported");
        for outcome in &outcomes {
            assert_eq!(outcome.ending.problem.as_deref(), Some(problem), "{point}");
            // Another life of the agent signs the same statement with a key of its own.
            assert_eq!(
                unsigned(outcome),
                unsigned(outcomes[0]),
                "{point}: what is sent again is the same"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_of_before_gets_small_blobs_as_it_knows_them() {
    let world = World::new(REFUSES, Vec::new()).await;
    let mut agent = world
        .node
        .command(&["run"], Some("run.spooled"))
        .spawn()
        .expect("started");
    let grant = grant(&world.back, 1, "restricted");
    let run = grant.run;
    world.back.offer(grant, definition());
    let killed = tokio::time::timeout(crate::node::GENEROUS, agent.wait()).await;
    assert_eq!(killed.expect("killed").expect("waited").code(), None);
    // As if it had printed something before.
    let path = world.node.state().join(format!("spool/{run}-1/outcome.json"));
    let kept = std::fs::read_to_string(&path).expect("read");
    let (_, json) = kept.split_once('\n').expect("its digest and itself");
    let mut outcome: Outcome = serde_json::from_str(json).expect("an outcome");
    let digest = Digest::of(b"printed");
    outcome.ending.stdout = Some(Captured {
        blob: BlobRef {
            digest,
            size: 7,
            format: "text".to_owned(),
        },
        truncated: false,
    });
    outcome.contents.insert(digest, "cHJpbnRlZA==".to_owned());
    std::fs::write(&path, serde_json::to_vec(&outcome).expect("JSON")).expect("written");
    let (mut agent, _) = world.node.until(&["run"], "connected").await;
    let sent = world
        .back
        .until("the outcome", |log| {
            log.outcomes.first().map(|(_, outcome)| outcome.clone())
        })
        .await;
    assert_eq!(
        world.back.log().blobs.get(&digest).map(Vec::as_slice),
        Some(&b"printed"[..])
    );
    assert!(sent.contents.is_empty() && sent.ending.stdout == outcome.ending.stdout);
    agent.kill().await.expect("killed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_settings_are_taken_without_a_restart_and_wrong_ones_are_not() {
    let world = World::new(REFUSES, Vec::new()).await;
    let mut agent = world.connected().await;
    let good = std::fs::read_to_string(world.node.config()).expect("read");
    std::fs::write(world.node.config(), format!("{good}[nonsense]\nx = 1\n")).expect("written");
    let status = world
        .node
        .conditions_until(|conditions| conditions.contains("node.toml has errors"))
        .await;
    assert!(status.contains("nonsense"), "{status}");
    let elsewhere = good.replace("/R\"", "/no-R\"");
    std::fs::write(world.node.config(), elsewhere).expect("written");
    world
        .node
        .conditions_until(|conditions| conditions.contains("the engine terr is missing"))
        .await;
    std::fs::write(world.node.config(), good).expect("written");
    world
        .node
        .conditions_until(|conditions| !conditions.contains("missing"))
        .await;
    agent.kill().await.expect("killed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_tells_the_control_plane_but_not_while_results_wait() {
    let world = World::new(WAITS, Vec::new()).await;
    let mut agent = world.connected().await;
    world
        .back
        .offer(grant(&world.back, 1, "restricted"), definition());
    world
        .back
        .until("it works", |log| {
            (!log.heartbeats.last()?.running.is_empty()).then_some(())
        })
        .await;
    let busy = world.node.run(&["leave", "--yes"], None).await;
    assert!(
        busy.code == Some(1) && busy.err.contains("in use by"),
        "{}",
        busy.err
    );
    agent.kill().await.expect("killed");
    let waiting = world.node.run(&["leave", "--yes"], None).await;
    assert!(
        waiting.code == Some(1) && waiting.err.contains("not acknowledged"),
        "{}",
        waiting.err
    );
    let left = world.node.run(&["leave", "--yes", "--force"], None).await;
    assert_eq!(left.code, Some(0), "{}", left.err);
    assert!(world.back.log().left);
    assert!(!world.node.state().join("identity.json").exists());
}
