use crate::world::on_both;

on_both! {
    a_run_survives_the_database
    the_oldest_run_that_fits_is_claimed
    two_claims_at_once_get_different_runs
    an_outcome_counts_once
    a_lease_holds_only_under_its_fence
    runs_whose_lease_is_over_are_found
    queues_are_counted_and_lists_page
    a_run_needs_its_pool_and_site
    the_place_in_a_queue_is_counted
    the_end_of_what_a_run_prints_is_kept
    output_of_a_claim_that_does_not_hold_is_not_taken
    small_blobs_are_kept_with_the_outcome_of_their_run
}

mod cases {
    use muster_ids::{Digest, NodeId, PoolId, RunId};
    use muster_model::{
        audit::Event,
        join::Capability,
        run::{LEASE_MS, Mode, RunState, Stream},
    };
    use muster_store::{
        LeaseAnswer, NewOutput, Piece, ProgressRow, QueueLength, RunFilter, RunRow, StoreError,
    };

    use crate::world::{NOW, World, commit, draft, random, system};

    async fn claim(world: &World, node: NodeId, capabilities: &[Capability]) -> Option<RunRow> {
        let mut tx = world.begin().await;
        let mut row = tx
            .run_claim_next(capabilities, world.new.pool, world.new.site)
            .await
            .expect("read")?;
        row.run = row.run.claim(node, NOW).expect("queued");
        row.started_at = Some(NOW);
        tx.run_put(&row).await.expect("claimed");
        commit(tx, Event::RunGranted).await;
        Some(row)
    }

    pub(super) async fn a_run_survives_the_database(world: World) {
        let mut row = world.queue(NOW, Capability::R).await;
        assert_eq!(
            world.store.run(row.run.id).await.expect("read").as_ref(),
            Some(&row)
        );
        let node = NodeId::new(NOW, random());
        row.run = row
            .run
            .claim(node, NOW)
            .expect("queued")
            .cancel()
            .expect("running");
        row.run.version = 2;
        row.run.stale_since = Some(NOW);
        row.mode = Some(Mode::Restricted);
        row.verdict = Some("{\"rule\":1}".into());
        row.engine_description = Some("terr (GNU R 4.2.2 standing in)".into());
        (row.started_at, row.finished_at) = (Some(NOW + 1), Some(NOW + 2));
        (row.ending, row.outputs) = (Some("{}".into()), Some("[]".into()));
        row.receipt = Some("{\"payload\":\"\"}".into());
        let mut tx = world.begin().await;
        tx.run_put(&row).await.expect("stored");
        assert_eq!(
            tx.run_get_for_update(row.run.id).await.expect("read").as_ref(),
            Some(&row)
        );
        commit(tx, Event::RunEnded).await;
        assert_eq!(world.store.run(row.run.id).await.expect("read"), Some(row));
    }

    pub(super) async fn the_oldest_run_that_fits_is_claimed(world: World) {
        let node = NodeId::new(NOW, random());
        let late = world.queue(NOW + 2, Capability::R).await;
        let early = world.queue(NOW + 1, Capability::R).await;
        let python = world.queue(NOW, Capability::Python).await;
        let claimed =
            async |capabilities: &[Capability]| claim(&world, node, capabilities).await.map(|row| row.run.id);
        assert_eq!(claimed(&[Capability::Terr]).await, None);
        assert_eq!(claimed(&[]).await, None);
        assert_eq!(claimed(&[Capability::R]).await, Some(early.run.id));
        assert_eq!(
            claimed(&[Capability::R, Capability::Python]).await,
            Some(python.run.id)
        );
        assert_eq!(claimed(&[Capability::R]).await, Some(late.run.id));
        assert_eq!(claimed(&[Capability::R]).await, None);
        let mut tx = world.begin().await;
        let elsewhere = PoolId::new(NOW, random());
        assert_eq!(
            tx.run_claim_next(&Capability::ALL, elsewhere, world.new.site)
                .await
                .expect("read"),
            None
        );
    }

