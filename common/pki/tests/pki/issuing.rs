//! What is in the certificates that are issued, and what is never issued.

use muster_pki::{
    AuthorityFacts, CertificateDer, Facts, IssueError, KeyUse, Profile, Role, Roots, RootsError, SignError,
    Signer as _, SoftwareSigner, SpiffeId, Subject, Validity, VerifyError, create_root,
    csr::{self, CsrError, RequestError},
    issue,
};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType,
};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

use crate::fixture::{Collective, DAY, Faulty, NOW_MS, days, ready, serial};

fn parsed<'a>(certificate: &'a CertificateDer<'_>) -> X509Certificate<'a> {
    X509Certificate::from_der(certificate).expect("X.509").1
}

#[test]
fn a_csr_that_asks_for_everything_gets_a_plain_node_certificate() {
    let collective = Collective::new(1);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
    let mut wishes =
        CertificateParams::new(vec!["evil.example".to_owned(), "*.example".to_owned()]).expect("names");
    wishes.subject_alt_names.push(SanType::URI(
        SpiffeId::new(collective.id, Subject::ControlPlane(collective.control_plane))
            .to_string()
            .try_into()
            .expect("text"),
    ));
    wishes
        .subject_alt_names
        .push(SanType::Rfc822Name("root@example".try_into().expect("text")));
    wishes.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    wishes.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    wishes.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Any];
    wishes.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0])];
    let request = wishes.serialize_request(&key).expect("request");

    let subject = csr::public_key(request.der()).expect("the key is good, whatever else is asked for");
    let profile = collective.subject(Subject::Node(collective.node));
    let leaf = ready(issue(
        &profile,
        &subject,
        &collective.issuing,
        &collective.issuing_key,
        &serial(9),
        &days(7),
    ))
    .expect("issued");

    let x509 = parsed(&leaf);
    assert!(!x509.is_ca());
    let names = &x509
        .subject_alternative_name()
        .expect("readable")
        .expect("there")
        .value
        .general_names;
    let node = SpiffeId::new(collective.id, Subject::Node(collective.node)).to_string();
    assert_eq!(names, &[GeneralName::URI(&node)]);
    let usage = x509.key_usage().expect("readable").expect("there");
    assert!(usage.critical && usage.value.flags == 1, "digitalSignature alone");
    let extended = x509.extended_key_usage().expect("readable").expect("there").value;
    assert!(extended.client_auth && !extended.server_auth && !extended.any && extended.other.is_empty());
    assert_eq!(x509.subject().to_string(), format!("CN=node {}", collective.node));
    assert_eq!(
        x509.extensions().len(),
        6,
        "key identifiers, names, two usages and constraints"
    );
    let facts = Facts::of(&leaf).expect("a node's certificate");
    assert_eq!((facts.serial, facts.public_key), (serial(9), subject));
    assert_eq!(facts.validity, days(7));
    assert_eq!(facts.validity.not_before_ms(), NOW_MS - 5 * 60 * 1000);
}

#[test]
fn our_own_csr_is_empty_and_proves_its_key() {
    let key = SoftwareSigner::generate(KeyUse::Tls).expect("key");
    let mut request = ready(csr::request(&key)).expect("request");
    assert_eq!(csr::public_key(&request), Ok(*key.public_key()));
    assert!(
        request.len() < 256,
        "nothing but a key is in it: {} bytes",
        request.len()
    );

    let policy = SoftwareSigner::generate(KeyUse::Policy).expect("key");
    let refused = ready(csr::request(&policy));
    assert!(
        matches!(refused, Err(RequestError::Sign(SignError::Purpose { .. }))),
        "{refused:?}"
    );

    // What is signed, and the signature itself: everything but the frame between them.
    let (info, signature) = (4..103, request.len() - 60..request.len());
    for position in info.chain(signature) {
        request[position] ^= 1;
        assert!(csr::public_key(&request).is_err(), "byte {position}");
        request[position] ^= 1;
    }
    request.push(0);
    assert_eq!(csr::public_key(&request), Err(CsrError::Unreadable));
}

