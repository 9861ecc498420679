//! Chains of those who sign code, of our own authority and of others.

use muster_ids::{CollectiveId, UserId};
use muster_pki::{
    CertificateDer, KeyUse, Roots, SignError, Signer as _, SoftwareSigner,
    code_signing::{
        ChainError, CodeCertificate, CodeHolder, CodeMessage, CodeSigned, CodeUsage, ExternalKey,
        create_code_root, issue_code_certificate, verify_code_chain,
    },
};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SignatureAlgorithm,
};
use time::OffsetDateTime;

use crate::fixture::{NOW_MS, days, ready, serial};

const DAY_MS: i64 = 86_400_000;

/// An authority or leaf of a corporation, with keys of any kind.
struct Corporate {
    key: KeyPair,
    params: CertificateParams,
    der: CertificateDer<'static>,
}

fn named(name: &str, is_ca: bool, usages: &[ExtendedKeyUsagePurpose]) -> CertificateParams {
    let moment = |ms: i64| OffsetDateTime::from_unix_timestamp(ms / 1000).expect("a moment");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = moment(NOW_MS - DAY_MS);
    params.not_after = moment(NOW_MS + 30 * DAY_MS);
    params.extended_key_usages = usages.to_vec();
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    } else {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    }
    params
}

impl Corporate {
    fn root(name: &str, algorithm: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let params = named(name, true, &[]);
        let der = params.self_signed(&key).expect("a root").into();
        Self { key, params, der }
    }

    fn issue(&self, params: CertificateParams, algorithm: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let issuer = Issuer::from_params(&self.params, &self.key);
        let der = params.signed_by(&key, &issuer).expect("a certificate").into();
        Self { key, params, der }
    }
}

fn leads(chain: &[&Corporate], roots: &[&Corporate], at_ms: i64) -> Result<usize, ChainError> {
    let ders = |all: &[&Corporate]| all.iter().map(|one| one.der.clone()).collect::<Vec<_>>();
    verify_code_chain(&ders(chain), &ders(roots), CodeUsage::Signing, at_ms).map(|path| path.root)
}

#[test]
fn a_chain_of_another_authority_leads_to_its_root_with_all_that_is_between_and_not_without() {
    let p384 = &rcgen::PKCS_ECDSA_P384_SHA384;
    let (root, other) = (
        Corporate::root("Corp CA", p384),
        Corporate::root("Other CA", p384),
    );
    let middle = root.issue(named("Corp Issuing", true, &[]), &rcgen::PKCS_ECDSA_P256_SHA256);
    let signing = || named("Ann", false, &[ExtendedKeyUsagePurpose::CodeSigning]);
    let leaf = middle.issue(signing(), &rcgen::PKCS_ECDSA_P256_SHA256);
    assert_eq!(leads(&[&leaf, &middle], &[&other, &root], NOW_MS), Ok(1));
    // No address in a certificate is asked for what is missing.
    assert_eq!(
        leads(&[&leaf], &[&other, &root], NOW_MS),
        Err(ChainError::UnknownIssuer)
    );
    assert_eq!(
        leads(&[&leaf, &middle], &[&other], NOW_MS),
        Err(ChainError::UnknownIssuer)
    );
    assert_eq!(leads(&[], &[&root], NOW_MS), Err(ChainError::Missing));
    for ms in [NOW_MS - 2 * DAY_MS, NOW_MS + 31 * DAY_MS] {
        assert_eq!(leads(&[&leaf, &middle], &[&root], ms), Err(ChainError::Expired));
    }
}

#[test]
fn only_a_leaf_that_is_for_code_signs_code() {
    let p256 = &rcgen::PKCS_ECDSA_P256_SHA256;
    let root = Corporate::root("Corp CA", p256);
    for usages in [
        &[][..],
        &[ExtendedKeyUsagePurpose::ServerAuth],
        &[ExtendedKeyUsagePurpose::Any],
    ] {
        let leaf = root.issue(named("Ann", false, usages), p256);
        assert_eq!(
            leads(&[&leaf], &[&root], NOW_MS),
            Err(ChainError::Usage),
            "{usages:?}"
        );
    }
    let authority = root.issue(named("Ann", true, &[ExtendedKeyUsagePurpose::CodeSigning]), p256);
    assert_eq!(leads(&[&authority], &[&root], NOW_MS), Err(ChainError::Usage));
    assert_eq!(leads(&[&root], &[&root], NOW_MS), Err(ChainError::Usage));
    // An authority that may issue for other usages only.
    let narrow = root.issue(
        named("Servers", true, &[ExtendedKeyUsagePurpose::ServerAuth]),
        p256,
    );
    let leaf = narrow.issue(named("Ann", false, &[ExtendedKeyUsagePurpose::CodeSigning]), p256);
    assert!(leads(&[&leaf, &narrow], &[&root], NOW_MS).is_err());
}