    pub(super) async fn two_claims_at_once_get_different_runs(world: World) {
        const RUNS: usize = 24;
        for number in 0..24 {
            world.queue(NOW + number, Capability::R).await;
        }
        let claims = (0..6).map(|_| {
            let (store, pool, site) = (world.store.clone(), world.new.pool, world.new.site);
            tokio::spawn(async move {
                let node = NodeId::new(NOW, random());
                let mut claimed: Vec<RunId> = Vec::new();
                loop {
                    let mut tx = store.begin(&system()).await.expect("begins");
                    let Some(mut row) = tx
                        .run_claim_next(&[Capability::R], pool, site)
                        .await
                        .expect("read")
                    else {
                        return claimed;
                    };
                    row.run = row.run.claim(node, NOW).expect("queued");
                    tx.run_put(&row).await.expect("claimed");
                    tx.commit(draft(Event::RunGranted), NOW).await.expect("commits");
                    claimed.push(row.run.id);
                }
            })
        });
        let mut claimed = Vec::new();
        for claim in claims.collect::<Vec<_>>() {
            claimed.extend(claim.await.expect("ends"));
        }
        // A claim that met only locked rows came away empty; what is left is claimed by the next one.
        while let Some(row) = claim(&world, NodeId::new(NOW, random()), &[Capability::R]).await {
            claimed.push(row.run.id);
        }
        assert_eq!(claimed.len(), RUNS);
        claimed.sort_unstable();
        claimed.dedup();
        assert_eq!(claimed.len(), RUNS);
    }

    pub(super) async fn an_outcome_counts_once(world: World) {
        let node = NodeId::new(NOW, random());
        world.queue(NOW, Capability::R).await;
        let claimed = claim(&world, node, &[Capability::R]).await.expect("queued");
        let ended = |state| {
            let run = claimed.run.clone().complete(node, 1, state).expect("held");
            RunRow {
                run,
                ..claimed.clone()
            }
        };
        let mut tx = world.begin().await;
        tx.run_put(&ended(RunState::Succeeded)).await.expect("first");
        commit(tx, Event::RunEnded).await;
        let error = world
            .begin()
            .await
            .run_put(&ended(RunState::Failed))
            .await
            .expect_err("second");
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
        let read = world
            .store
            .run(claimed.run.id)
            .await
            .expect("read")
            .expect("there");
        assert_eq!(read.run.state, RunState::Succeeded);
    }

    pub(super) async fn a_lease_holds_only_under_its_fence(world: World) {
        let (node, other) = (NodeId::new(NOW, random()), NodeId::new(NOW, random()));
        for number in 0..3 {
            world.queue(NOW + number, Capability::R).await;
        }
        let mut runs = Vec::new();
        for _ in 0..3 {
            runs.push(claim(&world, node, &[Capability::R]).await.expect("queued").run);
        }
        let mut tx = world.begin().await;
        let mut row = tx
            .run_get_for_update(runs[1].id)
            .await
            .expect("read")
            .expect("there");
        row.run = row.run.cancel().expect("running");
        tx.run_put(&row).await.expect("stored");
        commit(tx, Event::RunCancelled).await;
        assert_eq!(
            world.store.runs_cancel_requested().await.expect("read"),
            [(node, runs[1].id, runs[1].fence)]
        );
        assert_eq!(world.store.runs_of_node(node).await.expect("read").len(), 3);

        let unknown = RunId::new(NOW, random());
        let held = [(runs[0].id, 1), (runs[1].id, 1), (runs[2].id, 2), (unknown, 1)];
        let answer = world
            .store
            .renew_leases(node, &held, NOW + 10)
            .await
            .expect("renewed");
        let mut not_held = vec![runs[2].id, unknown];
        not_held.sort_unstable();
        assert_eq!(
            answer,
            LeaseAnswer {
                not_held,
                cancel_requested: vec![runs[1].id]
            }
        );
        let lease = async |index: usize| {
            world
                .store
                .run(runs[index].id)
                .await
                .expect("read")
                .expect("there")
                .run
                .lease_until
        };
        assert_eq!(lease(0).await, Some(NOW + 10 + LEASE_MS));
        assert_eq!(lease(2).await, Some(NOW + LEASE_MS));
        let answer = world
            .store
            .renew_leases(other, &[(runs[0].id, 1)], NOW + 20)
            .await
            .expect("refused");
        assert_eq!(answer.not_held, [runs[0].id]);
        assert_eq!(
            world.store.renew_leases(node, &[], NOW).await.expect("nothing"),
            LeaseAnswer::default()
        );
    }

    pub(super) async fn runs_whose_lease_is_over_are_found(world: World) {
        let node = NodeId::new(NOW, random());
        world.queue(NOW, Capability::R).await;
        world.queue(NOW, Capability::R).await;
        let claimed = claim(&world, node, &[Capability::R]).await.expect("queued");
        assert_eq!(
            world
                .store
                .runs_expired(NOW + LEASE_MS - 1, 9)
                .await
                .expect("read"),
            []
        );
        let expired = world.store.runs_expired(NOW + LEASE_MS, 9).await.expect("read");
        assert_eq!(expired, [claimed]);
        assert!(expired[0].run.clone().lose(NOW + LEASE_MS).is_some());
    }

