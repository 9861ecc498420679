//! The issuing key in a PKCS#11 token: `SoftHSM` stands in for a device.

use std::fs;

use muster_pki::{Role, pem};
use muster_tests::{Applicant, Server, folder, run_program_in, unique};

/// The PIN of the token.
const PIN: &str = "567890";

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_issued_with_a_key_that_only_the_token_has() {
    let device = folder("token");
    let (tokens, config, pin) = (
        device.join("tokens"),
        device.join("softhsm2.conf"),
        device.join("pin"),
    );
    fs::create_dir_all(&tokens).expect("a folder");
    fs::write(
        &config,
        format!(
            "directories.tokendir = {}\nobjectstore.backend = file\n",
            tokens.display()
        ),
    )
    .expect("the configuration of the token");
    muster_daemon::file::write(&pin, PIN.as_bytes(), 0o600, "test").expect("the PIN");
    let config = config.to_string_lossy().into_owned();
    let environment = [("SOFTHSM2_CONF", config.as_str())];
    let made = [
        "--init-token",
        "--free",
        "--label",
        "muster",
        "--so-pin",
        "123456",
        "--pin",
        PIN,
    ];
    let (made, said) = run_program_in("softhsm2-util", &made, &environment);
    assert!(made, "{said}");

    let server = Server::private();
    server.kill();
    server.configure(&format!(
        "[authority]\npkcs11_module = \"/usr/lib/softhsm/libsofthsm2.so\"\npkcs11_token = \"muster\"\n\
         pkcs11_pin_file = \"{}\"\n",
        pin.display()
    ));
    let (imported, said) = server.command_in("import-issuing-key", &environment);
    assert!(imported && said.contains("holds the issuing key"), "{said}");
    let (again, said) = server.command_in("import-issuing-key", &environment);
    assert!(!again && said.contains("nothing was changed"), "{said}");
    fs::remove_file(
        server
            .state_dir()
            .join("keys")
            .join(&server.root().hex()[..16])
            .join("issuing.key"),
    )
    .expect("the file is not needed any more");
    server.restart_in(&environment);

    let member = Applicant::new(&unique("terr")).await.join(&server).await;
    let chain = member.chain();
    let verified = server.roots().verify(&chain, Role::Node, muster_tests::now());
    assert!(verified.is_ok(), "{verified:?}");
    let file = |name: &str, certificates: &[_]| {
        let path = device.join(name);
        fs::write(&path, pem::write_certificates(certificates)).expect("written");
        path.to_string_lossy().into_owned()
    };
    let (leaf, between) = (file("leaf.pem", &chain[..1]), file("issuing.pem", &chain[1..]));
    let root = file("root.pem", server.roots().certificates());
    let verify = [
        "verify",
        "-x509_strict",
        "-CAfile",
        &root,
        "-untrusted",
        &between,
        &leaf,
    ];
    let (verified, said) = run_program_in("openssl", &verify, &[]);
    assert!(verified && said.contains("OK"), "{said}");
    member.connect().await;
}
