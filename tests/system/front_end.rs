//! The front end's own certificate: configured, changed while the control plane runs, and broken.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use muster_ids::Digest;
use muster_pki::{CertificateDer, ServerName, pem, tls::front_end_probe};
use muster_tests::{Server, Settings, folder, now, until};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_certificate_is_taken_without_a_restart_and_a_broken_one_is_not() {
    let place = folder("front-end");
    let (certificate, key) = (place.join("front-end.crt"), place.join("front-end.key"));
    let first = write_new(&certificate, &key);
    let server = Server::start(&Settings {
        front_end: Some((certificate.clone(), key.clone())),
        ..Settings::default()
    });
    assert_eq!(presented(&server).await, Some(first));

    let second = write_new(&certificate, &key);
    until("the changed certificate is presented", async || {
        (presented(&server).await == Some(second)).then_some(())
    })
    .await;

    fs::write(&certificate, "not a certificate").expect("written");
    until("the broken certificate is refused in the log", async || {
        server.log().contains("the one before stays in use").then_some(())
    })
    .await;
    assert_eq!(presented(&server).await, Some(second));
    let (ok, said) = server.command("doctor");
    assert!(
        !ok && said.contains("The configured certificate of the front end cannot be used: "),
        "{said}"
    );
}

/// Replaces certificate and key as an administrator does: beside, then renamed; the key is for its owner only.
fn write_new(certificate: &Path, key: &Path) -> Digest {
    let pair = rcgen::KeyPair::generate().expect("a key");
    let made = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .expect("a name")
        .self_signed(&pair)
        .expect("a certificate");
    let der = CertificateDer::from(made.der().to_vec());
    let digest = Digest::of(&der);
    replace(key, pem::write_private_key(pair.serialized_der()).as_bytes());
    replace(certificate, pem::write_certificates([&der]).as_bytes());
    digest
}

fn replace(path: &Path, bytes: &[u8]) {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes).expect("written");
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).expect("private");
    fs::rename(&beside, path).expect("renamed");
}

/// The fingerprint of the certificate that a new connection is shown.
async fn presented(server: &Server) -> Option<Digest> {
    let (config, recorder) = front_end_probe(Arc::new(now)).expect("a TLS configuration");
    let stream = TcpStream::connect(server.front_end())
        .await
        .expect("the front end listens");
    let name = ServerName::try_from("localhost").expect("a name");
    // A probe ends the handshake once it has seen the certificate.
    let ended = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    assert!(ended.is_err(), "a probe never completes a handshake");
    recorder.fingerprint()
}
