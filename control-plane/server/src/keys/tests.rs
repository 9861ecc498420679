use muster_app::authority::{create_authority, load};
use muster_daemon::clock::Clock;
use muster_ids::{AuditWriter, CollectiveId, GroupId, Incarnation, PoolId, SiteId};
use muster_model::{
    audit::Event,
    permission::{Caller, Operation, authorize},
};
use muster_store::{BuiltinGroups, Draft, NewCollective, Store, StoreConfig};
use tempfile::TempDir;

use super::*;

fn config(folder: &TempDir, extra: &str) -> Config {
    let file = folder.path().join("server.toml");
    let text = format!("[server]\nstate_dir = \"{}\"\n{extra}", folder.path().display());
    std::fs::write(&file, text).expect("written");
    Config::read(Some(&file), None, []).expect("a configuration")
}

async fn new_authority() -> NewAuthority {
    create_authority(&Clock::system(), &Random::system())
        .await
        .expect("an authority")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder)
        .expect("a folder")
        .flat_map(|entry| {
            let path = entry.expect("an entry").path();
            if path.is_dir() { files(&path) } else { vec![path] }
        })
        .collect()
}

/// Neither PEM nor the secret number of any of these keys is in any file.
fn nothing_is_legible(folder: &Path, keys: &[&[u8]]) {
    for path in files(folder) {
        let bytes = std::fs::read(&path).expect("read");
        let has = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(!has(b"PRIVATE KEY"), "{} holds a key in PEM", path.display());
        for key in keys {
            // RFC 5208 around RFC 5915: the secret number of P-256 begins at byte 36.
            assert!(!has(&key[36..68]), "{} holds a key", path.display());
        }
    }
}

#[tokio::test]
async fn keys_are_sealed_and_open_under_their_master_key_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = config(&folder, "");
    let keys = Keys::create(&settings).expect("a folder of keys");
    let new = new_authority().await;
    keys.store(&new).expect("kept");
    let front_end = SoftwareSigner::generate(KeyUse::Tls).expect("a key");
    keys.keep_front_end("a", std::slice::from_ref(&new.issuing), &front_end)
        .expect("kept");
    let secret = front_end.to_pkcs8().expect("DER");
    nothing_is_legible(
        folder.path(),
        &[&new.root_key, &new.issuing_key, &new.policy_key, &secret],
    );
    let root = new.fingerprint();
    let again = Keys::open(&settings).expect("opened");
    let expected = SoftwareSigner::from_pkcs8(&new.issuing_key, KeyUse::Authority).expect("a key");
    let issuing = again.issuing(&root).expect("a signer");
    assert_eq!(issuing.public_key(), expected.public_key());
    assert!(again.front_end("a").is_some() && again.front_end("b").is_none());

    std::fs::write(folder.path().join("keys/master.key"), [9; 32]).expect("written");
    let other = Keys::open(&settings).expect("opened");
    let said = other
        .issuing(&root)
        .expect_err("sealed under another key")
        .to_string();
    assert!(said.contains("cannot be opened with this master key"), "{said}");
}

#[tokio::test]
async fn the_master_key_may_lie_elsewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let elsewhere = tempfile::tempdir().expect("another folder");
    let path = elsewhere.path().join("key");
    file::write(&path, &[b'7'; 64], 0o600, "test").expect("written");
    let settings = config(
        &folder,
        &format!("[keys]\nmaster_key_file = \"{}\"\n", path.display()),
    );
    let keys = Keys::create(&settings).expect("a folder of keys");
    assert!(!folder.path().join("keys/master.key").exists());
    let new = new_authority().await;
    keys.store(&new).expect("kept");
    Keys::open(&settings)
        .expect("opened")
        .policy(&new.fingerprint())
        .expect("a signer");
    std::fs::remove_file(&path).expect("removed");
    let said = format!("{:#}", Keys::open(&settings).err().expect("no key"));
    assert!(said.contains("master_key_file"), "{said}");
}

