//! A control plane in a folder of its own, for tests of use cases that need one.

use std::{
    collections::HashMap,
    fmt::Debug,
    path::Path,
    str::FromStr,
    sync::{Arc, Mutex},
    time::Duration,
};

use muster_daemon::{clock::Clock, random::Random};
use muster_ids::Digest;
use muster_pki::{KeyUse, Signer, SoftwareSigner};
use muster_store::{BlobStore, Store, StoreConfig};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    App, Error, Options, Parts,
    authority::{AuthorityKeys, NewAuthority, create_authority},
    init::{init_database, load_join_key},
};

/// Seals the other keys.
const MASTER: [u8; 32] = [7; 32];

/// What a request or an answer is in the interface.
pub(crate) fn form<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the form of the interface")
}

/// What this text names.
pub(crate) fn name<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect("a name")
}

/// A new collective with the administrator `admin@SPOTFIRE`; it lives as long as the folder.
pub(crate) async fn app() -> (App, TempDir) {
    app_with(Clock::system(), Arc::default()).await
}

/// As [`app`], with this clock, and with its keys kept there.
pub(crate) async fn app_with(clock: Clock, keys: Arc<Memory>) -> (App, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let random = Random::system();
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
    init_database(&store, &new, &MASTER, &administrator, password, &clock, &random)
        .await
        .expect("a collective");
    keys.store(&new).expect("kept");
    let blobs = BlobStore::open(&folder.path().join("blobs"))
        .await
        .expect("a folder of blobs");
    (of(store, blobs, clock, keys).await, folder)
}

/// The control plane over the database that lies in `folder`, with these keys and blobs.
pub(crate) async fn open(folder: &Path, blobs: BlobStore, clock: Clock, keys: Arc<Memory>) -> App {
    let url = format!("sqlite://{}/muster.db", folder.display());
    let store = Store::open(&StoreConfig::new(url)).await.expect("a database");
    of(store, blobs, clock, keys).await
}

async fn of(store: Store, blobs: BlobStore, clock: Clock, keys: Arc<Memory>) -> App {
    let parts = Parts {
        join_key: Arc::new(load_join_key(&store, &MASTER).await.expect("the join key")),
        blobs,
        keys,
        store,
        clock,
        random: Random::system(),
        options: Options {
            back_ends: vec![":9443".to_owned()],
            session_lifetime: Duration::from_hours(1),
            offers_per_second: 200,
            token_offers_per_second: 1_000,
            approvals: Vec::new(),
            quotas: crate::Quotas {
                per_address: 100,
                per_prefix: 1_000,
                total: 10_000,
            },
            auto_trust: None,
            max_input: 1024,
            queues: crate::Queues::default(),
            certificates: crate::Certificates::default(),
            allowed_issuers: Vec::new(),
        },
    };
    App::new(parts).await.expect("a control plane")
}

/// Keys of authorities in memory: root, issuing, policy.
#[derive(Default)]
pub(crate) struct Memory(Mutex<HashMap<Digest, Signers>>);

/// Of the root, the intermediate and the policy.
type Signers = [Option<Arc<dyn Signer>>; 3];

impl Memory {
    /// Takes the root's key away, as `muster-server root-key export --remove` does.
    pub(crate) fn without_root(&self, root: &Digest) {
        if let Some(signers) = self.0.lock().expect("whole").get_mut(root) {
            signers[0] = None;
        }
    }

    fn get(&self, root: &Digest, which: usize) -> Option<Arc<dyn Signer>> {
        self.0.lock().expect("whole").get(root)?[which].clone()
    }
}

impl AuthorityKeys for Memory {
    fn store(&self, new: &NewAuthority) -> Result<(), Error> {
        let signer = |key: &[u8], key_use| -> Option<Arc<dyn Signer>> {
            Some(Arc::new(
                SoftwareSigner::from_pkcs8(key, key_use).expect("a key of ours"),
            ))
        };
        let keys = [
            signer(&new.root_key, KeyUse::Authority),
            signer(&new.issuing_key, KeyUse::Authority),
            signer(&new.policy_key, KeyUse::Policy),
        ];
        self.0.lock().expect("whole").insert(new.fingerprint(), keys);
        Ok(())
    }

    fn root(&self, root: &Digest) -> Result<Option<Arc<dyn Signer>>, Error> {
        Ok(self.get(root, 0))
    }

    fn issuing(&self, root: &Digest) -> Result<Arc<dyn Signer>, Error> {
        self.get(root, 1).ok_or_else(|| Error::bug("no key"))
    }

    fn policy(&self, root: &Digest) -> Result<Arc<dyn Signer>, Error> {
        self.get(root, 2).ok_or_else(|| Error::bug("no key"))
    }

    fn seal(&self, name: &str, key: &[u8]) -> Vec<u8> {
        muster_daemon::seal::seal(&[7; 32].into(), name, key, &Random::system())
    }

    fn open(&self, name: &str, sealed: &[u8]) -> Result<zeroize::Zeroizing<Vec<u8>>, Error> {
        muster_daemon::seal::open(&[7; 32].into(), name, sealed).map_err(Error::bug)
    }

    fn forget(&self, root: &Digest) -> Result<(), Error> {
        self.0.lock().expect("whole").remove(root);
        Ok(())
    }
}
