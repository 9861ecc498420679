use std::{collections::BTreeSet, time::Duration};

use muster_store::{Topic, WakeListener};
use tokio::time::timeout;

use crate::world::{Kind, World, on_both, open};

/// Longer than any hint takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

on_both! {
    an_answer_is_kept_once_for_each_user_and_key
    a_key_is_taken_before_the_work_and_given_back_when_nothing_was_done
    a_lease_has_one_holder_until_it_ends
    a_control_plane_is_known_by_its_last_start
    a_commit_wakes_those_who_wait_for_what_it_touched
    others_who_share_the_database_are_woken_too
    many_changes_at_once_can_each_read_beside_themselves
}

mod cases {
    /// Use cases read while their change is open, and many come at once when a run is announced to all nodes.
    pub(super) async fn many_changes_at_once_can_each_read_beside_themselves(world: World) {
        let mut changes = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let store = world.store.clone();
            changes.spawn(async move {
                let _tx = store.begin(&system()).await?;
                tokio::task::yield_now().await;
                store.ping().await
            });
        }
        for result in changes.join_all().await {
            result.expect("began and read");
        }
    }

    use std::collections::BTreeSet;

    use muster_ids::{ControlPlaneId, Digest, UserId};
    use muster_model::{audit::Event, join::Capability};
    use muster_store::{Answer, ControlPlane, StoreError, Topic};
    use tokio::time::timeout;

    use super::{PATIENCE, wait_until_told};
    use crate::world::{Kind, NOW, World, commit, draft, open, random, system};

    pub(super) async fn a_key_is_taken_before_the_work_and_given_back_when_nothing_was_done(world: World) {
        let (ann, digest) = (UserId::new(NOW, random()), Digest::of(b"body"));
        let begin = || world.store.idempotency_begin(ann, "k", digest, NOW);
        assert_eq!(begin().await.expect("taken"), None);
        let standing = begin().await.expect("looked").expect("taken already");
        assert_eq!((standing.status, standing.request_digest), (0, digest));
        world
            .store
            .idempotency_abandon(ann, "k")
            .await
            .expect("given back");
        assert_eq!(begin().await.expect("taken again"), None);
        world
            .store
            .idempotency_finish(ann, "k", 200, "{}")
            .await
            .expect("finished");
        world.store.idempotency_abandon(ann, "k").await.expect("too late");
        let answer = begin().await.expect("looked").expect("answered");
        assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
    }

    pub(super) async fn an_answer_is_kept_once_for_each_user_and_key(world: World) {
        let (ann, bob) = (UserId::new(NOW, random()), UserId::new(NOW, random()));
        let answer = Answer {
            request_digest: Digest::of(b"body"),
            status: 202,
            body: "{}".into(),
            created_at: NOW,
        };
        assert_eq!(
            world.store.idempotency_lookup(ann, "k").await.expect("read"),
            None
        );
        let mut tx = world.begin().await;
        tx.idempotency_store(ann, "k", &answer).await.expect("kept");
        tx.idempotency_store(bob, "k", &answer).await.expect("kept");
        commit(tx, Event::RunSubmitted).await;
        assert_eq!(
            world.store.idempotency_lookup(ann, "k").await.expect("read"),
            Some(answer.clone())
        );
        let error = world
            .begin()
            .await
            .idempotency_store(ann, "k", &answer)
            .await
            .expect_err("answered");
        assert!(matches!(error, StoreError::Duplicate { .. }), "{error}");
        assert_eq!(
            world.store.idempotency_delete_before(NOW).await.expect("cleaned"),
            0
        );
        assert_eq!(
            world
                .store
                .idempotency_delete_before(NOW + 1)
                .await
                .expect("cleaned"),
            2
        );
    }

    pub(super) async fn a_lease_has_one_holder_until_it_ends(world: World) {
        let lease = async |holder: &str, now| {
            world
                .store
                .try_lease("leader", holder, now, 100)
                .await
                .expect("asked")
        };
        assert!(lease("a", NOW).await);
        assert!(!lease("b", NOW + 50).await);
        assert!(lease("a", NOW + 50).await);
        assert!(!lease("b", NOW + 149).await);
        assert!(lease("b", NOW + 150).await);
        assert!(!lease("a", NOW + 151).await);
        world
            .store
            .release_lease("leader", "a")
            .await
            .expect("not its own");
        assert!(!lease("a", NOW + 152).await);
        world.store.release_lease("leader", "b").await.expect("given up");
        assert!(lease("a", NOW + 153).await);
    }

    pub(super) async fn a_control_plane_is_known_by_its_last_start(world: World) {
        let mut control_plane = ControlPlane {
            id: ControlPlaneId::new(NOW, random()),
            name: "cp1".parse().expect("name"),
            started_at: NOW,
            addresses: vec!["10.0.0.1:9443".into()],
        };
        world
            .store
            .control_plane_upsert(&control_plane)
            .await
            .expect("noted");
        control_plane.started_at = NOW + 1;
        control_plane.addresses.push("[::1]:9443".into());
        world
            .store
            .control_plane_upsert(&control_plane)
            .await
            .expect("noted");
        assert_eq!(
            world.store.control_plane_list().await.expect("read"),
            [control_plane]
        );
    }

    pub(super) async fn a_commit_wakes_those_who_wait_for_what_it_touched(world: World) {
        let mut listener = world.store.wake_listener();
        let mut tx = world.begin().await;
        tx.run_insert(&world.run(NOW, Capability::R))
            .await
            .expect("queued");
        tx.trust_change(&[("a".into(), Some("1".into()))], NOW)
            .await
            .expect("changed");
        tx.commit(draft(Event::RunSubmitted), NOW).await.expect("commits");
        let topics = timeout(PATIENCE, listener.next())
            .await
            .expect("in time")
            .expect("open");
        assert!(
            topics.is_superset(&BTreeSet::from([Topic::Runs, Topic::Trust])),
            "{topics:?}"
        );
    }

    pub(super) async fn others_who_share_the_database_are_woken_too(world: World) {
        // SQLite has one control plane: the listeners of one store are all there are.
        let other = if world.kind == Kind::Sqlite {
            world.store.clone()
        } else {
            open(&world.url).await
        };
        wait_until_told(&world, &mut other.wake_listener()).await;
    }
}

