use crate::world::on_both;

on_both! {
    a_node_is_found_by_identity_name_and_key
    an_older_version_changes_nothing
    liveness_never_goes_back_and_survives_decisions
    ten_thousand_heartbeats_are_one_flush
    lists_go_by_name_whatever_the_locale
    a_node_moves_on_in_the_lineage_of_its_certificates
    certificates_are_revoked_with_their_node
    what_was_revoked_stays_so_even_when_it_is_deleted
    certificates_are_found_by_their_end
    a_revocation_list_follows_the_one_before
}

mod cases {
    use muster_ids::{Digest, NodeId};
    use muster_model::{
        audit::Event,
        node::{Scheduling, Trust},
    };
    use muster_store::{
        Certificate, CertificateFilter, CertificateState, NodeFilter, RevocationList, RevokedSerial,
        StoreError,
    };

    use crate::world::{NOW, World, commit, random};

    /// The certificate of some control plane.
    fn certificate(serial: &str, not_after: i64) -> Certificate {
        Certificate {
            serial: serial.to_owned(),
            subject: "somebody".to_owned(),
            purpose: "control_plane".to_owned(),
            der: vec![0x30, 0x82],
            not_before: NOW,
            not_after,
            state: CertificateState::Valid,
            revoked_at: None,
            reason: None,
            key: None,
            generation: 1,
            authority: None,
        }
    }

    pub(super) async fn a_node_is_found_by_identity_name_and_key(world: World) {
        let node = world.add_node("Terr01").await;
        let found = [
            world.store.node(node.id).await.expect("read"),
            world
                .store
                .node_by_name(&"tERR01".parse().expect("name"))
                .await
                .expect("read"),
            world.store.node_by_key(&node.key).await.expect("read"),
        ];
        assert_eq!(
            found,
            [Some(node.clone()), Some(node.clone()), Some(node.clone())]
        );

        let mut twin = world.node("another");
        twin.key = node.key;
        let error = world
            .begin()
            .await
            .node_insert(&twin)
            .await
            .expect_err("same key");
        assert_eq!(error.to_string(), "a node of this key exists already");

        let mut tx = world.begin().await;
        tx.node_delete(node.id).await.expect("deleted");
        assert!(matches!(
            tx.node_delete(node.id).await,
            Err(StoreError::NotFound { .. })
        ));
        commit(tx, Event::NodeDeleted).await;
        assert_eq!(world.store.node(node.id).await.expect("read"), None);
    }

    pub(super) async fn an_older_version_changes_nothing(world: World) {
        let node = world.add_node("terr01").await;
        let mut tx = world.begin().await;
        tx.node_put(&node.clone().schedule(Scheduling::Cordoned).expect("trusted"))
            .await
            .expect("stored");
        commit(tx, Event::NodeChanged).await;
        let mut tx = world.begin().await;
        let error = tx
            .node_put(&node.clone().untrust("lost"))
            .await
            .expect_err("older");
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
        let current = tx.node_get(node.id).await.expect("read").expect("there");
        assert_eq!(
            (current.scheduling, current.trust),
            (Scheduling::Cordoned, Trust::Trusted)
        );
        tx.node_put(&current.untrust("lost")).await.expect("stored");
        commit(tx, Event::NodeUntrusted).await;
    }

    pub(super) async fn liveness_never_goes_back_and_survives_decisions(world: World) {
        let node = world.add_node("terr01").await;
        let gone = NodeId::new(NOW, random());
        let flush = async |seen_at, inventory: Option<&str>| {
            let observed = [
                (node.id, seen_at, inventory.map(str::to_owned)),
                (gone, seen_at, None),
            ];
            world.store.flush_liveness(&observed).await.expect("flushed");
            let read = world.store.node(node.id).await.expect("read").expect("there");
            (read.seen_at, read.inventory)
        };
        assert_eq!(
            flush(NOW + 10, Some("{}")).await,
            (Some(NOW + 10), Some("{}".into()))
        );
        assert_eq!(flush(NOW + 5, None).await, (Some(NOW + 10), Some("{}".into())));
        world
            .store
            .flush_liveness(&[(node.id, NOW + 30, None), (node.id, NOW + 20, None)])
            .await
            .expect("twice");

        let mut tx = world.begin().await;
        tx.node_put(&node.clone().untrust("lost")).await.expect("stored");
        commit(tx, Event::NodeUntrusted).await;
        let read = world.store.node(node.id).await.expect("read").expect("there");
        assert_eq!(
            (read.seen_at, read.inventory),
            (Some(NOW + 30), Some("{}".into()))
        );
    }

    pub(super) async fn ten_thousand_heartbeats_are_one_flush(world: World) {
        let node = world.add_node("terr01").await;
        let before = world.store.audit_head().await.expect("head");
        let mut observed: Vec<_> = (0..9_999)
            .map(|_| (NodeId::new(NOW, random()), NOW, None))
            .collect();
        observed.push((node.id, NOW + 1, None));
        world.store.flush_liveness(&observed).await.expect("flushed");
        assert_eq!(
            world
                .store
                .node(node.id)
                .await
                .expect("read")
                .expect("there")
                .seen_at,
            Some(NOW + 1)
        );
        assert_eq!(world.store.audit_head().await.expect("head"), before);
    }

