//! What an authority of somebody else signed, and until when it counts.

use std::{collections::BTreeMap, time::Duration};

use muster_client::Request;
use muster_code_trust::{Item, ItemKind, ItemStatement, ItemType, SignatureBundle};
use muster_ids::{CollectiveId, Digest, Sha512, UserId};
use muster_pki::{
    CertificateDer, KeyUse, Serial, Signer as _, SoftwareSigner, Validity,
    code_signing::{
        CodeCertificate, CodeHolder, CodeMessage, CodeSigned, create_code_root, issue_code_certificate,
    },
    pem,
};
use muster_tests::{Person, Server, problem, refusal, unique};
use serde_json::{Value, json};

use super::{CERTIFICATES, ROOTS, SIGNATURES, found, licensed, rose};
use crate::trust::{BLOCKS, SIGNERS, lift, send};

/// An authority of somebody else, which signs with a certificate of its own.
pub(super) struct Elsewhere {
    pub(super) root: CertificateDer<'static>,
    pub(super) key: SoftwareSigner,
    pub(super) leaf: CertificateDer<'static>,
}

impl Elsewhere {
    pub(super) async fn new() -> Self {
        let random = muster_daemon::random::Random::system();
        Self::called(random.bytes(), random.bytes()).await
    }

    /// With this name, and a leaf of this number.
    async fn called(name: [u8; 10], number: [u8; 16]) -> Self {
        let now = muster_daemon::clock::Clock::system().unix_ms();
        let validity = Validity::starting(now, Duration::from_hours(24));
        let random = muster_daemon::random::Random::system();
        let collective = CollectiveId::new(1, name);
        let authority = SoftwareSigner::generate(KeyUse::Authority).expect("a key");
        let serial = || Serial::from_random(random.bytes());
        let root = create_code_root(collective, &authority, &serial(), &validity)
            .await
            .expect("a root");
        let key = SoftwareSigner::generate(KeyUse::Code).expect("a key");
        let holder = CodeHolder::User {
            name: "admin@SPOTFIRE".parse().expect("a name"),
            id: UserId::new(now, random.bytes()),
        };
        let number = Serial::from_random(number);
        let leaf =
            issue_code_certificate(&holder, key.public_key(), &root, &authority, &number, &validity).await;
        Self {
            root,
            key,
            leaf: leaf.expect("a certificate"),
        }
    }

    async fn sign(&self, item: &Value) -> Value {
        let manifest = item["manifest"].as_str().expect("a manifest").as_bytes().to_vec();
        let files: BTreeMap<String, Sha512> = serde_json::from_value(item["files"].clone()).expect("files");
        let signed = Item::new(ItemKind::VisualizationMod, manifest, files).expect("a mod");
        let statement = ItemStatement {
            r#type: ItemType::VisualizationMod,
            hash: signed.hash(),
        };
        let payload = serde_json::to_vec(&statement).expect("JSON");
        let signature = CodeSigned::sign(
            CodeMessage::ItemSignature,
            payload,
            &self.key,
            std::slice::from_ref(&self.leaf),
        )
        .await
        .expect("a signature");
        serde_json::to_value(SignatureBundle {
            signature,
            time_stamp: None,
        })
        .expect("JSON")
    }
}

/// The root of another authority, which is accepted here.
pub(crate) async fn known_root(admin: &Person) -> String {
    let elsewhere = Elsewhere::new().await;
    let import = json!({ "pem": pem::write_certificates([&elsewhere.root]) });
    send(admin, CERTIFICATES, &import).await.expect("imported");
    Digest::of(&elsewhere.root).to_string()
}

