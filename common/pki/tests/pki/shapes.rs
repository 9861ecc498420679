//! Certificates that our profiles never give, made with the library alone by someone who holds a key of the
//! collective: the verifier refuses what is not of the exact shape.

use muster_ids::CollectiveId;
use muster_pki::{
    CertificateDer, Facts, FactsError, Role, Roots, RootsError, SoftwareSigner, SpiffeId, Subject,
    VerifyError,
};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SanType,
};

use crate::fixture::{Collective, NOW_MS};

/// A policy certificate as the profile gives it, to be bent by each test.
fn policy(collective: CollectiveId, ours: &Collective) -> CertificateParams {
    let id = SpiffeId::new(collective, Subject::Policy(ours.control_plane));
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![uri(&id.to_string())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 36])];
    params.serial_number = Some(vec![1].into());
    params
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("text"))
}

fn pair(key: &SoftwareSigner) -> KeyPair {
    KeyPair::try_from(key.to_pkcs8().expect("key").as_slice()).expect("key")
}

fn signed(params: &CertificateParams, issuer: &CertificateDer<'_>, key: &KeyPair) -> CertificateDer<'static> {
    let subject = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
    let issuer = Issuer::from_ca_cert_der(issuer, key).expect("issuer");
    params.signed_by(&subject, &issuer).expect("signed").into()
}

#[test]
fn only_the_exact_shape_is_accepted() {
    let ours = Collective::new(1);
    let verify = |bend: fn(&mut CertificateParams)| {
        let mut params = policy(ours.id, &ours);
        bend(&mut params);
        let leaf = signed(&params, &ours.issuing, &pair(&ours.issuing_key));
        ours.roots()
            .verify(&[leaf, ours.issuing.clone()], Role::Policy, NOW_MS)
    };
    let usage = Err(VerifyError::Leaf(FactsError::Usage { role: Role::Policy }));
    assert!(verify(|_| ()).is_ok(), "unbent, it is accepted");
    assert_eq!(verify(|p| p.extended_key_usages.clear()), usage);
    assert_eq!(
        verify(|p| p.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth)),
        usage
    );
    assert_eq!(
        verify(|p| p.extended_key_usages.push(ExtendedKeyUsagePurpose::Any)),
        usage
    );
    assert_eq!(verify(|p| p.key_usages.clear()), usage);
    assert_eq!(verify(|p| p.key_usages.push(KeyUsagePurpose::KeyCertSign)), usage);
    assert!(verify(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]).is_err());
    assert!(verify(|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))).is_err());
    assert!(verify(|p| p.serial_number = Some(vec![1; 17].into())).is_err());
}

#[test]
fn a_certificate_of_an_identity_has_exactly_one_name() {
    let ours = Collective::new(1);
    let id = SpiffeId::new(ours.id, Subject::Policy(ours.control_plane)).to_string();
    let other = SpiffeId::new(ours.id, Subject::Receipt(ours.node)).to_string();
    let dns = SanType::DnsName("a.example".try_into().expect("text"));
    let facts = |names: Vec<SanType>| {
        let mut params = policy(ours.id, &ours);
        params.subject_alt_names = names;
        Facts::of(&signed(&params, &ours.issuing, &pair(&ours.issuing_key)))
    };
    assert!(facts(vec![uri(&id)]).is_ok());
    for names in [
        vec![],
        vec![dns.clone()],
        vec![uri(&id), dns],
        vec![uri(&id), uri(&other)],
        vec![uri(&id), uri(&id)],
        vec![uri(&id.to_uppercase())],
        vec![uri("https://example")],
    ] {
        assert!(facts(names.clone()).is_err(), "{names:?}");
    }
    assert_eq!(Facts::of(b""), Err(FactsError::Unreadable));
}

#[test]
fn a_member_of_another_collective_is_refused_under_our_own_root() {
    let ours = Collective::new(1);
    let other = CollectiveId::new(NOW_MS, [9; 10]);
    let leaf = signed(&policy(other, &ours), &ours.issuing, &pair(&ours.issuing_key));
    assert_eq!(
        ours.roots()
            .verify(&[leaf, ours.issuing.clone()], Role::Policy, NOW_MS),
        Err(VerifyError::Collective {
            expected: ours.id,
            found: other
        })
    );
}

#[test]
fn a_leaf_under_the_root_itself_is_refused() {
    let ours = Collective::new(1);
    let leaf = signed(&policy(ours.id, &ours), &ours.root, &pair(&ours.root_key));
    for second in [&ours.issuing, &ours.root] {
        let result = ours
            .roots()
            .verify(&[leaf.clone(), second.clone()], Role::Policy, NOW_MS);
        assert_eq!(result, Err(VerifyError::Length(1)));
    }
}

#[test]
fn a_root_may_sign_intermediates_and_has_a_limit() {
    let ours = Collective::new(1);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
    let roots = |constraints| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(constraints);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.subject_alt_names = vec![uri(&format!("spiffe://{}", ours.id))];
        Roots::new(vec![params.self_signed(&key).expect("certificate").into()]).map(|_| ())
    };
    assert_eq!(roots(BasicConstraints::Constrained(1)), Ok(()));
    assert_eq!(roots(BasicConstraints::Constrained(0)), Err(RootsError::NotRoot));
    assert_eq!(roots(BasicConstraints::Constrained(2)), Err(RootsError::NotRoot));
    assert!(matches!(
        roots(BasicConstraints::Unconstrained),
        Err(RootsError::Authority(_))
    ));
}

#[test]
fn keys_on_other_curves_are_refused() {
    let ours = Collective::new(1);
    let subject = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("key");
    let issuer = Issuer::from_ca_cert_der(&ours.issuing, pair(&ours.issuing_key)).expect("issuer");
    let leaf = policy(ours.id, &ours)
        .signed_by(&subject, &issuer)
        .expect("signed");
    let result = ours
        .roots()
        .verify(&[leaf.into(), ours.issuing.clone()], Role::Policy, NOW_MS);
    assert!(
        matches!(result, Err(VerifyError::Leaf(FactsError::Key(_)))),
        "{result:?}"
    );
}

#[test]
fn neither_an_intermediate_nor_a_leaf_passes_its_power_on() {
    let ours = Collective::new(1);
    let node = ours.node_member();
    let verify = |chain: &[CertificateDer<'_>]| ours.roots().verify(chain, Role::Policy, NOW_MS);
    for (issuer, key) in [(&ours.issuing, &ours.issuing_key), (&node.chain[0], &node.key)] {
        let sub_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.subject_alt_names = vec![uri(&format!("spiffe://{}", ours.id))];
        let authority = Issuer::from_ca_cert_der(issuer, pair(key)).expect("issuer");
        let sub: CertificateDer<'static> = params.signed_by(&sub_key, &authority).expect("signed").into();
        let leaf = signed(&policy(ours.id, &ours), &sub, &sub_key);
        assert!(verify(&[leaf.clone(), sub.clone()]).is_err());
        let long = [leaf, sub, issuer.clone(), ours.issuing.clone()];
        assert_eq!(verify(&long), Err(VerifyError::Length(4)));
        assert_eq!(verify(&long[..3]), Err(VerifyError::Length(3)));
    }
    let leaf = signed(&policy(ours.id, &ours), &node.chain[0], &pair(&node.key));
    for second in [&node.chain[0], &ours.issuing] {
        assert!(verify(&[leaf.clone(), second.clone()]).is_err());
    }
}
