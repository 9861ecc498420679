//! Long streams of lines, and what goes on beside them.

use std::{io, time::Duration};

use futures_util::future::join_all;
use muster_client::{ClientError, Connection, Limits, Request};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::server::{GENEROUS, Identity, Server};

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

impl Server {
    fn say(&self, text: impl Into<bytes::Bytes>) {
        self.lines.send(Ok(text.into())).expect("the server listens");
    }
}

#[tokio::test]
async fn a_long_stream_and_many_requests_share_one_connection() {
    let (server, connection) = connected(Limits::default()).await;
    let mut lines = connection.lines(Request::get("/lines")).await.expect("a stream");
    server.say("{\"offer\":1}\n\n{\"off");
    assert_eq!(
        lines.next_json::<Value>().await.expect("a line"),
        Some(json!({"offer": 1}))
    );
    let answers = join_all((0..50).map(|_| connection.send(Request::get("/echo")))).await;
    assert!(answers.iter().all(Result::is_ok));
    server.say("er\":2}\r\n");
    assert_eq!(
        lines.next_json::<Value>().await.expect("a line"),
        Some(json!({"offer": 2}))
    );
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn waiting_for_a_line_can_be_abandoned_without_losing_any() {
    let (server, connection) = connected(Limits::default()).await;
    let mut lines = connection.lines(Request::get("/lines")).await.expect("a stream");
    server.say("first ");
    for _ in 0..5 {
        assert!(timeout(Duration::from_millis(10), lines.next()).await.is_err());
    }
    server.say("second\n");
    assert_eq!(
        lines.next().await.expect("a line").expect("not the end"),
        "first second"
    );
}

#[tokio::test]
async fn a_line_without_end_is_given_up() {
    let (server, connection) = connected(Limits {
        line: 1000,
        ..Limits::default()
    })
    .await;
    let mut lines = connection.lines(Request::get("/lines")).await.expect("a stream");
    server.say("x".repeat(1000) + "\n" + &"x".repeat(1001));
    assert_eq!(
        lines.next().await.expect("a line").expect("not the end").len(),
        1000
    );
    assert!(matches!(
        lines.next().await,
        Err(ClientError::TooLong { limit: 1000, .. })
    ));
}

#[tokio::test]
async fn a_stream_that_is_cut_in_a_line_is_broken() {
    let (server, connection) = connected(Limits::default()).await;
    let mut lines = connection.lines(Request::get("/lines")).await.expect("a stream");
    server.say("whole\nhal");
    assert_eq!(lines.next().await.expect("a line").expect("not the end"), "whole");
    server
        .lines
        .send(Err(io::ErrorKind::Other.into()))
        .expect("the server listens");
    assert!(matches!(lines.next().await, Err(ClientError::Broken { .. })));
    assert!(!connection.is_closed(), "only the stream is broken");
}

#[tokio::test]
async fn a_connection_that_is_cut_ends_its_streams_and_says_so() {
    let (server, connection) = connected(Limits::default()).await;
    let mut lines = connection.lines(Request::get("/lines")).await.expect("a stream");
    server.cut();
    let error = timeout(GENEROUS, lines.next())
        .await
        .expect("noticed")
        .expect_err("cut");
    assert!(error.to_string().contains("the connection was cut"), "{error}");
    timeout(GENEROUS, connection.closed()).await.expect("noticed");
    assert!(connection.is_closed());
    assert!(matches!(
        connection.send(Request::get("/echo")).await,
        Err(ClientError::Broken { .. })
    ));
}

#[tokio::test]
async fn closing_ends_what_is_under_way() {
    let (_server, connection) = connected(Limits::default()).await;
    let mut lines = connection.lines(Request::get("/lines")).await.expect("a stream");
    connection.close();
    assert!(timeout(GENEROUS, lines.next()).await.expect("noticed").is_err());
    timeout(GENEROUS, connection.closed()).await.expect("closed");
}

#[tokio::test]
async fn a_stream_outlives_the_handle_that_began_it() {
    let (server, connection) = connected(Limits::default()).await;
    let mut lines = connection.lines(Request::get("/lines")).await.expect("a stream");
    drop(connection);
    server.say("still here\n");
    assert_eq!(
        lines.next().await.expect("a line").expect("not the end"),
        "still here"
    );
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_noticed_by_pings() {
    let identity = Identity::new();
    let server = Server::tls(&identity);
    let (endpoint, freeze) = server.through_a_cable().await;
    let limits = Limits {
        ping: Duration::from_millis(100),
        ..Limits::default()
    };
    let connection = identity
        .transport(limits)
        .connect(&endpoint)
        .await
        .expect("connected");
    let mut lines = connection.lines(Request::get("/lines")).await.expect("a stream");
    server.say("alive\n");
    assert_eq!(lines.next().await.expect("a line").expect("not the end"), "alive");
    freeze.notify_one();
    let error = timeout(GENEROUS, lines.next())
        .await
        .expect("noticed")
        .expect_err("silence");
    assert!(matches!(error, ClientError::Broken { .. }), "{error}");
    timeout(GENEROUS, connection.closed()).await.expect("closed");
}
