//! Limits that the jail of a node cannot enforce, as the node shows them.

use crate::working::{World, program};

/// A jail as a service user has it on version 1 of control groups: it stands, and says what it lacks.
const LACKS: &str = r#"#!/bin/sh
head -c 1 > /dev/null
printf '{"message":"ready","landlock_abi":2,"degraded":["no control group for memory"],"own_ids":true}' >&0
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_jail_cannot_enforce_is_said_before_the_first_run() {
    let world = World::new(LACKS, Vec::new()).await;
    let mut agent = world.connected().await;
    let lacking = "degraded: limits: no control group for memory";
    world
        .node
        .conditions_until(|conditions| conditions.contains(lacking))
        .await;
    let heartbeat = world
        .back
        .until("the control plane knows it too", |log| {
            let last = log.heartbeats.last()?;
            let conditions = &last.inventory.as_ref()?.conditions;
            conditions.iter().any(|one| one == lacking).then(|| last.clone())
        })
        .await;
    assert!(heartbeat.running.is_empty(), "{heartbeat:?}");
    // Settings that name another jail ask that one.
    let good = std::fs::read_to_string(world.node.config()).expect("read");
    let whole = LACKS.replace("\"no control group for memory\"", "");
    program(&world.node.folder().join("whole"), &whole);
    std::fs::write(world.node.config(), good.replace("/jail\"", "/whole\"")).expect("written");
    world
        .node
        .conditions_until(|conditions| !conditions.contains("limits"))
        .await;
    agent.kill().await.expect("killed");
}
