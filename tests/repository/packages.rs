//! The packages that the product is built on do real work, each where it belongs.

use crate::{files, layering::packages, rust_code::has_word};

/// Package, our crate that depends on it, the file where it does its work, and a word of its interface that
/// shows it.
const AT_WORK: &[(&str, &str, &str, &str)] = &[
    (
        "tokio",
        "muster-daemon",
        "common/daemon/src/shutdown.rs",
        "signal",
    ),
    (
        "hyper",
        "muster-client",
        "common/client/src/transport.rs",
        "http2",
    ),
    (
        "rustls",
        "muster-pki",
        "common/pki/src/tls/back_end.rs",
        "ClientCertVerifier",
    ),
    (
        "rcgen",
        "muster-pki",
        "common/pki/src/issue.rs",
        "CertificateParams",
    ),
    ("rustls-pemfile", "muster-pki", "common/pki/src/pem.rs", "certs"),
    (
        "notify",
        "muster-daemon",
        "common/daemon/src/watch.rs",
        "RecommendedWatcher",
    ),
    (
        "sysinfo",
        "muster-agent",
        "node-agent/agent/src/inventory.rs",
        "System",
    ),
    (
        "sqlx",
        "muster-store",
        "control-plane/store/src/dialect.rs",
        "query",
    ),
];

#[test]
fn each_named_package_is_a_direct_dependency_and_does_real_work() {
    let packages = packages();
    for (package, user, file, word) in AT_WORK {
        let user_entry = packages
            .iter()
            .find(|entry| entry["name"] == *user)
            .unwrap_or_else(|| panic!("{package} works in {user}, which is not in the workspace"));
        let direct = user_entry["dependencies"]
            .as_array()
            .expect("dependencies")
            .iter()
            .any(|dependency| dependency["name"] == *package && dependency["kind"].is_null());
        assert!(direct, "{user} depends on {package} itself");
        let code = files::code(*file);
        assert!(
            code.contains(&format!("{}::", package.replace('-', "_"))),
            "{file} names {package}"
        );
        assert!(has_word(&code, word), "{file} uses {word} of {package}");
    }
}

#[test]
fn rustls_pemfile_is_used_in_one_module_only() {
    assert_eq!(users_of("rustls_pemfile"), ["common/pki/src/pem.rs"]);
}

#[test]
fn only_the_store_speaks_sql() {
    for file in users_of("sqlx") {
        assert!(
            file.starts_with("control-plane/store/"),
            "{file} names sqlx; SQL belongs in the store"
        );
    }
}

/// The Rust files whose code names this crate.
fn users_of(name: &str) -> Vec<String> {
    files::ending(".rs")
        .into_iter()
        .filter(|path| has_word(&files::code(path), name))
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}
