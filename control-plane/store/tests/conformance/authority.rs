use crate::world::on_both;

on_both! {
    authorities_are_kept_with_all_that_is_known_of_them
    one_authority_is_active_and_changes_have_one_winner
    what_a_revoked_authority_issued_is_revoked_and_nothing_else
    the_certificate_in_use_is_the_one_that_the_node_stands_at
}

mod cases {
    use muster_ids::{Digest, NodeId};
    use muster_model::{
        audit::Event,
        authority::rotation::{AuthorityState, Standing},
    };
    use muster_store::{Authority, Certificate, CertificateFilter, CertificateState, StoreError};

    use crate::world::{NOW, World, commit};

    fn authority(number: u64, state: AuthorityState) -> Authority {
        Authority {
            standing: Standing {
                number,
                root: Digest::of(&[u8::try_from(number).expect("small")]),
                state,
            },
            root: vec![1],
            root_cross: (number > 1).then(|| vec![2]),
            issuing: vec![3],
            issuing_cross: None,
            policy: vec![4],
            prepared_at: NOW,
            activated_at: None,
            tainted_at: None,
            revoked_at: None,
            version: 1,
        }
    }

    fn certificate(serial: &str, node: NodeId, key: Digest, generation: u64, under: u64) -> Certificate {
        Certificate {
            serial: serial.to_owned(),
            subject: node.to_string(),
            purpose: "node".to_owned(),
            der: vec![1],
            not_before: NOW,
            not_after: NOW + 1000,
            state: CertificateState::Valid,
            revoked_at: None,
            reason: None,
            key: Some(key),
            generation,
            authority: Some(authority(under, AuthorityState::Active).standing.root),
        }
    }

    pub(super) async fn authorities_are_kept_with_all_that_is_known_of_them(world: World) {
        let (one, two) = (
            authority(1, AuthorityState::Active),
            authority(2, AuthorityState::Prepared),
        );
        let mut tx = world.begin().await;
        tx.authority_insert(&two).await.expect("kept");
        tx.authority_insert(&one).await.expect("kept");
        assert_eq!(tx.authorities().await.expect("read").len(), 2);
        commit(tx, Event::CollectiveInit).await;
        assert_eq!(world.store.authorities().await.expect("read"), [one, two.clone()]);
        let mut tx = world.begin().await;
        let error = tx.authority_insert(&two).await.expect_err("there is one");
        assert!(matches!(error, StoreError::Duplicate { .. }), "{error}");
    }

    pub(super) async fn one_authority_is_active_and_changes_have_one_winner(world: World) {
        let (one, two) = (
            authority(1, AuthorityState::Active),
            authority(2, AuthorityState::Prepared),
        );
        let mut tx = world.begin().await;
        for authority in [&one, &two] {
            tx.authority_insert(authority).await.expect("kept");
        }
        commit(tx, Event::CollectiveInit).await;
        let activated = two.clone().enter(AuthorityState::Active, NOW + 1);
        let mut tx = world.begin().await;
        tx.authority_put(&activated).await.expect_err("two are active");
        drop(tx);
        let retired = one.clone().enter(AuthorityState::Retired, NOW + 1);
        let mut tx = world.begin().await;
        tx.authority_put(&retired).await.expect("changed");
        tx.authority_put(&activated).await.expect("changed");
        commit(tx, Event::CollectiveInit).await;
        let read = world.store.authorities().await.expect("read");
        assert_eq!(read, [retired, activated]);
        assert_eq!(read[1].activated_at, Some(NOW + 1));
        let mut tx = world.begin().await;
        let error = tx
            .authority_put(&one.enter(AuthorityState::Tainted, NOW + 2))
            .await
            .expect_err("changed meanwhile");
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    }

    pub(super) async fn what_a_revoked_authority_issued_is_revoked_and_nothing_else(world: World) {
        let node = world.node("n1");
        let mut tx = world.begin().await;
        tx.node_insert(&node).await.expect("kept");
        for (serial, under) in [("0a", 1), ("0b", 2)] {
            tx.certificate_insert(&certificate(serial, node.id, node.key, 1, under))
                .await
                .expect("kept");
        }
        let unknown = Certificate {
            authority: None,
            ..certificate("0c", node.id, node.key, 1, 1)
        };
        tx.certificate_insert(&unknown).await.expect("kept");
        let first = authority(1, AuthorityState::Active).standing.root;
        assert_eq!(tx.certificates_adopt(&first).await.expect("adopted"), 1);
        assert_eq!(tx.certificates_adopt(&first).await.expect("adopted"), 0);
        let revoked = tx
            .certificates_revoke_under(&first, NOW, "its authority was revoked")
            .await
            .expect("revoked");
        assert_eq!(revoked, 2);
        commit(tx, Event::CollectiveInit).await;
        let valid = CertificateFilter {
            state: Some(CertificateState::Valid),
            ..CertificateFilter::default()
        };
        let valid = world
            .store
            .certificate_list(&valid, None, 10)
            .await
            .expect("read");
        let serials: Vec<_> = valid.iter().map(|one| one.serial.as_str()).collect();
        assert_eq!(serials, ["0b"]);
    }

    pub(super) async fn the_certificate_in_use_is_the_one_that_the_node_stands_at(world: World) {
        let (node, other) = (world.node("n1"), world.node("n2"));
        let mut tx = world.begin().await;
        for node in [&node, &other] {
            tx.node_insert(node).await.expect("kept");
        }
        for (serial, generation) in [("0a", 1), ("0b", 2)] {
            tx.certificate_insert(&certificate(serial, node.id, node.key, generation, 1))
                .await
                .expect("kept");
        }
        tx.certificate_insert(&certificate("0c", other.id, other.key, 1, 1))
            .await
            .expect("kept");
        tx.node_put(&other.clone().untrust("gone"))
            .await
            .expect("untrusted");
        commit(tx, Event::CollectiveInit).await;
        let used = world.store.certificates_in_use().await.expect("read");
        let used: Vec<_> = used.iter().map(|(id, one)| (*id, one.serial.as_str())).collect();
        assert_eq!(used, [(node.id, "0a")]);
    }
}
