//! The documented settings of services that the agent itself acts by, from either file: how many runs go on at a time, and
//! what is only tightened.

use muster_code_trust::{Entry, Scope, Setting};
use muster_ids::RunId;
use muster_wire::node::v1::control::ControlMessage;

use crate::working::{REFUSES, WAITS, World, definition, grant};

/// Adds lines to node.toml, and this text as the `custom.properties` of the service TERR where there is any.
fn set(world: &World, lines: &str, properties: &str) {
    let services = world.node.folder().join("services");
    let conf = services.join("TERR/conf");
    std::fs::create_dir_all(&conf).expect("made");
    std::fs::write(conf.join("custom.properties"), properties).expect("written");
    let text = std::fs::read_to_string(world.node.config()).expect("read");
    let named = format!("[engines]\nservices = \"{}\"\n", services.display());
    let text = text.replacen("[engines]\n", &named, 1);
    std::fs::write(world.node.config(), format!("{text}{lines}")).expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engine_session_max_bounds_the_runs_at_a_time() {
    for (lines, properties) in [
        ("[slots]\nper_engine = 2\n", ""),
        // Each service has its own, above the one of all.
        ("[slots]\nper_engine = 5\n", "engine.session.max: 2\n"),
    ] {
        let world = World::new(WAITS, Vec::new()).await;
        set(&world, lines, properties);
        let mut agent = world.connected().await;
        let runs = [1, 2, 3].map(|number| {
            let grant = grant(&world.back, number, "restricted");
            let run = grant.run;
            world.back.offer(grant, definition());
            run
        });
        let at_work = |wanted: Vec<RunId>| {
            world.back.until("they are at work", move |log| {
                let last = log.heartbeats.last()?;
                let here = |run: &RunId| last.running.iter().any(|claimed| claimed.run == *run);
                wanted.iter().all(here).then_some(())
            })
        };
        at_work(runs[..2].to_vec()).await;
        let third_has_begun = world.back.log().heartbeats.iter().any(|heartbeat| {
            let mut running = heartbeat.running.iter();
            running.any(|claimed| claimed.run == runs[2])
        });
        assert!(!third_has_begun, "it waits for a slot");
        world.back.say(&ControlMessage::Cancel {
            run: runs[0],
            fence: 1,
        });
        at_work(runs[1..].to_vec()).await;
        agent.kill().await.expect("killed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documented_settings_of_trust_tighten_what_the_control_plane_has_loosened() {
    let loosened = || {
        vec![
            Entry::Setting(Scope::All, Setting::DisableTrustChecks(true)),
            Entry::Setting(Scope::All, Setting::TerrRestrictedExecutionMode(false)),
        ]
    };
    for (lines, properties, by) in [
        ("", "", None),
        (
            "[trust]\ndisable_spotfire_trust_checks = false\n",
            "",
            Some("trust.disable_spotfire_trust_checks in node.toml"),
        ),
        (
            "[trust]\nterr_restricted_execution_mode = true\n",
            "",
            Some("trust.terr_restricted_execution_mode in node.toml"),
        ),
        (
            "",
            "disable.spotfire.trust.checks: FALSE\n",
            Some("disable.spotfire.trust.checks in "),
        ),
        (
            "",
            "terr.restricted.execution.mode: TRUE\n",
            Some("terr.restricted.execution.mode in "),
        ),
        (
            "[trust]\nforce_restricted = true\n",
            "",
            Some("trust.force_restricted in node.toml"),
        ),
    ] {
        let world = World::new(REFUSES, loosened()).await;
        set(&world, lines, properties);
        let mut agent = world.connected().await;
        world
            .back
            .offer(grant(&world.back, 1, "unrestricted"), definition());
        let (_, outcome) = world
            .back
            .until("an outcome", |log| log.outcomes.first().cloned())
            .await;
        let entry = outcome.ending.entry.as_deref().unwrap_or_default();
        match by {
            Some(by) => assert!(entry.starts_with(by), "{lines}{properties}: {:?}", outcome.ending),
            None => assert!(!entry.contains(" in "), "{:?}", outcome.ending),
        }
        agent.kill().await.expect("killed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_would_loosen_trust_does_not_start_a_node() {
    let world = World::new(REFUSES, Vec::new()).await;
    let good = std::fs::read_to_string(world.node.config()).expect("read");
    for (lines, properties, key) in [
        (
            "[trust]\ndisable_spotfire_trust_checks = true\n",
            "",
            "disable.spotfire.trust.checks",
        ),
        (
            "[trust]\nterr_restricted_execution_mode = false\n",
            "",
            "terr.restricted.execution.mode",
        ),
        (
            "",
            "disable.spotfire.trust.checks: TRUE\n",
            "disable.spotfire.trust.checks",
        ),
        (
            "",
            "terr.restricted.execution.mode: FALSE\n",
            "terr.restricted.execution.mode",
        ),
    ] {
        std::fs::write(world.node.config(), &good).expect("written");
        set(&world, lines, properties);
        let ended = world.node.run(&["run"], None).await;
        assert_ne!(ended.code, Some(0), "{lines}{properties}");
        assert!(
            ended.err.contains("only tighten trust")
                && ended.err.contains(&format!("muster setting set {key}")),
            "{}",
            ended.err
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_of_a_node_says_which_engine_runs_terr_functions() {
    let world = World::new(REFUSES, Vec::new()).await;
    let mut agent = world.connected().await;
    world
        .node
        .status_until(|status| status["agent"]["link"] == "connected")
        .await;
    let shown = world.node.run(&["status"], None).await.out;
    assert!(shown.contains("terr (GNU R 4.2.2 standing in)"), "{shown}");
    agent.kill().await.expect("killed");
}