#[tokio::test]
async fn the_roots_key_can_be_taken_away_and_brought_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = Keys::create(&config(&folder, "")).expect("a folder of keys");
    let (new, other) = (new_authority().await, new_authority().await);
    keys.store(&new).expect("kept");
    let (root, row) = (new.fingerprint(), new.first(1));
    let file = folder.path().join("root-key.pem");
    let kept = keys.export_root(&root, &file, true).expect("exported");
    assert_eq!(kept, RootKeyFile::Removed);
    assert!(keys.root(&root).expect("looked").is_none());
    keys.issuing(&root).expect("everything else works on");
    keys.export_root(&root, &file, true).expect_err("it is not here");
    keys.import_root(&[other.first(1)], &file)
        .expect_err("of another collective");
    assert_eq!(keys.import_root(&[row], &file).expect("back"), root);
    assert!(keys.root(&root).expect("looked").is_some());
}

#[tokio::test]
async fn an_older_state_folder_is_sealed_at_the_next_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = config(&folder, "");
    let keys = Keys::create(&settings).expect("a folder of keys");
    let new = new_authority().await;
    let place = folder.path().join("keys");
    for (name, certificates) in [
        ("root.pem", vec![&new.root]),
        ("issuing.pem", vec![&new.issuing]),
        ("policy.pem", vec![&new.policy, &new.issuing]),
    ] {
        let pem = pem::write_certificates(certificates);
        file::write(&place.join(name), pem.as_bytes(), 0o600, "test").expect("written");
    }
    for (name, key) in [
        ("root.key", &new.root_key),
        ("issuing.key", &new.issuing_key),
        ("policy.key", &new.policy_key),
        ("front-end.key", &new.policy_key),
    ] {
        let pem = pem::write_private_key(key);
        file::write(&place.join(name), pem.as_bytes(), 0o600, "test").expect("written");
    }
    let store = Store::open(&StoreConfig {
        create_if_missing: true,
        ..StoreConfig::new(format!("sqlite://{}/muster.db", folder.path().display()))
    })
    .await
    .expect("a database");
    store.migrate().await.expect("a schema");
    collective(&store, new.collective).await;
    keys.adopt(&store, 1).await.expect("sealed");
    keys.adopt(&store, 1).await.expect("once is enough");
    nothing_is_legible(folder.path(), &[&new.root_key, &new.issuing_key, &new.policy_key]);
    let root = new.fingerprint();
    keys.root(&root).expect("opens").expect("there");
    keys.policy(&root).expect("opens");
    let authority = load(&store, &keys).await.expect("the authority of before");
    assert_eq!(
        (authority.root, authority.roots.fingerprints()),
        (root, vec![root])
    );
    keys.forget(&root).expect("destroyed");
    let said = load(&store, &keys).await.err().expect("no keys").to_string();
    assert!(said.contains("issuing.key is missing"), "{said}");
}

/// A collective in a database as a version before this one left it: without an authority.
async fn collective(store: &Store, collective: CollectiveId) {
    let random = Random::system();
    let new = NewCollective {
        collective,
        incarnation: random.id(1, Incarnation::new),
        writer: random.id(1, AuditWriter::new),
        pool: random.id(1, PoolId::new),
        site: random.id(1, SiteId::new),
        groups: BuiltinGroups {
            everyone: random.id(1, GroupId::new),
            administrator: random.id(1, GroupId::new),
            script_author: random.id(1, GroupId::new),
            custom_query_author: random.id(1, GroupId::new),
        },
    };
    let authorized = authorize(&Caller::System, Operation::Maintain).expect("the system maintains");
    let mut tx = store.begin(&authorized).await.expect("begins");
    tx.init(&new, 1).await.expect("made");
    let record = Draft::new(
        Event::CollectiveInit,
        collective.to_string(),
        serde_json::Value::Null,
    );
    tx.commit(record, 1).await.expect("committed");
}
