//! The process is killed at each named point of a join, and the next process goes on from there.

use muster_daemon::file::WRITE_POINTS;
use tokio::task::JoinSet;

use crate::{
    node::Node,
    registration::{Registration, Will},
};

/// The names that the writes of a join have, and the points between them.
fn points() -> Vec<String> {
    let writes = [
        "join.key",
        "join.offer",
        "join.reveal",
        "join.counter",
        "join.issued",
    ];
    let mut points = vec!["join.revealed".to_owned()];
    for write in writes {
        points.extend(WRITE_POINTS.iter().map(|step| format!("{write}.{step}")));
        points.push(format!("{write}.stored"));
    }
    points.extend(WRITE_POINTS.iter().map(|step| format!("join.config.{step}")));
    points
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_that_is_killed_anywhere_is_finished_by_the_next_process() {
    let mut points = points().into_iter();
    let mut running = JoinSet::new();
    // A few at a time: each is two processes on a machine with two processors.
    for point in points.by_ref().take(6) {
        running.spawn(killed_at(point));
    }
    let mut done = 0;
    while let Some(ended) = running.join_next().await {
        ended.expect("no failure");
        done += 1;
        if let Some(point) = points.next() {
            running.spawn(killed_at(point));
        }
    }
    assert_eq!(done, super::crash::points().len());
}

async fn killed_at(point: String) {
    let control = Registration::start(Will::Approve).await;
    let node = Node::new();
    let pin = control.pin();
    let url = control.url();
    let arguments = ["join", &url, "--capability", "R", "--ca-fingerprint", &pin];
    let killed = node.run(&arguments, Some(&point)).await;
    assert_eq!(killed.code, None, "{point} was not reached: {}", killed.err);
    // The settings are written first; before they are there, there is nothing to look at.
    let between = if node.config().exists() {
        node.status().await
    } else {
        serde_json::json!({})
    };
    assert!(
        ["null", "\"not_joined\"", "\"joining\"", "\"trusted\""]
            .contains(&between["state"].to_string().as_str()),
        "{point}: {between}"
    );
    if between["state"] != "trusted" {
        let ended = node.run(&arguments, None).await;
        assert_eq!(ended.code, Some(0), "{point}: {}", ended.err);
    }
    let after = node.status().await;
    assert_eq!(after["state"], "trusted", "{point}");
    if let Some(key) = between.get("fingerprint") {
        assert_eq!(
            &after["fingerprint"], key,
            "{point}: a key that was stored is kept"
        );
    }
    let log = control.log.lock().expect("no panic");
    assert!(
        log.offers_of_nonce.values().all(|offers| offers.len() == 1),
        "{point}: one offer a nonce"
    );
    assert!(
        log.nonces_of_hello.values().all(|nonces| nonces.len() == 1),
        "{point}: one nonce a hello"
    );
    assert_eq!(log.replayed_counters, 0, "{point}: no counter is used twice");
    assert_eq!(log.keys.len(), 1, "{point}: one key");
    assert!(log.refused.is_empty(), "{point}: {:?}", log.refused);
    let left = std::fs::read_dir(node.state())
        .expect("read")
        .filter_map(Result::ok);
    let unfinished = left.filter(|entry| entry.file_name().to_string_lossy().contains("muster-new"));
    assert_eq!(unfinished.count(), 0, "{point}: nothing unfinished is left");
}
