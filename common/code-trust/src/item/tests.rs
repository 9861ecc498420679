use std::collections::{BTreeMap, BTreeSet};

use muster_ids::Sha512;
use proptest::{collection, prelude::*, sample::Index};
use serde_json::{Value, json};

use super::*;

fn visualization() -> Value {
    json!({
        "apiVersion": "1.2", "version": "1.0", "name": "Rose Chart", "id": "rose-chart", "icon": "icon.svg",
        "files": ["index.html", "build/main.js"], "externalResources": ["https://www.example.com"],
        "properties": [{"name": "turns", "type": "integer", "defaultValue": 1}],
    })
}

fn action() -> Value {
    json!({
        "apiVersion": "2.0", "version": "1.0", "type": "action", "name": "Tidy", "id": "tidy", "icon": "icon.svg",
        "capabilities": ["LibraryRead"],
        "scripts": [{"id": "one", "name": "One", "file": "build/one.js", "entryPoint": "one",
                     "parameters": [{"name": "message", "type": "String"}]}],
    })
}

fn files(paths: &[&str]) -> Vec<(String, Sha512)> {
    paths
        .iter()
        .map(|path| ((*path).to_owned(), Sha512::of(path.as_bytes())))
        .collect()
}

fn mod_of(manifest: &Value, paths: &[&str]) -> Result<Item, ItemError> {
    Item::of_mod(manifest.to_string().into_bytes(), files(paths))
}

const ROSE: [&str; 3] = ["index.html", "build/main.js", "icon.svg"];

#[test]
fn published_manifests_become_items_of_their_kind() {
    let item = mod_of(&visualization(), &ROSE).expect("a visualization");
    assert_eq!(item.kind(), ItemKind::VisualizationMod);
    assert_eq!(item.files().len(), 3);
    let item = mod_of(&action(), &["build/one.js", "icon.svg"]).expect("an action mod");
    assert_eq!(item.kind(), ItemKind::ActionMod);
    let read = ModManifest::read(item.manifest()).expect("read");
    assert_eq!(read.capabilities, BTreeSet::from([Capability::LibraryRead]));
    assert_eq!(read.scripts[0].entry_point, "one");
}