    pub(super) async fn lists_go_by_name_whatever_the_locale(world: World) {
        for name in ["b", "A", "z", "ä", "a-b", "a_c", "B2"] {
            world.add_node(name).await;
        }
        let mut revoked = world.node("c");
        revoked.trust = Trust::Revoked;
        let mut tx = world.begin().await;
        tx.node_insert(&revoked).await.expect("added");
        commit(tx, Event::JoinApproved).await;

        let filter = NodeFilter {
            trust: Some(Trust::Trusted),
            ..NodeFilter::default()
        };
        let mut names = Vec::new();
        loop {
            let after = names.last();
            let page = world.store.node_list(&filter, after, 3).await.expect("read");
            if page.is_empty() {
                break;
            }
            names.extend(page.into_iter().map(|node| node.name));
        }
        let names: Vec<_> = names.iter().map(muster_ids::Name::as_str).collect();
        assert_eq!(names, ["A", "a-b", "a_c", "b", "B2", "z", "ä"]);
    }

    pub(super) async fn a_node_moves_on_in_the_lineage_of_its_certificates(world: World) {
        let node = world.add_node("lineage01").await;
        let certificate = |serial: &str, key: &[u8], generation| Certificate {
            serial: serial.into(),
            subject: node.id.to_string(),
            purpose: "node".into(),
            der: vec![0x30, 0x82],
            not_before: NOW,
            not_after: NOW + 10,
            state: CertificateState::Valid,
            revoked_at: None,
            reason: None,
            key: Some(Digest::of(key)),
            generation,
            authority: None,
        };
        let mut tx = world.begin().await;
        for (serial, key, generation) in [
            ("11", &b"first"[..], 1),
            ("12", &b"second"[..], 2),
            ("13", &b"third"[..], 2),
            ("14", &b"first"[..], 2),
            ("15", &b"first"[..], 2),
        ] {
            tx.certificate_insert(&certificate(serial, key, generation))
                .await
                .expect("added");
        }
        assert_eq!(
            tx.keys_of_generation(node.id, 2).await.expect("read"),
            3,
            "keys, not certificates"
        );
        assert_eq!(tx.keys_of_generation(node.id, 3).await.expect("read"), 0);
        let first = tx.certificates_of_key(&Digest::of(b"first")).await.expect("read");
        let first: Vec<_> = first
            .iter()
            .map(|one| (one.serial.as_str(), one.generation))
            .collect();
        assert_eq!(first, [("11", 1), ("14", 2), ("15", 2)], "the newest last");
        let found = tx.certificate_get("13").await.expect("read");
        assert_eq!(found, Some(certificate("13", b"third", 2)));
        commit(tx, Event::CertificateIssued).await;
        let second = world
            .store
            .certificates_of_key(&Digest::of(b"second"))
            .await
            .expect("read");
        assert_eq!(second, [certificate("12", b"second", 2)]);

        let moved = node
            .clone()
            .move_on(second[0].link().expect("a lineage"), NOW + 5);
        let mut tx = world.begin().await;
        tx.node_moved_on(&moved).await.expect("stored");
        commit(tx, Event::CertificateFirstUsed).await;
        assert_eq!(
            world.store.node(node.id).await.expect("read"),
            Some(moved.clone())
        );
        assert_eq!(
            world
                .store
                .node_by_key(&Digest::of(b"second"))
                .await
                .expect("read"),
            Some(moved)
        );
        let mut tx = world.begin().await;
        let error = tx
            .node_moved_on(&node.move_on(second[0].link().expect("a lineage"), NOW))
            .await;
        assert!(error.is_err(), "once only");
    }