    pub(super) async fn queues_are_counted_and_lists_page(world: World) {
        let node = NodeId::new(NOW, random());
        for number in 0..5 {
            world
                .queue(
                    NOW + number,
                    if number < 2 {
                        Capability::Python
                    } else {
                        Capability::R
                    },
                )
                .await;
        }
        let claimed = claim(&world, node, &[Capability::R]).await.expect("queued");
        let (pool, site) = (world.new.pool, world.new.site);
        let length = |capability| QueueLength {
            capability,
            pool,
            site,
            waiting: 2,
        };
        let counts = world.store.queued_counts().await.expect("read");
        assert_eq!(counts, [length(Capability::Python), length(Capability::R)]);
        let queues = world.store.queues_waiting().await.expect("read");
        let queue = |capability| (capability, pool, site);
        assert_eq!(queues, [queue(Capability::Python), queue(Capability::R)]);

        let filter = RunFilter {
            state: Some(RunState::Queued),
            user: Some(claimed.user),
            ..RunFilter::default()
        };
        let first = world.store.run_list(&filter, None, 3).await.expect("read");
        let second = world
            .store
            .run_list(&filter, Some(first[2].run.id), 3)
            .await
            .expect("read");
        let times: Vec<_> = first
            .iter()
            .chain(&second)
            .map(|row| row.created_at - NOW)
            .collect();
        assert_eq!(times, [4, 3, 1, 0]);
        let mine = RunFilter {
            node: Some(node),
            function: claimed.function,
            ..RunFilter::default()
        };
        assert_eq!(
            world.store.run_list(&mine, None, 9).await.expect("read"),
            [claimed]
        );
    }

    pub(super) async fn a_run_needs_its_pool_and_site(world: World) {
        let mut row = world.run(NOW, Capability::R);
        row.pool = PoolId::new(NOW, random());
        let error = world
            .begin()
            .await
            .run_insert(&row)
            .await
            .expect_err("no such pool");
        assert_eq!(
            error.to_string(),
            "the pool or the site of the run does not exist"
        );
    }

    pub(super) async fn the_place_in_a_queue_is_counted(world: World) {
        let mut rows = Vec::new();
        for number in 0..4 {
            rows.push(world.queue(NOW + number / 2, Capability::R).await);
        }
        world.queue(NOW, Capability::Python).await;
        let mut before = Vec::new();
        for row in &rows {
            before.push(world.store.queued_before(row).await.expect("read"));
        }
        before.sort_unstable();
        assert_eq!(before, [0, 1, 2, 3], "also of those that came at the same time");
        let lengths = async |most| {
            let mut tx = world.begin().await;
            tx.queue_lengths(&rows[0], most).await.expect("read")
        };
        assert_eq!(lengths((10, 10)).await, (4, 5));
        assert_eq!(lengths((3, 2)).await, (3, 2), "no further than asked for");
        claim(&world, NodeId::new(NOW, random()), &[Capability::R])
            .await
            .expect("queued");
        assert_eq!(lengths((10, 10)).await, (3, 4));
    }

    fn output(run: RunId, pieces: &[(Stream, u64, &[u8])], words: Option<&str>) -> NewOutput {
        NewOutput {
            run,
            fence: 1,
            pieces: pieces
                .iter()
                .map(|(stream, begins, bytes)| Piece {
                    stream: *stream,
                    begins: *begins,
                    bytes: bytes.to_vec(),
                })
                .collect(),
            progress: words.map(|words| ProgressRow {
                millionths: Some(250_000),
                words: words.to_owned(),
            }),
        }
    }

