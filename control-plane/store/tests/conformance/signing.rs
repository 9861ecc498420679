use crate::world::on_both;

on_both! {
    one_root_of_the_collective_is_accepted
    a_certificate_signs_until_it_is_revoked_or_deleted_and_then_has_no_key
    of_each_signer_the_newest_signatures_of_an_item_are_found
}

mod cases {
    use muster_ids::{Digest, UserId};
    use muster_model::audit::Event;
    use muster_store::{
        ItemSignature, RootOrigin, RootState, SignerState, SigningCertificate, SigningRoot, StoreError,
    };

    use crate::world::{NOW, World, commit, random};

    fn root(name: &str, origin: RootOrigin) -> SigningRoot {
        SigningRoot {
            fingerprint: Digest::of(name.as_bytes()),
            origin,
            state: RootState::Accepted,
            subject: format!("CN={name}"),
            der: name.as_bytes().to_vec(),
            sealed_key: b"sealed".to_vec(),
            stamp_der: b"stamp".to_vec(),
            sealed_stamp_key: b"sealed too".to_vec(),
            added_by: "ann@SPOTFIRE".to_owned(),
            added_at: NOW,
        }
    }

    fn certificate(serial: &str, user: Option<UserId>, root: &SigningRoot) -> SigningCertificate {
        SigningCertificate {
            fingerprint: Digest::of(serial.as_bytes()),
            issuer: root.subject.clone(),
            serial: serial.to_owned(),
            subject: "CN=ann@SPOTFIRE".to_owned(),
            root: user.map(|_| root.fingerprint),
            user,
            der: serial.as_bytes().to_vec(),
            sealed_key: b"sealed".to_vec(),
            not_before: NOW,
            not_after: NOW + 1000,
            state: SignerState::Valid,
            added_by: "ann@SPOTFIRE".to_owned(),
            added_at: NOW,
        }
    }

    pub(super) async fn one_root_of_the_collective_is_accepted(world: World) {
        let (first, second) = (
            root("first", RootOrigin::Internal),
            root("second", RootOrigin::Internal),
        );
        let imported = root("imported", RootOrigin::Imported);
        let mut tx = world.begin().await;
        tx.signing_root_insert(&first).await.expect("added");
        tx.signing_root_insert(&imported).await.expect("added");
        commit(tx, Event::SigningRootMade).await;
        let mut tx = world.begin().await;
        let refused = tx.signing_root_insert(&second).await;
        assert!(
            matches!(refused, Err(StoreError::Duplicate { .. })),
            "{refused:?}"
        );
        drop(tx);
        let mut tx = world.begin().await;
        tx.signing_root_remove(&first.fingerprint).await.expect("removed");
        tx.signing_root_remove(&imported.fingerprint)
            .await
            .expect("removed");
        tx.signing_root_insert(&second).await.expect("added");
        tx.signing_root_insert(&imported).await.expect("accepted again");
        assert_eq!(tx.signing_roots().await.expect("read").len(), 3);
        commit(tx, Event::CodeTrustReset).await;
        let roots = world.store.signing_roots().await.expect("read");
        let of = |wanted: &SigningRoot| {
            let found = roots.iter().find(|root| root.fingerprint == wanted.fingerprint);
            found.expect("a row stays").clone()
        };
        assert_eq!(of(&first).state, RootState::Removed);
        assert!(of(&first).sealed_key.is_empty() && of(&first).sealed_stamp_key.is_empty());
        assert_eq!(of(&second), second);
        assert_eq!(of(&imported).state, RootState::Accepted);
    }

