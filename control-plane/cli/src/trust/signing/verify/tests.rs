use std::time::Duration;

use muster_ids::CollectiveId;
use muster_pki::{KeyUse, Serial, SoftwareSigner, Validity, code_signing::create_code_root};

use super::*;

async fn root(collective: u8, serial: u8) -> CertificateDer<'static> {
    let key = SoftwareSigner::generate(KeyUse::Authority).expect("a key");
    let validity = Validity::starting(1_800_000_000_000, Duration::from_hours(24));
    let collective = CollectiveId::new(1, [collective; 10]);
    let serial = Serial::from_random([serial; 16]);
    let made = create_code_root(collective, &key, &serial, &validity).await;
    made.expect("a root")
}

#[tokio::test]
async fn the_own_roots_of_a_file_are_the_first_and_those_of_its_name() {
    let (own, before, other) = (root(1, 1).await, root(1, 2).await, root(2, 3).await);
    let labels = |certificates: &[&CertificateDer<'static>]| -> Vec<String> {
        let certificates = certificates.iter().map(|certificate| (*certificate).clone());
        let roots = code_roots(certificates.collect()).expect("roots");
        roots.iter().map(|root| root.label.to_string()).collect()
    };
    let named = |certificate: &CertificateDer<'_>| Digest::of(certificate).to_string();
    assert_eq!(
        labels(&[&own, &other, &before]),
        [INTERNAL_ROOT.to_owned(), named(&other), INTERNAL_ROOT.to_owned()]
    );
    assert_eq!(
        labels(&[&other, &own, &before]),
        [INTERNAL_ROOT.to_owned(), named(&own), named(&before)]
    );
    assert!(labels(&[]).is_empty());
}
