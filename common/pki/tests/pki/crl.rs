//! Revocation lists, read by another parser than the one that wrote them.

use muster_pki::{
    CrlError, CrlHead, KeyUse, Outline, RevocationReason, RevokedCertificate, SignError, Signer as _,
    SoftwareSigner, Subject, issue_crl,
};
use x509_parser::{prelude::FromDer as _, revocation_list::CertificateRevocationList};

use crate::fixture::{Collective, NOW_MS, ready, serial};

const HEAD: CrlHead = CrlHead {
    number: 300,
    this_update_ms: NOW_MS,
    next_update_ms: NOW_MS + 3_600_000,
};

#[test]
fn a_list_says_what_is_revoked_when_and_why() {
    let collective = Collective::new(1);
    let revoked = [
        RevokedCertificate {
            serial: serial(0x81),
            revoked_at_ms: NOW_MS - 5_000,
            reason: RevocationReason::KeyCompromise,
        },
        RevokedCertificate {
            serial: serial(3),
            revoked_at_ms: NOW_MS - 7_999,
            reason: RevocationReason::Unspecified,
        },
    ];
    let list = ready(issue_crl(
        &revoked,
        &HEAD,
        &collective.issuing,
        &collective.issuing_key,
    ))
    .expect("issued");
    let (rest, parsed) = CertificateRevocationList::from_der(&list).expect("a list");
    assert!(rest.is_empty());
    assert_eq!(parsed.crl_number().expect("numbered"), &300u32.into());
    assert_eq!(parsed.last_update().timestamp(), NOW_MS / 1000);
    assert_eq!(
        parsed.next_update().expect("it ends").timestamp(),
        NOW_MS / 1000 + 3600
    );
    let found: Vec<_> = parsed
        .iter_revoked_certificates()
        .map(|certificate| {
            (
                certificate.raw_serial().to_vec(),
                certificate.revocation_date.timestamp(),
                certificate.reason_code().map(|(_, reason)| reason.0),
            )
        })
        .collect();
    let with_zero = [&[0][..], &[0x81; 16]].concat();
    assert_eq!(
        found,
        [
            (with_zero, NOW_MS / 1000 - 5, Some(1)),
            (vec![3; 16], NOW_MS / 1000 - 8, None),
        ]
    );
    let signed = collective
        .issuing_key
        .public_key()
        .verify(parsed.tbs_cert_list.as_ref(), &parsed.signature_value.data);
    assert_eq!(signed, Ok(()));
    let issuer = Outline::of(&collective.issuing).expect("read");
    let named = parsed.extensions().iter().any(|extension| {
        extension
            .value
            .ends_with(issuer.key_identifier.as_deref().expect("there"))
    });
    assert!(named, "the list names the key of its issuer");
    let leaf = collective.member(Subject::Node(collective.node)).chain.remove(0);
    assert_eq!(
        Outline::of(&leaf).expect("read").issuer_key_identifier,
        issuer.key_identifier
    );
}

#[test]
fn an_empty_list_is_a_list() {
    let collective = Collective::new(1);
    let list = ready(issue_crl(
        &[],
        &HEAD,
        &collective.issuing,
        &collective.issuing_key,
    ))
    .expect("issued");
    let (_, parsed) = CertificateRevocationList::from_der(&list).expect("a list");
    assert_eq!(parsed.iter_revoked_certificates().count(), 0);
}

#[test]
fn a_list_is_signed_by_an_authority_and_ends_after_it_begins() {
    let collective = Collective::new(1);
    let other = SoftwareSigner::generate(KeyUse::Authority).expect("key");
    let refused = ready(issue_crl(&[], &HEAD, &collective.issuing, &other));
    assert!(matches!(refused, Err(CrlError::Sign(SignError::OtherKey { .. }))));
    let node = collective.member(Subject::Node(collective.node));
    let refused = ready(issue_crl(&[], &HEAD, &node.chain[0], &node.key));
    assert!(matches!(refused, Err(CrlError::Issuer(_))));
    let backwards = CrlHead {
        next_update_ms: NOW_MS,
        ..HEAD
    };
    let refused = ready(issue_crl(
        &[],
        &backwards,
        &collective.issuing,
        &collective.issuing_key,
    ));
    assert!(matches!(refused, Err(CrlError::Times)));
}