    pub(super) async fn a_certificate_signs_until_it_is_revoked_or_deleted_and_then_has_no_key(world: World) {
        let (root, ann) = (root("root", RootOrigin::Internal), UserId::new(NOW, random()));
        let own = certificate("a1", Some(ann), &root);
        let external = certificate("b2", None, &root);
        let mut tx = world.begin().await;
        tx.signing_certificate_insert(&own).await.expect("added");
        tx.signing_certificate_insert(&external).await.expect("added");
        let held = tx
            .signing_certificate_of(ann, &root.fingerprint, NOW)
            .await
            .expect("read");
        assert_eq!(held, Some(own.clone()));
        let over = tx
            .signing_certificate_of(ann, &root.fingerprint, NOW + 1001)
            .await
            .expect("read");
        assert_eq!(over, None);
        commit(tx, Event::SigningCertificateIssued).await;
        let listed = async |imported, user| {
            let rows = world
                .store
                .signing_certificates(imported, user, None, 10)
                .await
                .expect("read");
            rows.into_iter().map(|row| row.serial).collect::<Vec<_>>()
        };
        assert_eq!(listed(false, None).await, ["a1"]);
        assert_eq!(listed(false, Some(UserId::new(NOW, random()))).await, [""; 0]);
        assert_eq!(listed(true, None).await, ["b2"]);
        let mut tx = world.begin().await;
        let twin = SigningCertificate {
            fingerprint: Digest::of(b"twin"),
            ..own.clone()
        };
        let refused = tx.signing_certificate_insert(&twin).await;
        assert!(
            matches!(refused, Err(StoreError::Duplicate { .. })),
            "one number of an issuer: {refused:?}"
        );
        drop(tx);
        let mut tx = world.begin().await;
        assert!(
            tx.signing_certificate_revoke(&own.fingerprint)
                .await
                .expect("revoked")
        );
        assert!(
            !tx.signing_certificate_revoke(&own.fingerprint)
                .await
                .expect("asked again")
        );
        let held = tx
            .signing_certificate_of(ann, &root.fingerprint, NOW)
            .await
            .expect("read");
        assert_eq!(held, None);
        commit(tx, Event::SignaturesRevoked).await;
        let found = world
            .store
            .signing_certificate_issued("a1")
            .await
            .expect("read")
            .expect("it is there");
        assert_eq!((found.state, found.sealed_key.len()), (SignerState::Revoked, 0));
        let mut tx = world.begin().await;
        let other = Digest::of(b"another root");
        assert_eq!(tx.signing_certificates_delete(&other).await.expect("deleted"), 0);
        let under = tx.signing_certificates_delete(&root.fingerprint).await;
        assert_eq!(under.expect("deleted"), 1);
        commit(tx, Event::CodeTrustReset).await;
        assert_eq!(listed(false, None).await, [""; 0]);
        assert_eq!(listed(true, None).await, ["b2"]);
        assert_eq!(
            world.store.signing_certificate_issued("a1").await.expect("read"),
            None
        );
    }

    pub(super) async fn of_each_signer_the_newest_signatures_of_an_item_are_found(world: World) {
        let signature = |name: &str, certificate: &str, at: i64| ItemSignature {
            id: Digest::of(name.as_bytes()),
            item_type: "action_mod".to_owned(),
            hash: "sha512=x".to_owned(),
            certificate: Digest::of(certificate.as_bytes()),
            signed_by: certificate.to_owned(),
            signed_at: at,
            bundle: name.to_owned(),
        };
        let all = [
            signature("old", "ann", NOW),
            signature("new", "ann", NOW + 1),
            signature("first", "bob", NOW + 2),
            signature("last", "bob", NOW + 3),
        ];
        let mut tx = world.begin().await;
        for one in &all {
            tx.item_signature_insert(one).await.expect("kept");
        }
        commit(tx, Event::ItemSigned).await;
        let found = async |kind: &str, of_one: u32, limit: u32| {
            let found = world.store.item_signatures(kind, "sha512=x", of_one, limit).await;
            let mut names = Vec::new();
            for head in found.expect("read") {
                let one = all.iter().find(|one| one.id == head.id).expect("it was kept");
                assert_eq!((&head.signed_by, head.signed_at), (&one.signed_by, one.signed_at));
                names.push(one.bundle.as_str());
            }
            names
        };
        assert_eq!(found("action_mod", 1, 10).await, ["last", "new"]);
        assert_eq!(found("action_mod", 9, 10).await, ["last", "first", "new", "old"]);
        assert_eq!(found("action_mod", 9, 3).await, ["last", "first", "new"]);
        assert!(found("script", 9, 10).await.is_empty());
        // Of certificates that are known by their signatures only, each once.
        let seen = async |after: Option<&Digest>, limit: u32| {
            let found = world.store.signing_certificates_seen(after, limit).await;
            let found = found.expect("read").into_iter();
            found.map(|one| one.certificate).collect::<Vec<_>>()
        };
        let mut both = ["ann", "bob"].map(|name| Digest::of(name.as_bytes()));
        both.sort_by_key(ToString::to_string);
        assert_eq!(seen(None, 10).await, both);
        assert_eq!(seen(None, 1).await, both[..1]);
        assert_eq!(seen(Some(&both[0]), 10).await, both[1..]);
        let issued = SigningCertificate {
            fingerprint: both[0],
            ..certificate("a1", None, &root("root", RootOrigin::Imported))
        };
        let mut tx = world.begin().await;
        tx.signing_certificate_insert(&issued).await.expect("added");
        commit(tx, Event::SigningCertificateIssued).await;
        assert_eq!(seen(None, 10).await, both[1..], "the other is known by itself");
        let one = world.store.item_signature(&all[0].id).await.expect("read");
        assert_eq!(one.as_ref(), Some(&all[0]));
        let mut tx = world.begin().await;
        let nobody = UserId::new(NOW, [9; 10]);
        assert_eq!(tx.item_signed_at(nobody).await.expect("read"), 0);
        let twice = tx.item_signature_insert(&all[0]).await;
        assert!(matches!(twice, Err(StoreError::Duplicate { .. })), "{twice:?}");
    }
}
