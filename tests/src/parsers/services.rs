//! Settings of services that administrators bring along.

use std::collections::BTreeMap;

use muster_agent::config::properties::parse;

/// `custom.properties`, as a node reads it.
pub(super) fn properties(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let environment = BTreeMap::from([("NAME".to_owned(), "${NAME:again}".to_owned())]);
    let Ok(entries) = parse(text, &environment) else {
        return;
    };
    let lines = text.lines().count();
    for (key, entry) in &entries {
        assert!(text.contains(key.as_str()), "a key stands in the file");
        assert!(
            (1..=lines).contains(&entry.line),
            "and its line is one of the file"
        );
        assert_eq!(entry.value, entry.value.trim());
        assert!(!entry.value.contains(['\n', '\r']), "a value is one line");
    }
}

pub(super) fn properties_seeds() -> Vec<Vec<u8>> {
    [
        "# a remark\nengine.session.max: 3\nengine.queue.size=2\n! another\n\n",
        "engine.execution.timeout: ${ENGINE_EXECUTION_TIMEOUT_SECONDS:600}\r\npackagePath: C:/packages\r\n",
        "a: ${NAME} b ${OTHER:${}\na: 2\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