    pub(super) async fn the_end_of_what_a_run_prints_is_kept(world: World) {
        let node = NodeId::new(NOW, random());
        world.queue(NOW, Capability::R).await;
        let run = claim(&world, node, &[Capability::R])
            .await
            .expect("queued")
            .run
            .id;
        let add = async |now: i64, pieces: &[(Stream, u64, &[u8])]| {
            let output = output(run, pieces, Some("half way"));
            let refused = world.store.run_output_add(node, &[output], now).await;
            assert_eq!(refused.expect("kept"), []);
        };
        let kept = async |places, limit| {
            let pieces = world.store.run_output(run, places, limit).await.expect("read");
            pieces
                .into_iter()
                .map(|piece| (piece.stream, piece.begins, piece.bytes.len()))
                .collect::<Vec<_>>()
        };
        add(NOW, &[(Stream::Stdout, 0, b"one"), (Stream::Stderr, 0, b"two!")]).await;
        add(NOW + 1, &[(Stream::Stdout, 0, b"one, longer")]).await;
        add(
            NOW + 2,
            &[(Stream::Stdout, 0, b"one"), (Stream::Stdout, 11, b"on")],
        )
        .await;
        let all = [
            (Stream::Stdout, 0, 11),
            (Stream::Stderr, 0, 4),
            (Stream::Stdout, 11, 2),
        ];
        assert_eq!(kept((0, 0), 9).await, all);
        assert_eq!(kept((0, 0), 2).await, all[..2]);
        assert_eq!(kept((11, 4), 9).await, all[2..]);
        assert_eq!(kept((13, 4), 9).await, []);
        let progress = world.store.run_progress(run).await.expect("read").expect("said");
        assert_eq!(
            (progress.millionths, progress.words.as_str()),
            (Some(250_000), "half way")
        );
        let block = vec![7; 64 * 1024];
        for number in 0..40_u64 {
            let piece: (Stream, u64, &[u8]) = (Stream::Stdout, number * 65_536, &block);
            add(NOW + 3, &[piece]).await;
        }
        let stdout: Vec<_> = kept((0, 4), 99).await;
        assert!((4..=5).contains(&stdout.len()), "{stdout:?}");
        assert_eq!(stdout.last(), Some(&(Stream::Stdout, 39 * 65_536, 65_536)));

        let mut tx = world.begin().await;
        tx.run_output_settle(run, (38 * 65_536, 2))
            .await
            .expect("settled");
        commit(tx, Event::RunEnded).await;
        let left = [
            (Stream::Stderr, 0, 4),
            (Stream::Stdout, 38 * 65_536, 65_536),
            (Stream::Stdout, 39 * 65_536, 65_536),
        ];
        assert_eq!(kept((0, 0), 9).await, left, "what the outcome does not hold");
        world
            .store
            .run_output_delete_before(NOW + 99)
            .await
            .expect("tidied");
        assert_eq!(kept((0, 0), 9).await, left, "it has not ended");
        let mut tx = world.begin().await;
        let mut row = tx.run_get_for_update(run).await.expect("read").expect("there");
        row.run = row.run.complete(node, 1, RunState::Failed).expect("held");
        row.finished_at = Some(NOW + 4);
        tx.run_put(&row).await.expect("ended");
        commit(tx, Event::RunEnded).await;
        world
            .store
            .run_output_delete_before(NOW + 99)
            .await
            .expect("tidied");
        assert_eq!(kept((0, 0), 9).await, []);
        assert_eq!(world.store.run_progress(run).await.expect("read"), None);
    }

    pub(super) async fn small_blobs_are_kept_with_the_outcome_of_their_run(world: World) {
        let runs = [
            world.queue(NOW, Capability::R).await,
            world.queue(NOW, Capability::R).await,
        ];
        let [run, other] = runs.map(|row| row.run.id);
        let digest = Digest::of(b"21");
        let mut tx = world.begin().await;
        tx.run_content_insert(run, digest, b"21").await.expect("kept");
        drop(tx);
        let kept = async |run, digest| world.store.run_content(run, &digest).await.expect("read");
        assert_eq!(kept(run, digest).await, None, "nothing without its outcome");
        let mut tx = world.begin().await;
        tx.run_content_insert(run, digest, b"21").await.expect("kept");
        commit(tx, Event::RunEnded).await;
        assert_eq!(kept(run, digest).await.as_deref(), Some(&b"21"[..]));
        assert_eq!(kept(other, digest).await, None, "another run's");
        assert_eq!(kept(run, Digest::of(b"22")).await, None);
        let mut tx = world.begin().await;
        let again = tx.run_content_insert(run, digest, b"22").await;
        assert!(matches!(again, Err(StoreError::Duplicate { .. })), "{again:?}");
    }

    pub(super) async fn output_of_a_claim_that_does_not_hold_is_not_taken(world: World) {
        let (node, other) = (NodeId::new(NOW, random()), NodeId::new(NOW, random()));
        let waiting = world.queue(NOW + 1, Capability::Python).await.run.id;
        world.queue(NOW, Capability::R).await;
        let run = claim(&world, node, &[Capability::R])
            .await
            .expect("queued")
            .run
            .id;
        let pieces: [(Stream, u64, &[u8]); 1] = [(Stream::Stdout, 0, b"x")];
        let old = NewOutput {
            fence: 0,
            ..output(run, &pieces, None)
        };
        let taken = async |node, output: &NewOutput| {
            let outputs = std::slice::from_ref(output);
            let not_held = world.store.run_output_add(node, outputs, NOW).await;
            not_held.expect("looked").is_empty()
        };
        assert!(!taken(other, &output(run, &pieces, None)).await, "another node");
        assert!(!taken(node, &old).await, "another claim");
        assert!(!taken(node, &output(waiting, &pieces, None)).await, "not claimed");
        assert!(!taken(node, &output(RunId::new(NOW, random()), &pieces, None)).await);
        assert_eq!(world.store.run_output(run, (0, 0), 9).await.expect("read"), []);
        assert!(taken(node, &output(run, &pieces, None)).await);
    }
}
