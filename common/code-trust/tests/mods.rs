//! Mods as others publish them: those of the folder that `MUSTER_MODS_DIR` names, where it is given.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use muster_code_trust::{Item, MOD_MANIFEST, ModManifest};
use muster_ids::Sha512;

/// The folders below `folder` that hold a manifest.
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
    found
}

#[test]
fn published_mods_become_items_where_all_of_their_files_are_there() {
    let Some(folder) = std::env::var_os("MUSTER_MODS_DIR") else {
        return;
    };
    let (mut read, mut whole) = (0, 0);
    for folder in mods(Path::new(&folder)) {
        let manifest = fs::read(folder.join(MOD_MANIFEST)).expect("a manifest");
        let declared = ModManifest::read(&manifest)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .declared();
        read += 1;
        let files: BTreeMap<String, Sha512> = declared
            .iter()
            .filter_map(|path| {
                Some((
                    path.to_string(),
                    Sha512::of(&fs::read(folder.join(path.as_str())).ok()?),
                ))
            })
            .collect();
        if files.len() == declared.len() {
            let item =
                Item::of_mod(manifest, files).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            assert_eq!(item.digest(), item.hash().as_str().parse().expect("SHA-512"));
            whole += 1;
        }
    }
    assert!(read > 0, "MUSTER_MODS_DIR names a folder with mods");
    assert!(whole > 0, "no mod has all of its files; build them first");
}
