//! Real handshakes of the back end: who gets in, and who does not.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use muster_ids::ControlPlaneId;
use muster_pki::{
    ClientConfig, Role, ServerConfig, Subject,
    tls::{self, ControlPlanes, TlsError},
};
use rustls::{
    AlertDescription, CertificateError, Error, HandshakeKind,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};

use crate::attacker::{Reckless, reckless_client, reckless_server};
use crate::fixture::{Collective, Member, NOW_MS, at, connect, days, serial};

const HOUR: i64 = 3_600_000;

fn server(collective: &Collective) -> Arc<ServerConfig> {
    server_at(collective, NOW_MS, Arc::new(|_, _| false))
}

fn server_at(collective: &Collective, ms: i64, is_revoked: tls::IsRevoked) -> Arc<ServerConfig> {
    let credential = collective.control_plane_member().credential();
    Arc::new(
        tls::back_end_server(&credential, collective.roots(), is_revoked, at(ms)).expect("configuration"),
    )
}

fn client(collective: &Collective, member: &Member, accepted: ControlPlanes) -> Arc<ClientConfig> {
    Arc::new(
        tls::node_client(&member.credential(), collective.roots(), accepted, at(NOW_MS))
            .expect("configuration"),
    )
}

#[test]
fn a_node_and_a_control_plane_of_one_collective_meet() {
    let collective = Collective::new(1);
    let node = collective.node_member();
    let client = client(&collective, &node, ControlPlanes::Any);
    // Under any name and address: the identity is what counts.
    for name in ["10.0.0.5", "whatever.example"] {
        let connected = connect(client.clone(), server(&collective), name).expect("connected");
        assert_eq!(connected.kind, HandshakeKind::Full);
        assert_eq!(connected.alpn.as_deref(), Some(&b"h2"[..]));
        let facts = tls::peer(&connected.client_certificates).expect("a peer");
        assert_eq!(facts.id.subject, Subject::Node(collective.node));
        assert_eq!(facts.serial, serial(3));
    }
}

#[test]
fn only_a_nodes_certificate_opens_the_back_end() {
    let collective = Collective::new(1);
    let server = server(&collective);
    let strangers = [
        ("control plane", collective.control_plane_member()),
        ("policy", collective.policy_member()),
        ("receipt", collective.receipt_member()),
        ("front end", collective.front_end_member()),
    ];
    for (name, member) in strangers {
        let result = connect(
            Arc::new(reckless_client(Some(&member))),
            server.clone(),
            "a.example",
        );
        assert!(
            matches!(result, Err(Error::InvalidCertificate(_))),
            "{name}: {result:?}"
        );
    }
    let nobody = connect(Arc::new(reckless_client(None)), server.clone(), "a.example");
    assert_eq!(nobody.expect_err("refused"), Error::NoCertificatesPresented);
    let node = collective.node_member();
    assert!(connect(Arc::new(reckless_client(Some(&node))), server, "a.example").is_ok());
}

#[test]
fn only_a_control_planes_certificate_serves_a_node() {
    let collective = Collective::new(1);
    let node = client(&collective, &collective.node_member(), ControlPlanes::Any);
    let impostors = [
        ("node", collective.node_member()),
        ("policy", collective.policy_member()),
        ("receipt", collective.receipt_member()),
        ("front end", collective.front_end_member()),
    ];
    for (name, member) in impostors {
        let result = connect(node.clone(), reckless_server(&member), "muster.example");
        assert!(
            matches!(result, Err(Error::InvalidCertificate(_))),
            "{name}: {result:?}"
        );
    }
    let control_plane = collective.control_plane_member();
    assert!(connect(node, reckless_server(&control_plane), "muster.example").is_ok());
}

#[test]
fn another_collective_is_a_stranger_on_both_sides() {
    let (ours, other) = (Collective::new(1), Collective::new(2));
    let impostor = Collective::with_id(ours.id, 3);
    for stranger in [&other, &impostor] {
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let theirs = reckless_client(Some(&stranger.node_member()));
        let result = connect(Arc::new(theirs), server(&ours), "a.example");
        assert_eq!(result.expect_err("refused"), unknown);
        let ours = client(&ours, &ours.node_member(), ControlPlanes::Any);
        let result = connect(ours, server(stranger), "a.example");
        assert_eq!(result.expect_err("refused"), unknown);
    }
}