#[test]
fn only_authorities_that_may_sign_certificates_issue_and_only_as_far_as_the_root_says() {
    let p256 = &rcgen::PKCS_ECDSA_P256_SHA256;
    let root = Corporate::root("Corp CA", p256);
    let signing = || named("Ann", false, &[ExtendedKeyUsagePurpose::CodeSigning]);
    let mut lists = named("Lists", true, &[]);
    lists.key_usages = vec![KeyUsagePurpose::CrlSign];
    let lists = root.issue(lists, p256);
    let leaf = lists.issue(signing(), p256);
    assert!(leads(&[&leaf, &lists], &[&root], NOW_MS).is_err());
    // Nor is it a root, or is a leaf one, because somebody hands it in as such.
    assert_eq!(leads(&[&leaf], &[&lists], NOW_MS), Err(ChainError::UnknownIssuer));
    let below = leaf.issue(signing(), p256);
    assert_eq!(leads(&[&below], &[&leaf], NOW_MS), Err(ChainError::UnknownIssuer));
    let key = KeyPair::generate_for(p256).expect("a key");
    let mut params = named("Short CA", true, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let der = params.self_signed(&key).expect("a root").into();
    let short = Corporate { key, params, der };
    let leaf = short.issue(signing(), p256);
    assert_eq!(leads(&[&leaf], &[&short], NOW_MS), Ok(0));
    let middle = short.issue(named("Issuing", true, &[]), p256);
    let leaf = middle.issue(signing(), p256);
    assert!(leads(&[&leaf, &middle], &[&short], NOW_MS).is_err());
}

#[test]
fn a_certificate_for_the_key_of_one_root_leads_to_no_other() {
    let p256 = &rcgen::PKCS_ECDSA_P256_SHA256;
    let (own, other) = (Corporate::root("Own", p256), Corporate::root("Other", p256));
    let leaf = own.issue(named("Ann", false, &[ExtendedKeyUsagePurpose::CodeSigning]), p256);
    let issuer = Issuer::from_params(&other.params, &other.key);
    let der = own
        .params
        .signed_by(&own.key, &issuer)
        .expect("a certificate")
        .into();
    let crossed = Corporate {
        key: KeyPair::generate_for(p256).expect("a key"),
        params: own.params.clone(),
        der,
    };
    // Without the root whose key it has it is an authority like any other.
    assert_eq!(leads(&[&leaf, &crossed], &[&other], NOW_MS), Ok(0));
    assert_eq!(leads(&[&leaf, &crossed], &[&own, &other], NOW_MS), Ok(0));
    assert_eq!(leads(&[&leaf, &crossed], &[&other, &own], NOW_MS), Ok(1));
}

#[test]
fn no_signature_by_a_key_of_small_order_counts() {
    let root = Corporate::root("Corp CA", &rcgen::PKCS_ED25519);
    let leaf = root.issue(
        named("Ann", false, &[ExtendedKeyUsagePurpose::CodeSigning]),
        &rcgen::PKCS_ECDSA_P256_SHA256,
    );
    assert!(leads(&[&leaf], &[&root], NOW_MS).is_err());
}

#[test]
fn two_numbers_and_two_names_have_two_texts() {
    let p256 = &rcgen::PKCS_ECDSA_P256_SHA256;
    let key = KeyPair::generate_for(p256).expect("a key");
    let mut params = named("Corp CA", true, &[]);
    params.serial_number = Some(vec![0x7f; 8].into());
    let der = params.self_signed(&key).expect("a root").der().to_vec();
    assert_eq!(
        CodeCertificate::of(&der).expect("a certificate").serial,
        "7f7f7f7f7f7f7f7f"
    );
    let at = der
        .windows(8)
        .position(|bytes| bytes == [0x7f; 8])
        .expect("the number");
    let mut negative = der;
    negative[at..at + 8].fill(0xff);
    assert!(CodeCertificate::of(&negative).is_err());
    params.distinguished_name = DistinguishedName::new();
    let wide = rcgen::string::BmpString::try_from("AB").expect("a text");
    params
        .distinguished_name
        .push(DnType::CommonName, rcgen::DnValue::BmpString(wide));
    let der = params.self_signed(&key).expect("a root");
    let facts = CodeCertificate::of(der.der()).expect("a certificate");
    assert_eq!(facts.subject, "CN=#1e0400410042");
}

#[test]
fn the_authority_for_code_is_none_of_the_back_end_and_signs_as_its_profiles_say() {
    let (collective, key) = (
        CollectiveId::new(1, [1; 10]),
        SoftwareSigner::generate(KeyUse::Authority).expect("a key"),
    );
    let root = ready(create_code_root(collective, &key, &serial(1), &days(100))).expect("a root");
    assert!(Roots::new(vec![root.clone()]).is_err());
    let holder = SoftwareSigner::generate(KeyUse::Code).expect("a key");
    let issue = |to: &CodeHolder, length| {
        ready(issue_code_certificate(
            to,
            holder.public_key(),
            &root,
            &key,
            &serial(2),
            &days(length),
        ))
    };
    let ann = CodeHolder::User {
        name: "ann@SPOTFIRE".parse().expect("a name"),
        id: UserId::new(5, [5; 10]),
    };
    let (user, stamps) = (
        issue(&ann, 30).expect("issued"),
        issue(&CodeHolder::TimeStamp(collective), 30).expect("issued"),
    );
    let leads = |leaf: &CertificateDer<'static>, usage| {
        verify_code_chain(
            std::slice::from_ref(leaf),
            std::slice::from_ref(&root),
            usage,
            NOW_MS,
        )
        .map(|path| path.root)
    };
    assert_eq!(leads(&user, CodeUsage::Signing), Ok(0));
    assert_eq!(leads(&user, CodeUsage::TimeStamping), Err(ChainError::Usage));
    assert_eq!(leads(&stamps, CodeUsage::TimeStamping), Ok(0));
    assert_eq!(leads(&stamps, CodeUsage::Signing), Err(ChainError::Usage));
    let facts = CodeCertificate::of(&user).expect("a certificate");
    assert_eq!(
        facts.account.map(|account| account.id),
        Some(UserId::new(5, [5; 10]))
    );
    assert!(issue(&ann, 101).is_err(), "never longer than the root");
    let other = SoftwareSigner::generate(KeyUse::Authority).expect("a key");
    let (number, day) = (serial(3), days(1));
    let forged = issue_code_certificate(&ann, holder.public_key(), &root, &other, &number, &day);
    assert!(ready(forged).is_err(), "only by the root's own key");
}