#[test]
fn a_csr_for_a_key_that_the_sender_does_not_hold_is_refused() {
    let [thief, victim] = [(); 2].map(|()| SoftwareSigner::generate(KeyUse::Tls).expect("key"));
    let mut request = ready(csr::request(&thief)).expect("request");
    let spki = thief.public_key().spki();
    let at = request
        .windows(spki.len())
        .position(|window| window == spki)
        .expect("there");
    request[at..at + spki.len()].copy_from_slice(victim.public_key().spki());
    assert_eq!(csr::public_key(&request), Err(CsrError::Signature));
}

#[test]
fn csrs_with_other_keys_and_oversized_ones_are_refused() {
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).expect("key");
        let request = CertificateParams::default()
            .serialize_request(&key)
            .expect("request");
        assert!(matches!(csr::public_key(request.der()), Err(CsrError::Key(_))));
    }
    assert_eq!(csr::public_key(&[0x30; 9000]), Err(CsrError::TooLong(9000)));
    assert_eq!(csr::public_key(b""), Err(CsrError::Unreadable));
    assert_eq!(
        csr::public_key(b"-----BEGIN CERTIFICATE REQUEST-----"),
        Err(CsrError::Unreadable)
    );
}

#[test]
fn authorities_have_the_path_lengths_and_key_identifiers_of_their_level() {
    let collective = Collective::new(1);
    let (root, issuing) = (parsed(&collective.root), parsed(&collective.issuing));
    for (x509, length) in [(&root, 1), (&issuing, 0)] {
        let constraints = x509.basic_constraints().expect("readable").expect("there");
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(length));
        let usage = x509.key_usage().expect("readable").expect("there").value;
        assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
        assert!(x509.extended_key_usage().expect("readable").is_none());
        let names: Vec<_> = x509.extensions().iter().map(|e| e.oid.to_id_string()).collect();
        assert!(
            names.contains(&"2.5.29.14".to_owned()) && names.contains(&"2.5.29.35".to_owned()),
            "{names:?}"
        );
    }
    let facts = AuthorityFacts::of(&collective.root).expect("root");
    assert!(facts.self_signed && facts.validity == days(3650) && facts.collective == collective.id);
    assert!(
        !AuthorityFacts::of(&collective.issuing)
            .expect("issuing")
            .self_signed
    );
}

#[test]
fn serial_numbers_keep_all_their_bits() {
    let collective = Collective::new(1);
    for bytes in [
        [0xff; 16],
        [0x80; 16],
        [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    ] {
        let serial = muster_pki::Serial::from_random(bytes);
        let profile = collective.subject(Subject::Node(collective.node));
        let member = collective.issued(&profile, KeyUse::Tls, &serial, &days(7));
        assert_eq!(Facts::of(&member.chain[0]).expect("facts").serial, serial);
        assert!(
            collective
                .roots()
                .verify(&member.chain, Role::Node, NOW_MS)
                .is_ok()
        );
    }
}

#[test]
fn nothing_is_issued_on_the_wrong_level_or_for_another_collective() {
    let ours = Collective::new(1);
    let other = Collective::new(2);
    let key = SoftwareSigner::generate(KeyUse::Tls).expect("key");
    let node = ours.subject(Subject::Node(ours.node));
    let intermediate = Profile::Issuing {
        collective: ours.id,
        control_plane: ours.control_plane,
    };
    let attempt =
        |profile: &Profile, issuer: &CertificateDer<'_>, signer: &SoftwareSigner, validity: &Validity| {
            ready(issue(
                profile,
                key.public_key(),
                issuer,
                signer,
                &serial(1),
                validity,
            ))
            .expect_err("refused")
        };
    let leaf = ours.node_member();

    assert!(matches!(
        attempt(&node, &ours.root, &ours.root_key, &days(7)),
        IssueError::Level
    ));
    assert!(matches!(
        attempt(&intermediate, &ours.issuing, &ours.issuing_key, &days(7)),
        IssueError::Level
    ));
    assert!(matches!(
        attempt(&node, &other.issuing, &other.issuing_key, &days(7)),
        IssueError::Collective { .. }
    ));
    assert!(matches!(
        attempt(&node, &ours.issuing, &ours.root_key, &days(7)),
        IssueError::Sign(SignError::OtherKey { .. })
    ));
    assert!(matches!(
        attempt(&node, &leaf.chain[0], &leaf.key, &days(7)),
        IssueError::Issuer(_)
    ));
    assert!(matches!(
        attempt(&node, &ours.issuing, &ours.issuing_key, &days(366)),
        IssueError::OutlivesIssuer
    ));
    let backwards =
        Validity::starting(NOW_MS, std::time::Duration::ZERO).ending_with(Validity::starting(0, DAY));
    assert!(matches!(
        attempt(&node, &ours.issuing, &ours.issuing_key, &backwards),
        IssueError::Profile(_)
    ));
    let nameless = Profile::FrontEnd {
        collective: ours.id,
        names: Vec::new(),
    };
    assert!(matches!(
        attempt(&nameless, &ours.issuing, &ours.issuing_key, &days(7)),
        IssueError::Profile(_)
    ));
}

