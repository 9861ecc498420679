//! Two systems, each with a root of its own, and what one has signed in the other.

use muster_pki::code_signing::CodeCertificate;
use muster_tests::Server;

use super::files::{ADMIN, Desk};

#[tokio::test(flavor = "multi_thread")]
async fn what_one_system_signed_counts_in_another_while_its_root_is_there() {
    let (one, other) = (Server::private(), Server::private());
    let (one, other) = (Desk::of(&one, "one"), Desk::of(&other, "other"));
    let rose = one.rose("<p>rose</p>");
    one.done(&[
        "compat",
        "re-sign-mod",
        "-u",
        ADMIN,
        "-p",
        &rose,
        "--force-re-sign",
    ]);
    one.done(&[
        "compat",
        "export-code-signing-root-certificate",
        "-d",
        &one.at(""),
    ]);
    let root = one.at("root-ca.cer");

    let verify = ["trust", "verify", &rose];
    assert!(other.refused(&verify).contains("chain"));
    other.done(&["compat", "import-code-signing-certificate", "-p", &root]);
    let valid = other.done(&verify);
    assert!(valid.contains("valid") && !valid.contains("internal"), "{valid}");
    // From the files alone, as they were written.
    assert!(
        one.done(&["trust", "verify", &rose, "--roots", &root])
            .contains("valid")
    );
    // Its own root stays the one that it signs under.
    let again = ["compat", "import-code-signing-certificate", "-p", &root];
    assert!(one.refused(&again).contains("accepted already"));

    let der = std::fs::read(&root).expect("the root");
    let facts = CodeCertificate::of(&der).expect("a root");
    let remove = [
        "compat",
        "remove-code-signing-root-certificate",
        "-n",
        &facts.serial,
        "-i",
        &facts.subject,
    ];
    other.done(&remove);
    assert!(other.refused(&verify).contains("chain"));
    assert!(one.done(&verify).contains("valid"));
}
