//! Who may speak on the back end, and who may pose as one.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use muster_client::ClientError;
use muster_daemon::Random;
use muster_ids::{ControlPlaneId, NodeId};
use muster_pki::{
    CertificateDer, KeyUse, Profile, Serial, Signer as _, SoftwareSigner, SpiffeId, Subject, Validity, issue,
};
use muster_tests::{Applicant, Member, Server, problem, unique};
use rustls::{
    HandshakeKind, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::attacker::{asks_back_end, client, connects, tls_key};

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_let_in() {
    let server = Server::shared();
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    asks_back_end(server.back_end(), Some((member.chain(), tls_key(member.key()))))
        .await
        .expect("the same client that is refused below with other certificates");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_speaks_without_a_certificate() {
    refused_in_tls(asks_back_end(Server::shared().back_end(), None).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_certificate_is_refused() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["node".to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let shown = Some((vec![certificate.der().clone()], key));
    refused_in_tls(asks_back_end(Server::shared().back_end(), shown).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_collective_is_refused() {
    let stranger = Server::private();
    let member = Applicant::new("terr01").await.join(&stranger).await;
    let shown = Some((member.chain(), tls_key(member.key())));
    refused_in_tls(asks_back_end(Server::shared().back_end(), shown).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_refused() {
    let server = Server::shared();
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let week = 7 * 24 * 3600 * 1000;
    let validity = Validity::starting(muster_tests::now() - week, Duration::from_hours(24));
    let chain = forged(server, Subject::Node(member.id()), member.key(), &validity).await;
    refused_in_tls(asks_back_end(server.back_end(), Some((chain, tls_key(member.key())))).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_was_never_recorded_is_refused() {
    let server = Server::shared();
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let validity = Validity::starting(muster_tests::now(), Duration::from_hours(24));
    let unknown = NodeId::new(muster_tests::now(), Random::system().bytes());
    for subject in [Subject::Node(member.id()), Subject::Node(unknown)] {
        let chain = forged(server, subject, member.key(), &validity).await;
        let said = problem(asks_back_end(server.back_end(), Some((chain, tls_key(member.key())))).await);
        assert_eq!(said.status, 403);
        assert!(said.detail.contains("not trusted"), "{}", said.detail);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_for_other_purposes_do_not_open_the_back_end() {
    let server = Server::shared();
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let receipts = member.receipt_signer(&member.connect().await).await;
    let policy = server.key("policy.key", KeyUse::Policy);
    let issuing = server.key("issuing.key", KeyUse::Authority);
    let front_end = server.key("front-end.key", KeyUse::Tls);
    let validity = Validity::starting(muster_tests::now(), Duration::from_hours(24));
    let id = ControlPlaneId::new(muster_tests::now(), Random::system().bytes());
    let control_plane = forged(server, Subject::ControlPlane(id), member.key(), &validity).await;
    let others = [
        ("policy", server.certificates("policy.pem"), tls_key(&policy)),
        ("receipt", receipts.chain.clone(), tls_key(&receipts.key)),
        (
            "front end",
            server.certificates("front-end.pem"),
            tls_key(&front_end),
        ),
        ("control plane", control_plane, tls_key(member.key())),
        (
            "intermediate",
            server.certificates("issuing.pem"),
            tls_key(&issuing),
        ),
    ];
    for (what, chain, key) in others {
        let refused = asks_back_end(server.back_end(), Some((chain, key))).await;
        let error = refused.expect_err(what);
        assert!(
            error.problem().is_none(),
            "a {what} certificate passed TLS: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_talk_to_a_server_with_a_nodes_certificate() {
    let server = Server::shared();
    let (member, thief) = (
        Applicant::new(&unique("terr")).await.join(server).await,
        Applicant::new(&unique("terr")).await.join(server).await,
    );
    let policy = server.key("policy.key", KeyUse::Policy);
    let front_end = server.key("front-end.key", KeyUse::Tls);
    let stranger = Server::private();
    let others = [
        ("a node", thief.chain(), tls_key(thief.key())),
        (
            "a policy key",
            server.certificates("policy.pem"),
            tls_key(&policy),
        ),
        (
            "a front end",
            server.certificates("front-end.pem"),
            tls_key(&front_end),
        ),
    ];
    for (what, chain, key) in others {
        let address = poses_as_back_end(chain, key).await;
        refused_by_node(&member, address, what).await;
    }
    refused_by_node(&member, stranger.back_end(), "another collective's back end").await;
    refused_by_node(&member, server.front_end(), "the front end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_back_end_speaks_tls_1_3_only() {
    let server = Server::shared();
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let shown = || Some((member.chain(), tls_key(member.key())));
    let old = connects(server.back_end(), client(&[&TLS12], shown())).await;
    assert!(
        matches!(old, Err(ClientError::Unreachable { .. })),
        "TLS 1.2 was accepted"
    );
    connects(server.back_end(), client(&[&TLS12, &TLS13], shown()))
        .await
        .expect("a client that can do both");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_ever_resumed() {
    let server = Server::shared();
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let back_end = client(&[&TLS13], Some((member.chain(), tls_key(member.key()))));
    let front_end = client(&[&TLS13], None);
    let old_front_end = client(&[&TLS12], None);
    let listeners = [
        (server.back_end(), back_end, "h2"),
        (server.front_end(), front_end, "http/1.1"),
        (server.front_end(), old_front_end, "http/1.1"),
    ];
    for (address, mut config, alpn) in listeners {
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        // All handshakes share the sessions that this client remembers.
        let config = Arc::new(config);
        for n in 0..3 {
            let kind = handshake(address, config.clone()).await;
            assert_eq!(kind, HandshakeKind::Full, "the {n}. handshake with {address}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_on_a_tls_port_is_not_answered() {
    let server = Server::shared();
    for address in [server.back_end(), server.front_end()] {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
        stream
            .write_all(b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .expect("sent");
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said).await;
        assert!(!said.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&said));
    }
}

/// Talks long enough that a server would have sent its tickets.
async fn handshake(address: SocketAddr, config: Arc<rustls::ClientConfig>) -> HandshakeKind {
    let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    let name = ServerName::try_from("localhost").expect("a name");
    let http2 = config.alpn_protocols == [b"h2".to_vec()];
    let mut tls = tokio_rustls::TlsConnector::from(config)
        .connect(name, stream)
        .await
        .expect("a handshake");
    let hello: &[u8] = if http2 {
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"
    } else {
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    };
    tls.write_all(hello).await.expect("sent");
    let mut byte = [0];
    tls.read_exact(&mut byte).await.expect("an answer");
    tls.get_ref().1.handshake_kind().expect("a finished handshake")
}

/// A certificate that the stolen key of the control plane's authority signs.
async fn forged(
    server: &Server,
    subject: Subject,
    key: &SoftwareSigner,
    validity: &Validity,
) -> Vec<CertificateDer<'static>> {
    let intermediate = server.certificates("issuing.pem").remove(0);
    let id = SpiffeId::new(server.roots().collective(), subject);
    let leaf = issue(
        &Profile::Identity(id),
        key.public_key(),
        &intermediate,
        &server.key("issuing.key", KeyUse::Authority),
        &Serial::from_random(Random::system().bytes()),
        validity,
    )
    .await
    .expect("issued");
    vec![leaf, intermediate]
}

/// A TLS server with this certificate that takes connections until the test ends.
async fn poses_as_back_end(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> SocketAddr {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a key for the certificate");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    address
}

async fn refused_by_node(member: &Member, address: SocketAddr, what: &str) {
    let endpoint = format!("https://{address}").parse().expect("an endpoint");
    let error = match member.transport().connect(&endpoint).await {
        Ok(_) => panic!("a node took {what} for its control plane"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("certificate"), "{what}: {error}");
}

/// TLS itself said no: there was no answer over HTTP.
fn refused_in_tls(result: Result<(), ClientError>) {
    let error = result.expect_err("this must be refused");
    assert!(error.problem().is_none(), "it passed TLS: {error}");
    let said = error.to_string();
    // The server's last word can be overtaken by the end of the connection.
    assert!(
        said.contains("does not accept the certificate of this side") || said.contains("was cut"),
        "{said}"
    );
}
