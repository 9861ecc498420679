//! The open ports under attack: what floods cost, and who is served meanwhile.

use std::{net::SocketAddr, time::Duration};

use muster_tests::{Applicant, Server, challenge, flood, flood::Flood, unique, within};
use muster_wire::node::v1::join::HELLO_PATH;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Many times what a loaded machine needs.
const PATIENCE: Duration = Duration::from_mins(2);
/// What a control plane may keep of a flood, in KiB: the buffers of the connections that it holds at once.
const FLAT: u64 = 64 * 1024;
/// Attackers at the same time.
const ATTACKERS: usize = 32;
/// More than one connection of an attacker can get rid of before it is cut: both sides' buffers are in it.
const ENOUGH: usize = 64 * 1024 * 1024;

/// Says `head`, then `more` for as long as the other side takes it; how much that was, and what came back.
async fn say(address: SocketAddr, head: String, more: Vec<u8>) -> (usize, String) {
    let stream = TcpStream::connect(address).await.expect("connected");
    let (mut read, mut write) = stream.into_split();
    let heard = tokio::spawn(async move {
        let mut heard = Vec::new();
        // The answer may be overtaken by the end of the connection.
        let _ = read.read_to_end(&mut heard).await;
        heard
    });
    let mut sent = head.len();
    let mut said = write.write_all(head.as_bytes()).await;
    while said.is_ok() && !more.is_empty() && sent < ENOUGH && !heard.is_finished() {
        said = write.write_all(&more).await;
        sent += more.len();
    }
    let heard = heard.await.expect("no panic");
    (sent, String::from_utf8_lossy(&heard).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn join_13_what_is_too_long_or_has_no_end_is_cut_and_memory_stays_flat() {
    let server = Server::private();
    Applicant::new("terr01").await.greet(&server).await;
    let before = server.resident_kib();
    let post = |rest: &str| format!("POST {HELLO_PATH} HTTP/1.1\r\nHost: muster\r\n{rest}");
    let deep = 1_000_000;
    let attacks = [
        (
            "a body of 10 MB",
            post("Content-Length: 10000000\r\n\r\n"),
            vec![b'x'; 65_536],
        ),
        (
            "a header of 1 MB",
            post(&format!("X: {}", "x".repeat(1_000_000))),
            vec![b'x'; 65_536],
        ),
        ("a header line without end", post("X: "), vec![b'x'; 65_536]),
        ("headers without end", post(""), b"X: 1\r\n".repeat(1_000)),
        (
            "JSON of a million levels",
            post(&format!("Content-Length: {deep}\r\n\r\n{}", "[".repeat(deep))),
            Vec::new(),
        ),
        (
            "chunks without end",
            post("Transfer-Encoding: chunked\r\n\r\n"),
            ["10000\r\n", &"x".repeat(65_536), "\r\n"].concat().into_bytes(),
        ),
        (
            "a chunk without end",
            post("Transfer-Encoding: chunked\r\n\r\nffffffffff\r\n"),
            vec![b'x'; 65_536],
        ),
    ];
    for (what, head, more) in attacks {
        let mut attackers = tokio::task::JoinSet::new();
        for _ in 0..ATTACKERS {
            attackers.spawn(say(server.registration(), head.clone(), more.clone()));
        }
        let ends = timeout(PATIENCE, attackers.join_all()).await;
        for (sent, heard) in ends.unwrap_or_else(|_| panic!("{what} is not cut")) {
            assert!(sent < ENOUGH, "{what}: all of it was taken");
            assert!(
                heard.is_empty() || heard.starts_with("HTTP/1.1 4"),
                "{what}: {heard}"
            );
        }
        let after = server.resident_kib();
        assert!(after < before + FLAT, "{what}: from {before} to {after} KiB");
    }
    Applicant::new("terr01").await.join(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn join_14_an_honest_join_completes_and_the_back_end_works_among_slow_connections() {
    // Half of them are neighbours of the honest. The control plane inherits the limit of open files that they need.
    let connections = flood::possible(10_000);
    assert!(connections >= 2_000, "raise the limit of open files (ulimit -n)");
    let server = Server::private();
    let member = Applicant::new("before").await.join(&server).await;
    let connection = member.connect().await;
    let mut lines = member.control(&connection, &challenge()).await;
    member.next_beacon(&mut lines).await;
    let token = server.join_token(&json!({})).await;
    let before = server.resident_kib();

    let sources = [flood::neighbours(0, 0), flood::neighbours(9, 9)].concat();
    let flood = Flood::slow(server.registration(), &sources, connections).await;
    // Each message of a join is a connection of its own, from the prefix of half of the flood.
    let joined = timeout(PATIENCE, async {
        let node = Applicant::new("among").await.with_token(&token);
        node.join_by_token(&server).await
    });
    joined.await.expect("an honest join completes");
    let elsewhere = flood::connect(server.registration(), [127, 1, 1, 1].into()).await;
    let mut elsewhere = elsewhere.expect("there is room for another prefix");
    elsewhere
        .write_all(b"GET / HTTP/1.1\r\nHost: muster\r\nConnection: close\r\n\r\n")
        .await
        .expect("taken");
    let mut answer = Vec::new();
    timeout(PATIENCE, elsewhere.read_to_end(&mut answer))
        .await
        .expect("answered")
        .expect("read");
    assert!(answer.starts_with(b"HTTP/1.1 404"));

    member
        .heartbeat(&connection, &[])
        .await
        .expect("an open connection goes on");
    let another = member.connect().await;
    member.heartbeat(&another, &[]).await.expect("a new one is taken");
    within(PATIENCE, "slow connections are cut", async || {
        (flood.cut() >= connections / 2).then_some(())
    })
    .await;
    let after = server.resident_kib();
    assert!(
        after < before + FLAT,
        "from {before} to {after} KiB with {connections} connections"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn join_15_stalled_handshakes_keep_nobody_out() {
    const STALLED: usize = 500;
    /// The beginning of a ClientHello that has 508 bytes more.
    const BEGUN: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let server = Server::private();
    let member = Applicant::new(&unique("terr")).await.join(&server).await;
    let mut stalled = Vec::new();
    for n in 0..STALLED {
        for address in [server.back_end(), server.front_end()] {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            if n % 2 == 0 {
                stream.write_all(BEGUN).await.expect("taken");
            }
            stalled.push(stream);
        }
    }
    let connection = timeout(PATIENCE, member.connect()).await.expect("a handshake");
    member.heartbeat(&connection, &[]).await.expect("answered");
    let analyst = timeout(PATIENCE, server.analyst()).await.expect("a session");
    let status: serde_json::Value = analyst.get("/api/v1/status").await;
    assert!(status["time"].is_string());
    // They are not kept for ever either.
    for mut stream in stalled {
        let mut rest = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "a stalled handshake is given up");
    }
}
