//! Signatures of items in files and archives, by keys of the control plane and by those that it never sees.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use muster_pki::{code_signing::CodeCertificate, pem};
use muster_tests::{CommandLine, Server, folder};
use serde_json::Value;

use super::elsewhere::Elsewhere;

pub(super) const ADMIN: &str = "admin@SPOTFIRE";

/// The command line, with files of its own.
pub(super) struct Desk {
    pub(super) muster: CommandLine,
    place: PathBuf,
}

impl Desk {
    pub(super) fn of(server: &Server, name: &str) -> Self {
        let (muster, place) = (CommandLine::log_in(server), folder(name));
        Self { muster, place }
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.place.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, content).expect("written");
        path.to_string_lossy().into_owned()
    }

    pub(super) fn rose(&self, page: &str) -> String {
        let manifest = r#"{"apiVersion":"1.2","version":"1.0","name":"Rose","id":"rose","icon":"icon.svg","files":["index.html"]}"#;
        self.write("rose/mod-manifest.json", manifest);
        self.write("rose/icon.svg", "<svg/>");
        self.write("rose/index.html", page);
        self.at("rose")
    }

    pub(super) fn at(&self, name: &str) -> String {
        self.place.join(name).to_string_lossy().into_owned()
    }

    pub(super) fn done(&self, arguments: &[&str]) -> String {
        let (code, said, complained) = self.muster.run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}{complained}");
        said
    }

    /// What is said when it fails, in both streams.
    pub(super) fn refused(&self, arguments: &[&str]) -> String {
        let (code, said, complained) = self.muster.run(arguments);
        assert_ne!(code, Some(0), "{arguments:?}: {said}{complained}");
        said + &complained
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_that_can_be_signed_is_signed_from_files_and_from_the_library() {
    let server = Server::shared();
    let desk = Desk::of(server, "kinds");
    let word = muster_tests::unique("kind");
    let script = desk.write(&format!("{word}.py"), format!("print('{word}')\n"));
    let query = desk.write(&format!("{word}.sql"), format!("select '{word}'"));
    let action = desk.write(&format!("{word}.json"), format!("{{\"service\":\"{word}\"}}"));
    let kinds: [(&str, &[&str]); 5] = [
        (
            "script",
            &[&script, "--parameter", "page:String", "--package", "numpy 1"],
        ),
        ("job_script", &[&script, "--kind", "job_script"]),
        ("custom_query", &[&query]),
        ("external_action", &["--action", &action]),
        ("external_action", &[&action, "--kind", "external_action"]),
    ];
    for (kind, source) in kinds {
        // The last is the one before it in other words.
        if source[0] != action {
            let unsigned = desk.refused(&[&["trust", "verify"], source].concat());
            assert!(unsigned.contains("unsigned"), "{kind}: {unsigned}");
        }
        let said = desk.done(&[&["trust", "sign", "--user", ADMIN], source].concat());
        assert!(said.starts_with(&format!("{kind} sha512=")), "{said}");
        assert!(
            desk.done(&[&["trust", "verify"], source].concat())
                .contains("valid"),
            "{kind}"
        );
    }
    // Another declaration is another item.
    assert!(desk.refused(&["trust", "verify", &script]).contains("unsigned"));
    let analysis = desk.refused(&["trust", "sign", "--user", ADMIN, &action]);
    assert!(analysis.contains("its parts are"), "{analysis}");

    desk.done(&[
        "library",
        "import",
        &script,
        "--parameter",
        "page:String",
        "--package",
        "numpy 1",
    ]);
    let path = format!("/{word}");
    assert!(desk.done(&["trust", "verify", "--item", &path]).contains("valid"));
    let said = desk.done(&["trust", "sign", "--user", ADMIN, "--item", &path]);
    assert!(said.starts_with("script sha512="), "{said}");
    let saved = desk.at("signature.json");
    desk.done(&[
        "trust", "sign", "--user", ADMIN, "--item", &path, "--save", &saved,
    ]);
    assert!(
        desk.done(&["trust", "verify", "--item", &path, "--signature", &saved])
            .contains("valid")
    );
    let packed = desk.refused(&[
        "trust",
        "sign",
        "--user",
        ADMIN,
        "--item",
        &path,
        "--save",
        &desk.at("x.mod"),
    ]);
    assert!(packed.contains("would be an archive"), "{packed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_control_plane_never_sees_signs_under_a_root_that_is_accepted() {
    let server = Server::private();
    let desk = Desk::of(&server, "own-key");
    let elsewhere = Elsewhere::new().await;
    let rose = desk.rose("<p>rose</p>");
    let key = desk.write(
        "corp.key",
        &*pem::write_private_key(&elsewhere.key.to_pkcs8().expect("a key")),
    );
    let certificates = desk.write(
        "corp.pem",
        pem::write_certificates([&elsewhere.leaf, &elsewhere.root]),
    );
    let root = desk.write("root.cer", &*elsewhere.root);
    let sign = [
        "trust",
        "sign",
        &rose,
        "--key",
        &key,
        "--certificate",
        &certificates,
    ];

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("open to all");
    let open = desk.refused(&sign);
    assert!(open.contains("corp.key"), "{open}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("closed");
    // Nobody accepts the root yet.
    let unknown = desk.refused(&sign);
    assert!(unknown.contains("no root that is accepted"), "{unknown}");
    desk.done(&["compat", "import-code-signing-certificate", "-p", &root]);
    let facts = CodeCertificate::of(&elsewhere.leaf).expect("a certificate");
    let said = desk.done(&sign);
    assert!(
        said.contains(&facts.serial) && said.contains("muster-signature.json"),
        "{said}"
    );
    let found: Value =
        serde_json::from_str(&desk.done(&["--output", "json", "trust", "verify", &rose])).expect("JSON");
    assert!(found["status"] == "valid" && found["time"].is_string(), "{found}");
    assert_eq!(found["serial"], facts.serial);
    // The control plane keeps it, and once.
    fs::remove_file(Path::new(&rose).join("muster-signature.json")).expect("removed");
    assert!(desk.done(&["trust", "verify", &rose]).contains(&facts.serial));

    desk.done(&[&sign[..], &["--offline"]].concat());
    let text = fs::read_to_string(Path::new(&rose).join("muster-signature.json")).expect("a signature");
    assert!(!text.contains("time_stamp"), "{text}");
    assert!(desk.done(&["trust", "verify", &rose]).contains("valid"));
    let other = desk.write("other.pem", pem::write_certificates([&elsewhere.root]));
    let refused = desk.refused(&["trust", "sign", &rose, "--key", &key, "--certificate", &other]);
    assert!(refused.contains("may sign code"), "{refused}");
    assert_eq!(server.admin().await.audited("codetrust.sign").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_a_mod_is_signed_verified_imported_and_signed_again() {
    let server = Server::private();
    let desk = Desk::of(&server, "archives");
    let rose = desk.rose("<p>rose</p>");
    let packed = desk.at("rose.mod");
    desk.done(&["trust", "sign", &rose, "--user", ADMIN, "--save", &packed]);
    assert!(!Path::new(&rose).join("muster-signature.json").exists());
    assert!(desk.done(&["trust", "verify", &packed]).contains("valid"));
    let resign = ["compat", "re-sign-mod", "-u", ADMIN, "-p", &packed];
    assert!(desk.done(&resign).contains("1 has a valid signature"));
    desk.done(&["compat", "reset-code-trust", "-f"]);
    assert!(desk.refused(&["trust", "verify", &packed]).contains("chain"));
    let guarded = desk.refused(&resign);
    assert!(guarded.contains("give -f"), "{guarded}");
    let other = desk.at("again.mod");
    desk.done(&[&resign[..], &["-d", &other]].concat());
    assert!(desk.done(&["trust", "verify", &other]).contains("valid"));
    assert!(desk.refused(&["trust", "verify", &packed]).contains("chain"));
    desk.done(&[
        "compat",
        "re-sign-mod",
        "-u",
        ADMIN,
        "-p",
        &desk.at("."),
        "--folder",
        "-f",
        "--force-re-sign",
    ]);
    assert!(desk.done(&["trust", "verify", &packed]).contains("valid"));

    let verified = desk.done(&["trust", "verify", &packed]);
    let hash = verified
        .split_whitespace()
        .find(|word| word.starts_with("sha512="))
        .expect("a hash")
        .to_owned();
    let said = desk.done(&["library", "import", &packed]);
    assert!(said.contains(&hash) && said.contains("kept before"), "{said}");
    assert!(
        desk.done(&["trust", "verify", "--item", "/Rose"])
            .contains("valid")
    );
    desk.done(&["compat", "reset-code-trust", "-f"]);
    assert!(
        desk.refused(&["trust", "verify", "--item", "/Rose"])
            .contains("chain")
    );
    let of_library = ["compat", "re-sign-mod", "-u", ADMIN, "-l", "/Rose"];
    let wrong = desk.refused(&[&of_library[..], &["-i", "action_mod"]].concat());
    assert!(wrong.contains("visualization_mod"), "{wrong}");
    assert!(desk.done(&of_library).contains("is signed by"));
    assert!(
        desk.done(&["trust", "verify", "--item", "/Rose"])
            .contains("valid")
    );
    let all = [
        "compat",
        "re-sign-mod",
        "-u",
        ADMIN,
        "-l",
        "/",
        "--folder",
        "-i",
        "mod",
    ];
    assert!(desk.done(&all).contains("1 has a valid signature"));
    assert!(
        desk.done(&[&all[..], &["--force-re-sign"]].concat())
            .contains("is signed by")
    );

    // What is no archive in the plain form, or holds what its signature is not over.
    let bytes = fs::read(&packed).expect("an archive");
    let broken = desk.write("broken.mod", &bytes[..bytes.len() - 1]);
    let refused = desk.refused(&["trust", "verify", &broken]);
    assert!(refused.contains("plain ZIP"), "{refused}");
    desk.rose("<p>Rose</p>");
    let signature = desk.at("signature.json");
    desk.done(&["trust", "sign", &rose, "--user", ADMIN, "--save", &signature]);
    let exchanged = desk.refused(&["trust", "verify", &packed, "--signature", &signature]);
    assert!(exchanged.contains("modified"), "{exchanged}");
    let refused = desk.refused(&[
        "trust",
        "sign",
        "--user",
        ADMIN,
        "--function",
        "none",
        "--save",
        &desk.at("y.mod"),
    ]);
    assert!(refused.contains("none"), "{refused}");
}
