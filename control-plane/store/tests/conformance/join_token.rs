use crate::world::on_both;

on_both! {
    a_token_survives_the_database
    no_more_uses_than_were_granted
    a_token_that_ended_is_not_used
    a_restore_voids_tokens_and_waiting_requests
    lists_show_the_newest_first
    what_ended_long_ago_is_removed
}

mod cases {
    use muster_ids::{Digest, TokenId};
    use muster_model::{
        audit::Event,
        join::{Capability, JoinState},
        join_token::JoinToken,
    };

    use crate::world::{NOW, World, commit, join_request, random};

    fn token(at: i64, uses: u64) -> JoinToken {
        JoinToken {
            id: TokenId::new(at, random()),
            public_key: [7; 32],
            capabilities: vec![Capability::Terr, Capability::R],
            pool: "default".parse().expect("name"),
            site: "North".parse().expect("name"),
            name: Some("terr-*".parse().expect("pattern")),
            address: Some("10.0.0.0/8".parse().expect("pattern")),
            uses,
            used: 0,
            created_at: at,
            created_by: "user ann@SPOTFIRE".into(),
            expires_at: at + 1_000,
            revoked_at: None,
            reason: None,
            refused: 0,
            last_refused: None,
        }
    }

    async fn insert(world: &World, token: &JoinToken) {
        let mut tx = world.begin().await;
        tx.join_token_insert(token).await.expect("added");
        commit(tx, Event::JoinTokenCreated).await;
    }

    async fn used(world: &World, token: &JoinToken, key: &str, now: i64) -> bool {
        let mut tx = world.begin().await;
        let key = Digest::of(key.as_bytes());
        if tx.join_token_used_by(token.id, &key).await.expect("read") {
            return true;
        }
        let used = tx.join_token_use(token.id, &key, now).await.expect("asked");
        if used {
            commit(tx, Event::JoinApproved).await;
        }
        used
    }

    pub(super) async fn a_token_survives_the_database(world: World) {
        let token = token(NOW, 2);
        insert(&world, &token).await;
        assert_eq!(
            world.store.join_token(token.id).await.expect("read"),
            Some(token.clone())
        );
        let mut tx = world.begin().await;
        assert_eq!(
            tx.join_token_get(token.id).await.expect("read"),
            Some(token.clone())
        );
        tx.join_token_refused(token.id, 3, NOW + 5, "spent")
            .await
            .expect("counted");
        tx.join_token_refused(token.id, 2, NOW + 6, "other name")
            .await
            .expect("counted");
        assert!(
            tx.join_token_revoke(token.id, NOW + 7, Some("lost"))
                .await
                .expect("revoked")
        );
        assert!(!tx.join_token_revoke(token.id, NOW + 8, None).await.expect("read"));
        commit(tx, Event::JoinTokenRevoked).await;
        let expected = JoinToken {
            refused: 5,
            last_refused: Some((NOW + 6, "other name".into())),
            revoked_at: Some(NOW + 7),
            reason: Some("lost".into()),
            ..token
        };
        assert_eq!(
            world.store.join_token(expected.id).await.expect("read"),
            Some(expected)
        );
    }

    pub(super) async fn no_more_uses_than_were_granted(world: World) {
        let token = token(NOW, 2);
        insert(&world, &token).await;
        for (key, works) in [("a", true), ("a", true), ("b", true), ("c", false), ("a", true)] {
            assert_eq!(used(&world, &token, key, NOW).await, works, "{key}");
        }
        assert_eq!(
            world
                .store
                .join_token(token.id)
                .await
                .expect("read")
                .expect("there")
                .used,
            2
        );

        // A use that is not committed is none.
        let other = self::token(NOW, 1);
        insert(&world, &other).await;
        let mut tx = world.begin().await;
        assert!(
            tx.join_token_use(other.id, &Digest::of(b"x"), NOW)
                .await
                .expect("asked")
        );
        drop(tx);
        assert!(used(&world, &other, "y", NOW).await);
    }

    pub(super) async fn a_token_that_ended_is_not_used(world: World) {
        let (expired, revoked) = (token(NOW, 9), token(NOW, 9));
        insert(&world, &expired).await;
        insert(&world, &revoked).await;
        let mut tx = world.begin().await;
        tx.join_token_revoke(revoked.id, NOW, None)
            .await
            .expect("revoked");
        commit(tx, Event::JoinTokenRevoked).await;
        assert!(!used(&world, &expired, "a", expired.expires_at).await);
        assert!(!used(&world, &revoked, "a", NOW).await);
        assert_eq!(
            world.store.join_tokens_live(NOW, 9).await.expect("read"),
            [expired.id]
        );
        assert_eq!(
            world
                .store
                .join_tokens_live(expired.expires_at, 9)
                .await
                .expect("read"),
            []
        );
    }

    pub(super) async fn a_restore_voids_tokens_and_waiting_requests(world: World) {
        let token = token(NOW, 9);
        insert(&world, &token).await;
        let waiting = join_request("terr01", NOW);
        let mut tx = world.begin().await;
        tx.join_put(&waiting).await.expect("stored");
        assert_eq!(tx.join_tokens_void(NOW + 1, "restored").await.expect("voided"), 1);
        assert_eq!(tx.joins_void("restored").await.expect("voided"), 1);
        commit(tx, Event::CollectiveInit).await;
        assert!(!used(&world, &token, "a", NOW + 1).await);
        let read = world
            .store
            .join_by_id(waiting.id)
            .await
            .expect("read")
            .expect("there");
        assert_eq!(
            (read.state, read.reason.as_deref()),
            (JoinState::Expired, Some("restored"))
        );
        assert_eq!(read.version, 2);
    }

    pub(super) async fn lists_show_the_newest_first(world: World) {
        let tokens = [token(NOW, 1), token(NOW + 1, 1), token(NOW + 2, 1)];
        for token in &tokens {
            insert(&world, token).await;
        }
        let first = world.store.join_token_list(None, 2).await.expect("read");
        let after = first.last().map(|token| token.id);
        let rest = world.store.join_token_list(after, 2).await.expect("read");
        let ids: Vec<_> = first.iter().chain(&rest).map(|token| token.id).collect();
        assert_eq!(ids, [tokens[2].id, tokens[1].id, tokens[0].id]);
    }

    pub(super) async fn what_ended_long_ago_is_removed(world: World) {
        let token = token(NOW, 1);
        insert(&world, &token).await;
        assert!(used(&world, &token, "a", NOW).await);
        assert_eq!(world.store.join_tokens_delete_before(NOW).await.expect("none"), 0);
        assert_eq!(
            world
                .store
                .join_tokens_delete_before(NOW + 2_000)
                .await
                .expect("one"),
            1
        );
        assert_eq!(world.store.join_token(token.id).await.expect("read"), None);
    }
}