    pub(super) async fn certificates_are_revoked_with_their_node(world: World) {
        let node = world.add_node("terr01").await;
        let certificate = |serial: &str, not_after| Certificate {
            serial: serial.into(),
            subject: node.id.to_string(),
            purpose: "node".into(),
            der: vec![0x30, 0x82],
            not_before: NOW,
            not_after,
            state: CertificateState::Valid,
            revoked_at: None,
            reason: None,
            key: Some(node.key),
            generation: 1,
            authority: None,
        };
        let mut tx = world.begin().await;
        tx.certificate_insert(&certificate("0a", NOW + 10))
            .await
            .expect("added");
        tx.certificate_insert(&certificate("0b", NOW + 100))
            .await
            .expect("added");
        commit(tx, Event::CertificateIssued).await;
        assert_eq!(
            world.store.certificate("0a").await.expect("read"),
            Some(certificate("0a", NOW + 10))
        );
        let error = world
            .begin()
            .await
            .certificate_insert(&certificate("0a", NOW))
            .await
            .expect_err("twice");
        assert_eq!(
            error.to_string(),
            "a certificate of this serial number exists already"
        );

        for (at, reason, count) in [(NOW + 5, "untrusted", 2), (NOW + 6, "again", 0)] {
            let mut tx = world.begin().await;
            assert_eq!(
                tx.certificates_revoke_for(node.id, at, reason)
                    .await
                    .expect("revoked"),
                count
            );
            commit(tx, Event::NodeUntrusted).await;
        }
        let revoked = world.store.revoked_serials(NOW + 50).await.expect("read");
        let expected = RevokedSerial {
            serial: "0b".into(),
            revoked_at: NOW + 5,
            reason: Some("untrusted".into()),
        };
        assert_eq!(revoked, [expected]);
        let filter = CertificateFilter {
            subject: Some(node.id.to_string()),
            state: Some(CertificateState::Revoked),
            ..CertificateFilter::default()
        };
        let page = world
            .store
            .certificate_list(&filter, Some("0a"), 9)
            .await
            .expect("read");
        assert_eq!(
            page.iter().map(|row| row.serial.as_str()).collect::<Vec<_>>(),
            ["0b"]
        );
    }

    pub(super) async fn what_was_revoked_stays_so_even_when_it_is_deleted(world: World) {
        let mut tx = world.begin().await;
        for (serial, not_after) in [("1a", NOW + 10), ("1b", NOW + 100), ("1c", NOW + 100)] {
            let certificate = Certificate {
                subject: "a node".to_owned(),
                ..certificate(serial, not_after)
            };
            tx.certificate_insert(&certificate).await.expect("added");
        }
        let held = tx.certificates_of("a node", NOW + 50).await.expect("read");
        assert_eq!(held.len(), 2, "one has expired");
        for (at, first) in [(NOW + 1, true), (NOW + 2, false)] {
            let done = tx
                .certificate_revoke("1b", at, "superseded")
                .await
                .expect("asked");
            assert_eq!(done, first);
        }
        commit(tx, Event::CertificateRevoked).await;
        let revoked = world.store.certificates_revoked(NOW).await.expect("read");
        assert_eq!(revoked.len(), 1);
        assert_eq!(
            (revoked[0].serial.as_str(), revoked[0].revoked_at),
            ("1b", Some(NOW + 1))
        );

        for (delete, count) in [(false, 2), (true, 0)] {
            let mut tx = world.begin().await;
            let reset = tx.certificates_reset(NOW + 3, "trust was reset", delete).await;
            assert_eq!(reset.expect("reset"), count);
            commit(tx, Event::TrustReset).await;
        }
        let all = world
            .store
            .certificate_list(&CertificateFilter::default(), None, 9)
            .await;
        assert_eq!(all.expect("read"), [], "none is shown");
        let known: Vec<_> = world.store.revoked_serials(NOW).await.expect("read");
        let known: Vec<_> = known
            .iter()
            .map(|row| (row.serial.as_str(), row.revoked_at))
            .collect();
        assert_eq!(known, [("1a", NOW + 3), ("1b", NOW + 1), ("1c", NOW + 3)]);
    }

    pub(super) async fn certificates_are_found_by_their_end(world: World) {
        let mut tx = world.begin().await;
        for (serial, not_after) in [("2a", NOW + 10), ("2b", NOW + 100)] {
            let certificate = certificate(serial, not_after);
            tx.certificate_insert(&certificate).await.expect("added");
        }
        commit(tx, Event::CertificateIssued).await;
        let at = NOW + 100;
        let later = CertificateFilter {
            ends_from: Some(at),
            ..CertificateFilter::default()
        };
        let earlier = CertificateFilter {
            ends_before: Some(at),
            ..CertificateFilter::default()
        };
        for (filter, serial) in [(later, "2b"), (earlier, "2a")] {
            let found = world
                .store
                .certificate_list(&filter, None, 9)
                .await
                .expect("read");
            assert_eq!(
                found.iter().map(|row| row.serial.as_str()).collect::<Vec<_>>(),
                [serial]
            );
        }
    }

    pub(super) async fn a_revocation_list_follows_the_one_before(world: World) {
        let list = |number| RevocationList {
            issuer: "0102".to_owned(),
            number,
            content: "sha256:…".to_owned(),
            this_update: NOW,
            next_update: NOW + number,
            der: vec![3],
        };
        assert_eq!(world.store.revocation_list("0102").await.expect("read"), None);
        for number in [1, 2] {
            let mut tx = world.begin().await;
            tx.revocation_list_put(&list(number)).await.expect("kept");
            commit(tx, Event::RevocationListIssued).await;
        }
        for number in [2, 4] {
            let error = world.begin().await.revocation_list_put(&list(number)).await;
            assert!(
                matches!(error, Err(StoreError::Conflict { .. })),
                "{number}: {error:?}"
            );
        }
        assert_eq!(
            world.store.revocation_list("0102").await.expect("read"),
            Some(list(2))
        );
    }
}
