//! Analyses, which whoever may write to the library saves there.

use muster_code_trust::{Analysis, CodeLanguage, PartContent, PartKind};
use serde_json::json;

/// The manifest of an analysis.
pub(super) fn analysis(bytes: &[u8]) {
    let read = match Analysis::read(bytes) {
        Ok(read) => read,
        Err(error) => {
            assert!(
                !error.to_string().contains(['\n', '\u{1b}']),
                "an error is one harmless line"
            );
            return;
        }
    };
    let mut names = std::collections::BTreeSet::new();
    for part in &read.parts {
        assert!(
            names.insert((part.kind, &part.name)),
            "two parts of one kind have one name"
        );
        let PartContent::Embedded { hash, language, .. } = &part.content else {
            continue;
        };
        let fits = match part.kind {
            PartKind::Script => language.is_some_and(|language| language != CodeLanguage::Sql),
            PartKind::CustomQuery => *language == Some(CodeLanguage::Sql),
            PartKind::ExternalAction => language.is_none(),
            PartKind::DataFunction | PartKind::Mod => false,
        };
        assert!(fits, "a part is of a language of its kind");
        let digest = hash.as_str().parse::<muster_ids::Sha512>();
        assert!(digest.is_ok(), "what is embedded has the digest of an item");
    }
    // Numbers of a configuration may be spelled in several ways; nothing else may.
    if read
        .parts
        .iter()
        .any(|part| part.kind == PartKind::ExternalAction)
    {
        return;
    }
    // White space between its parts changes nothing.
    let value: serde_json::Value = serde_json::from_slice(bytes).expect("an analysis is JSON");
    let spaced = serde_json::to_vec_pretty(&value).expect("JSON");
    assert_eq!(Analysis::read(&spaced).as_ref(), Ok(&read));
}

pub(super) fn analysis_seeds() -> Vec<Vec<u8>> {
    let item = muster_ids::LibraryItemId::new(1, [1; 10]);
    [
        json!({ "muster_analysis": 1 }),
        json!({
            "muster_analysis": 1,
            "scripts": [
                { "name": "Refresh", "language": "ironpython", "code": "Document.Refresh()",
                  "parameters": [{ "name": "t", "type": "Table" }], "packages": ["x"], "transaction": false },
                { "name": "Shared", "item": item },
            ],
            "queries": [{ "name": "Sales", "language": "sql", "code": "select 1" }],
        }),
        json!({
            "muster_analysis": 1,
            "data_functions": [{ "name": "Forecast", "item": item }],
            "mods": [{ "name": "Gantt", "item": item, "digest": format!("sha512={}==", "A".repeat(86)) }],
            "actions": [{ "name": "Order", "configuration": { "service": "orders", "rows": 1000 } }],
        }),
    ]
    .map(|value| value.to_string().into_bytes())
    .to_vec()
}
