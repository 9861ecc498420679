//! Certificates that are renewed while the node works, wherever it is killed and whatever its clock says.

use std::{sync::Arc, time::Duration};

use muster_agent::{
    agent::{Agent, Start},
    config::Config,
    credentials::Credentials,
    home::Home,
    membership::Membership,
    renew,
};
use muster_daemon::{Clock, Random};
use muster_engines::Probe;
use tokio_util::sync::CancellationToken;

use crate::{
    crash::{at_each, points_of_identity},
    node::GENEROUS,
    working::{REFUSES, WAITS, World, definition, grant},
};

const HOUR_MS: i64 = 60 * 60 * 1000;
const YEAR_MS: i64 = 365 * 24 * HOUR_MS;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_is_killed_anywhere_goes_on_with_the_same_key() {
    let mut points = points_of_identity("renew.key");
    points.push("renew.answered".to_owned());
    points.extend(points_of_identity("renew.certificate"));
    at_each(points, async |point| {
        let world = World::new(REFUSES, Vec::new()).await;
        let before = world.node.status().await;
        world.back.log().renew_within = Some(1);
        let mut agent = world
            .node
            .command(&["run"], Some(&point))
            .spawn()
            .expect("started");
        let killed = tokio::time::timeout(GENEROUS, agent.wait())
            .await
            .unwrap_or_else(|_| panic!("{point} was not reached"))
            .expect("waited");
        assert_eq!(killed.code(), None, "{point}");
        let between = world.node.status().await;
        assert_eq!(between["state"], "trusted", "{point}: {between}");

        let mut agent = world.connected().await;
        let key = world
            .back
            .until("the renewal", |log| log.renewed.get(&2).map(|(key, _)| *key))
            .await;
        world.back.log().renew_within = None;
        let after = world
            .node
            .status_until(|status| {
                status["fingerprint"] != before["fingerprint"] && status["agent"]["link"] == "connected"
            })
            .await;
        if world.back.log().renewed.len() == 1 {
            assert_eq!(after["fingerprint"], key.to_string(), "{point}");
        }
        assert_eq!(
            world.back.log().other_keys,
            0,
            "{point}: it never looks like a clone"
        );
        agent.kill().await.expect("killed");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_replaced_without_a_gap_and_without_ending_a_run() {
    let world = World::new(WAITS, Vec::new()).await;
    let mut agent = world.connected().await;
    let grant = grant(&world.back, 1, "restricted");
    let run = grant.run;
    world.back.offer(grant, definition());
    let works = |log: &crate::back_end::Log| {
        log.heartbeats
            .last()?
            .running
            .iter()
            .find(|claimed| claimed.run == run)
            .map(|_| ())
    };
    world.back.until("it works", works).await;
    world.back.log().renew_within = Some(1);
    world
        .back
        .until("the third certificate", |log| log.renewed.get(&3).map(|_| ()))
        .await;
    world.back.log().renew_within = None;
    let seen = world.back.log().heartbeats.len();
    // How many there were is not said: a certificate that was replaced at once is never used, and the agent may look at the
    // file of the present one while that is written and take it up twice.
    let replaced = |log: &crate::back_end::Log| {
        // Each next one is open before the last is closed.
        let without_a_gap = log.opened >= 2 && log.overlapped == log.opened - 1;
        (without_a_gap && log.open() == 1 && log.heartbeats.len() > seen + 1).then_some(())
    };
    world
        .back
        .until("a heartbeat on the last of several connections", replaced)
        .await;
    {
        let log = world.back.log();
        let claimed = log.heartbeats.iter().skip_while(|beat| beat.running.is_empty());
        assert!(
            claimed
                .clone()
                .all(|beat| beat.running.iter().any(|claimed| claimed.run == run)),
            "the run is held all the time"
        );
        assert!(log.outcomes.is_empty() && log.put_back.is_empty(), "and goes on");
        let nonces: Vec<&String> = log.heartbeats.iter().map(|beat| &beat.boot_nonce).collect();
        assert!(
            nonces.windows(2).all(|pair| pair[0] == pair[1]),
            "one life of the agent"
        );
    }
    let status = world.node.status().await;
    assert_eq!(status["agent"]["running"], 1, "{status}");
    assert_eq!(status["agent"]["conditions"], serde_json::json!([]), "{status}");
    agent.kill().await.expect("killed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_fails_is_said_and_tried_again() {
    let world = World::new(REFUSES, Vec::new()).await;
    {
        let mut log = world.back.log();
        log.renews_not = true;
        log.renew_within = Some(1);
    }
    let mut agent = world.connected().await;
    let status = world
        .node
        .status_until(|status| {
            status["agent"]["conditions"]
                .to_string()
                .contains("certificate ends")
        })
        .await;
    assert_eq!(status["agent"]["link"], "connected", "it works on: {status}");
    let next = status["agent"]["renewal"]
        .as_str()
        .expect("when and how")
        .to_owned();
    assert!(next.contains("asked for"), "{next}");
    world.back.log().renews_not = false;
    world
        .back
        .until("the renewal", |log| log.renewed.get(&2).map(|_| ()))
        .await;
    world.back.log().renew_within = None;
    world
        .node
        .status_until(|status| status["agent"]["conditions"] == serde_json::json!([]))
        .await;
    agent.kill().await.expect("killed");
}

/// Scenario 32, the running node: what its wall clock says ends nothing and renews nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_wall_clock_jumps_works_on_until_its_certificate_really_ends() {
    let world = World::new(REFUSES, Vec::new()).await;
    let config = Config::load(&world.node.config(), true, []).expect("settings");
    let home = Home::open(&world.node.state()).expect("a folder");
    let credentials = Credentials::peek(&home).expect("readable").expect("joined");
    let now = Clock::system().unix_ms();
    let (clock, hand) = Clock::by_hand(now);
    let membership = || {
        Membership::of(&credentials, &config, &clock)
            .expect("trusted")
            .expect("usable")
    };
    let stop = CancellationToken::new();
    let agent = Agent::open(Start {
        config: config.clone(),
        home: Home::open(&world.node.state()).expect("a folder"),
        clock: clock.clone(),
        random: Random::system(),
        membership: membership(),
        probe: Probe {
            engines: Vec::new(),
            missing: Vec::new(),
        },
        stop: stop.clone(),
    })
    .expect("opened");
    let worker = Arc::clone(&agent);
    let work = tokio::spawn(async move { worker.work().await });
    let own = Credentials::peek(&home).expect("readable").expect("joined");
    let renewer = tokio::spawn(renew::keep(Arc::clone(&agent), own));
    world
        .back
        .until("a heartbeat", |log| log.heartbeats.last().map(|_| ()))
        .await;
    tokio::time::timeout(GENEROUS, async {
        while !agent.trust.is_fresh(clock.boot()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("a beacon tells the time");

    for jump in [2 * HOUR_MS, -2 * HOUR_MS, -YEAR_MS, YEAR_MS] {
        hand.set_wall(now + jump);
        let opened = world.back.log().opened;
        // Every certificate is judged anew, by a clock that nobody has set.
        agent.membership.send_replace(Arc::new(membership()));
        world
            .back
            .until("another connection", |log| (log.opened > opened).then_some(()))
            .await;
        let beats = world.back.log().heartbeats.len();
        world
            .back
            .until("heartbeats", |log| {
                (log.heartbeats.len() > beats + 1).then_some(())
            })
            .await;
        assert!(!work.is_finished(), "{jump}");
        assert!(
            world.back.log().renewed.is_empty(),
            "{jump}: nothing is renewed early"
        );
        let difference = clock.unix_ms() - Clock::system().unix_ms();
        assert!(difference.abs() < HOUR_MS / 4, "{jump}: {difference}");
    }
    let conditions = agent.conditions.list().join(" ");
    assert!(conditions.contains("clock of this node differs"), "{conditions}");

    // Seven days by the boot clock are seven days.
    assert!(!agent.member().has_expired(clock.unix_ms()));
    hand.advance(Duration::from_hours(8 * 24));
    assert!(agent.member().has_expired(clock.unix_ms()));
    renewer.abort();
    stop.cancel();
    work.abort();
}
