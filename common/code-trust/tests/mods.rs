//! Mods as others publish them: those of the folder that `MUSTER_MODS_DIR` names, where it is given.
//!
//! What a developer's build makes is not published with the sources, so other bytes stand in its place here. Everything
//! else, the manifest before all, is as it was published.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    task::{Context, Poll, Waker},
    time::Duration,
};

use muster_code_trust::{
    CodeRoot, Item, ItemPath, ItemStatement, MOD_MANIFEST, ModArchive, ModManifest, Moment, SignatureBundle,
    SignerState,
};
use muster_ids::{CollectiveId, Sha512, UserId};
use muster_pki::{
    CertificateDer, KeyUse, Serial, Signer as _, SoftwareSigner, Validity,
    code_signing::{CodeHolder, CodeMessage, CodeSigned, create_code_root, issue_code_certificate},
};

/// 2026-01-01.
const NOW: i64 = 1_767_225_600_000;

fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a key in memory answers at once"),
    }
}

/// Somebody who signs, and the root that it leads to.
struct Signer {
    key: SoftwareSigner,
    certificate: CertificateDer<'static>,
    root: CodeRoot,
}

impl Signer {
    fn new(number: u8) -> Self {
        let authority = SoftwareSigner::generate(KeyUse::Authority).expect("a key");
        let key = SoftwareSigner::generate(KeyUse::Code).expect("a key");
        let validity = Validity::starting(NOW, Duration::from_hours(24));
        let serial = Serial::from_random([number; 16]);
        let collective = CollectiveId::new(1, [number; 10]);
        let root = ready(create_code_root(collective, &authority, &serial, &validity)).expect("a root");
        let holder = CodeHolder::User {
            name: "ann@SPOTFIRE".parse().expect("a name"),
            id: UserId::new(1, [number; 10]),
        };
        let issued = issue_code_certificate(&holder, key.public_key(), &root, &authority, &serial, &validity);
        Self {
            certificate: ready(issued).expect("a certificate"),
            key,
            root: CodeRoot {
                label: format!("authority {number}").parse().expect("a label"),
                certificate: root,
            },
        }
    }

    fn sign(&self, item: &Item) -> String {
        let statement = ItemStatement {
            r#type: item.kind().item_type().expect("a mod is signed"),
            hash: item.hash(),
        };
        let payload = serde_json::to_vec(&statement).expect("JSON");
        let chain = std::slice::from_ref(&self.certificate);
        let signature = CodeSigned::sign(CodeMessage::ItemSignature, payload, &self.key, chain);
        let bundle = SignatureBundle {
            signature: ready(signature).expect("a signature"),
            time_stamp: None,
        };
        bundle.to_json()
    }

    /// Whether what lies in this archive is signed by this signer and nobody else.
    fn signed(&self, archive: &ModArchive) -> bool {
        let item = archive.item().expect("a mod");
        let bundle = archive.signature.as_deref().expect("a signature");
        let bundle = SignatureBundle::from_json(bundle).expect("a bundle");
        let named = (item.kind().item_type().expect("a type"), &item.hash());
        let roots = std::slice::from_ref(&self.root);
        let checked = bundle.check(named, roots, Moment::from_unix_ms(NOW), |_| SignerState::Active);
        checked.expect("a signature").problem.is_none()
    }
}

/// Signs a mod, packs it, unpacks it, and signs it again as somebody else.
fn travels(manifest: &[u8], files: BTreeMap<ItemPath, Vec<u8>>, [first, second]: &[Signer; 2]) {
    let mut archive = ModArchive {
        manifest: manifest.to_vec(),
        files,
        signature: None,
        others: Vec::new(),
    };
    for (signer, other) in [(first, second), (second, first)] {
        archive.signature = Some(signer.sign(&archive.item().expect("a mod")).into_bytes());
        let read = ModArchive::read(&archive.to_bytes().expect("an archive")).expect("a mod");
        assert_eq!(read, archive);
        assert!(signer.signed(&read) && !other.signed(&read));
        archive = read;
    }
}

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
fn published_mods_become_items_and_are_signed_by_one_after_the_other() {
    let Some(folder) = std::env::var_os("MUSTER_MODS_DIR") else {
        let skipped = "skipped: MUSTER_MODS_DIR names no folder with published mods";
        writeln!(std::io::stderr(), "{skipped}").expect("said");
        return;
    };
    let signers = [Signer::new(1), Signer::new(2)];
    let (mut read, mut built) = (0, 0);
    for folder in mods(Path::new(&folder)) {
        let manifest = fs::read(folder.join(MOD_MANIFEST)).expect("a manifest");
        let declared = ModManifest::read(&manifest)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .declared();
        read += 1;
        let mut whole = true;
        let files: BTreeMap<ItemPath, Vec<u8>> = declared
            .iter()
            .map(|path| {
                let content = fs::read(folder.join(path.as_str()));
                whole &= content.is_ok();
                (path.clone(), content.unwrap_or_else(|_| b"// built\n".to_vec()))
            })
            .collect();
        built += usize::from(whole);
        let digests = files
            .iter()
            .map(|(path, content)| (path.as_str(), Sha512::of(content)));
        let item = Item::of_mod(manifest.clone(), digests)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        travels(&manifest, files, &signers);
        assert_eq!(item.digest(), item.hash().as_str().parse().expect("SHA-512"));
    }
    assert!(read > 0, "MUSTER_MODS_DIR names a folder with mods");
    assert!(built > 0, "no mod has all of its files; build some first");
    let said =
        format!("{read} mods were signed, verified and signed again, {built} with all files as published");
    writeln!(std::io::stderr(), "{said}").expect("said");
}
