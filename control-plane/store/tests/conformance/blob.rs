use std::os::unix::fs::{PermissionsExt as _, symlink};

use muster_ids::Digest;
use muster_store::{Blob, BlobError, BlobStore};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;

async fn open() -> (TempDir, BlobStore) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = BlobStore::open(&folder.path().join("blobs"))
        .await
        .expect("opens");
    (folder, store)
}

async fn write(store: &BlobStore, content: &[u8]) -> Blob {
    let mut writer = store.writer(1 << 30, None);
    for part in content.chunks(100_000) {
        writer.write(part).await.expect("takes it");
    }
    writer.finish().await.expect("kept")
}

fn temporary(folder: &TempDir) -> usize {
    std::fs::read_dir(folder.path().join("blobs/tmp"))
        .expect("tmp")
        .count()
}

#[tokio::test]
async fn a_blob_comes_back_as_it_went_in() {
    let (folder, store) = open().await;
    for content in [vec![], b"hello".to_vec(), vec![7; 3_000_000]] {
        let blob = write(&store, &content).await;
        assert_eq!(
            blob,
            Blob {
                digest: Digest::of(&content),
                size: u64::try_from(content.len()).expect("fits")
            }
        );
        let mut reader = store
            .open_blob(&blob.digest)
            .await
            .expect("opens")
            .expect("there");
        let mut read = Vec::new();
        reader.file.read_to_end(&mut read).await.expect("reads");
        assert!(read == content && reader.size == blob.size);
    }
    let hex = Digest::of(b"hello").hex();
    let file = folder.path().join("blobs/sha256").join(&hex[..2]).join(&hex[2..]);
    assert_eq!(
        std::fs::metadata(file).expect("there").permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(temporary(&folder), 0);
}

#[tokio::test]
async fn the_same_content_is_kept_once() {
    let (_folder, store) = open().await;
    let blob = write(&store, b"hello").await;
    assert_eq!(write(&store, b"hello").await, blob);
    assert!(store.exists(&blob.digest).await.expect("asked"));
    let listed = store.list(blob.digest.as_bytes()[0]).await.expect("listed");
    assert_eq!(
        listed
            .iter()
            .map(|info| (info.digest, info.size))
            .collect::<Vec<_>>(),
        [(blob.digest, 5)]
    );
    assert!(listed[0].modified_at > 0);
    assert!(store.remove(&blob.digest).await.expect("removed"));
    assert!(!store.remove(&blob.digest).await.expect("gone"));
    assert!(!store.exists(&blob.digest).await.expect("asked"));
    assert!(store.open_blob(&blob.digest).await.expect("asked").is_none());
}

#[tokio::test]
async fn too_much_and_other_bytes_are_refused_and_leave_nothing() {
    let (folder, store) = open().await;
    let mut writer = store.writer(5, None);
    writer.write(b"hello").await.expect("just fits");
    assert!(matches!(
        writer.write(b"!").await,
        Err(BlobError::TooLarge { limit: 5 })
    ));
    drop(writer);

    let announced = Digest::of(b"hello");
    let mut writer = store.writer(100, Some(announced));
    writer.write(b"other").await.expect("taken");
    let error = writer.finish().await.expect_err("another digest");
    assert!(
        matches!(error, BlobError::WrongDigest { expected, .. } if expected == announced),
        "{error}"
    );

    let mut writer = store.writer(100, None);
    writer.write(b"interrupted").await.expect("taken");
    drop(writer);
    let mut writer = store.writer(1 << 20, None);
    writer.write(&vec![b'x'; 1 << 19]).await.expect("taken");
    assert_eq!(temporary(&folder), 1, "more than is held in memory");
    drop(writer);
    assert_eq!(temporary(&folder), 0);
    assert!(!store.exists(&Digest::of(b"other")).await.expect("asked"));
}

#[tokio::test]
async fn what_a_crash_left_is_removed_at_the_next_start_only() {
    let (folder, store) = open().await;
    std::fs::write(folder.path().join("blobs/tmp/4711-0"), b"half").expect("left");
    let second = BlobStore::open(&folder.path().join("blobs"))
        .await
        .expect("opens beside the first");
    assert_eq!(temporary(&folder), 1, "the first may be writing it");
    drop((store, second));
    BlobStore::open(&folder.path().join("blobs"))
        .await
        .expect("opens");
    assert_eq!(temporary(&folder), 0);
}

#[tokio::test]
async fn symbolic_links_are_refused() {
    let (folder, store) = open().await;
    let secret = folder.path().join("secret");
    std::fs::write(&secret, b"secret").expect("written");
    let digest = Digest::of(b"x");
    let hex = digest.hex();
    let place = folder.path().join("blobs/sha256").join(&hex[..2]).join(&hex[2..]);
    symlink(&secret, &place).expect("linked");
    assert!(!store.exists(&digest).await.expect("asked"));
    assert!(matches!(
        store.open_blob(&digest).await,
        Err(BlobError::Io { .. })
    ));
    assert_eq!(store.list(digest.as_bytes()[0]).await.expect("listed"), []);

    let elsewhere = folder.path().join("elsewhere");
    symlink(folder.path().join("blobs"), &elsewhere).expect("linked");
    let error = BlobStore::open(&elsewhere).await.expect_err("a link");
    assert!(matches!(error, BlobError::NotAFolder { .. }), "{error}");
}
