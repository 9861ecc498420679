//! Reaching a control plane, or saying well why not.

use std::{net::TcpListener, time::Duration};

use muster_client::{ClientError, Limits, Request, Transport};
use tokio::time::timeout;

use crate::server::{GENEROUS, Identity, Server, nobody};

#[tokio::test]
async fn a_closed_port_is_named_with_cause_and_cure() {
    let endpoint = nobody("http");
    let error = Transport::plain(Limits::default())
        .connect(&endpoint)
        .await
        .err()
        .expect("nobody listens");
    assert_eq!(
        error.to_string(),
        format!(
            "cannot reach the control plane at {endpoint}: connection refused; check that muster-server runs there and that the port is open"
        )
    );
}

#[tokio::test]
async fn the_next_control_plane_is_tried_and_the_start_says_which_is_first() {
    let (dead, one, two) = (nobody("http"), Server::plain(), Server::plain());
    let endpoints = [dead, one.endpoint.clone(), two.endpoint.clone()];
    let transport = Transport::plain(Limits::default());
    for (start, expected) in [(0, &one), (1, &one), (2, &two), (3, &one), (usize::MAX, &one)] {
        let connection = transport
            .connect_any(&endpoints, start)
            .await
            .expect("one is alive");
        assert_eq!(connection.endpoint(), &expected.endpoint, "{start}");
    }
}

#[tokio::test]
async fn when_all_are_unreachable_each_is_named() {
    let (one, two) = (nobody("http"), nobody("http"));
    let transport = Transport::plain(Limits::default());
    let error = transport
        .connect_any(&[one.clone(), two.clone()], 1)
        .await
        .err()
        .expect("nobody listens")
        .to_string();
    assert!(
        error.contains(&one.to_string()) && error.contains(&two.to_string()),
        "{error}"
    );
    assert!(matches!(
        transport.connect_any(&[], 7).await,
        Err(ClientError::NoEndpoint)
    ));
}

#[tokio::test]
async fn rounds_go_on_until_one_succeeds_or_the_caller_gives_up() {
    let endpoints = [nobody("http")];
    let transport = Transport::plain(Limits::default());
    let mut rounds = 0;
    let given_up = transport.connect_until(&endpoints, 0, |_| {
        rounds += 1;
        (rounds < 3).then_some(Duration::ZERO)
    });
    assert!(matches!(given_up.await, Err(ClientError::Unreachable { .. })));
    assert_eq!(rounds, 3);
    let mut server = None;
    let port = endpoints[0].port();
    let connection = transport
        .connect_until(&endpoints, 0, |_| {
            server = Some(Server::start(
                TcpListener::bind(("127.0.0.1", port)).expect("the port"),
                None,
            ));
            Some(Duration::ZERO)
        })
        .await
        .expect("it came up");
    assert!(connection.send(Request::get("/echo")).await.is_ok());
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_with_the_cure() {
    let server = Server::tls(&Identity::new());
    let error = Identity::new()
        .transport(Limits::default())
        .connect(&server.endpoint)
        .await
        .err()
        .expect("not trusted");
    let shown = error.to_string();
    assert!(
        shown.contains("its certificate is not accepted") && shown.contains("compare the fingerprint"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_says_so_at_the_first_request() {
    let identity = Identity::new();
    let server = Server::for_nodes_only(&identity);
    let connection = identity
        .transport(Limits::default())
        .connect(&server.endpoint)
        .await
        .expect("TLS 1.3 refuses later");
    let error = timeout(GENEROUS, connection.send(Request::get("/echo")))
        .await
        .expect("not for ever")
        .expect_err("refused");
    assert!(
        error
            .to_string()
            .contains("it does not accept the certificate of this side (CertificateRequired)"),
        "{error}"
    );
}

#[tokio::test]
async fn tls_is_not_spoken_to_a_plain_port_nor_the_reverse() {
    let identity = Identity::new();
    let plain = Server::plain();
    let wrong = format!("https://localhost:{}", plain.endpoint.port())
        .parse()
        .expect("an endpoint");
    let error = identity
        .transport(Limits::default())
        .connect(&wrong)
        .await
        .err()
        .expect("no TLS there");
    assert!(
        error.to_string().contains("it does not speak TLS on this port"),
        "{error}"
    );
    for (transport, server) in [
        (Transport::plain(Limits::default()), Server::tls(&identity)),
        (identity.transport(Limits::default()), plain),
    ] {
        assert!(matches!(
            transport.connect(&server.endpoint).await,
            Err(ClientError::Unreachable { .. })
        ));
        assert_eq!(
            server.accepted(),
            usize::from(!server.endpoint.is_tls()),
            "the wrong scheme is refused before a connection"
        );
    }
}

#[tokio::test]
async fn a_handshake_that_is_not_answered_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!(
        "https://localhost:{}",
        silent.local_addr().expect("an address").port()
    )
    .parse()
    .expect("an endpoint");
    let limits = Limits {
        connect: Duration::from_millis(200),
        ..Limits::default()
    };
    let error = timeout(GENEROUS, Identity::new().transport(limits).connect(&endpoint))
        .await
        .expect("not for ever")
        .err();
    assert!(
        error
            .expect("silence")
            .to_string()
            .contains("the TLS handshake is not answered")
    );
}

#[tokio::test]
async fn the_certificate_of_the_other_side_can_be_looked_at() {
    let identity = Identity::new();
    let server = Server::tls(&identity);
    let connection = identity
        .transport(Limits::default())
        .connect(&server.endpoint)
        .await
        .expect("connected");
    assert_eq!(connection.peer_certificates(), [identity.certificate]);
}