#[test]
fn a_self_signed_certificate_with_a_perfect_name_is_refused() {
    let collective = Collective::new(1);
    for (subject, usage) in [
        (
            Subject::Node(collective.node),
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        ),
        (
            Subject::ControlPlane(collective.control_plane),
            rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        ),
    ] {
        let key = muster_pki::SoftwareSigner::generate(muster_pki::KeyUse::Tls).expect("key");
        let pkcs8 = PrivatePkcs8KeyDer::from(key.to_pkcs8().expect("key").to_vec());
        let foreign = rcgen::KeyPair::try_from(&pkcs8).expect("key");
        let mut params = rcgen::CertificateParams::default();
        let id = muster_pki::SpiffeId::new(collective.id, subject).to_string();
        params.subject_alt_names = vec![rcgen::SanType::URI(id.try_into().expect("text"))];
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.serial_number = Some(vec![1].into());
        let leaf: CertificateDer<'static> = params.self_signed(&foreign).expect("certificate").into();
        // Alone, and dressed up with the collective's own intermediate.
        for chain in [vec![leaf.clone()], vec![leaf.clone(), collective.issuing.clone()]] {
            let member = Member {
                chain,
                key: muster_pki::SoftwareSigner::from_pkcs8(
                    pkcs8.secret_pkcs8_der(),
                    muster_pki::KeyUse::Tls,
                )
                .expect("key"),
            };
            let result = match subject {
                Subject::Node(_) => connect(
                    Arc::new(reckless_client(Some(&member))),
                    server(&collective),
                    "a.example",
                ),
                _ => connect(
                    client(&collective, &collective.node_member(), ControlPlanes::Any),
                    reckless_server(&member),
                    "a.example",
                ),
            };
            assert!(
                matches!(result, Err(Error::InvalidCertificate(_))),
                "{subject:?}: {result:?}"
            );
        }
    }
}

#[test]
fn an_expired_or_future_certificate_is_refused() {
    let collective = Collective::new(1);
    let node = collective.node_member();
    let refused = |ms| {
        let never = Arc::new(|_: &_, _: &_| false);
        connect(
            Arc::new(reckless_client(Some(&node))),
            server_at(&collective, ms, never),
            "a.example",
        )
        .expect_err("refused")
    };
    assert_eq!(
        refused(NOW_MS + 8 * 24 * HOUR),
        Error::InvalidCertificate(CertificateError::Expired)
    );
    assert_eq!(
        refused(NOW_MS - HOUR),
        Error::InvalidCertificate(CertificateError::NotValidYet)
    );

    let late = tls::node_client(
        &node.credential(),
        collective.roots(),
        ControlPlanes::Any,
        at(NOW_MS + 8 * 24 * HOUR),
    );
    let result = connect(
        Arc::new(late.expect("configuration")),
        server(&collective),
        "a.example",
    );
    assert_eq!(
        result.expect_err("refused"),
        Error::InvalidCertificate(CertificateError::Expired)
    );
}

#[test]
fn a_node_accepts_only_the_control_planes_that_it_was_told() {
    let collective = Collective::new(1);
    let node = collective.node_member();
    let connect_to = |accepted| {
        connect(
            client(&collective, &node, accepted),
            server(&collective),
            "a.example",
        )
    };
    let other = ControlPlaneId::new(NOW_MS, [9; 10]);
    assert!(connect_to(ControlPlanes::Only(vec![other, collective.control_plane])).is_ok());
    for accepted in [vec![other], vec![]] {
        assert_eq!(
            connect_to(ControlPlanes::Only(accepted)).expect_err("refused"),
            Error::InvalidCertificate(CertificateError::NotValidForName)
        );
    }
}

#[test]
fn revocation_holds_for_the_next_connection_and_for_one_serial_number() {
    let collective = Collective::new(1);
    let profile = collective.subject(Subject::Node(collective.node));
    let old = collective.issued(&profile, muster_pki::KeyUse::Tls, &serial(7), &days(7));
    let renewed = collective.issued(&profile, muster_pki::KeyUse::Tls, &serial(8), &days(7));
    let revoked = Arc::new(AtomicBool::new(false));
    let (asked, node) = (revoked.clone(), collective.node);
    let server = server_at(
        &collective,
        NOW_MS,
        Arc::new(move |id, number| asked.load(Ordering::SeqCst) && *id == node && *number == serial(7)),
    );
    let connect_as = |member| {
        connect(
            client(&collective, member, ControlPlanes::Any),
            server.clone(),
            "a.example",
        )
    };
    assert!(connect_as(&old).is_ok());
    revoked.store(true, Ordering::SeqCst);
    assert_eq!(
        connect_as(&old).expect_err("refused"),
        Error::InvalidCertificate(CertificateError::Revoked)
    );
    assert!(connect_as(&renewed).is_ok());
}

