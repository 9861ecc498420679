use crate::world::on_both;

on_both! {
    each_commit_extends_one_chain_and_names_the_caller
    a_dropped_change_leaves_nothing
    a_change_that_failed_in_part_cannot_be_committed
    a_changed_row_is_named
    a_changed_copy_of_a_column_is_named
    a_removed_row_is_named
    removed_last_rows_are_named
    changes_at_once_make_one_chain
    lists_page_in_both_directions_and_filter
    the_position_of_the_next_record_is_known_before_the_commit
}

mod cases {
    use muster_model::{
        audit::Event,
        permission::{Caller, Operation, authorize},
    };
    use muster_store::{AuditFilter, AuditFrom, BadRow, StoreError};
    use serde_json::json;

    use crate::world::{NOW, World, commit, draft};

    async fn fill(world: &World, count: i64) {
        for number in 0..count {
            let record = muster_store::Draft::new(Event::Login, format!("user {number}"), json!({}));
            world
                .begin()
                .await
                .commit(record, NOW + number)
                .await
                .expect("commits");
        }
    }

    async fn bad(world: &World) -> Option<BadRow> {
        world.store.audit_verify().await.expect("readable").bad
    }

    pub(super) async fn each_commit_extends_one_chain_and_names_the_caller(world: World) {
        let stranger = Caller::Stranger("10.0.0.5".into());
        let authorized = authorize(&stranger, Operation::Join).expect("may join");
        let tx = world.store.begin(&authorized).await.expect("begins");
        let head = tx
            .commit(draft(Event::JoinRevealed).and(draft(Event::JoinRefused)), NOW + 1)
            .await
            .expect("commits");
        assert_eq!((head.writer, head.sequence), (world.new.writer, 3));
        assert_eq!(world.store.audit_head().await.expect("head"), head);

        let report = world.store.audit_verify().await.expect("readable");
        assert_eq!((report.rows, report.bad), (3, None));
        let rows = world
            .store
            .audit_list(&AuditFilter::default(), AuditFrom::Newest, 10)
            .await
            .expect("rows");
        let events: Vec<_> = rows.iter().map(|row| (row.sequence, row.record.event)).collect();
        assert_eq!(
            events,
            [
                (3, Event::JoinRefused),
                (2, Event::JoinRevealed),
                (1, Event::CollectiveInit)
            ]
        );
        assert_eq!(
            (rows[0].record.actor.as_str(), rows[0].previous),
            ("stranger 10.0.0.5", rows[1].hash)
        );
        assert_eq!(rows[0].record.detail, json!({ "why": "a test" }));
    }

    pub(super) async fn a_dropped_change_leaves_nothing(world: World) {
        let before = world.store.audit_head().await.expect("head");
        let node = world.node("terr01");
        let mut tx = world.begin().await;
        tx.node_insert(&node).await.expect("inserted");
        tx.trust_change(&[("a".into(), Some("1".into()))], NOW)
            .await
            .expect("changed");
        drop(tx);

        assert_eq!(world.store.node(node.id).await.expect("read"), None);
        assert_eq!(world.store.trust_head().await.expect("head").number, 0);
        assert_eq!(world.store.audit_head().await.expect("head"), before);
    }

    pub(super) async fn a_change_that_failed_in_part_cannot_be_committed(world: World) {
        world.add_node("terr01").await;
        let before = world.store.audit_head().await.expect("head");
        let mut tx = world.begin().await;
        tx.trust_change(&[("a".into(), Some("1".into()))], NOW)
            .await
            .expect("changed");
        let mut twin = world.node("TERR01");
        twin.key = muster_ids::Digest::of(b"another");
        let error = tx.node_insert(&twin).await.expect_err("taken");
        assert_eq!(error.to_string(), "a node named \"TERR01\" exists already");
        let error = tx
            .commit(draft(Event::NodeChanged), NOW)
            .await
            .expect_err("failed before");
        assert!(matches!(error, StoreError::RolledBack), "{error}");

        assert_eq!(world.store.trust_head().await.expect("head").number, 0);
        assert_eq!(world.store.audit_head().await.expect("head"), before);
    }

    pub(super) async fn a_changed_row_is_named(world: World) {
        fill(&world, 5).await;
        world
            .meddle("UPDATE audit SET record = REPLACE(record, 'user 2', 'user 9') WHERE sequence = 4")
            .await;
        let bad = bad(&world).await.expect("found");
        assert_eq!((bad.sequence, bad.why), (4, "was changed after it was written"));
    }

    pub(super) async fn a_changed_copy_of_a_column_is_named(world: World) {
        fill(&world, 5).await;
        world
            .meddle("UPDATE audit SET actor = 'user eve@SPOTFIRE' WHERE sequence = 2")
            .await;
        assert_eq!(bad(&world).await.expect("found").sequence, 2);
    }

    pub(super) async fn a_removed_row_is_named(world: World) {
        fill(&world, 5).await;
        world.meddle("DELETE FROM audit WHERE sequence = 3").await;
        let bad = bad(&world).await.expect("found");
        assert_eq!(
            bad.to_string(),
            format!("row 3 of the audit writer {} is missing", world.new.writer)
        );
    }

    pub(super) async fn removed_last_rows_are_named(world: World) {
        fill(&world, 5).await;
        world.meddle("DELETE FROM audit WHERE sequence >= 5").await;
        assert_eq!(bad(&world).await.expect("found").sequence, 5);
    }

    pub(super) async fn changes_at_once_make_one_chain(world: World) {
        let writers = (0..8).map(|writer| {
            let store = world.store.clone();
            tokio::spawn(async move {
                for number in 0..5 {
                    let tx = store.begin(&crate::world::system()).await.expect("begins");
                    tx.commit(draft(Event::Login), NOW + writer * 5 + number)
                        .await
                        .expect("commits");
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.expect("finishes");
        }
        let report = world.store.audit_verify().await.expect("readable");
        assert_eq!((report.rows, report.bad), (41, None));
    }

    pub(super) async fn lists_page_in_both_directions_and_filter(world: World) {
        fill(&world, 9).await;
        commit(world.begin().await, Event::Logout).await;
        let filter = AuditFilter {
            event: Some(Event::Login),
            since: Some(NOW),
            ..AuditFilter::default()
        };
        let list = async |from, limit| {
            let rows = world.store.audit_list(&filter, from, limit).await.expect("rows");
            let subjects: Vec<_> = rows.iter().map(|row| row.record.subject.clone()).collect();
            (subjects, rows.last().map(muster_store::AuditEntry::cursor))
        };
        let (first, cursor) = list(AuditFrom::Newest, 4).await;
        assert_eq!(first, ["user 8", "user 7", "user 6", "user 5"]);
        let (second, cursor) = list(AuditFrom::Before(cursor.expect("more")), 4).await;
        assert_eq!(second, ["user 4", "user 3", "user 2", "user 1"]);
        let (back, _) = list(AuditFrom::After(cursor.expect("more")), 2).await;
        assert_eq!(back, ["user 2", "user 3"]);
        let one = AuditFilter {
            subject: Some("user 3".into()),
            ..AuditFilter::default()
        };
        assert_eq!(
            world
                .store
                .audit_list(&one, AuditFrom::Newest, 9)
                .await
                .expect("rows")
                .len(),
            1
        );
    }

    pub(super) async fn the_position_of_the_next_record_is_known_before_the_commit(world: World) {
        let mut tx = world.begin().await;
        let before = tx.audit_head().await.expect("head");
        let after = tx.commit(draft(Event::RunEnded), NOW).await.expect("commits");
        assert_eq!(after.sequence, before.sequence + 1);
    }
}