#[test]
fn a_device_that_signs_something_else_is_found_out_at_once() {
    let faulty = Faulty(SoftwareSigner::generate(KeyUse::Authority).expect("key"));
    let result = ready(create_root(Collective::new(1).id, &faulty, &serial(1), &days(1)));
    assert!(
        matches!(result, Err(IssueError::Sign(SignError::Failed { .. }))),
        "{result:?}"
    );
}

#[test]
fn a_key_that_is_no_authority_signs_no_certificate() {
    let tls = SoftwareSigner::generate(KeyUse::Tls).expect("key");
    let result = ready(create_root(Collective::new(1).id, &tls, &serial(1), &days(1)));
    assert!(
        matches!(result, Err(IssueError::Sign(SignError::Purpose { .. }))),
        "{result:?}"
    );
}

#[test]
fn roots_are_self_signed_authorities_of_one_collective() {
    let (ours, other) = (Collective::new(1), Collective::new(2));
    assert_eq!(Roots::new(Vec::new()).err(), Some(RootsError::Empty));
    assert_eq!(
        Roots::new(vec![ours.issuing.clone()]).err(),
        Some(RootsError::NotRoot)
    );
    assert!(matches!(
        Roots::new(ours.node_member().chain).err(),
        Some(RootsError::Authority(_))
    ));
    assert_eq!(
        Roots::new(vec![ours.root.clone(), other.root.clone()]).err(),
        Some(RootsError::Mixed(ours.id, other.id))
    );
    let mut damaged = ours.root.to_vec();
    *damaged.last_mut().expect("not empty") ^= 1;
    assert!(Roots::new(vec![damaged.into()]).is_err());
}

#[test]
fn a_pin_vouches_for_the_root_that_it_names_and_for_no_other() {
    let ours = Collective::new(1);
    let impostor = Collective::with_id(ours.id, 2);
    let offered = Roots::new(vec![impostor.root.clone(), ours.root.clone()]).expect("one collective by name");
    let pins = ours.roots().fingerprints();

    let pinned = offered.pinned(&pins).expect("one is pinned");
    assert_eq!(pinned.certificates(), std::slice::from_ref(&ours.root));
    let chain = impostor.policy_member().chain;
    assert!(offered.verify(&chain, Role::Policy, NOW_MS).is_ok());
    assert_eq!(
        pinned.verify(&chain, Role::Policy, NOW_MS),
        Err(VerifyError::UnknownIssuer)
    );

    assert!(impostor.roots().pinned(&pins).is_none());
    assert!(offered.pinned(&[]).is_none());
    let both = [pins, impostor.roots().fingerprints()].concat();
    assert_eq!(offered.pinned(&both).expect("both").certificates().len(), 2);
}