/// Adds nodes until the listener hears of one: a store begins to listen soon after it was opened, and then hints at
/// everything once.
async fn wait_until_told(world: &World, listener: &mut WakeListener) {
    for number in 0..10 {
        world.add_node(&format!("terr{number}")).await;
        while let Ok(topics) = timeout(Duration::from_secs(3), listener.next()).await {
            if topics == Some(BTreeSet::from([Topic::Nodes])) {
                return;
            }
        }
    }
    panic!("nobody was told");
}

/// Who was not told in time looks at everything.
#[tokio::test]
async fn what_a_broken_connection_loses_is_found() {
    let world = World::new(Kind::Postgres).await;
    let other = open(&world.url).await;
    let mut listener = other.wake_listener();
    wait_until_told(&world, &mut listener).await;

    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    world.meddle(cut).await;
    assert_eq!(
        timeout(PATIENCE, listener.next()).await.expect("in time"),
        Some(Topic::ALL.into())
    );

    // A commit of which no notification came; one that falls together with a notification is not missed on a
    // connection that works, so several are tried.
    for _ in 0..10 {
        world
            .meddle("UPDATE audit_heads SET sequence = sequence + 1")
            .await;
        if let Ok(topics) = timeout(Duration::from_secs(5), listener.next()).await {
            assert_eq!(topics, Some(Topic::ALL.into()));
            return;
        }
    }
    panic!("nobody looked at the ends of the chains");
}