#[test]
fn the_digest_of_a_known_item_never_changes() {
    // Computed with Python's hashlib from the description above.
    let manifest = r#"{"apiVersion":"1.2","version":"1.0","name":"Rose","id":"rose","icon":"icon.svg","files":["index.html"]}"#;
    let of = |path: &str, content: &[u8]| (path.to_owned(), Sha512::of(content));
    let rose = Item::of_mod(
        manifest.as_bytes().to_vec(),
        [of("icon.svg", b"<svg/>"), of("index.html", b"<p>rose</p>\n")],
    )
    .expect("a mod");
    assert_eq!(
        rose.digest().to_string(),
        "sha512=UbWkqDVpObMBJ5wH/IUKVinaq/pKJIfGwyWOlsbSTqra2rq2/80v0X+lck3oTinYBNXcKOCXW7EV2qlQkIrKvg=="
    );
    let declared = CodeManifest {
        language: CodeLanguage::IronPython,
        parameters: vec![CodeParameter {
            name: "page".to_owned(),
            r#type: "String".to_owned(),
        }],
        packages: BTreeSet::new(),
        transaction: true,
    };
    assert_eq!(
        declared.to_json(),
        r#"{"language":"ironpython","packages":[],"parameters":[{"name":"page","type":"String"}],"transaction":true}"#
    );
    let script = Item::of_code(ItemKind::Script, &declared, b"print(page)\n").expect("a script");
    assert_eq!(
        script.digest().to_string(),
        "sha512=5E/JgnHnPpzl8EHB5W/3msyWZwpocGHBi/zrcU3OIeLfH08xGZ+5UsoJ9qsfO6kIaONbCuGJsXRABDfa5XxpOw=="
    );
    let call =
        Item::new::<&str>(ItemKind::ExternalAction, br#"{"service":"crm"}"#.to_vec(), []).expect("an action");
    assert_eq!(
        call.digest().to_string(),
        "sha512=Qz+gafGwiPI4f21tV/n8IX1I9edId8F57DN3tydosPAE1Are05G8lgn4FtKXtKi9dctmM/7zKGVuqATWq9D1KA=="
    );
}

#[test]
fn paths_that_lead_elsewhere_or_mislead_are_refused() {
    for path in [
        "",
        "/",
        "/etc/passwd",
        "../x",
        "a/../b",
        "./a",
        "a//b",
        "a/",
        "a\\b",
        "C:/x",
        "C:x",
        "a\u{0}b",
        "a\nb",
        "a\u{202e}b",
        "a ",
        "a/ b",
        "-rf",
        "nul",
        "CON.txt",
        "build/Com1.js",
        "a.",
        "a/b./c",
        "INDEX~1.HTM",
        "a/b~2",
        "e\u{301}",
    ] {
        assert!(path.parse::<ItemPath>().is_err(), "{path:?}");
    }
    assert!("a/".repeat(40).parse::<ItemPath>().is_err());
    assert!("a".repeat(600).parse::<ItemPath>().is_err());
    for path in [
        "icon.svg",
        "build/main.js",
        ".gitignore",
        "Ärzte/é.js",
        "com10/console.js",
        "a b/c d.txt",
    ] {
        assert_eq!(path.parse::<ItemPath>().expect(path).as_str(), path);
    }
}

#[test]
fn nothing_of_a_mod_lies_where_its_manifest_or_its_signature_does() {
    for file in [
        "mod-manifest.json",
        "Mod-Manife\u{17f}t.json",
        "mod-manifest.json/x.js",
        "MUSTER-signature.json",
    ] {
        let mut manifest = visualization();
        manifest["files"] = json!(["index.html", "build/main.js", file]);
        let paths = ["index.html", "build/main.js", "icon.svg", file];
        assert!(mod_of(&manifest, &paths).is_err(), "{file}");
    }
}

#[test]
fn fields_that_differ_in_case_and_addresses_that_pose_as_others_are_refused() {
    for name in [
        "Capabilities",
        "Files",
        "EXTERNALRESOURCES",
        "Type",
        "file\u{17f}",
    ] {
        let mut manifest = visualization();
        manifest[name] = json!([]);
        assert!(mod_of(&manifest, &ROSE).is_err(), "{name}");
    }
    let mut script = action();
    script["scripts"][0]["entrypoint"] = json!("two");
    assert!(mod_of(&script, &["build/one.js", "icon.svg"]).is_err());
    for address in [
        "https://www.example.com@evil.example/",
        "https://a\\@b/",
        "https:///x",
        "https://:1/",
        "http://",
    ] {
        let mut manifest = visualization();
        manifest["externalResources"] = json!([address]);
        assert!(mod_of(&manifest, &ROSE).is_err(), "{address}");
    }
    let mut manifest = visualization();
    manifest["externalResources"] = json!(["https://www.example.com/@scope/pkg@1.js"]);
    assert!(mod_of(&manifest, &ROSE).is_ok());
}

#[test]
fn two_files_that_could_be_taken_for_one_another_are_refused() {
    for pair in [
        ["a.js", "a.js"],
        ["a.js", "A.js"],
        ["Build/a.js", "build/b.js"],
        ["a", "a/b"],
        ["a/b", "A"],
        ["É", "é"],
        // One capital, two small letters; the end of a word has a letter of its own.
        ["\u{391}\u{3a3}/a.js", "\u{3b1}\u{3c3}/b.js"],
        ["\u{391}\u{3a3}-1.js", "\u{3b1}\u{3c3}-1.js"],
        ["\u{17f}.js", "s.js"],
        ["\u{b5}", "\u{3bc}"],
        ["stra\u{df}e", "strasse"],
        ["\u{1e9e}", "ss"],
    ] {
        let refused = Item::new(ItemKind::Analysis, b"{}".to_vec(), files(&pair)).expect_err("alike");
        assert!(matches!(refused, ItemError::Alike(..)), "{pair:?}: {refused}");
    }
    assert!(Item::new(ItemKind::Analysis, b"{}".to_vec(), files(&["a/b", "a/c", "ab"])).is_ok());
}

#[test]
fn the_files_of_a_mod_are_those_that_its_manifest_names() {
    assert!(
        matches!(mod_of(&visualization(), &ROSE[..2]), Err(ItemError::Missing(path)) if path.as_str() == "icon.svg")
    );
    let more = ["index.html", "build/main.js", "icon.svg", "other.js"];
    assert!(
        matches!(mod_of(&visualization(), &more), Err(ItemError::Extra(path)) if path.as_str() == "other.js")
    );
    let other = Item::new(
        ItemKind::ActionMod,
        visualization().to_string().into_bytes(),
        files(&ROSE),
    );
    assert!(matches!(other, Err(ItemError::Manifest(_))));
}

#[test]
fn a_manifest_that_readers_could_read_in_two_ways_is_refused() {
    let twice = visualization().to_string().replacen('{', r#"{"id":"other","#, 1);
    assert!(
        matches!(Item::of_mod(twice.into_bytes(), files(&ROSE)), Err(ItemError::Manifest(why)) if why.contains("twice"))
    );
    let deep = br#"{"a":{"b":1,"b":2}}"#.to_vec();
    assert!(Item::new::<&str>(ItemKind::ExternalAction, deep, []).is_err());
    for text in ["", "[]", "null", "{} {}", "{\"a\":1,}", "{\"a\":1e999}"] {
        assert!(
            Item::new::<&str>(ItemKind::ExternalAction, text.into(), []).is_err(),
            "{text}"
        );
    }
    let spaced = br#"{"language": "ironpython","packages":[],"parameters":[],"transaction":true}"#;
    assert!(CodeManifest::read(ItemKind::Script, spaced).is_err());
    let nested = "[".repeat(100_000);
    assert!(Item::new::<&str>(ItemKind::ExternalAction, nested.into_bytes(), []).is_err());
}

#[test]
fn what_a_manifest_must_say_is_refused_when_it_is_wrong() {
    let mut wrong: Vec<(Value, &str)> = Vec::new();
    for field in ["apiVersion", "version", "name", "id", "icon", "files"] {
        let mut manifest = visualization();
        manifest.as_object_mut().expect("an object").remove(field);
        wrong.push((manifest, field));
    }
    for (field, value) in [
        ("type", json!("widget")),
        ("type", json!(1)),
        ("name", json!("a\u{202e}b")),
        ("id", json!("")),
        ("files", json!(["../x"])),
        ("files", json!([1])),
        ("files", json!(["a", "a"])),
        ("files", json!(["Mod-Manifest.json"])),
        ("icon", json!(7)),
        ("capabilities", json!(["LibraryRead"])),
        ("externalResources", json!(["file:///etc/passwd"])),
        ("externalResources", json!(["https://a b"])),
        ("scripts", json!([])),
    ] {
        let mut manifest = visualization();
        manifest[field] = value;
        wrong.push((manifest, field));
    }
    for (field, value) in [
        ("capabilities", json!(["Everything"])),
        ("scripts", json!([])),
        ("scripts", json!([{"id": "one"}])),
        ("externalResources", json!(["https://www.example.com"])),
    ] {
        let mut manifest = action();
        manifest[field] = value;
        wrong.push((manifest, field));
    }
    for (manifest, field) in wrong {
        let refused = ModManifest::read(manifest.to_string().as_bytes());
        // A missing list of scripts makes a visualization of it, an empty one is refused.
        assert!(refused.is_err(), "{field}: {manifest}");
    }
}

#[test]
fn code_of_another_language_is_refused() {
    let declared = |language| CodeManifest {
        language,
        parameters: Vec::new(),
        packages: BTreeSet::new(),
        transaction: false,
    };
    for (kind, language, fits) in [
        (ItemKind::Script, CodeLanguage::JavaScript, true),
        (ItemKind::Script, CodeLanguage::Sql, false),
        (ItemKind::CustomQuery, CodeLanguage::Sql, true),
        (ItemKind::JobScript, CodeLanguage::IronPython, true),
        (ItemKind::JobScript, CodeLanguage::JavaScript, false),
    ] {
        assert_eq!(
            Item::of_code(kind, &declared(language), b"x").is_ok(),
            fits,
            "{kind} {language}"
        );
    }
}

fn any_path() -> impl Strategy<Value = String> {
    collection::vec("[a-c]{1,2}", 1..3).prop_map(|parts| parts.join("/"))
}

fn analysis() -> impl Strategy<Value = Item> {
    let files = collection::btree_map(any_path(), any::<u8>().prop_map(|byte| Sha512::of(&[byte])), 0..4);
    (files, "[a-z]{0,3}").prop_filter_map("alike", |(files, name)| {
        let manifest = json!({ "name": name }).to_string().into_bytes();
        Item::new(ItemKind::Analysis, manifest, files).ok()
    })
}

proptest! {
    #[test]
    fn two_items_have_one_digest_only_if_they_are_the_same(a in analysis(), b in analysis()) {
        prop_assert_eq!(a == b, a.digest() == b.digest());
    }

    #[test]
    fn order_of_files_does_not_matter_and_every_part_counts(a in analysis(), at in any::<Index>()) {
        let pairs = |item: &Item| item.files().iter().map(|(path, digest)| (path.to_string(), *digest)).collect::<Vec<_>>();
        let mut files = pairs(&a);
        files.reverse();
        let again = Item::new(a.kind(), a.manifest().to_vec(), files.clone()).expect("the same");
        prop_assert_eq!(again.digest(), a.digest());
        let mut longer = a.manifest().to_vec();
        longer.push(b' ');
        let other = Item::new(a.kind(), longer, files.clone()).expect("white space is JSON");
        prop_assert_ne!(other.digest(), a.digest());
        if !files.is_empty() {
            let at = at.index(files.len());
            let mut changed = files.clone();
            changed[at].1 = Sha512::of(b"changed");
            prop_assert_ne!(Item::new(a.kind(), a.manifest().to_vec(), changed).expect("an item").digest(), a.digest());
            files.remove(at);
            prop_assert_ne!(Item::new(a.kind(), a.manifest().to_vec(), files).expect("an item").digest(), a.digest());
        }
    }

    #[test]
    fn whatever_is_accepted_as_a_path_stays_inside_and_is_shown_safely(text in "[.a-cA-C/\\\\ \u{202e}:~-]{0,12}") {
        match text.parse::<ItemPath>() {
            Ok(path) => {
                prop_assert_eq!(path.as_str(), &text);
                prop_assert!(!text.starts_with('/') && !text.contains('\\'));
                prop_assert!(text.split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
            }
            Err(error) => {
                let safe = !error.to_string().contains('\u{202e}');
                prop_assert!(safe);
            }
        }
    }

    #[test]
    fn unpacked_without_regard_to_case_no_file_hides_another(paths in collection::vec("[aA]{1,2}(/[aA]{1,2})?", 0..5)) {
        let entries: Vec<_> = paths.iter().map(|path| (path.clone(), Sha512::of(path.as_bytes()))).collect();
        if let Ok(item) = Item::new(ItemKind::Analysis, b"{}".to_vec(), entries) {
            let folded: BTreeMap<String, _> = item.files().iter().map(|(path, digest)| (path.as_str().to_lowercase(), digest)).collect();
            prop_assert_eq!(folded.len(), paths.len());
            let under = |path: &String| folded.keys().any(|other| other.starts_with(&format!("{path}/")));
            prop_assert!(!folded.keys().any(under));
        }
    }
}

#[test]
fn a_configuration_is_the_same_action_however_it_is_written() {
    let hash = |text: &str| {
        let item = Item::new::<&str>(ItemKind::ExternalAction, text.into(), []);
        item.map(|item| {
            (
                item.hash(),
                String::from_utf8(item.manifest().to_vec()).expect("UTF-8"),
            )
        })
    };
    let plain = hash(r#"{"a":[1,2.5,"é"],"service":"crm"}"#).expect("an action");
    assert_eq!(plain.1, r#"{"a":[1,2.5,"é"],"service":"crm"}"#);
    let written = "{\n  \"service\": \"crm\",\n  \"a\": [ 1, 25e-1, \"\\u00e9\" ]\n}\n";
    assert_eq!(hash(written).expect("an action"), plain);
    assert_ne!(
        hash(r#"{"a":[1,2.5,"e"],"service":"crm"}"#).expect("an action"),
        plain
    );
    // What was written once is not written otherwise again.
    for number in [
        "1e15",
        "0.1",
        "-0.0",
        "1.5E-250",
        "123456789012345",
        "1e+2",
        "7000000000000000000000",
    ] {
        let (first, text) = hash(&format!("{{\"n\":{number}}}")).expect("an action");
        assert_eq!(hash(&text).expect("an action"), (first, text), "{number}");
    }
    // Two that one reader tells apart and another rounds to one.
    for number in [
        "12345678901234567890123",
        "12345678901234567890124",
        "0.1000000000000000055",
        "1e-400",
        "1e99999999999",
        "9007199254740993",
    ] {
        let error = hash(&format!("{{\"n\":[\"1e-400\",{number}]}}")).expect_err("refused");
        assert!(matches!(error, ItemError::Manifest(_)), "{number}: {error}");
        let embedded = format!("[{{\"name\":\"a\",\"configuration\":{{\"n\":{number}}}}}]");
        let analysis = format!("{{\"muster_analysis\":1,\"actions\":{embedded}}}");
        assert!(crate::Analysis::read(analysis.as_bytes()).is_err(), "{number}");
    }
    assert!(hash(r#"{"n":"12345678901234567890123 \"","m":1}"#).is_ok());
}

proptest! {
    /// The canonical form of a configuration is its own canonical form.
    #[test]
    fn a_configuration_that_is_accepted_stays_as_it_is(whole in 0..999_999_999_999_999_u64, fraction in -999_999_i32..999_999, text in ".{0,8}") {
        let written = json!({ "z": f64::from(fraction) / 64.0, "a": { "y": whole, "b": text } });
        let pretty = serde_json::to_vec_pretty(&written).expect("JSON");
        if let Ok(item) = Item::new::<&str>(ItemKind::ExternalAction, pretty, []) {
            let again = Item::new::<&str>(ItemKind::ExternalAction, item.manifest().to_vec(), []);
            prop_assert_eq!(again.expect("an action"), item);
        }
    }
}
