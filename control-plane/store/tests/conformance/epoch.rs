use crate::world::on_both;

on_both! {
    an_epoch_begins_as_another_copy_with_another_chain
    an_epoch_is_above_the_one_before
    a_report_is_read_once_for_each_node_and_each_state
}

mod cases {
    use muster_ids::{AuditWriter, Incarnation, NodeId};
    use muster_model::audit::Event;
    use muster_store::{NewEpoch, StoreError, TrustHead};

    use crate::world::{NOW, World, commit, draft, random};

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
