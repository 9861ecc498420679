//! Handshakes of the front end: CA file, fingerprint, and the first look.

use std::sync::Arc;

use muster_ids::Digest;
use muster_pki::{
    ClientConfig, ServerConfig,
    tls::{self, FrontEndTrust, TlsError},
};
use rustls::{CertificateError, Error, HandshakeKind};

use crate::{
    fixture::{Collective, Member, NOW_MS, at, connect},
    rotation::cross_root,
};

const WEEK: i64 = 7 * 86_400_000;

fn server(member: &Member) -> Arc<ServerConfig> {
    Arc::new(tls::front_end_server(&member.credential(), at(NOW_MS)).expect("configuration"))
}

fn client(trust: FrontEndTrust) -> Arc<ClientConfig> {
    Arc::new(tls::front_end_client(trust, at(NOW_MS)).expect("configuration"))
}

/// As the product serves it: with the root, so that a client can pin that.
fn with_root(collective: &Collective) -> Member {
    let mut member = collective.front_end_member();
    member.chain.push(collective.root.clone());
    member
}

#[test]
fn a_ca_file_is_trusted_for_the_names_of_the_certificate() {
    let collective = Collective::new(1);
    let server = server(&collective.front_end_member());
    let client = client(FrontEndTrust::Authorities(vec![collective.root.clone()]));
    for name in ["muster.example", "192.0.2.7"] {
        let connected = connect(client.clone(), server.clone(), name).expect("connected");
        assert_eq!(
            (connected.kind, connected.alpn.as_deref()),
            (HandshakeKind::Full, Some(&b"h2"[..]))
        );
    }
    for name in ["other.example", "192.0.2.8"] {
        assert!(connect(client.clone(), server.clone(), name).is_err(), "{name}");
    }
    let stranger = Collective::new(2);
    let client = self::client(FrontEndTrust::Authorities(vec![stranger.root]));
    assert!(connect(client, server, "muster.example").is_err());
}

#[test]
fn a_fingerprint_of_the_certificate_or_of_its_authority_is_enough() {
    let collective = Collective::new(1);
    let member = with_root(&collective);
    let server = server(&member);
    let pinned = |certificate: &[u8]| client(FrontEndTrust::Fingerprints(vec![Digest::of(certificate)]));

    assert!(connect(pinned(&member.chain[0]), server.clone(), "any.example").is_ok());
    assert!(connect(pinned(&collective.root), server.clone(), "muster.example").is_ok());
    assert!(
        connect(pinned(&collective.root), server.clone(), "any.example").is_err(),
        "the name counts"
    );
    assert_eq!(
        connect(pinned(b"other"), server, "muster.example").expect_err("refused"),
        Error::InvalidCertificate(CertificateError::UnknownIssuer)
    );
}

#[test]
fn sending_a_pinned_root_along_proves_nothing() {
    let (ours, impostor) = (Collective::new(1), Collective::new(2));
    let mut member = impostor.front_end_member();
    member.chain.push(ours.root.clone());
    let client = client(FrontEndTrust::Fingerprints(ours.roots().fingerprints()));
    let result = connect(client, server(&member), "muster.example");
    assert!(matches!(result, Err(Error::InvalidCertificate(_))), "{result:?}");
}

#[test]
fn a_pinned_root_vouches_for_the_roots_that_followed_it() {
    let first = Collective::new(1);
    let later: Vec<Collective> = (2..=4).map(|seed| Collective::with_id(first.id, seed)).collect();
    let [second, third, last] = &later[..] else {
        unreachable!("three")
    };
    let cross = |older: &Collective, newer: &Collective| [cross_root(older, newer), older.root.clone()];
    let shown = |crosses: &[[_; 2]], by: &Collective| {
        let mut member = by.front_end_member();
        member.chain.extend(crosses.iter().flatten().cloned());
        member.chain.push(by.root.clone());
        server(&member)
    };
    let pinned = |root: &Collective| client(FrontEndTrust::Fingerprints(root.roots().fingerprints()));
    let connects = |pin: &Collective, server| connect(pinned(pin), server, "muster.example").is_ok();
    let all = [cross(third, last), cross(second, third), cross(&first, second)];
    for pin in [&first, second, third, last] {
        assert!(connects(pin, shown(&all, last)));
    }
    for missing in 0..all.len() {
        let mut crosses = all.to_vec();
        crosses.remove(missing);
        assert!(!connects(&first, shown(&crosses, last)), "without {missing}");
    }
    // The pinned root, which is public, beside somebody's own under the name of the same collective.
    let impostor = Collective::with_id(first.id, 9);
    let mut crosses = all.to_vec();
    crosses.push([cross_root(&impostor, last), impostor.root.clone()]);
    crosses.push([cross_root(&impostor, &first), first.root.clone()]);
    for pin in [&first, last] {
        assert!(!connects(pin, shown(&crosses, &impostor)));
    }
}

