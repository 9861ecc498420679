//! Several signatures of one item, and keys that are not those whose name they bear.

use muster_pki::{CertificateDer, code_signing::CodeCertificate, pem};
use muster_tests::{Server, problem, unique};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SubjectPublicKeyInfo,
};
use serde_json::{Value, json};

use super::{CERTIFICATES, ROOTS, VERIFY, licensed, rose, sign};
use crate::trust::{SIGNERS, send};

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_after_somebody_hides_nobodys_signature() {
    let server = Server::shared();
    let admin = server.admin().await;
    let (ann, eve) = (
        licensed(server, &["Develop Visualization Mod"]).await,
        licensed(server, &["Develop Visualization Mod"]).await,
    );
    let reader = licensed(server, &["Open Visualization Mod from Library"]).await;
    let item = rose(&unique("rose"), "x");
    sign(&ann, &item).await.expect("signed");
    let trusted = json!({
        "principal": { "group": "Everyone" }, "signer": { "user": ann.name(), "role": "developer" },
    });
    send(&admin, SIGNERS, &trusted).await.expect("trusted");
    sign(&eve, &item).await.expect("signed");
    let found = send(&reader, VERIFY, &json!({ "item": item }))
        .await
        .expect("an answer");
    assert_eq!(
        (&found["signer"], &found["outcome"]),
        (&json!(format!("CN={}", ann.name())), &json!("allow")),
        "{found}"
    );
    // For who trusts neither, the newest valid one is named.
    let untrust = json!({ "user": ann.name() });
    send(&admin, crate::trust::BLOCKS, &untrust)
        .await
        .expect("blocked");
    let found = send(&reader, VERIFY, &json!({ "item": item }))
        .await
        .expect("an answer");
    assert_eq!(
        (&found["signer"], &found["outcome"]),
        (&json!(format!("CN={}", eve.name())), &json!("deny")),
        "{found}"
    );
}

/// A certificate that says of itself that it issued itself, for the key of `other`, signed by a key of its own.
fn root_for_the_key_of(other: &[u8]) -> CertificateDer<'static> {
    let own = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Corp CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = SubjectPublicKeyInfo::from_der(other).expect("a key");
    params
        .signed_by(&key, &Issuer::from_params(&params, &own))
        .expect("a certificate")
        .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_with_a_key_of_this_collective_is_not_imported_before_or_after_a_reset() {
    let server = Server::private();
    let admin = server.admin().await;
    let own = |made: &Value| {
        let text = made["pem"].as_str().expect("PEM").as_bytes();
        let certificates = pem::certificates(text).expect("a certificate");
        CodeCertificate::of(&certificates[0]).expect("a root").spki
    };
    let first = own(&send(&admin, &format!("{ROOTS}/internal"), &json!({}))
        .await
        .expect("the root"));
    let import = async |key: &[u8]| {
        let pem = pem::write_certificates([&root_for_the_key_of(key)]);
        send(&admin, CERTIFICATES, &json!({ "pem": pem })).await
    };
    let refused = problem(import(&first).await);
    assert!(
        refused.status == 409 && refused.detail.contains("own root"),
        "{refused:?}"
    );
    let reset = send(&admin, "/api/v1/trust/reset", &json!({}))
        .await
        .expect("made anew");
    let second = own(&reset["root"]);
    assert_ne!(first, second);
    for key in [&first, &second] {
        assert_eq!(problem(import(key).await).status, 409);
    }
    // With a key of nobody here such a certificate is a root like others.
    let other = KeyPair::generate().expect("a key");
    let spki = rcgen::PublicKeyData::subject_public_key_info(&other);
    import(&spki).await.expect("imported");
}
