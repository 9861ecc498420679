//! Packages of runs where this node and the grant do not agree, and where there is nothing to build them from.

use muster_code_trust::{Entry, Scope, Setting, SettingName};
use muster_ids::Digest;

use crate::working::{REFUSES, World, definition, grant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_packages_were_set_anew_goes_back_to_the_queue() {
    let line = format!("jsonlite 1.8.4 {}", Digest::of(b"a file"));
    let setting = Setting::parse(SettingName::RPackages, &line).expect("locked");
    let Setting::Packages(list) = &setting else {
        panic!("{setting:?}");
    };
    let granted = list.digest();
    let world = World::new(REFUSES, vec![Entry::Setting(Scope::All, setting.clone())]).await;
    let mut agent = world.connected().await;
    // Granted before they were set.
    world
        .back
        .offer(grant(&world.back, 1, "restricted"), definition());
    let put_back = world
        .back
        .until("it handed back", |log| log.put_back.first().cloned())
        .await;
    assert!(
        put_back.1.why.contains("packages") && put_back.1.why.contains("changed since the grant"),
        "{put_back:?}"
    );
    let mut known = grant(&world.back, 2, "restricted");
    known.packages = granted;
    world.back.offer(known, definition());
    let (_, outcome) = world
        .back
        .until("an outcome", |log| log.outcomes.first().cloned())
        .await;
    assert_eq!(
        (outcome.state.as_str(), outcome.ending.problem.as_deref()),
        ("failed", Some("packages-missing"))
    );
    assert!(
        outcome.ending.message.contains("packages.sources of node.toml"),
        "{}",
        outcome.ending.message
    );
    assert!(outcome.ending.mode.is_none() && outcome.ending.packages.is_none());
    agent.kill().await.expect("killed");
}
