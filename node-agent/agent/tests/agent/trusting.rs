//! How a node comes to the trust state that is told to it.

use muster_code_trust::{Entry, Scope, Setting};

use crate::working::{REFUSES, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_come_with_their_hint_are_not_asked_for_unless_they_do_not_fit() {
    let world = World::new(REFUSES, Vec::new()).await;
    let mut agent = world.connected().await;
    let held = async || {
        let wanted = world.back.version().number;
        world
            .node
            .status_until(|status| {
                status["agent"]["trust_number"] == wanted && status["agent"]["trust_fresh"] == true
            })
            .await;
    };
    held().await;
    let before = world.back.log().fetched;
    let setting = |on| Entry::Setting(Scope::All, Setting::TerrRestrictedExecutionMode(on));
    world.back.trust_at_once(&setting(true), true);
    held().await;
    assert_eq!(world.back.log().fetched, before, "it had come already");
    world.back.trust_at_once(&setting(false), false);
    held().await;
    assert!(
        world.back.log().fetched > before,
        "what was told is not what was signed"
    );
    agent.kill().await.expect("killed");
}
