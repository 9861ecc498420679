//! Certificates and the revocation list, read by programs and libraries that share no code with ours.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use muster_client::Request;
use muster_ids::Digest;
use muster_pki::{CertificateDer, Outline, pem};
use muster_tests::{Applicant, Member, Person, Server, folder, within};
use serde_json::{Value, json};
use spiffe::{TrustDomain, X509Bundle, X509Svid};

/// The list follows a revocation within a moment.
const LATER: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn openssl_verifies_every_kind_of_certificate_for_its_purpose_only() {
    let server = Server::private();
    let admin = server.admin().await;
    let files = Files::fetch(&server).await;
    let member = Applicant::new("terr01").await.join(&server).await;
    let receipts = member.receipt_signer(&member.connect().await).await;
    let control_plane = issued(&admin, "control_plane").await;
    let front_end = issued(&admin, "front_end").await;
    let policy = server.certificates("policy.pem").remove(0);
    let node_uri = format!(
        "URI:spiffe://{}/node/{}",
        server.roots().collective(),
        member.id()
    );
    let signs = "1.3.6.1.5.5.7.3.36";
    let cases = [
        (
            "node",
            member.chain().remove(0),
            "TLS Web Client Authentication",
            Some("sslclient"),
        ),
        (
            "control plane",
            control_plane,
            "TLS Web Server Authentication",
            Some("sslserver"),
        ),
        (
            "front end",
            front_end,
            "TLS Web Server Authentication",
            Some("sslserver"),
        ),
        ("policy", policy, signs, None),
        ("receipt", receipts.chain[0].clone(), signs, None),
    ];
    for (what, certificate, usage, purpose) in cases {
        let file = files.write(&format!("{what}.pem"), &pem::write_certificates([&certificate]));
        let (ok, said) = openssl(&["verify", "-x509_strict", "-CAfile", &files.authority, &file]);
        assert!(ok, "{what}: {said}");
        for tried in ["sslclient", "sslserver"] {
            let (ok, said) = openssl(&["verify", "-purpose", tried, "-CAfile", &files.authority, &file]);
            assert_eq!(ok, purpose == Some(tried), "{what} as {tried}: {said}");
        }
        let (_, text) = openssl(&["x509", "-in", &file, "-noout", "-text"]);
        for expected in [
            "Version: 3",
            "ecdsa-with-SHA256",
            "NIST CURVE: P-256",
            "CA:FALSE",
            "Digital Signature",
        ] {
            assert!(text.contains(expected), "{what} lacks {expected}: {text}");
        }
        let named = text.contains(usage) || text.contains("Document Signing");
        assert!(named, "{what} lacks {usage}: {text}");
        if what == "node" {
            assert!(text.contains(&node_uri), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_reads_the_revocation_list_and_refuses_what_is_on_it() {
    let server = Server::private();
    let admin = server.admin().await;
    let (member, stays) = (
        Applicant::new("terr01").await.join(&server).await,
        Applicant::new("terr02").await.join(&server).await,
    );
    let files = Files::fetch(&server).await;
    let revoked = files.write("revoked.pem", &pem::write_certificates(&member.chain()[..1]));
    let valid = files.write("valid.pem", &pem::write_certificates(&stays.chain()[..1]));
    let check = |list: &str, file: &str| {
        openssl(&[
            "verify",
            "-crl_check",
            "-CAfile",
            &files.authority,
            "-CRLfile",
            list,
            file,
        ])
    };
    for file in [&revoked, &valid] {
        let (ok, said) = check(&files.list, file);
        assert!(ok, "{said}");
    }
    let number = |list: &str| {
        let (_, said) = openssl(&["crl", "-in", list, "-noout", "-crlnumber"]);
        let hexadecimal = said.trim().trim_start_matches("crlNumber=0x").to_owned();
        u64::from_str_radix(&hexadecimal, 16).unwrap_or_else(|_| panic!("a number: {said}"))
    };
    let before = number(&files.list);

    let reason = json!({ "reason": "key-compromise" });
    let serial = serial(&member);
    admin
        .tell(&["certificates", &serial, "revoke"], &reason)
        .await
        .expect("revoked");
    let list = within(LATER, "the certificate is on the list", async || {
        let newer = Files::fetch(&server).await;
        let (_, text) = openssl(&["crl", "-in", &newer.list, "-noout", "-text"]);
        text.to_lowercase()
            .contains(&serial)
            .then_some((newer.list, text))
    })
    .await;
    let (list, text) = list;
    assert!(text.contains("Key Compromise"), "{text}");
    assert!(number(&list) > before, "its number grows");
    let (ok, said) = openssl(&[
        "crl",
        "-in",
        &list,
        "-noout",
        "-verify",
        "-CAfile",
        &files.authority,
    ]);
    assert!(ok && said.contains("verify OK"), "{said}");
    let (ok, said) = check(&list, &revoked);
    assert!(!ok && said.contains("certificate revoked"), "{said}");
    let (ok, said) = check(&list, &valid);
    assert!(ok, "{said}");

    // It is the same list in DER, and a restart neither forgets it nor begins its numbers anew.
    let numbered = number(&list);
    server.kill();
    server.restart();
    let again = Files::fetch(&server).await;
    assert_eq!(number(&again.list), numbered);
    let der = get(&server, "/api/v1/authority/crl").await;
    let file = again.folder.join("crl.der");
    fs::write(&file, der).expect("written");
    let (ok, text) = openssl(&[
        "crl",
        "-inform",
        "DER",
        "-in",
        &file.to_string_lossy(),
        "-noout",
        "-text",
    ]);
    assert!(ok && text.to_lowercase().contains(&serial), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_of_others_takes_our_certificates_for_x509_svids() {
    let server = Server::shared();
    let member = Applicant::new(&muster_tests::unique("terr"))
        .await
        .join(server)
        .await;
    let chain: Vec<u8> = member.chain().iter().flat_map(|der| der.to_vec()).collect();
    let key = member.key().to_pkcs8().expect("a key");
    let svid = X509Svid::parse_from_der(&chain, &key).expect("an X.509-SVID");
    let collective = server.roots().collective().to_string();
    let domain = TrustDomain::new(&collective).expect("a trust domain");
    assert_eq!(svid.spiffe_id().trust_domain(), &domain);
    assert_eq!(svid.spiffe_id().path(), format!("/node/{}", member.id()));
    assert_eq!(svid.cert_chain().len(), 2);
    let roots: Vec<u8> = server
        .certificates("root.pem")
        .iter()
        .flat_map(|der| der.to_vec())
        .collect();
    let bundle = X509Bundle::parse_from_der(domain, &roots).expect("a bundle");
    let pinned: Vec<_> = bundle
        .authorities()
        .iter()
        .map(|root| Digest::of(root.as_ref()))
        .collect();
    assert_eq!(pinned, [server.root()]);
    let policy: Vec<u8> = server
        .certificates("policy.pem")
        .iter()
        .flat_map(|der| der.to_vec())
        .collect();
    X509Svid::parse_from_der(&policy, &key).expect("the policy certificate is one, too");
}

/// What others fetch from the front end, as files.
struct Files {
    folder: PathBuf,
    authority: String,
    list: String,
}

impl Files {
    async fn fetch(server: &Server) -> Self {
        let mut files = Self {
            folder: folder("others"),
            authority: String::new(),
            list: String::new(),
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("PEM is text");
        let authority = text(get(server, "/api/v1/authority/certificates.pem").await);
        files.authority = files.write("authority.pem", &authority);
        let list = text(get(server, "/api/v1/authority/crl.pem").await);
        files.list = files.write("crl.pem", &list);
        files
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path: &Path = &self.folder.join(name);
        fs::write(path, text).expect("written");
        path.to_string_lossy().into_owned()
    }
}

async fn get(server: &Server, path: &str) -> Vec<u8> {
    let answer = Person::stranger(server).send(Request::get(path)).await;
    answer.expect("it is for everybody").body.to_vec()
}

/// The latest certificate that was issued for this purpose.
async fn issued(admin: &Person, purpose: &str) -> CertificateDer<'static> {
    let all: Value = admin.get("/api/v1/certificates?state=valid").await;
    let found = all["items"]
        .as_array()
        .expect("a page")
        .iter()
        .find(|row| row["purpose"] == purpose)
        .expect("issued at the start");
    let serial = found["serial"].as_str().expect("a serial number");
    let shown: Value = admin.show(&["certificates", serial]).await;
    let pem = shown["pem"].as_str().expect("the certificate");
    pem::certificates(pem.as_bytes()).expect("PEM").remove(0)
}

fn serial(member: &Member) -> String {
    Outline::of(&member.chain()[0]).expect("read").serial.to_string()
}

/// Whether `openssl` agreed, and what it said.
#[expect(
    clippy::disallowed_methods,
    reason = "a program of others reads what we write"
)]
fn openssl(arguments: &[&str]) -> (bool, String) {
    let output = std::process::Command::new("openssl")
        .args(arguments)
        .output()
        .expect("openssl is installed: packaging/deps/install.sh test");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}
