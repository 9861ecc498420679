use crate::world::on_both;

on_both! {
    a_request_survives_the_database
    two_administrators_cannot_both_answer
    a_renewal_takes_the_row_over
    a_poll_counter_only_grows
    the_issued_chain_is_kept_until_the_next_exchange
    lists_page_and_filter
    votes_and_tokens_survive_the_database
    where_too_many_wait_the_oldest_of_the_busiest_gives_way
    what_ended_long_ago_or_in_a_flood_is_removed
}

mod cases {
    use muster_ids::{Digest, NodeId, TokenId, UserId};
    use muster_model::{
        audit::Event,
        join::{JoinState, approval::Vote},
    };
    use muster_store::{Full, JoinFilter, StoreError};

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
        assert_eq!(world.store.joins_waiting(0).await.expect("read"), []);
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
        let waiting = world.store.joins_waiting(0).await.expect("read");
        assert_eq!(waiting, [(renewed.id, renewed.transcript)]);
        assert_eq!(
            world
                .store
                .joins_waiting_count(renewed.revealed_at)
                .await
                .expect("read"),
            0
        );
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
            waiting_since: 0,
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

    pub(super) async fn votes_and_tokens_survive_the_database(world: World) {
        let vote = Vote {
            by: UserId::new(NOW, random()),
            name: "ann@SPOTFIRE".parse().expect("name"),
            at: NOW,
        };
        let request = join_request("terr01", NOW);
        put(&world, &request).await.expect("stored");
        let voted = request.vote(vote, 2, |_| true).expect("waits").request;
        put(&world, &voted).await.expect("stored");
        let read = world.store.join_by_id(voted.id).await.expect("read");
        assert_eq!(read, Some(voted));
        let named = muster_model::join::JoinRequest {
            token: Some(TokenId::new(NOW, random())),
            ..join_request("terr02", NOW)
        };
        put(&world, &named).await.expect("stored");
        assert_eq!(world.store.join_by_id(named.id).await.expect("read"), Some(named));
    }

    fn from(name: &str, source: &str, at: i64) -> muster_model::join::JoinRequest {
        muster_model::join::JoinRequest {
            source: source.to_owned(),
            ..join_request(name, at)
        }
    }

    pub(super) async fn where_too_many_wait_the_oldest_of_the_busiest_gives_way(world: World) {
        for (name, source, at) in [
            ("alone", "10.0.1.1", NOW - 9),
            ("first", "10.0.2.1", NOW - 8),
            ("busy1", "10.0.2.2", NOW - 7),
            ("busy2", "10.0.2.2", NOW - 6),
            ("v6", "fd00:1:2:3::4", NOW - 5),
            ("over", "10.0.2.2", NOW - 1_000),
        ] {
            put(&world, &from(name, source, at)).await.expect("stored");
        }
        let (since, key) = (NOW - 100, Digest::of(b"another"));
        let mut tx = world.begin().await;
        let crowd = tx.joins_crowd("10.0.2.2", &key, since).await.expect("counted");
        assert_eq!(crowd, [2, 3, 5]);
        let own = Digest::of(b"busy1");
        assert_eq!(
            tx.joins_crowd("10.0.2.2", &own, since).await.expect("counted"),
            [1, 2, 4]
        );
        for (full, name) in [
            (Full::Address("10.0.2.1"), Some("first")),
            (Full::Prefix("10.0.2.200"), Some("busy1")),
            (Full::All, Some("busy1")),
            (Full::Address("192.0.2.1"), None),
        ] {
            let dropped = tx.join_to_drop(full, &key, since).await.expect("read");
            let found = dropped.as_ref().map(|request| request.applicant.name.as_str());
            assert_eq!(found, name, "{full:?}");
        }
        drop(tx);
        // One that somebody has approved goes last.
        let vote = Vote {
            by: UserId::new(NOW, random()),
            name: "ann@SPOTFIRE".parse().expect("name"),
            at: NOW,
        };
        let voted = from("busy1", "10.0.2.2", NOW - 7)
            .vote(vote, 2, |_| true)
            .expect("waits");
        put(&world, &voted.request).await.expect("stored");
        let mut tx = world.begin().await;
        let dropped = tx
            .join_to_drop(Full::All, &key, since)
            .await
            .expect("read")
            .expect("one");
        assert_eq!(dropped.applicant.name.as_str(), "busy2");
    }

    pub(super) async fn what_ended_long_ago_or_in_a_flood_is_removed(world: World) {
        let expire =
            |request: &muster_model::join::JoinRequest| request.clone().expire("too many").expect("waits");
        for (name, at) in [
            ("old", NOW - 500),
            ("a", NOW - 30),
            ("b", NOW - 20),
            ("c", NOW - 10),
        ] {
            let request = join_request(name, at);
            put(&world, &request).await.expect("stored");
            put(&world, &expire(&request)).await.expect("stored");
        }
        for (name, at) in [("waits", NOW - 5), ("waited", NOW - 450)] {
            put(&world, &join_request(name, at)).await.expect("stored");
        }
        let removed = world
            .store
            .joins_tidy(NOW - 400, NOW - 100, 2)
            .await
            .expect("removed");
        assert_eq!(removed, 3);
        let left = world
            .store
            .join_list(&JoinFilter::default(), None, 9)
            .await
            .expect("read");
        let names: Vec<_> = left
            .iter()
            .map(|request| request.applicant.name.as_str())
            .collect();
        assert_eq!(names, ["b", "c", "waits"]);
        let filter = |state, waiting_since| JoinFilter {
            state: Some(state),
            waiting_since,
        };
        for (filter, count) in [
            (filter(JoinState::Pending, NOW - 100), 1),
            (filter(JoinState::Pending, NOW), 0),
            (filter(JoinState::Expired, NOW), 3),
        ] {
            assert_eq!(
                world.store.join_list(&filter, None, 9).await.expect("read").len(),
                count
            );
        }
    }
}