#[test]
fn no_value_of_a_name_poses_as_another_part_of_it() {
    let p256 = &rcgen::PKCS_ECDSA_P256_SHA256;
    let text = |name: &str| CodeCertificate::of(&Corporate::root(name, p256).der).map(|facts| facts.subject);
    assert_eq!(text("Corp CA").as_deref(), Ok("CN=Corp CA"));
    assert_eq!(text("Corp, O=Other").as_deref(), Ok("CN=Corp\\, O\\=Other"));
    assert!(text("Corp\u{202e}CA").is_err());
    assert!(text(&"x".repeat(600)).is_err());
}

proptest! {
    #[test]
    fn reading_a_certificate_never_fails_otherwise_than_by_refusing(bytes in any::<Vec<u8>>()) {
        prop_assert!(CodeCertificate::of(&bytes).is_err() || !bytes.is_empty());
    }
}

#[test]
fn keys_of_every_kind_that_others_certify_sign_items_and_nothing_else() {
    let kinds = [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_RSA_SHA256,
    ];
    let root = Corporate::root("Corp", &rcgen::PKCS_ECDSA_P256_SHA256);
    for algorithm in kinds {
        let params = named("Signer", false, &[ExtendedKeyUsagePurpose::CodeSigning]);
        let (leaf, other) = (
            root.issue(params.clone(), algorithm),
            root.issue(params, algorithm),
        );
        let key = ExternalKey::from_pkcs8(leaf.key.serialized_der()).expect("a key");
        let sign = |message, certificate: &Corporate| {
            CodeSigned::sign_externally(
                message,
                b"statement".to_vec(),
                &key,
                std::slice::from_ref(&certificate.der),
            )
        };
        let signed = sign(CodeMessage::ItemSignature, &leaf).expect("signed");
        assert_eq!(
            signed.verify(CodeMessage::ItemSignature),
            Ok(b"statement".as_slice())
        );
        assert!(matches!(
            sign(CodeMessage::ItemSignature, &other),
            Err(SignError::OtherKey { .. })
        ));
        assert!(matches!(
            sign(CodeMessage::TimeStamp, &leaf),
            Err(SignError::Purpose { .. })
        ));
        assert!(format!("{key:?}").len() < 30, "{key:?}");
    }
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    for bytes in [ed25519.serialized_der(), b"garbage"] {
        assert!(ExternalKey::from_pkcs8(bytes).is_err());
    }
}
