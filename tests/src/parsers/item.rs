//! Items of the library, which developers make elsewhere.

use muster_code_trust::{Item, ItemError, ModManifest};
use muster_ids::Sha512;

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
