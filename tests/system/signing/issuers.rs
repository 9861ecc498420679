//! Certificates between a signer and a root: brought, or fetched from where the configuration allows it.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
};

use muster_code_trust::{Item, ItemKind, ItemStatement, ItemType, SignatureBundle};
use muster_ids::Sha512;
use muster_pki::{
    CertificateDer,
    code_signing::{CodeMessage, CodeSigned, ExternalKey},
    pem,
};
use muster_tests::{CommandLine, Server, Settings, folder, problem};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};

use super::{CERTIFICATES, found, rose};
use crate::trust::send;

/// A root, an authority under it, and a signer under that, whose certificate says where the authority's lies.
struct Corporation {
    root: CertificateDer<'static>,
    between: CertificateDer<'static>,
    leaf: CertificateDer<'static>,
    key: KeyPair,
}

fn params(name: &str, is_ca: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    } else {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    }
    params
}

/// Authority information access with one address of the issuer's certificate (RFC 5280 4.2.2.1).
fn access(address: &str) -> CustomExtension {
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).expect("a short form");
    let wrapped = |tag: u8, content: &[u8]| [&[tag, length(content)][..], content].concat();
    let issuers = wrapped(6, &[0x2b, 6, 1, 5, 5, 7, 0x30, 2]);
    let one = wrapped(0x30, &[issuers, wrapped(0x86, address.as_bytes())].concat());
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], wrapped(0x30, &one))
}

impl Corporation {
    fn new(name: &str, address: &str) -> Self {
        let key = || KeyPair::generate().expect("a key");
        let (root_key, between_key, key) = (key(), key(), key());
        let (root, between) = (
            params(&format!("{name} root"), true),
            params(&format!("{name} CA"), true),
        );
        let mut leaf = params(&format!("{name} signer"), false);
        leaf.custom_extensions = vec![access(address)];
        let top = Issuer::from_params(&root, &root_key);
        let middle = Issuer::from_params(&between, &between_key);
        Self {
            root: root.self_signed(&root_key).expect("a root").into(),
            between: between
                .signed_by(&between_key, &top)
                .expect("an authority")
                .into(),
            leaf: leaf.signed_by(&key, &middle).expect("a signer").into(),
            key,
        }
    }

    /// A signature with the signer's certificate and nothing that leads on from it.
    fn sign(&self, item: &Value) -> Value {
        let manifest = item["manifest"].as_str().expect("a manifest").as_bytes().to_vec();
        let files: BTreeMap<String, Sha512> = serde_json::from_value(item["files"].clone()).expect("files");
        let signed = Item::new(ItemKind::VisualizationMod, manifest, files).expect("a mod");
        let statement = ItemStatement {
            r#type: ItemType::VisualizationMod,
            hash: signed.hash(),
        };
        let payload = serde_json::to_vec(&statement).expect("JSON");
        let key = ExternalKey::from_pkcs8(self.key.serialized_der()).expect("a key");
        let chain = std::slice::from_ref(&self.leaf);
        let signature = CodeSigned::sign_externally(CodeMessage::ItemSignature, payload, &key, chain);
        let bundle = SignatureBundle {
            signature: signature.expect("a signature"),
            time_stamp: None,
        };
        serde_json::to_value(bundle).expect("JSON")
    }
}

/// Answers every request with the same bytes, and notes what was asked for.
fn site(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                request.extend(byte);
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
            let body = answer(&path);
            notes.lock().expect("whole").push(path);
            // Who had enough hangs up.
            let _ = stream.write_all(&body);
        }
    });
    (address, asked)
}

fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_between_a_signer_and_a_root_is_brought_and_leads_on_from_signatures() {
    let server = Server::private();
    let admin = server.admin().await;
    let (corp, other) = (
        Corporation::new("Corp", "http://x/y"),
        Corporation::new("Other", "http://x/y"),
    );
    let item = rose("rose", "x");
    let bundle = corp.sign(&item);
    let import = async |certificates: &[&CertificateDer<'static>]| {
        let pem = pem::write_certificates(certificates.iter().copied());
        send(&admin, CERTIFICATES, &json!({ "pem": pem })).await
    };
    let refused = problem(import(&[&corp.leaf, &corp.between]).await);
    assert!(refused.detail.contains("import the root first"), "{refused:?}");
    import(&[&corp.root]).await.expect("imported");
    // A leaf alone, one that leads elsewhere, one that is no authority, a root.
    for between in [
        &[&other.between][..],
        &[&corp.between, &other.between],
        &[&corp.between, &corp.root],
    ] {
        let all = [&[&corp.leaf][..], between].concat();
        assert_eq!(problem(import(&all).await).status, 422);
    }
    import(&[&corp.leaf]).await.expect("imported");
    assert_eq!(found(&admin, &item, &bundle).await["status"], "chain");
    import(&[&corp.leaf, &corp.between])
        .await
        .expect("what was missing");
    let valid = found(&admin, &item, &bundle).await;
    assert_eq!(valid["status"], "valid", "{valid}");
    assert_eq!(problem(import(&[&corp.leaf, &corp.between]).await).status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_certificate_is_fetched_from_an_allowed_address_and_from_no_other() {
    let place = folder("issuers");
    let corporation: Arc<Mutex<Option<Corporation>>> = Arc::default();
    let served = Arc::clone(&corporation);
    let (address, asked) = site(move |path| match (path, &*served.lock().expect("whole")) {
        ("/ca.cer", Some(corp)) => ok(&corp.between),
        ("/moved.cer", _) => b"HTTP/1.1 302 Found\r\nLocation: /ca.cer\r\nContent-Length: 0\r\n\r\n".to_vec(),
        ("/large.cer", _) => ok(&vec![b'0'; 1024 * 1024]),
        ("/root.cer", Some(corp)) => ok(&corp.root),
        _ => ok(b"nothing"),
    });
    let at = |path: &str| format!("http://{address}{path}");
    let allowed = ["/ca.cer", "/moved.cer", "/large.cer", "/root.cer", "/garbage.cer"].map(at);
    let server = Server::start(&Settings {
        join: format!("[code_trust]\nallowed_issuers = {}\n", json!(allowed)),
        ..Settings::default()
    });
    let (admin, muster) = (server.admin().await, CommandLine::log_in(&server));
    let import = |certificate: &CertificateDer<'static>| {
        let file = place.join("certificate.cer");
        std::fs::write(&file, &**certificate).expect("written");
        let file = file.to_string_lossy().into_owned();
        let (code, said, complained) =
            muster.run(&["compat", "import-code-signing-certificate", "-p", &file]);
        (code, said + &complained)
    };
    let item = rose("rose", "x");
    // What sends elsewhere, too much, a root in its place, or nothing that is a certificate.
    for (path, word) in [
        ("/moved.cer", "302"),
        ("/large.cer", "65536"),
        ("/root.cer", "is that of"),
        ("/garbage.cer", "cannot be fetched"),
    ] {
        let corp = Corporation::new(path, &at(path));
        let (leaf, root) = (corp.leaf.clone(), corp.root.clone());
        *corporation.lock().expect("whole") = Some(corp);
        assert_eq!(import(&root).0, Some(0));
        let (code, said) = import(&leaf);
        assert!(code != Some(0) && said.contains(word), "{path}: {said}");
    }
    let before = asked.lock().expect("whole").len();
    assert_eq!(before, 4, "no redirect was followed, and no root was asked for");
    // An address that is not in the list, be it next to one that is.
    let corp = Corporation::new("Other", &at("/ca.cer?x"));
    assert_eq!(import(&corp.root).0, Some(0));
    let (code, said) = import(&corp.leaf);
    assert!(code == Some(0) && !said.contains("fetched"), "{said}");
    assert_eq!(found(&admin, &item, &corp.sign(&item)).await["status"], "chain");
    assert_eq!(asked.lock().expect("whole").len(), before);

    let corp = Corporation::new("Corp", &at("/ca.cer"));
    let (leaf, root, bundle) = (corp.leaf.clone(), corp.root.clone(), corp.sign(&item));
    *corporation.lock().expect("whole") = Some(corp);
    assert_eq!(import(&root).0, Some(0));
    let (code, said) = import(&leaf);
    assert!(code == Some(0) && said.contains("/ca.cer"), "{said}");
    assert_eq!(found(&admin, &item, &bundle).await["status"], "valid");
}
