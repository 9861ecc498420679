//! Engines that are started before there is a run.

use muster_code_trust::{Entry, Scope, Setting, SettingName};

use crate::{
    node::{GENEROUS, Node},
    working::World,
};

/// A jail that writes down what it was asked for, beside itself.
const RECORDS: &str = r#"#!/bin/sh
dd bs=1000000 count=1 status=none >> "$(dirname "$0")/asked"
echo >> "$(dirname "$0")/asked"
printf '{"message":"refused","why":"enough"}' >&0
"#;

/// The modes of the launchers with an engine that were asked for.
fn asked(node: &Node) -> Vec<String> {
    let text = std::fs::read_to_string(node.folder().join("asked")).unwrap_or_default();
    let starts = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let engines = starts.filter(|start| start["command"][0].is_string());
    engines
        .map(|start| {
            let language = start["command"].as_array().and_then(|words| words.last());
            let language = language.and_then(|word| word.as_str()).unwrap_or_default();
            format!("{language} {}", start["mode"].as_str().unwrap_or_default())
        })
        .collect()
}

/// Waits until what was asked for is as wanted. What is refused is tried again in between, so that the order says little.
async fn until(node: &Node, what: &str, wanted: impl Fn(&[String]) -> bool) {
    let found = async {
        while !wanted(&asked(node)) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(GENEROUS, found)
        .await
        .unwrap_or_else(|_| panic!("not {what}: {:?}", asked(node)));
}

fn has(asked: &[String], one: &str) -> bool {
    asked.iter().any(|mode| mode == one)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_begin_before_there_is_a_run_and_again_when_settings_change() {
    let setting = Setting::parse(SettingName::RestrictedEngines, "r_service").expect("a setting");
    let world = World::new(RECORDS, vec![Entry::Setting(Scope::All, setting)]).await;
    let mut agent = world.connected().await;
    // Where nothing is set, TERR is restricted and R is not; the trust state says that untrusted R runs here, too.
    let all = ["terr restricted", "r unrestricted", "r restricted"];
    until(&world.node, "all three", |asked| {
        all.iter().all(|one| has(asked, one))
    })
    .await;
    assert!(!asked(&world.node).contains(&"terr unrestricted".to_owned()));
    let settings = std::fs::read_to_string(world.node.config()).expect("read");
    let forced = format!("{settings}[trust]\nforce_restricted = true\n");
    std::fs::write(world.node.config(), forced).expect("written");
    // Trusted R is foreseen no more.
    until(&world.node, "restricted ones alone", |asked| {
        let last = asked.iter().rposition(|one| one == "r unrestricted").unwrap_or(0);
        has(&asked[last..], "r restricted") && has(&asked[last..], "terr restricted")
    })
    .await;
    agent.kill().await.expect("killed");
}
