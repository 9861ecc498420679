//! JSON calls and their refusals, limits and deadlines.

use std::time::Duration;

use muster_client::{ClientError, Connection, Limits, Request, Rest, Transport};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::server::{GENEROUS, Identity, Server};

fn small() -> Limits {
    Limits {
        answer: 100_000,
        ..Limits::default()
    }
}

fn quick() -> Limits {
    Limits {
        deadline: Duration::from_millis(200),
        ..small()
    }
}

/// One connection of each kind: HTTP/1.1 in the clear and on TLS, HTTP/2.
async fn each_kind(limits: Limits) -> Vec<(Server, Connection)> {
    let identity = Identity::new();
    let mut kinds = Vec::new();
    for server in [
        Server::plain(),
        Server::tls_http1(&identity),
        Server::tls(&identity),
    ] {
        let transport = if server.endpoint.is_tls() {
            identity.transport(limits.clone())
        } else {
            Transport::plain(limits.clone())
        };
        let connection = transport.connect(&server.endpoint).await.expect("connected");
        kinds.push((server, connection));
    }
    kinds
}

#[tokio::test]
async fn a_call_carries_its_query_token_key_and_body() {
    for ((_server, connection), version) in each_kind(Limits::default())
        .await
        .into_iter()
        .zip(["HTTP/1.1", "HTTP/1.1", "HTTP/2.0"])
    {
        let request = Request::post("/echo")
            .query("limit", "5 0")
            .bearer(&"token".into())
            .idempotency_key("k1")
            .json(&json!({"a": 1}));
        let echo: Value = connection
            .send(request)
            .await
            .expect("answered")
            .json()
            .expect("JSON");
        assert_eq!(
            echo,
            json!({
                "method": "POST", "query": "limit=5%200", "version": version, "authorization": "Bearer token",
                "key": "k1", "type": "application/json", "body": "{\"a\":1}",
            })
        );
    }
}

#[tokio::test]
async fn a_refusal_is_the_problem_that_the_server_told() {
    for (_server, connection) in each_kind(Limits::default()).await {
        let error = connection
            .send(Request::get("/problem"))
            .await
            .expect_err("refused");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(
            error.problem().map(|problem| problem.kind.as_str()),
            Some("urn:muster:problem:name-taken")
        );
        let shown = error.to_string();
        assert_eq!(
            shown,
            format!(
                "a node terr01 exists\\u{{1b}}[2J; take another name (409, GET {}/problem)",
                connection.endpoint()
            )
        );
    }
}

#[tokio::test]
async fn a_refusal_by_something_else_is_a_problem_made_of_its_status() {
    for (_server, connection) in each_kind(Limits::default()).await {
        let error = connection
            .send(Request::get("/gateway"))
            .await
            .expect_err("refused");
        assert_eq!(error.problem().map(|problem| problem.status), Some(502));
        assert!(
            error
                .to_string()
                .contains("answered \"Bad Gateway\" without saying why"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_slow_server_is_given_up_before_and_after_its_head() {
    for (_server, connection) in each_kind(quick()).await {
        let error = connection
            .send(Request::get("/head-only"))
            .await
            .expect_err("slow");
        assert!(matches!(error, ClientError::Late { .. }), "{error}");
    }
    for (_server, connection) in each_kind(quick()).await {
        let error = connection.send(Request::get("/never")).await.expect_err("slow");
        assert!(
            error
                .to_string()
                .contains("/never was given up: nothing came for 0.2 s"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_given_up_at_once() {
    for path in ["/endless", "/announced"] {
        for (_server, connection) in each_kind(small()).await {
            let error = connection.send(Request::get(path)).await.expect_err("too long");
            assert!(
                matches!(error, ClientError::TooLong { limit: 100_000, .. }),
                "{path}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn a_header_beyond_the_limit_is_refused() {
    for (_server, connection) in each_kind(Limits::default()).await {
        let error = timeout(GENEROUS, connection.send(Request::get("/headers")))
            .await
            .expect("not for ever")
            .expect_err("too long");
        assert!(matches!(error, ClientError::Broken { .. }), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_in_the_middle_is_no_answer() {
    for (_server, connection) in each_kind(Limits::default()).await {
        let error = connection.send(Request::get("/half")).await.expect_err("cut");
        assert!(matches!(error, ClientError::Broken { .. }), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_what_was_expected_says_so() {
    let server = Server::plain();
    let rest = Rest::new(
        Transport::plain(Limits::default()),
        vec![server.endpoint.clone()],
        0,
    );
    let error = rest.get::<u32>("/echo").await.expect_err("an object");
    assert!(
        error
            .to_string()
            .contains("something unexpected: invalid type: map, expected u32"),
        "{error}"
    );
}

#[tokio::test]
async fn a_request_that_cannot_be_sent_is_refused_here() {
    let server = Server::plain();
    let connection = Transport::plain(Limits::default())
        .connect(&server.endpoint)
        .await
        .expect("connected");
    for request in [
        Request::get("echo"),
        Request::get("/a b"),
        Request::get("/echo").idempotency_key("a\nb"),
    ] {
        let error = connection.send(request).await.expect_err("invalid");
        assert!(matches!(error, ClientError::Invalid { .. }), "{error}");
    }
    assert!(connection.send(Request::get("/echo")).await.is_ok());
}

#[tokio::test]
async fn rest_calls_share_a_connection_and_make_a_new_one_when_it_is_cut() {
    let identity = Identity::new();
    let server = Server::tls(&identity);
    let rest = Rest::new(
        identity.transport(Limits::default()),
        vec![server.endpoint.clone()],
        0,
    )
    .with_token("token".into());
    let get = || rest.get::<Value>("/echo");
    let (first, second) = tokio::join!(get(), get());
    assert_eq!(first.expect("answered")["authorization"], "Bearer token");
    second.expect("answered");
    assert_eq!(server.accepted(), 1);
    server.cut();
    timeout(GENEROUS, rest.connection().await.expect("connected").closed())
        .await
        .expect("noticed");
    let echo: Value = rest.put("/echo", &json!([1]), Some("k")).await.expect("answered");
    assert_eq!(
        (&echo["method"], &echo["key"], server.accepted()),
        (&json!("PUT"), &json!("k"), 2)
    );
    let echo: Value = rest.delete("/echo", None).await.expect("answered");
    assert_eq!(echo["method"], "DELETE");
    let echo: Value = rest.post("/echo", "x", None).await.expect("answered");
    assert_eq!(echo["body"], "\"x\"");
}
