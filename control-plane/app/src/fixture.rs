//! A control plane in a folder of its own, for tests of use cases that need one.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use muster_daemon::{clock::Clock, random::Random};
use muster_pki::{KeyUse, Roots, SoftwareSigner};
use muster_store::{BlobStore, Store, StoreConfig};
use tempfile::TempDir;

use crate::{
    App, Options, Parts,
    authority::Authority,
    init::{create_authority, init_database, load_join_key},
};

/// A new collective with the administrator `admin@SPOTFIRE`; it lives as long as the folder.
pub(crate) async fn app() -> (App, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let (clock, random) = (Clock::system(), Random::system());
    let store = Store::open(&StoreConfig {
        create_if_missing: true,
        ..StoreConfig::new(format!("sqlite://{}/muster.db", folder.path().display()))
    })
    .await
    .expect("a database");
    store.migrate().await.expect("a schema");
    let new = create_authority(&clock, &random).await.expect("an authority");
    let administrator = "admin@SPOTFIRE".parse().expect("a name");
    let password = "correct horse battery".to_owned().into();
    let master = [7; 32];
    init_database(
        &store,
        new.collective,
        &master,
        &administrator,
        password,
        &clock,
        &random,
    )
    .await
    .expect("a collective");
    let signer =
        |key: &[u8], key_use| Arc::new(SoftwareSigner::from_pkcs8(key, key_use).expect("a key of ours"));
    let parts = Parts {
        join_key: Arc::new(load_join_key(&store, &master).await.expect("the join key")),
        blobs: BlobStore::open(&folder.path().join("blobs"))
            .await
            .expect("a folder of blobs"),
        authority: ArcSwap::from_pointee(Authority {
            control_plane: new.control_plane,
            roots: Arc::new(Roots::new(vec![new.root]).expect("a root")),
            intermediate: new.issuing.clone(),
            issuing: signer(&new.issuing_key, KeyUse::Authority),
            policy_chain: vec![new.policy, new.issuing],
            policy: signer(&new.policy_key, KeyUse::Policy),
        }),
        store,
        clock,
        random,
        options: Options {
            back_ends: vec![":9443".to_owned()],
            session_lifetime: Duration::from_hours(1),
            offers_per_second: 200,
            token_offers_per_second: 1_000,
            max_input: 1024,
            certificates: crate::Certificates::default(),
        },
    };
    (App::new(parts).await.expect("a control plane"), folder)
}
