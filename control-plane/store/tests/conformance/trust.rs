use crate::world::on_both;

on_both! {
    a_change_moves_the_head_with_its_entries
    what_is_so_already_is_no_change
    changes_at_once_get_their_own_numbers
    those_who_read_first_and_those_who_change_at_once_all_get_through
    history_is_read_in_order
    a_reason_stands_beside_its_entry_and_goes_with_it
    secrets_come_back_as_they_went_in
}

mod cases {
    use std::collections::BTreeMap;

    use muster_ids::Digest;
    use muster_model::audit::Event;
    use muster_store::{Secret, TrustHead, TrustReason, trust_digest};

    use crate::world::{NOW, World, commit, draft, system};

    async fn change(world: &World, changes: &[(&str, Option<&str>)]) -> TrustHead {
        let changes: Vec<_> = changes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned)))
            .collect();
        let mut tx = world.begin().await;
        let head = tx.trust_change(&changes, NOW).await.expect("changed");
        commit(tx, Event::SettingChanged).await;
        head
    }

    pub(super) async fn a_change_moves_the_head_with_its_entries(world: World) {
        let empty = world.store.trust_head().await.expect("head");
        let expected = TrustHead {
            incarnation: world.new.incarnation,
            epoch: 1,
            number: 0,
            digest: Digest::of_framed(&[]),
            previous: Digest::from_bytes([0; 32]),
        };
        assert_eq!(empty, expected);

        // "Z" before "a" before "ä": bytes, not letters.
        let first = change(&world, &[("a", Some("1")), ("Z", Some("2")), ("ä", Some("3"))]).await;
        let digest = Digest::of_framed(&[b"Z", b"2", b"a", b"1", "ä".as_bytes(), b"3"]);
        assert_eq!(
            first,
            TrustHead {
                number: 1,
                digest,
                previous: empty.digest,
                ..empty
            }
        );
        let second = change(&world, &[("a", None), ("Z", Some("4"))]).await;
        assert_eq!((second.number, second.previous), (2, first.digest));

        let (head, entries) = world.store.trust_state().await.expect("read");
        let expected = BTreeMap::from([("Z".to_owned(), "4".to_owned()), ("ä".into(), "3".into())]);
        assert_eq!((head, &entries), (second, &expected));
        assert_eq!(world.store.trust_entries().await.expect("read"), expected);
        assert_eq!(head.digest, trust_digest(&entries));
        assert_eq!(world.store.trust_head().await.expect("head"), head);

        change(&world, &[("Z", None), ("ä", None)]).await;
        let (head, entries) = world.store.trust_state().await.expect("read");
        assert_eq!((head.number, head.digest, entries.len()), (3, empty.digest, 0));
    }

    pub(super) async fn a_reason_stands_beside_its_entry_and_goes_with_it(world: World) {
        let reason = |text: Option<&str>| TrustReason {
            reason: text.map(str::to_owned),
            by: "ann@SPOTFIRE".to_owned(),
            at: NOW,
        };
        for (key, text) in [("a/1", Some("because")), ("b/1", None)] {
            let mut tx = world.begin().await;
            let change = [(key.to_owned(), Some("1".to_owned()))];
            tx.trust_change(&change, NOW).await.expect("changed");
            tx.trust_reason_put(key, &reason(text)).await.expect("put");
            assert_eq!(tx.trust_reason(key).await.expect("read"), Some(reason(text)));
            commit(tx, Event::SettingChanged).await;
        }
        let of_a = world.store.trust_reasons("a/").await.expect("read");
        assert_eq!(
            of_a,
            BTreeMap::from([("a/1".to_owned(), reason(Some("because")))])
        );
        change(&world, &[("a/1", None)]).await;
        let all = world.store.trust_reasons("").await.expect("read");
        assert_eq!(all, BTreeMap::from([("b/1".to_owned(), reason(None))]));
    }

    pub(super) async fn what_is_so_already_is_no_change(world: World) {
        let first = change(&world, &[("a", Some("1"))]).await;
        assert_eq!(change(&world, &[("a", Some("1")), ("b", None)]).await, first);
        let twice = change(&world, &[("a", Some("2")), ("a", Some("3"))]).await;
        assert_eq!(twice.number, 2);
        assert_eq!(world.store.trust_entries().await.expect("read")["a"], "3");
    }

    pub(super) async fn those_who_read_first_and_those_who_change_at_once_all_get_through(world: World) {
        let writers = (0..6).map(|writer| {
            let store = world.store.clone();
            tokio::spawn(async move {
                for number in 0..8 {
                    let mut tx = store.begin(&system()).await.expect("begins");
                    let change = if writer % 2 == 0 {
                        // What is counted here was read, and nobody may change it before the commit.
                        tx.trust_head().await.expect("locked");
                        let entries = tx.trust_entries().await.expect("read");
                        let count: u32 = entries
                            .get("count")
                            .map_or(0, |text| text.parse().expect("a number"));
                        ("count".to_owned(), Some((count + 1).to_string()))
                    } else {
                        (format!("{writer}/{number}"), Some("x".to_owned()))
                    };
                    tx.trust_change(&[change], NOW).await.expect("changed");
                    tx.commit(draft(Event::SettingChanged), NOW)
                        .await
                        .expect("commits");
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.expect("ends");
        }
        let (head, entries) = world.store.trust_state().await.expect("read");
        assert_eq!((head.number, entries["count"].as_str()), (48, "24"));
    }

    pub(super) async fn changes_at_once_get_their_own_numbers(world: World) {
        let writers = (0..6).map(|writer| {
            let store = world.store.clone();
            tokio::spawn(async move {
                let mut numbers = Vec::new();
                for number in 0..4 {
                    let mut tx = store.begin(&system()).await.expect("begins");
                    let change = (format!("{writer}/{number}"), Some("x".to_owned()));
                    numbers.push(tx.trust_change(&[change], NOW).await.expect("changed").number);
                    tx.commit(draft(Event::SettingChanged), NOW)
                        .await
                        .expect("commits");
                }
                numbers
            })
        });
        let mut numbers = Vec::new();
        for writer in writers.collect::<Vec<_>>() {
            numbers.extend(writer.await.expect("ends"));
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=24).collect::<Vec<_>>());
        let (head, entries) = world.store.trust_state().await.expect("read");
        assert_eq!(
            (head.number, head.digest, entries.len()),
            (24, trust_digest(&entries), 24)
        );
    }

    pub(super) async fn history_is_read_in_order(world: World) {
        change(&world, &[("a", Some("1"))]).await;
        change(&world, &[("b", Some("2")), ("a", None)]).await;
        change(&world, &[("c", Some("3"))]).await;
        let read = async |number, limit| {
            let changes = world.store.trust_changes_until(number, limit).await;
            changes.expect("read")
        };
        let changes = read(2, 2).await;
        let seen: Vec<_> = changes
            .iter()
            .map(|change| (change.number, change.key.as_str(), change.value.as_deref()))
            .collect();
        assert_eq!(seen, [(2, "a", None), (2, "b", Some("2"))]);
        assert_eq!((changes[0].by.as_str(), changes[0].at), ("system", NOW));
        let numbers = |changes: Vec<muster_store::TrustChange>| -> Vec<u64> {
            changes.iter().map(|change| change.number).collect()
        };
        assert_eq!(numbers(read(3, 9).await), [1, 2, 2, 3]);
        assert_eq!(numbers(read(3, 2).await), [2, 3], "the limit takes the last");
        assert_eq!(read(0, 9).await, []);
    }

    pub(super) async fn secrets_come_back_as_they_went_in(world: World) {
        assert_eq!(world.store.secret_get("join-key").await.expect("read"), None);
        for epoch in [1, 2] {
            let secret = Secret {
                epoch,
                nonce: vec![0, 255],
                ciphertext: vec![7; 48],
            };
            let mut tx = world.begin().await;
            tx.secret_put("join-key", &secret).await.expect("put");
            commit(tx, Event::CollectiveInit).await;
            assert_eq!(
                world.store.secret_get("join-key").await.expect("read"),
                Some(secret)
            );
        }
    }
}
