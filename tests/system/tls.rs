//! Who may speak on the back end, and who may pose as one.

use std::time::Duration;

use muster_client::ClientError;
use muster_daemon::Random;
use muster_ids::NodeId;
use muster_pki::{Subject, Validity};
use muster_tests::{Applicant, Server, problem, unique};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::attacker::{asks_back_end, client, connects, forged, refused_in_tls, tls_key};

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
async fn a_certificate_that_was_never_recorded_is_refused() {
    let server = Server::shared();
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let validity = Validity::starting(muster_tests::now(), Duration::from_hours(24));
    let unknown = NodeId::new(muster_tests::now(), Random::system().bytes());
    // To the control plane it is one that was issued after the backup that was put back.
    for subject in [Subject::Node(member.id()), Subject::Node(unknown)] {
        let chain = forged(server, subject, member.key(), &validity).await;
        let said = problem(asks_back_end(server.back_end(), Some((chain, tls_key(member.key())))).await);
        assert_eq!(said.status, 403);
        assert!(
            said.detail.contains("does not know the certificate"),
            "{}",
            said.detail
        );
    }
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
