//! Files on their way up and down.

use std::time::Duration;

use bytes::Bytes;
use muster_client::{ClientError, Connection, Limits, Multipart, Request};
use muster_ids::Digest;
use serde_json::{Value, json};
use tokio::fs::File;

use crate::server::{Identity, Server, blob};

async fn connected(limits: Limits) -> (Server, Connection) {
    let identity = Identity::new();
    let server = Server::tls(&identity);
    let connection = identity
        .transport(limits)
        .connect(&server.endpoint)
        .await
        .expect("connected");
    (server, connection)
}

async fn file_of(content: &[u8]) -> (tempfile::TempDir, File) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("content");
    std::fs::write(&path, content).expect("written");
    let file = File::open(path).await.expect("opened");
    (folder, file)
}

#[tokio::test]
async fn a_file_arrives_as_it_is() {
    let (_server, connection) = connected(Limits::default()).await;
    let content = blob();
    let (_folder, file) = file_of(&content).await;
    let request = Request::put("/upload").file("application/octet-stream", file, content.len() as u64);
    let answer: Value = connection
        .send(request)
        .await
        .expect("stored")
        .json()
        .expect("JSON");
    assert_eq!(
        answer,
        json!({ "length": content.len(), "digest": Digest::of(&content) })
    );
}

#[tokio::test]
async fn a_file_that_became_shorter_is_not_taken_for_whole() {
    let (_server, connection) = connected(Limits::default()).await;
    let (_folder, file) = file_of(b"short").await;
    let error = connection
        .send(Request::put("/upload").file("application/octet-stream", file, 100))
        .await
        .expect_err("short");
    let ClientError::Read { source, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(source.to_string(), "the file became shorter while it was sent");
    assert!(
        connection.send(Request::get("/echo")).await.is_ok(),
        "the connection goes on"
    );
}

#[tokio::test]
async fn a_download_is_checked_and_written() {
    let (_server, connection) = connected(Limits::default()).await;
    let content = blob();
    let mut stored = Vec::new();
    let length = connection
        .download(
            Request::get("/blob"),
            &mut stored,
            Digest::of(&content),
            5_000_000,
        )
        .await;
    assert_eq!(length.expect("good"), content.len() as u64);
    assert!(stored == content);
}

#[tokio::test]
async fn a_download_that_is_damaged_too_long_stuck_or_cut_is_no_download() {
    let (_server, connection) = connected(Limits::default()).await;
    let (_impatient, hasty) = connected(Limits {
        deadline: Duration::from_millis(300),
        ..Limits::default()
    })
    .await;
    let digest = Digest::of(&blob());
    let download = async |path: &str, digest, limit| {
        // Only what never comes is waited for in haste: of the rest a busy machine is no error.
        let connection = if path == "/head-only" { &hasty } else { &connection };
        connection
            .download(Request::get(path), &mut Vec::new(), digest, limit)
            .await
            .expect_err("bad")
    };
    assert!(matches!(
        download("/blob", Digest::of(b"other"), 5_000_000).await,
        ClientError::Damaged { .. }
    ));
    assert!(matches!(
        download("/blob", digest, 2_999_999).await,
        ClientError::TooLong { limit: 2_999_999, .. }
    ));
    assert!(matches!(
        download("/endless", digest, 500_000).await,
        ClientError::TooLong { .. }
    ));
    assert!(matches!(
        download("/head-only", digest, 5).await,
        ClientError::Late { .. }
    ));
    assert!(matches!(
        download("/half", digest, 100).await,
        ClientError::Broken { .. }
    ));
    assert!(matches!(
        download("/problem", digest, 100).await,
        ClientError::Refused { .. }
    ));
}

#[tokio::test]
async fn a_form_of_fields_and_files_arrives() {
    let (_server, connection) = connected(Limits::default()).await;
    let content = &blob()[..1_000_000];
    let (_folder, file) = file_of(content).await;
    let form = Multipart::new([7; 16])
        .field("n", "3")
        .field("empty", "")
        .bytes("x\"; y\\", "a\r\nb.csv", "text/csv", Bytes::from_static(b"a,b\n"))
        .file(
            "y",
            "data.sbdf",
            "application/octet-stream",
            file,
            content.len() as u64,
        );
    let answer = connection
        .send(Request::post("/form").multipart(form))
        .await
        .expect("accepted");
    assert_eq!(answer.status.as_u16(), 202);
    let digest = |bytes: &[u8]| Digest::of(bytes);
    assert_eq!(
        answer.json::<Value>().expect("JSON"),
        json!([
            { "name": "n", "file": null, "type": null, "length": 1, "digest": digest(b"3") },
            { "name": "empty", "file": null, "type": null, "length": 0, "digest": digest(b"") },
            { "name": "x%22; y%5C", "file": "a%0D%0Ab.csv", "type": "text/csv", "length": 4, "digest": digest(b"a,b\n") },
            { "name": "y", "file": "data.sbdf", "type": "application/octet-stream", "length": content.len(), "digest": digest(content) },
        ])
    );
}