/// A developer by a certificate of another authority, which is known here.
pub(crate) async fn known_signer(admin: &Person) -> Value {
    let elsewhere = Elsewhere::new().await;
    let import = json!({ "pem": pem::write_certificates([&elsewhere.leaf]) });
    send(admin, CERTIFICATES, &import).await.expect("imported");
    let facts = CodeCertificate::of(&elsewhere.leaf).expect("a certificate");
    json!({ "issuer": facts.issuer, "serial": facts.serial, "role": "developer" })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_authority_signed_counts_while_its_root_is_accepted() {
    let server = Server::shared();
    let (admin, analyst) = (server.admin().await, server.analyst().await);
    let reader = licensed(server, &["Open Visualization Mod from Library"]).await;
    let elsewhere = Elsewhere::new().await;
    let item = rose(&unique("rose"), "x");
    let mut bundle = elsewhere.sign(&item).await;
    assert_eq!(found(&reader, &item, &bundle).await["status"], "chain");
    let import =
        |certificate: &CertificateDer<'static>| json!({ "pem": pem::write_certificates([certificate]) });
    assert_eq!(
        problem(send(&analyst, CERTIFICATES, &import(&elsewhere.root)).await).status,
        403
    );
    let made = send(&admin, CERTIFICATES, &import(&elsewhere.root))
        .await
        .expect("imported");
    let fingerprint = made["root"]["fingerprint"].as_str().expect("a root").to_owned();
    assert_eq!(fingerprint, Digest::of(&elsewhere.root).to_string());
    assert_eq!(
        refusal(send(&admin, CERTIFICATES, &import(&elsewhere.root)).await),
        (409, "duplicate".to_owned())
    );
    // Kept for others by who may sign such an item, and once.
    let bring = json!({ "item": item, "bundle": bundle });
    assert_eq!(
        problem(send(&analyst, SIGNATURES, &bring).await).status,
        403,
        "without the license"
    );
    let developer = licensed(server, &["Develop Visualization Mod"]).await;
    let kept = send(&developer, SIGNATURES, &bring).await.expect("kept");
    assert!(kept["user"].is_null() && kept["signer"].is_string(), "{kept}");
    assert_eq!(
        refusal(send(&developer, SIGNATURES, &bring).await),
        (409, "duplicate".to_owned())
    );
    let other = json!({ "item": rose(&unique("rose"), "y"), "bundle": bundle });
    assert_eq!(
        refusal(send(&developer, SIGNATURES, &other).await),
        (422, "invalid-signature".to_owned())
    );
    let valid = found(&reader, &item, &bundle).await;
    assert_eq!(
        (&valid["status"], valid["root"].as_str()),
        (&json!("valid"), Some(fingerprint.as_str())),
        "{valid}"
    );
    // It names a user as this collective has one, and is none: what counts is the certificate.
    let facts = CodeCertificate::of(&elsewhere.leaf).expect("a certificate");
    // Administrators see by which certificates was signed, before anybody imports them.
    let listed = format!("{CERTIFICATES}?external=true&limit=1000");
    let seen: Value = admin.get(&listed).await;
    assert!(seen.to_string().contains(&facts.serial), "{seen}");
    let seen: Value = reader.get(&listed).await;
    assert!(!seen.to_string().contains(&facts.serial), "{seen}");
    // Nobody is trusted whose certificate is not known.
    let signer = json!({ "issuer": facts.issuer, "serial": facts.serial, "role": "developer" });
    let trust = json!({ "principal": { "group": "Everyone" }, "signer": signer });
    let unknown = problem(send(&admin, SIGNERS, &trust).await);
    assert!(
        unknown.status == 404 && unknown.detail.contains("import"),
        "{unknown:?}"
    );
    send(&admin, CERTIFICATES, &import(&elsewhere.leaf))
        .await
        .expect("imported");
    for person in [&admin, &reader] {
        let external: Value = person.get(&listed).await;
        let of_it = external.to_string().matches(&facts.serial).count();
        assert_eq!(of_it, 1, "{external}");
    }
    send(&admin, SIGNERS, &trust).await.expect("trusted");
    assert_eq!(found(&reader, &item, &bundle).await["outcome"], "allow");
    // Who blocks an authority blocks what is signed under it.
    let root = CodeCertificate::of(&elsewhere.root).expect("a root");
    let block = json!({ "issuer": root.issuer, "serial": root.serial });
    let block = send(&admin, BLOCKS, &block).await.expect("blocked");
    let blocked = found(&reader, &item, &bundle).await;
    assert_eq!(
        (&blocked["outcome"], &blocked["why"]["rule"]),
        (&json!("deny"), &json!("certificate-blocked")),
        "{blocked}"
    );
    let id = block["id"].as_str().expect("an identifier");
    lift(&admin, BLOCKS, id).await.expect("lifted");
    assert_eq!(found(&reader, &item, &bundle).await["outcome"], "allow");
    // A time stamp of the collective lets it count after the certificate has ended.
    let digest = SignatureBundle::from_json(bundle.to_string().as_bytes())
        .map(|bundle| SignatureBundle::stamped_digest(&bundle.signature))
        .expect("a bundle");
    let stamp = send(&reader, "/api/v1/trust/time-stamps", &json!({ "digest": digest }))
        .await
        .expect("stamped");
    bundle["time_stamp"] = stamp["stamp"].clone();
    let stamped = found(&reader, &item, &bundle).await;
    assert_eq!(stamped["status"], "valid");
    assert!(stamped["time"].is_string(), "{stamped}");
    for (event, about) in [
        ("codetrust.upload_extcert", facts.serial),
        ("codetrust.time_stamp", digest.to_string()),
    ] {
        let rows = admin.audited(event).await;
        let mine = rows.iter().filter(|row| row.to_string().contains(&about));
        assert_eq!(mine.count(), 1, "{event}");
    }

    let remove = |person| {
        let request = Request::delete(ROOTS).segment(&fingerprint);
        let person: &Person = person;
        person.send(request)
    };
    assert_eq!(problem(remove(&analyst).await).status, 403);
    remove(&admin).await.expect("removed");
    assert_eq!(problem(remove(&admin).await).status, 404);
    let gone = found(&reader, &item, &bundle).await;
    assert_eq!(
        (&gone["status"], &gone["outcome"]),
        (&json!("chain"), &json!("deny")),
        "{gone}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_with_issuer_and_number_of_an_imported_one_is_not_taken_for_it() {
    let server = Server::private();
    let admin = server.admin().await;
    let (real, namesake) = (
        Elsewhere::called([1; 10], [2; 16]).await,
        Elsewhere::called([1; 10], [2; 16]).await,
    );
    let item = rose("rose", "x");
    for certificate in [&real.root, &real.leaf, &namesake.root] {
        let import = json!({ "pem": pem::write_certificates([certificate]) });
        send(&admin, CERTIFICATES, &import).await.expect("imported");
    }
    let first = found(&admin, &item, &real.sign(&item).await).await;
    assert_eq!(first["status"], "valid", "{first}");
    let other = found(&admin, &item, &namesake.sign(&item).await).await;
    assert_eq!(
        (&other["issuer"], &other["serial"]),
        (&first["issuer"], &first["serial"])
    );
    assert_eq!(
        (&other["status"], &other["root"]),
        (&json!("chain"), &Value::Null),
        "{other}"
    );
}