#[test]
fn a_pinned_certificate_still_expires() {
    let member = Collective::new(1).front_end_member();
    let pin = FrontEndTrust::Fingerprints(vec![Digest::of(&member.chain[0])]);
    for (ms, error) in [
        (NOW_MS + WEEK + 1000, CertificateError::Expired),
        (NOW_MS - 86_400_000, CertificateError::NotValidYet),
    ] {
        let client = tls::front_end_client(pin.clone(), at(ms)).expect("configuration");
        let result = connect(Arc::new(client), server(&member), "muster.example");
        assert_eq!(result.expect_err("refused"), Error::InvalidCertificate(error));
    }
}

#[test]
fn a_first_look_shows_the_fingerprint_and_sends_nothing() {
    let member = with_root(&Collective::new(1));
    let (probe, recorder) = tls::front_end_probe(at(NOW_MS)).expect("configuration");
    assert_eq!(recorder.fingerprint(), None);
    assert!(connect(Arc::new(probe), server(&member), "any.example").is_err());
    assert_eq!(recorder.chain(), member.chain);
    let fingerprint = recorder.fingerprint().expect("seen");
    assert_eq!(fingerprint, Digest::of(&member.chain[0]));
    assert!(
        connect(
            client(FrontEndTrust::Fingerprints(vec![fingerprint])),
            server(&member),
            "a.example"
        )
        .is_ok()
    );
}

#[test]
fn a_client_that_trusts_nothing_is_not_made() {
    for trust in [
        FrontEndTrust::Authorities(vec![]),
        FrontEndTrust::Fingerprints(vec![]),
    ] {
        assert!(matches!(
            tls::front_end_client(trust, at(NOW_MS)),
            Err(TlsError::NothingTrusted)
        ));
    }
    let garbage = FrontEndTrust::Authorities(vec![b"garbage".to_vec().into()]);
    assert!(matches!(
        tls::front_end_client(garbage, at(NOW_MS)),
        Err(TlsError::Trusted(_))
    ));
}

#[test]
fn an_administrators_own_files_serve_over_tls_1_2_too() {
    // A self-made certificate on P-384, as an administrator's CA might give.
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("key");
    let params = rcgen::CertificateParams::new(vec!["own.example".to_owned()]).expect("names");
    let certificate: muster_pki::CertificateDer<'static> =
        params.self_signed(&key).expect("certificate").into();
    let pem = muster_pki::pem::write_certificates([&certificate])
        + &muster_pki::pem::write_private_key(key.serialized_der());
    let chain = muster_pki::pem::certificates(pem.as_bytes()).expect("certificates");
    let key = muster_pki::pem::private_key(pem.as_bytes()).expect("key");
    let credential = tls::Credential::from_files(chain, &key).expect("credential");
    let server = Arc::new(tls::front_end_server(&credential, at(NOW_MS)).expect("configuration"));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).expect("root");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots.clone()),
            provider.clone(),
        )
        .build()
        .expect("verifier");
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("versions")
            .with_webpki_verifier(verifier)
            .with_no_client_auth();
        let client = Arc::new(client);
        for _ in 0..2 {
            let connected = connect(client.clone(), server.clone(), "own.example").expect("connected");
            assert_eq!(connected.kind, HandshakeKind::Full, "never resumed");
        }
    }
    let pin = FrontEndTrust::Fingerprints(vec![Digest::of(&certificate)]);
    assert!(connect(client(pin), server, "x.example").is_ok());
}
