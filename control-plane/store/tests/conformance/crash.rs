//! A process that is killed while it writes loses what it had not answered, and nothing else.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use muster_model::audit::Event;
use muster_store::{AuditFilter, AuditFrom, Store, trust_digest};

use crate::world::{Kind, NOW, World, draft, open, system};

/// Names the database to the process that is to be killed.
const DATABASE: &str = "MUSTER_TEST_DATABASE";

#[tokio::test]
async fn a_killed_writer_leaves_a_whole_chain_with_a_record_for_each_change() {
    let world = World::new(Kind::Sqlite).await;
    world.store.close().await;
    let mut answered = 0;
    for commits in [1, 7, 40, 3, 90] {
        let url = world.url.clone();
        let last = tokio::task::spawn_blocking(move || kill_after(&url, commits))
            .await
            .expect("killed");
        assert!(
            last >= answered + commits,
            "each process goes on where the last one ended"
        );

        let store = open(&world.url).await;
        let report = store.audit_verify().await.expect("readable");
        assert_eq!(report.bad, None);
        let filter = AuditFilter {
            event: Some(Event::SettingChanged),
            ..AuditFilter::default()
        };
        let records = store
            .audit_list(&filter, AuditFrom::Newest, 100_000)
            .await
            .expect("readable");
        let (head, entries) = store.trust_state().await.expect("readable");
        assert_eq!(
            u64::try_from(records.len()).expect("fits"),
            head.number,
            "a record for each change"
        );
        assert_eq!(head.digest, trust_digest(&entries));
        assert_eq!(entries.get("count"), Some(&head.number.to_string()));
        assert!(
            head.number >= last,
            "what was answered stays: {} of {last}",
            head.number
        );
        answered = last;
        store.close().await;
    }
    assert!(world.file().exists());
}

/// Kills the writers with SIGKILL as soon as they have answered so many commits; the highest answer that they gave.
#[expect(
    clippy::disallowed_methods,
    reason = "the process to be killed is this test program once more"
)]
fn kill_after(url: &str, commits: u64) -> u64 {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .args([
            "--exact",
            "crash::the_writer_that_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(DATABASE, url)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let answers = BufReader::new(child.stdout.take().expect("piped"))
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| {
            line.rsplit_once("answered ")
                .and_then(|(_, number)| number.parse::<u64>().ok())
        });
    let mut last = 0;
    for (count, answer) in (1..).zip(answers) {
        last = last.max(answer);
        if count == commits {
            // What it still wrote into the pipe was answered, too.
            child.kill().expect("killed");
        }
    }
    assert!(!child.wait().expect("ended").success(), "it was killed");
    last
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the test above starts it as a process of its own and kills it"]
#[expect(
    clippy::disallowed_methods,
    reason = "a test program cannot be given arguments of its own"
)]
async fn the_writer_that_is_killed() {
    let store = open(&std::env::var(DATABASE).expect("started by the test above")).await;
    // Several at once, whose changes are synced together.
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        writers.spawn(count(store.clone()));
    }
    writers.join_all().await;
}

#[expect(clippy::print_stdout, reason = "the test above reads the answers")]
async fn count(store: Store) {
    loop {
        let mut tx = store.begin(&system()).await.expect("begins");
        let next = tx.trust_head().await.expect("head").number + 1;
        let changes = [
            ("count".to_owned(), Some(next.to_string())),
            (format!("entry/{next}"), Some("x".into())),
        ];
        let head = tx.trust_change(&changes, NOW).await.expect("changed");
        assert_eq!(head.number, next);
        tx.commit(draft(Event::SettingChanged), NOW)
            .await
            .expect("commits");
        println!("answered {next}");
    }
}
