//! Items of the library, which developers make elsewhere.

use muster_code_trust::{
    CodeRoot, INTERNAL_ROOT, Item, ItemError, ItemType, ModArchive, ModManifest, Moment, Serial,
    SignatureBundle, SignerState,
};
use muster_ids::Sha512;
use muster_pki::{
    CertificateDer,
    code_signing::{CodeCertificate, CodeUsage, verify_code_chain},
};

use super::{
    certificates,
    world::{NOW, World},
};

/// A `mod-manifest.json`. What is accepted names files inside of the mod only, makes an item with exactly these files unless
/// two could be taken for one another, and has one digest whatever order they come in.
pub(super) fn mod_manifest(bytes: &[u8]) {
    let safe = |text: &str| assert!(!text.chars().any(muster_ids::is_deceptive), "{text:?}");
    let manifest = match ModManifest::read(bytes) {
        Ok(manifest) => manifest,
        Err(error) => return safe(&error.to_string()),
    };
    for text in [&manifest.id, &manifest.name, &manifest.version] {
        safe(text);
    }
    let files: Vec<(String, Sha512)> = manifest
        .declared()
        .iter()
        .map(|path| (path.to_string(), Sha512::of(path.as_str().as_bytes())))
        .collect();
    for (path, _) in &files {
        safe(path);
        assert!(!path.starts_with('/') && path.split('/').all(|part| !part.is_empty() && part != ".."));
    }
    match Item::of_mod(bytes.to_vec(), files.clone()) {
        Ok(item) => {
            let again = Item::of_mod(bytes.to_vec(), files.iter().rev().cloned()).expect("accepted before");
            assert_eq!(item.digest(), again.digest());
            let other = Item::of_mod(bytes.to_vec(), files.into_iter().skip(1));
            assert!(matches!(other, Err(ItemError::Missing(_))), "{other:?}");
        }
        Err(error) => assert!(
            matches!(error, ItemError::Alike(..) | ItemError::ManyFiles),
            "{error}"
        ),
    }
}

/// An archive of a mod. What is accepted is the same when it is packed again, and names no path outside of the mod.
pub(super) fn mod_archive(bytes: &[u8]) {
    let Ok(read) = ModArchive::read(bytes) else { return };
    for path in read.files.keys().chain(&read.others) {
        let text = path.as_str();
        assert!(!text.starts_with('/') && text.split('/').all(|part| !part.is_empty() && part != ".."));
    }
    let packed = ModArchive {
        others: Vec::new(),
        ..read.clone()
    };
    let again = ModArchive::read(&packed.to_bytes().expect("it was in an archive")).expect("accepted before");
    assert_eq!(again, packed);
    assert_eq!(
        again.item().expect("a mod").hash(),
        read.item().expect("a mod").hash()
    );
}

pub(super) fn mod_archive_seeds() -> Vec<Vec<u8>> {
    let manifest =
        r#"{"apiVersion":"1.2","version":"1.0","name":"R","id":"r","icon":"i.svg","files":["a/b.js"]}"#;
    let files = [("i.svg", b"<svg/>".to_vec()), ("a/b.js", b"1;".repeat(100))];
    let whole = ModArchive {
        manifest: manifest.into(),
        files: files
            .into_iter()
            .map(|(path, content)| (path.parse().expect("a path"), content))
            .collect(),
        signature: None,
        others: Vec::new(),
    };
    let signed = ModArchive {
        signature: Some(b"{}".to_vec()),
        ..whole.clone()
    };
    [whole, signed]
        .iter()
        .map(|archive| archive.to_bytes().expect("an archive"))
        .collect()
}

pub(super) fn mod_manifest_seeds() -> Vec<Vec<u8>> {
    [
        concat!(
            r#"{"apiVersion":"1.2","version":"1.0","name":"Rose Chart","id":"rose-chart","icon":"icon.svg","#,
            r#""files":["index.html","build/main.js"],"externalResources":["https://www.example.com"],"#,
            r#""properties":[{"name":"turns","type":"integer","defaultValue":1}],"#,
            r#""dataViewDefinition":{"colorAxis":{"mode":"dual"},"axes":[{"name":"X","mode":"continuous"}]}}"#
        ),
        concat!(
            r#"{"apiVersion":"2.0","version":"1.0","type":"action","name":"Tidy","id":"tidy","icon":"icon.svg","#,
            r#""capabilities":["LibraryRead","LibraryWrite"],"scripts":[{"id":"one","name":"One","#,
            r#""file":"build/one.js","entryPoint":"one","wrapInTransaction":false,"#,
            r#""parameters":[{"name":"message","type":"String"}]}]}"#
        ),
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// A signature of an item with its certificates and time stamp. What is accepted is written back as it was read, and is
/// never valid under roots that have nothing to do with it, whatever it says.
pub(super) fn signature(bytes: &[u8]) {
    let Ok(bundle) = SignatureBundle::from_json(bytes) else {
        return;
    };
    let again = SignatureBundle::from_json(bundle.to_json().as_bytes()).expect("what is written is read");
    assert_eq!(again, bundle);
    let hash = Sha512::of(b"item").into();
    let now = Moment::from_unix_ms(NOW);
    let root = CodeRoot {
        label: INTERNAL_ROOT.parse().expect("a label"),
        certificate: World::get().root.clone(),
    };
    let item = (ItemType::VisualizationMod, &hash);
    if let Ok(checked) = bundle.check(item, &[root], now, |_| SignerState::Active) {
        let problem = checked.problem.expect("nobody here signed it");
        assert!(!problem.to_string().chars().any(muster_ids::is_deceptive));
        assert!(checked.root.is_none() && !checked.subject.chars().any(muster_ids::is_deceptive));
    }
}

pub(super) fn signature_seeds() -> Vec<Vec<u8>> {
    vec![SEED.to_vec()]
}

/// A signature that a test made once.
const SEED: &[u8] = include_bytes!("../../fuzz/corpus/item_signature/seed-0");

/// The certificate of somebody who signs code, ours or another authority's.
pub(super) fn signing_certificate(bytes: &[u8]) {
    let Ok(facts) = CodeCertificate::of(bytes) else {
        return;
    };
    for name in [&facts.issuer, &facts.subject] {
        assert!(!name.is_empty() && name.len() <= 512 && !name.chars().any(muster_ids::is_deceptive));
    }
    assert!(!(facts.signs_code && facts.stamps_times), "one purpose");
    assert!(
        !(facts.signs_code && facts.is_authority),
        "nothing is both a leaf and an authority"
    );
    assert!(facts.serial.parse::<Serial>().is_ok());
    let certificate = [CertificateDer::from(bytes.to_vec())];
    for usage in [CodeUsage::Signing, CodeUsage::TimeStamping] {
        let root = World::get().root.clone();
        assert!(
            verify_code_chain(&certificate, &[root], usage, NOW).is_err(),
            "no root of nodes"
        );
    }
}

pub(super) fn signing_certificate_seeds() -> Vec<Vec<u8>> {
    let bundle = SignatureBundle::from_json(SEED).expect("a signature");
    let mut seeds: Vec<Vec<u8>> = bundle.signature.chain().iter().map(|der| der.to_vec()).collect();
    seeds.extend(certificates::certificate_seeds());
    seeds
}
