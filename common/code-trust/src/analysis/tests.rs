use muster_ids::LibraryItemId;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(value: &Value) -> Result<Analysis, AnalysisError> {
    Analysis::read(value.to_string().as_bytes())
}

fn item() -> LibraryItemId {
    LibraryItemId::new(1, [1; 10])
}

#[test]
fn an_embedded_script_has_the_digest_of_an_item_of_its_own() {
    let analysis = read(&json!({
        "muster_analysis": 1,
        "scripts": [{ "name": "Refresh", "language": "ironpython", "code": "Document.Refresh()" }],
        "data_functions": [{ "name": "Forecast", "item": item() }],
        "mods": [{ "name": "Gantt", "item": item(), "digest": format!("sha512={}==", "A".repeat(86)) }],
        "actions": [{ "name": "Order", "configuration": { "service": "x", "b": 1, "a": [2] } }],
        "queries": [{ "name": "Sales", "language": "sql", "code": "select 1" }],
    }))
    .expect("an analysis");
    let kinds: Vec<PartKind> = analysis.parts.iter().map(|part| part.kind).collect();
    assert_eq!(kinds, PartKind::ALL);
    let declared = CodeManifest {
        language: CodeLanguage::IronPython,
        parameters: Vec::new(),
        packages: BTreeSet::new(),
        transaction: true,
    };
    let alone = Item::of_code(ItemKind::Script, &declared, b"Document.Refresh()").expect("a script");
    let PartContent::Embedded { hash, .. } = &analysis.parts[0].content else {
        panic!("it is in the analysis");
    };
    assert_eq!(*hash, alone.hash());
    let PartContent::Embedded { text, .. } = &analysis.parts[3].content else {
        panic!("it is in the analysis");
    };
    assert_eq!(text, r#"{"a":[2],"b":1,"service":"x"}"#);
}

#[test]
fn what_is_wrong_is_said_of_the_part_that_it_is_in() {
    let script = json!({ "name": "a", "language": "ironpython", "code": "1" });
    let with = |name: &str, value: Value| {
        let mut script = script.clone();
        script[name] = value;
        json!({ "muster_analysis": 1, "scripts": [script] })
    };
    for (form, word) in [
        (json!({}), "muster_analysis"),
        (json!({ "muster_analysis": 2 }), "version of the form"),
        (json!({ "muster_analysis": 1, "pages": [] }), "unknown field"),
        (
            json!({ "muster_analysis": 1, "scripts": [script, script] }),
            "scripts 2 (\\\"a\\\"): another of this name",
        ),
        (with("name", json!("a\u{202e}")), "mislead"),
        (with("item", json!(item())), "keep one of them"),
        (with("language", json!("sql")), "no language of the kind script"),
        (with("language", json!("vbscript")), "unknown variant"),
        (with("configuration", json!({})), "item, or language and code"),
        (with("digest", json!("sha512=x")), "digest"),
        (
            json!({ "muster_analysis": 1, "mods": [{ "name": "m" }] }),
            "needs the identifier",
        ),
        (
            json!({ "muster_analysis": 1, "actions": [{ "name": "m" }] }),
            "item or configuration",
        ),
        (json!([1]), "not a JSON object"),
    ] {
        let error = read(&form).expect_err("refused").to_string();
        assert!(error.contains(&word.replace("\\\"", "\"")), "{form}: {error}");
    }
    let twice = br#"{"muster_analysis":1,"actions":[{"name":"a","configuration":{"x":1,"x":2}}]}"#;
    let error = Analysis::read(twice).expect_err("refused").to_string();
    assert!(error.contains("twice"), "{error}");
}

proptest! {
    /// Whatever comes is an analysis or is refused in one line, and what is one is so however its JSON is spaced.
    #[test]
    fn reading_never_fails_otherwise(
        names in prop::collection::vec("[a-z]{0,3}", 0..4),
        language in prop_oneof![Just("ironpython"), Just("javascript"), Just("sql"), Just("r")],
        code in ".{0,20}",
        noise in ".{0,40}",
    ) {
        let scripts: Vec<Value> = names
            .iter()
            .map(|name| json!({ "name": name, "language": language, "code": code }))
            .collect();
        let form = json!({ "muster_analysis": 1, "scripts": scripts });
        let (compact, spaced) = (form.to_string(), serde_json::to_string_pretty(&form).expect("JSON"));
        let read = Analysis::read(compact.as_bytes());
        let again = Analysis::read(spaced.as_bytes());
        prop_assert_eq!(read.as_ref().ok(), again.as_ref().ok());
        if let Err(error) = &read {
            prop_assert!(!error.to_string().contains('\n'));
        }
        let _ = Analysis::read(noise.as_bytes());
    }
}