#[test]
fn a_client_that_would_resume_cannot_slip_past_its_revocation() {
    let collective = Collective::new(1);
    let node = collective.node_member();
    let revoked = Arc::new(AtomicBool::new(false));
    let asked = revoked.clone();
    let server = server_at(
        &collective,
        NOW_MS,
        Arc::new(move |_, _| asked.load(Ordering::SeqCst)),
    );
    // The default client configuration keeps tickets; the server gives none.
    let eager = Arc::new(reckless_client(Some(&node)));
    for _ in 0..3 {
        let connected = connect(eager.clone(), server.clone(), "a.example").expect("connected");
        assert_eq!(connected.kind, HandshakeKind::Full);
    }
    revoked.store(true, Ordering::SeqCst);
    assert_eq!(
        connect(eager, server, "a.example").expect_err("refused"),
        Error::InvalidCertificate(CertificateError::Revoked)
    );
}

#[test]
fn our_client_does_not_resume_even_where_a_server_offers_it() {
    let collective = Collective::new(1);
    let client = client(&collective, &collective.node_member(), ControlPlanes::Any);
    let generous = reckless_server(&collective.control_plane_member());
    for _ in 0..3 {
        let connected = connect(client.clone(), generous.clone(), "a.example").expect("connected");
        assert_eq!(connected.kind, HandshakeKind::Full);
    }
}

#[test]
fn the_back_end_speaks_neither_tls_1_2_nor_http_1() {
    let collective = Collective::new(1);
    let old = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Reckless))
        .with_no_client_auth();
    let result = connect(Arc::new(old), server(&collective), "a.example");
    assert!(matches!(result, Err(Error::PeerIncompatible(_))), "{result:?}");

    let mut http1 = reckless_client(Some(&collective.node_member()));
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    let result = connect(Arc::new(http1), server(&collective), "a.example");
    assert_eq!(result.expect_err("refused"), Error::NoApplicationProtocol);
}

#[test]
fn a_credential_must_fit_its_key_and_its_side() {
    let collective = Collective::new(1);
    let (node, control_plane) = (collective.node_member(), collective.control_plane_member());
    assert!(matches!(
        tls::Credential::new(node.chain.clone(), &control_plane.key),
        Err(TlsError::Credential(_))
    ));
    assert!(matches!(
        tls::back_end_server(
            &node.credential(),
            collective.roots(),
            Arc::new(|_, _| false),
            at(NOW_MS)
        ),
        Err(TlsError::Role {
            expected: Role::ControlPlane,
            ..
        })
    ));
    assert!(matches!(
        tls::node_client(
            &control_plane.credential(),
            collective.roots(),
            ControlPlanes::Any,
            at(NOW_MS)
        ),
        Err(TlsError::Role {
            expected: Role::Node,
            ..
        })
    ));
}

#[test]
fn a_stolen_certificate_is_of_no_use_without_its_key() {
    // The handshake is signed with another key than the certificate's.
    let collective = Collective::new(1);
    let victim = collective.node_member();
    let thief = muster_pki::SoftwareSigner::generate(muster_pki::KeyUse::Tls).expect("key");
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(thief.to_pkcs8().expect("key").to_vec()));
    let key = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&der).expect("key");
    let mut config = reckless_client(Some(&victim));
    let stolen = rustls::sign::CertifiedKey::new(victim.chain.clone(), key);
    config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(stolen));
    let result = connect(Arc::new(config), server(&collective), "a.example");
    assert_eq!(
        result.expect_err("refused"),
        Error::InvalidCertificate(CertificateError::BadSignature)
    );
}

#[test]
fn the_refused_side_is_told_why() {
    // The server's view above; here the client's: it gets an alert, not silence.
    let collective = Collective::new(1);
    let server = server_at(&collective, NOW_MS, Arc::new(|_, _| true));
    let member = collective.node_member();
    let mut client = rustls::ClientConnection::new(
        client(&collective, &member, ControlPlanes::Any),
        ServerName::try_from("a.example").expect("name"),
    )
    .expect("client");
    let mut server = rustls::ServerConnection::new(server).expect("server");
    let mut refused = None;
    for _ in 0..4 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory");
        }
        server.read_tls(&mut wire.as_slice()).expect("memory");
        let _ = server.process_new_packets();
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("memory");
        }
        client.read_tls(&mut wire.as_slice()).expect("memory");
        refused = refused.or(client.process_new_packets().err());
    }
    assert_eq!(
        refused,
        Some(Error::AlertReceived(AlertDescription::CertificateRevoked))
    );
}
