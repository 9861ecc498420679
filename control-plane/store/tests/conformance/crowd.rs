//! Changes that come all at once: each is kept or not for itself, whatever becomes of the others.

use std::time::Duration;

use muster_ids::Name;
use muster_model::{audit::Event, node::Node};
use muster_store::{AuditFilter, AuditFrom, NodeFilter, Records, Store};
use proptest::{
    prelude::{Just, Strategy as _, any, prop_oneof},
    test_runner::{Config, TestRunner},
};

use crate::world::{Kind, NOW, World, commit, draft, on_both, open, system};

on_both! {
    each_of_many_changes_is_kept_or_not_for_itself
    a_caller_who_leaves_holds_up_nobody
}

/// What becomes of one of the changes.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// Committed with so many records.
    Kept(u8),
    /// Dropped after it wrote.
    Dropped,
    /// Refused by the database after it wrote; committed all the same, which must not do anything.
    Failed,
    /// Committed by a caller who does not wait for it.
    Left,
}

mod cases {
    use super::{Fate, all_at_once};
    use crate::world::World;

    pub(super) async fn each_of_many_changes_is_kept_or_not_for_itself(world: World) {
        let fates = (0..60_u8).map(|n| match n % 5 {
            0 => Fate::Dropped,
            1 => Fate::Failed,
            _ => Fate::Kept(n % 3),
        });
        all_at_once(&world, fates.collect()).await;
    }

    pub(super) async fn a_caller_who_leaves_holds_up_nobody(world: World) {
        let fates = (0..60_u8).map(|n| if n % 2 == 0 { Fate::Left } else { Fate::Kept(0) });
        all_at_once(&world, fates.collect()).await;
    }
}

#[test]
fn any_crowd_of_changes_leaves_a_whole_chain_with_the_records_of_those_that_were_kept() {
    let fate = prop_oneof![
        3 => any::<u8>().prop_map(|records| Fate::Kept(records % 4)),
        1 => Just(Fate::Dropped),
        1 => Just(Fate::Failed),
        1 => Just(Fate::Left),
    ];
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(3)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut runner = TestRunner::new(Config::with_cases(24));
    runner
        .run(&proptest::collection::vec(fate, 1..50), |fates| {
            runtime.block_on(async {
                let world = World::new(Kind::Sqlite).await;
                all_at_once(&world, fates).await;
            });
            Ok(())
        })
        .expect("holds");
}

/// Makes changes with these fates, all at once, and looks at what is left.
async fn all_at_once(world: &World, fates: Vec<Fate>) {
    let before = world.store.audit_head().await.expect("head").sequence;
    let mut changes = tokio::task::JoinSet::new();
    for (number, fate) in fates.into_iter().enumerate() {
        let node = world.node(&format!("node-{number}"));
        changes.spawn(change(world.store.clone(), node, fate));
    }
    let mut surely = 0;
    let mut perhaps = 0;
    for (name, fate, sequence) in changes.join_all().await {
        let there = world.store.node_by_name(&name).await.expect("read").is_some();
        match fate {
            Fate::Kept(records) => {
                assert!(there, "{name} was answered");
                assert!(sequence.is_some_and(|sequence| sequence > before), "{name}");
                surely += u64::from(records) + 1;
            }
            Fate::Left => perhaps += 1,
            Fate::Dropped | Fate::Failed => assert!(!there, "{name} was not committed"),
        }
    }
    // Whoever left may have been served meanwhile: the next change, and a new look at the file, see one and the same.
    let tx = world.begin().await;
    commit(tx, Event::SettingChanged).await;
    world.store.close().await;
    let store = open(&world.url).await;
    let report = store.audit_verify().await.expect("readable");
    assert_eq!(report.bad, None);
    let records = store.audit_head().await.expect("head").sequence - before - 1;
    assert!(
        (surely..=surely + perhaps).contains(&records),
        "{records} records of {surely} to {}",
        surely + perhaps
    );
    let nodes = store
        .node_list(&NodeFilter::default(), None, 1000)
        .await
        .expect("read");
    let joined = AuditFilter {
        event: Some(Event::JoinApproved),
        ..AuditFilter::default()
    };
    let approved = store
        .audit_list(&joined, AuditFrom::Newest, 1000)
        .await
        .expect("read");
    assert_eq!(
        nodes.len(),
        approved.len(),
        "a record for each node and a node for each record"
    );
    store.close().await;
}

/// One change: its name, its fate, and the end of the chain if it was answered.
async fn change(store: Store, node: Node, fate: Fate) -> (Name, Fate, Option<u64>) {
    let mut tx = store.begin(&system()).await.expect("begins");
    tx.node_insert(&node).await.expect("added");
    let records = |more: u8| {
        Records::new(
            draft(Event::JoinApproved),
            vec![draft(Event::CertificateIssued); more.into()],
        )
    };
    let sequence = match fate {
        Fate::Kept(more) => Some(tx.commit(records(more), NOW).await.expect("commits").sequence),
        Fate::Dropped => None,
        Fate::Failed => {
            tx.node_insert(&node).await.expect_err("it is there");
            tx.commit(records(0), NOW).await.expect_err("it failed");
            None
        }
        Fate::Left => {
            // Polled once, and then forgotten.
            let _ = tokio::time::timeout(Duration::ZERO, tx.commit(records(0), NOW)).await;
            None
        }
    };
    (node.name, fate, sequence)
}
