use crate::world::on_both;

on_both! {
    an_epoch_begins_as_another_copy_with_another_chain
    an_epoch_is_above_the_one_before
    an_epoch_that_is_not_committed_has_not_begun
    the_last_epoch_has_its_own_bump_and_asks_every_node_anew
    the_clock_of_the_database_is_known_where_it_is_another_one
    a_report_is_read_once_for_each_node_and_each_state
}

mod cases {
    use muster_daemon::Clock;
    use muster_ids::{AuditWriter, Incarnation, NodeId};
    use muster_model::{audit::Event, join::JoinState};
    use muster_store::{NewEpoch, StoreError, TrustHead};

    use crate::world::{Kind, NOW, World, commit, draft, join_request, random};

    fn new(epoch: u64) -> NewEpoch {
        NewEpoch {
            epoch,
            incarnation: Incarnation::new(NOW, random()),
            writer: AuditWriter::new(NOW, random()),
            bump: format!("{{\"to\":{epoch}}}"),
        }
    }

    pub(super) async fn an_epoch_begins_as_another_copy_with_another_chain(world: World) {
        let before = world.store.trust_head().await.expect("head");
        assert_eq!(world.store.epoch_bump().await.expect("read"), None);
        let new = new(4);
        let mut tx = world.begin().await;
        let begun = tx.epoch_begin(&new, NOW).await.expect("begun");
        let end = tx.commit(draft(Event::EpochBegun), NOW).await.expect("committed");
        assert_eq!((begun.joins, begun.tokens, begun.sessions), (0, 0, 0));
        assert_eq!(begun.audit.writer, world.new.writer);
        assert_eq!((end.writer, end.sequence), (new.writer, 1));

        let collective = world.store.collective().await.expect("read").expect("there");
        assert_eq!(
            (collective.incarnation, collective.epoch, collective.writer),
            (new.incarnation, 4, new.writer)
        );
        let head = world.store.trust_head().await.expect("head");
        assert_eq!(
            head,
            TrustHead {
                incarnation: new.incarnation,
                epoch: 4,
                ..before
            }
        );
        assert_eq!(world.store.epoch_bump().await.expect("read"), Some(new.bump));
        let report = world.store.audit_verify().await.expect("verified");
        assert!(report.bad.is_none());
    }

    pub(super) async fn an_epoch_is_above_the_one_before(world: World) {
        for epoch in [0, 1] {
            let error = world
                .begin()
                .await
                .epoch_begin(&new(epoch), NOW)
                .await
                .expect_err("not above");
            assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
        }
        assert_eq!(world.store.trust_head().await.expect("head").epoch, 1);
    }

    pub(super) async fn an_epoch_that_is_not_committed_has_not_begun(world: World) {
        let before = world.store.trust_head().await.expect("head");
        let waiting = join_request("terr01", NOW);
        let mut tx = world.begin().await;
        tx.join_put(&waiting).await.expect("stored");
        commit(tx, Event::JoinRevealed).await;
        let mut tx = world.begin().await;
        let begun = tx.epoch_begin(&new(2), NOW).await.expect("begun");
        assert_eq!(begun.joins, 1);
        // The control plane is killed here.
        drop(tx);
        assert_eq!(world.store.trust_head().await.expect("head"), before);
        assert_eq!(world.store.epoch_bump().await.expect("read"), None);
        let still = world
            .store
            .join_by_id(waiting.id)
            .await
            .expect("read")
            .expect("there");
        assert_eq!(still.state, JoinState::Pending);
        let collective = world.store.collective().await.expect("read").expect("there");
        assert_eq!(collective.writer, world.new.writer, "the audit chain goes on");
    }

    pub(super) async fn the_last_epoch_has_its_own_bump_and_asks_every_node_anew(world: World) {
        let node = NodeId::new(NOW, random());
        for epoch in [2, 9] {
            let new = new(epoch);
            let mut tx = world.begin().await;
            tx.epoch_begin(&new, NOW).await.expect("begun");
            commit(tx, Event::EpochBegun).await;
            assert_eq!(world.store.epoch_bump().await.expect("read"), Some(new.bump));
            assert!(!world.store.epoch_reported(epoch, node).await.expect("asked"));
            assert_eq!(world.store.epoch_report_count(epoch).await.expect("counted"), 0);
            let noted = world.store.epoch_report_nothing(epoch, node, NOW).await;
            noted.expect("noted");
            assert!(world.store.epoch_reported(epoch, node).await.expect("asked"));
        }
        let report = world.store.audit_verify().await.expect("verified");
        assert!(report.bad.is_none(), "three chains");
    }

    pub(super) async fn the_clock_of_the_database_is_known_where_it_is_another_one(world: World) {
        let machine = Clock::system().unix_ms();
        let told = world.store.machine_ms().await.expect("read");
        match world.kind {
            Kind::Sqlite => assert_eq!(told, None),
            // It runs on this machine.
            Kind::Postgres => assert!(
                told.is_some_and(|told| (told - machine).abs() < 60_000),
                "{told:?}"
            ),
        }
    }

    pub(super) async fn a_report_is_read_once_for_each_node_and_each_state(world: World) {
        let before = world.store.trust_head().await.expect("head");
        let mut tx = world.begin().await;
        tx.epoch_begin(&new(2), NOW).await.expect("begun");
        commit(tx, Event::EpochBegun).await;
        let has_read = async |state: &TrustHead| world.store.epoch_has_read(2, state).await.expect("asked");
        assert!(has_read(&before).await, "it began with this one");
        let later = TrustHead {
            number: before.number + 3,
            ..before
        };
        assert!(!has_read(&later).await);

        let (one, other) = (NodeId::new(NOW, random()), NodeId::new(NOW, random()));
        let reported = async |epoch, node| world.store.epoch_reported(epoch, node).await.expect("asked");
        for _ in 0..2 {
            let mut tx = world.begin().await;
            tx.epoch_report(2, one, &later, NOW).await.expect("noted");
            commit(tx, Event::EpochUnited).await;
            world
                .store
                .epoch_report_nothing(2, other, NOW)
                .await
                .expect("noted");
        }
        assert!(has_read(&later).await);
        assert!(reported(2, one).await && reported(2, other).await);
        assert!(!reported(3, one).await, "each epoch asks anew");
        assert_eq!(world.store.epoch_report_count(2).await.expect("counted"), 2);
    }
}
