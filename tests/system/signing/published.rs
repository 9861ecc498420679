//! Mods as others publish them: those of the folder that `MUSTER_MODS_DIR` names, where it is given.
//!
//! What a developer's build makes is not published with the sources, so other bytes stand in its place here.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use muster_code_trust::{MOD_MANIFEST, ModManifest};
use muster_tests::Server;

use super::files::{ADMIN, Desk};

const DAN: &str = "dan@SPOTFIRE";

/// The folders below `folder` that hold a manifest, in the order of their names.
fn mods(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).expect("a folder");
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            found.extend(mods(&path));
        } else if path.ends_with(MOD_MANIFEST) {
            found.push(folder.to_owned());
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn published_mods_are_imported_signed_verified_packed_and_signed_again() {
    let Some(folder) = std::env::var_os("MUSTER_MODS_DIR") else {
        let skipped = "skipped: MUSTER_MODS_DIR names no folder with published mods";
        writeln!(std::io::stderr(), "{skipped}").expect("said");
        return;
    };
    let server = Server::private();
    let desk = Desk::of(&server, "published");
    let admin = server.admin().await;
    admin.create_user(DAN, "a long enough password").await;
    let found = mods(Path::new(&folder));
    assert!(!found.is_empty(), "MUSTER_MODS_DIR names a folder with mods");
    for (number, folder) in found.iter().enumerate() {
        let manifest = fs::read(folder.join(MOD_MANIFEST)).expect("a manifest");
        let declared = ModManifest::read(&manifest)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .declared();
        let name = format!("mod {number}");
        let source = desk.at(&name);
        desk.write(&format!("{name}/{MOD_MANIFEST}"), &manifest);
        for path in declared {
            let content = fs::read(folder.join(path.as_str()));
            desk.write(
                &format!("{name}/{path}"),
                content.unwrap_or_else(|_| b"// built\n".to_vec()),
            );
        }
        let place = format!("/{name}");
        desk.done(&["library", "import", &source, "--name", &name]);
        let unsigned = desk.refused(&["trust", "verify", &source]);
        assert!(unsigned.contains("unsigned"), "{}: {unsigned}", folder.display());
        desk.done(&["trust", "sign", &source, "--user", ADMIN]);
        for what in [&[source.as_str()][..], &["--item", &place]] {
            let said = desk.done(&[&["trust", "verify"], what].concat());
            assert!(said.contains("valid") && said.contains(ADMIN), "{said}");
        }
        let again = [
            "compat",
            "re-sign-mod",
            "-u",
            DAN,
            "-p",
            &source,
            "--force-re-sign",
        ];
        desk.done(&again);
        let said = desk.done(&["trust", "verify", &source]);
        assert!(said.contains("valid") && said.contains(DAN), "{said}");
        let packed = desk.at(&format!("{name}.mod"));
        desk.done(&["trust", "sign", &source, "--user", ADMIN, "--save", &packed]);
        desk.done(&[
            "compat",
            "re-sign-mod",
            "-u",
            DAN,
            "-p",
            &packed,
            "-f",
            "--force-re-sign",
        ]);
        let said = desk.done(&["trust", "verify", &packed]);
        assert!(said.contains("valid") && said.contains(DAN), "{said}");
    }
    let said = format!(
        "{} mods were imported and signed by one after the other",
        found.len()
    );
    writeln!(std::io::stderr(), "{said}").expect("said");
}
