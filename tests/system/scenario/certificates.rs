//! Certificates in wrong hands or wrong shapes, and certificates that no longer count.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use muster_client::{ClientError, Request};
use muster_daemon::Random;
use muster_ids::ControlPlaneId;
use muster_pki::{CertificateDer, KeyUse, SpiffeId, Subject, Validity};
use muster_tests::{Applicant, Member, RealNode, Server, challenge, member::next, problem, unique, within};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::{
    HandshakeKind, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    attacker::{asks_back_end, client, connects, forged, refused_in_tls, tls_key},
    real_node::{PATIENCE, is_running},
};

/// Cutting takes milliseconds and must take less than a second; this is for a machine that does much else.
const CUT: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn join_29_a_nodes_certificate_makes_no_server_no_peer_and_no_administrator() {
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
    // Nor does it make anybody who may ask the front end.
    let shown = Some((member.chain(), tls_key(member.key())));
    let mut config = client(&[&TLS13], shown);
    config.alpn_protocols.clear();
    let front_end = connects(server.front_end(), config)
        .await
        .expect("the front end asks nobody");
    let said = problem(front_end.send(Request::get("/api/v1/nodes")).await);
    assert_eq!(said.status, 401, "{}", said.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn join_30_certificates_for_other_purposes_do_not_open_the_back_end() {
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
async fn join_31_a_certificate_that_is_not_exactly_a_nodes_is_refused() {
    let server = Server::shared();
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let stranger = Server::private();
    let other = Applicant::new(member.name()).await.join(&stranger).await;
    let week = 7 * 24 * 3600 * 1000;
    let day = Duration::from_hours(24);
    let me = Subject::Node(member.id());
    let key = member.key();
    let past = Validity::starting(muster_tests::now() - week, day);
    let future = Validity::starting(muster_tests::now() + week, day);
    let spiffe = SpiffeId::new(server.roots().collective(), me).to_string();
    let own_key = KeyPair::try_from(key.to_pkcs8().expect("a key").as_slice()).expect("a key");
    let issuing = server.certificates("issuing.pem").remove(0);
    let issuing_key = server.key("issuing.key", KeyUse::Authority);
    let issuing_key = KeyPair::try_from(issuing_key.to_pkcs8().expect("a key").as_slice()).expect("a key");
    // The right shape, and what each case bends.
    let plain = || {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(spiffe.as_str().try_into().expect("text"))];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(Random::system().bytes::<16>().to_vec().into());
        params
    };
    let signed = |params: &CertificateParams| {
        let issuer = Issuer::from_ca_cert_der(&issuing, &issuing_key).expect("an authority");
        let leaf = params.signed_by(&own_key, &issuer).expect("signed");
        vec![leaf.der().clone(), issuing.clone()]
    };
    let bent = |bend: &dyn Fn(&mut CertificateParams)| {
        let mut params = plain();
        bend(&mut params);
        signed(&params)
    };
    let unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
    let critical = {
        let mut unknown = unknown.clone();
        unknown.set_criticality(true);
        unknown
    };
    let self_signed = plain().self_signed(&own_key).expect("signed");
    // A node that signs with its own certificate as if it were an authority.
    let by_a_node = {
        let mut authority = plain();
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = Issuer::from_params(&authority, &own_key);
        let leaf = plain().signed_by(&own_key, &issuer).expect("signed");
        vec![leaf.der().clone(), member.chain().remove(0)]
    };
    let leaf_alone = vec![member.chain().remove(0)];
    let cases = [
        ("expired", forged(server, me, key, &past).await, tls_key(key)),
        (
            "not yet valid",
            forged(server, me, key, &future).await,
            tls_key(key),
        ),
        ("of another collective", other.chain(), tls_key(other.key())),
        (
            "of the same subject under another authority",
            forged(&stranger, me, key, &Validity::starting(muster_tests::now(), day)).await,
            tls_key(key),
        ),
        ("self-signed", vec![self_signed.der().clone()], tls_key(key)),
        ("signed by a node", by_a_node, tls_key(key)),
        ("without its intermediate", leaf_alone, tls_key(key)),
        (
            "without its usage",
            bent(&|params| params.extended_key_usages.clear()),
            tls_key(key),
        ),
        (
            "for a server too",
            bent(&|params| {
                params
                    .extended_key_usages
                    .push(ExtendedKeyUsagePurpose::ServerAuth);
            }),
            tls_key(key),
        ),
        (
            "with a second name",
            bent(&|params| {
                params
                    .subject_alt_names
                    .push(SanType::DnsName("*.example".try_into().expect("text")));
            }),
            tls_key(key),
        ),
        (
            "with an unknown critical extension",
            bent(&|params| params.custom_extensions = vec![critical.clone()]),
            tls_key(key),
        ),
    ];
    for (what, chain, key) in cases {
        let refused = asks_back_end(server.back_end(), Some((chain, key))).await;
        let error = refused.expect_err(what);
        assert!(
            error.problem().is_none(),
            "a certificate {what} passed TLS: {error}"
        );
        refused_in_tls(Err(error));
    }
    // Of the right shape it passes TLS, and is refused because nobody issued it.
    for chain in [
        bent(&|_| ()),
        bent(&|params| params.custom_extensions = vec![unknown.clone()]),
    ] {
        let said = problem(asks_back_end(server.back_end(), Some((chain, tls_key(key)))).await);
        assert_eq!(said.status, 403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn join_36_untrust_cuts_every_connection_of_the_node_and_refuses_new_ones() {
    let server = Server::shared();
    let admin = server.admin().await;
    let (member, other) = (
        Applicant::new(&unique("terr")).await.join(server).await,
        Applicant::new(&unique("terr")).await.join(server).await,
    );
    let (control, payload, others) = (
        member.connect().await,
        member.connect().await,
        other.connect().await,
    );
    let mut lines = member.control(&control, &challenge()).await;
    next(&mut lines).await;
    member.trust_state(&payload, None).await;
    let mut other_lines = other.control(&others, &challenge()).await;
    next(&mut other_lines).await;

    let reason = json!({ "reason": "stolen" });
    admin
        .tell(&["nodes", member.name(), "untrust"], &reason)
        .await
        .expect("untrusted");
    tokio::time::timeout(CUT, async {
        control.closed().await;
        payload.closed().await;
    })
    .await
    .expect("both connections are cut");
    while let Ok(Some(_)) = lines.next().await {}
    assert!(!others.is_closed(), "the other node is not touched");
    other.trust_state(&others, None).await;

    let refused = speaks(&member).await.expect_err("the node lost its right");
    assert!(
        refused.problem().is_none_or(|problem| problem.status == 403),
        "{refused}"
    );
    // The list that every handshake asks follows within a moment.
    within(CUT, "handshakes are refused", async || {
        let error = speaks(&member).await.expect_err("the node lost its right");
        error.problem().is_none().then_some(())
    })
    .await;
    let shown: Value = admin.show(&["nodes", member.name()]).await;
    assert_eq!(shown["trust"], "revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn join_38_the_work_of_a_node_that_is_untrusted_is_killed_on_the_node() {
    let server = Server::shared();
    let (admin, author) = (server.admin().await, server.author().await);
    let pool = server.pool().await;
    let scope = format!("pool:{pool}");
    admin.set("terr.restricted.execution.mode", &scope, "false").await;
    let node = RealNode::start(server, &pool).await;
    let mark = unique("untrusted");
    let script = format!("system('sleep 1000 # {mark}'); y <- 1");
    let definition = json!({ "name": unique("long"), "language": "terr", "script": script });
    let function = author.register_definition(&definition).await;
    author.trust(&function).await;
    let run = author.run(&function, &json!({ "pool": pool })).await;
    within(PATIENCE, "the script's own process runs", async || {
        is_running(&mark).then_some(())
    })
    .await;
    admin
        .tell(&["nodes", node.name(), "untrust"], &json!({}))
        .await
        .expect("untrusted");
    within(CUT, "the whole tree is gone", async || {
        (!is_running(&mark)).then_some(())
    })
    .await;
    assert_eq!(author.run_now(run.id).await.state, "lost");
    within(CUT, "the node says that it is revoked", async || {
        node.command("status").1.contains("revoked").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn join_37_no_session_is_ever_resumed_not_even_after_a_revocation() {
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
    // Whoever was revoked has no session to go back to.
    let mut config = client(&[&TLS13], Some((member.chain(), tls_key(member.key()))));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    assert_eq!(
        handshake(server.back_end(), config.clone()).await,
        HandshakeKind::Full
    );
    server
        .admin()
        .await
        .tell(&["nodes", member.name(), "untrust"], &json!({}))
        .await
        .expect("untrusted");
    within(CUT, "handshakes are refused", async || {
        try_handshake(server.back_end(), config.clone())
            .await
            .is_none()
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_a_node_that_is_untrusted_or_leaves_are_lost_at_once() {
    let server = Server::shared();
    let admin = server.admin().await;
    let author = server.author().await;
    let function = author.register(&unique("f"), "terr", "1").await;
    for leaves in [false, true] {
        let pool = server.pool().await;
        let member = Applicant::new(&unique("terr"))
            .await
            .in_pool(&pool)
            .join(server)
            .await;
        let run = author.run(&function, &json!({ "pool": pool })).await;
        let connection = member.connect().await;
        let claimed = member.claim(&connection).await.expect("a run");
        assert_eq!(claimed.grant.run, run.id);
        let signer = member.receipt_signer(&connection).await;
        let outcome = member.outcome(&claimed, &signer, "succeeded").await;
        if leaves {
            member.leave(&connection).await.expect("left");
        } else {
            admin
                .tell(&["nodes", member.name(), "untrust"], &json!({}))
                .await
                .expect("untrusted");
        }
        let run = author.run_now(run.id).await;
        assert_eq!(run.state, "lost", "leaves: {leaves}");
        let ended = admin.audited("run.ended").await;
        let subject = run.id.to_string();
        let mine = ended
            .iter()
            .find(|row| row["subject"] == subject.as_str())
            .expect("audited");
        assert_eq!(mine["detail"]["state"], "lost");
        let fresh = member.try_connect().await;
        if let Ok(connection) = fresh {
            member
                .report(&connection, run.id, &outcome)
                .await
                .expect_err("an untrusted node reports nothing");
        }
        assert_eq!(author.run_now(run.id).await.state, "lost");
    }
}

/// Talks long enough that a server would have sent its tickets.
async fn handshake(address: SocketAddr, config: Arc<rustls::ClientConfig>) -> HandshakeKind {
    try_handshake(address, config)
        .await
        .expect("a handshake and an answer")
}

/// As [`handshake`]; `None` when the server refuses.
async fn try_handshake(address: SocketAddr, config: Arc<rustls::ClientConfig>) -> Option<HandshakeKind> {
    let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    let name = ServerName::try_from("localhost").expect("a name");
    let http2 = config.alpn_protocols == [b"h2".to_vec()];
    let mut tls = tokio_rustls::TlsConnector::from(config)
        .connect(name, stream)
        .await
        .ok()?;
    let hello: &[u8] = if http2 {
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"
    } else {
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    };
    tls.write_all(hello).await.ok()?;
    let mut byte = [0];
    tls.read_exact(&mut byte).await.ok()?;
    tls.get_ref().1.handshake_kind()
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

async fn speaks(member: &Member) -> Result<(), ClientError> {
    let connection = member.try_connect().await?;
    member.heartbeat(&connection, &[]).await.map(drop)
}
