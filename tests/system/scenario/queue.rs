//! The queue of those who wait: what a flood can do to it, and what an administrator sees there.

use std::net::SocketAddr;

use muster_tests::{Applicant, Person, Server, Settings};
use muster_wire::{
    admin::v1::join::Join,
    node::v1::join::{HELLO_PATH, REVEAL_PATH},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
};

#[tokio::test(flavor = "multi_thread")]
async fn join_16_a_flood_of_requests_displaces_itself_and_nobody_else() {
    let quotas = "pending_per_address = 3\npending_per_prefix = 5\npending_total = 12\n";
    let server = Server::start(&Settings {
        join: quotas.to_owned(),
        ..Settings::default()
    });
    let admin = server.admin().await;
    let member = Applicant::new("member").await.join(&server).await;
    let honest = Applicant::new("honest").await;
    assert_eq!(wait_from(&server, &honest, [127, 0, 9, 1]).await, 200);

    let first = Applicant::new("first").await;
    assert_eq!(wait_from(&server, &first, [127, 0, 1, 1]).await, 200);
    for n in 0..9 {
        let node = Applicant::new(&format!("one-{n}")).await;
        assert_eq!(wait_from(&server, &node, [127, 0, 1, 1]).await, 200);
    }
    let waiting = waiting(&admin).await;
    let names = |joins: &[Join]| -> Vec<String> { joins.iter().map(|join| join.name.to_string()).collect() };
    assert_eq!(
        names(&waiting),
        ["honest", "one-6", "one-7", "one-8"],
        "the newest of one address stay"
    );

    for n in 2..9 {
        for m in 0..2 {
            let node = Applicant::new(&format!("prefix-{n}-{m}")).await;
            assert_eq!(wait_from(&server, &node, [127, 0, 1, n]).await, 200);
        }
    }
    let waiting = self::waiting(&admin).await;
    assert_eq!(
        waiting.len(),
        1 + 5,
        "one prefix has five places: {:?}",
        names(&waiting)
    );

    for n in 20..30 {
        for m in 1..3 {
            let node = Applicant::new(&format!("all-{n}-{m}")).await;
            assert_eq!(wait_from(&server, &node, [127, 0, n, m]).await, 200);
        }
    }
    let waiting = self::waiting(&admin).await;
    assert_eq!(waiting.len(), 12, "{:?}", names(&waiting));
    assert!(
        names(&waiting).contains(&"honest".to_owned()),
        "{:?}",
        names(&waiting)
    );

    let dropped: Value = admin.get("/api/v1/joins?state=expired&limit=1000").await;
    let dropped = dropped["items"].as_array().expect("items");
    assert_eq!(dropped.len(), 45 - 12, "the others say that they gave way");
    assert!(dropped.iter().all(|join| {
        join["reason"]
            .as_str()
            .is_some_and(|why| why.contains("too many"))
    }));
    assert!(dropped.iter().any(|join| join["name"] == "first"));
    let shown: Value = admin.show(&["nodes", member.name()]).await;
    assert_eq!(shown["trust"], "trusted", "what was approved does not give way");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_shows_the_earlier_nodes_of_the_same_name_or_key() {
    let server = Server::private();
    let member = Applicant::new("terr01").await.join(&server).await;
    let admin = server.admin().await;
    let namesake = Applicant::new("TERR01").await;
    let transcript = namesake.apply(&server).await;
    let shown = admin.join(transcript.join_id()).await;
    assert_eq!(shown.earlier.len(), 1);
    let earlier = &shown.earlier[0];
    assert_eq!(
        (earlier.id, earlier.trust.as_str(), earlier.same_key),
        (member.id(), "trusted", false)
    );
    assert_eq!(shown.key_prefix, namesake.fingerprint().hex()[..8]);
    assert_eq!(shown.addresses, ["10.0.0.5"]);
    let listed: Value = admin.get("/api/v1/joins?state=pending").await;
    assert_eq!(listed["items"][0]["earlier"][0]["id"], json!(member.id()));

    let pem = member.key().to_pkcs8().expect("a key");
    let key = muster_pki::SoftwareSigner::from_pkcs8(&pem, muster_pki::KeyUse::Tls).expect("the same");
    let mut renewing = Applicant::with_key("terr01", key).await;
    renewing.hello.created += 1;
    let transcript = renewing.apply(&server).await;
    let shown = admin.join(transcript.join_id()).await;
    assert!(shown.earlier.iter().any(|node| node.same_key), "{shown:?}");
}

/// The requests that wait, by name.
pub(super) async fn waiting(admin: &Person) -> Vec<Join> {
    let page: Value = admin.get("/api/v1/joins?state=pending&limit=1000").await;
    let mut joins: Vec<Join> = serde_json::from_value(page["items"].clone()).expect("joins");
    joins.sort_by(|a, b| a.name.cmp(&b.name));
    joins
}

/// Steps 1 to 3 from another address of this machine; the status of the reveal.
pub(super) async fn wait_from(server: &Server, node: &Applicant, source: [u8; 4]) -> u16 {
    let hello = serde_json::to_vec(&node.hello).expect("JSON");
    let (status, body) = say_from(server, source, HELLO_PATH, &hello).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let offered = muster_tests::Offered::read(hello, &body);
    let reveal = serde_json::to_vec(&node.reveal(&offered).await).expect("JSON");
    say_from(server, source, REVEAL_PATH, &reveal).await.0
}

/// Status and body of the answer to a message that comes from `source`.
async fn say_from(server: &Server, source: [u8; 4], path: &str, message: &[u8]) -> (u16, Vec<u8>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(SocketAddr::from((source, 0)))
        .expect("an address of this machine");
    let mut stream = socket
        .connect(server.registration())
        .await
        .expect("the listener takes it");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        message.len()
    );
    stream
        .write_all(&[head.as_bytes(), message].concat())
        .await
        .expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a head");
    let status = String::from_utf8_lossy(&answer[9..12]).parse().expect("a status");
    (status, answer[end + 4..].to_vec())
}
