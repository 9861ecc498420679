use crate::world::on_both;

on_both! {
    a_request_survives_the_database
    two_administrators_cannot_both_answer
    a_renewal_takes_the_row_over
    a_poll_counter_only_grows
    the_issued_chain_is_kept_until_the_next_exchange
    lists_page_and_filter
}

mod cases {
    use muster_ids::NodeId;
    use muster_model::{audit::Event, join::JoinState};
    use muster_store::{JoinFilter, StoreError};

    use crate::world::{NOW, World, commit, join_request, random};

    async fn put(world: &World, request: &muster_model::join::JoinRequest) -> Result<(), StoreError> {
        let mut tx = world.begin().await;
        tx.join_put(request).await?;
        commit(tx, Event::JoinRevealed).await;
        Ok(())
    }

    pub(super) async fn a_request_survives_the_database(world: World) {
        let request = join_request("terr01", NOW);
        put(&world, &request).await.expect("stored");
        assert_eq!(
            world.store.join_by_id(request.id).await.expect("read").as_ref(),
            Some(&request)
        );
        let mut tx = world.begin().await;
        assert_eq!(
            tx.join_by_key(&request.key).await.expect("read").as_ref(),
            Some(&request)
        );
        assert_eq!(
            tx.join_get(request.id).await.expect("read").as_ref(),
            Some(&request)
        );
        let same_name = tx
            .joins_pending_with_name(&"TERR01".parse().expect("name"))
            .await
            .expect("read");
        assert_eq!(same_name, [request]);
        drop(tx);

        let answered = join_request("terr01", NOW).approve(NOW + 1).expect("waits");
        put(&world, &answered).await.expect("stored");
        let issued = answered.issue(NodeId::new(NOW, random())).expect("approved");
        put(&world, &issued).await.expect("stored");
        assert_eq!(
            world.store.join_by_id(issued.id).await.expect("read"),
            Some(issued)
        );
        assert_eq!(world.store.joins_pending().await.expect("read"), []);
    }

    pub(super) async fn two_administrators_cannot_both_answer(world: World) {
        let request = join_request("terr01", NOW);
        put(&world, &request).await.expect("stored");
        let rejected = request
            .clone()
            .reject(NOW, Some("unknown machine".into()))
            .expect("waits");
        put(&world, &rejected).await.expect("first");
        let error = put(&world, &request.clone().approve(NOW).expect("waits"))
            .await
            .expect_err("second");
        assert_eq!(
            error.to_string(),
            "the join request of \"terr01\" was changed by somebody else meanwhile; look again and repeat"
        );
        assert!(matches!(
            put(&world, &request).await,
            Err(StoreError::Duplicate { .. })
        ));
        let read = world
            .store
            .join_by_id(request.id)
            .await
            .expect("read")
            .expect("there");
        assert_eq!(
            (read.state, read.reason.as_deref()),
            (JoinState::Rejected, Some("unknown machine"))
        );
    }

    pub(super) async fn a_renewal_takes_the_row_over(world: World) {
        let first = join_request("terr01", NOW);
        put(&world, &first).await.expect("stored");
        assert!(world.store.join_poll(first.id, 5).await.expect("polled"));
        let renewed = first
            .clone()
            .renew(join_request("terr01", NOW + 1_000))
            .expect("waits");
        put(&world, &renewed).await.expect("renewed");
        assert_eq!(world.store.join_by_id(first.id).await.expect("read"), None);
        assert_eq!(world.store.joins_pending().await.expect("read"), [renewed]);
    }

    pub(super) async fn a_poll_counter_only_grows(world: World) {
        let request = join_request("terr01", NOW);
        put(&world, &request).await.expect("stored");
        for (counter, counts) in [(3, true), (3, false), (2, false), (4, true), (u64::MAX, false)] {
            assert_eq!(
                world.store.join_poll(request.id, counter).await.expect("polled"),
                counts,
                "{counter}"
            );
        }
        // An answer by somebody who read the row before the polls does not set it back.
        put(&world, &request.approve(NOW).expect("waits"))
            .await
            .expect("stored");
        let read = world
            .store
            .join_by_id(join_request("terr01", NOW).id)
            .await
            .expect("read")
            .expect("there");
        assert_eq!(read.poll_counter, 4);
    }

    pub(super) async fn the_issued_chain_is_kept_until_the_next_exchange(world: World) {
        let request = join_request("terr01", NOW);
        put(&world, &request).await.expect("stored");
        let chain = vec![vec![0x30, 0x82, 0], vec![0x30]];
        let mut tx = world.begin().await;
        tx.join_set_chain(request.id, &chain).await.expect("set");
        commit(tx, Event::CertificateIssued).await;
        assert_eq!(
            world.store.join_chain(request.id).await.expect("read"),
            Some(chain)
        );
        let renewed = request.renew(join_request("terr01", NOW + 1)).expect("waits");
        put(&world, &renewed).await.expect("renewed");
        assert_eq!(world.store.join_chain(renewed.id).await.expect("read"), None);
    }

    pub(super) async fn lists_page_and_filter(world: World) {
        for (name, at) in [("c", NOW + 1), ("a", NOW + 2), ("b", NOW + 2)] {
            put(&world, &join_request(name, at)).await.expect("stored");
        }
        let rejected = join_request("c", NOW + 1).reject(NOW + 2, None).expect("waits");
        put(&world, &rejected).await.expect("stored");
        let pending = JoinFilter {
            state: Some(JoinState::Pending),
        };
        let first = world.store.join_list(&pending, None, 1).await.expect("read");
        let after = first.last().map(|request| (request.created_at, request.id));
        let second = world.store.join_list(&pending, after, 9).await.expect("read");
        let mut names: Vec<_> = first
            .iter()
            .chain(&second)
            .map(|request| request.applicant.name.to_string())
            .collect();
        names.sort();
        assert_eq!((first.len(), names), (1, vec!["a".to_owned(), "b".into()]));
        assert_eq!(
            world
                .store
                .join_list(&JoinFilter::default(), None, 9)
                .await
                .expect("read")
                .len(),
            3
        );
    }
}
