//! The documented rows that no policy test can express are answered all the same: each has its test, or a test of what is
//! there instead of a feature that does not exist.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    files,
    incidents::{quoted, test_names},
};

/// The rows that the format cannot express; `common/code-trust/tests/golden.rs` demands all others.
const ROWS: [u32; 13] = [25, 33, 34, 36, 37, 38, 67, 73, 74, 76, 78, 79, 80];
/// The only requests that have code run, and the one that answers with a run which goes on.
const RUNS: [&str; 3] = [
    "/api/v1/expressions",
    "/api/v1/functions/{function}/runs",
    "/api/v1/runs/{run}/cancel",
];

#[test]
fn every_row_that_no_policy_test_can_express_names_a_test_that_exists() {
    let text = files::text("docs/reference/decisions.md");
    let (_, section) = text
        .split_once("## Rows that the policy test cannot express")
        .expect("decisions.md has the rows");
    let (section, _) = section.split_once("\n## ").unwrap_or((section, ""));
    let tests = test_names();
    let mut found = Vec::new();
    for row in section.lines().filter_map(|line| line.strip_prefix("| ")) {
        let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
        let Some(number) = cells[0].parse::<u32>().ok() else {
            continue;
        };
        assert_eq!(cells.len(), 3, "row {number}: {row}");
        let shown = quoted(cells[2]);
        assert!(!shown.is_empty(), "row {number} names no test");
        for test in shown {
            assert!(tests.contains(test), "row {number}: there is no test {test}");
        }
        found.push(number);
    }
    assert_eq!(found, ROWS);
}

fn interface() -> Value {
    serde_json::from_str(&files::text("docs/reference/openapi.json")).expect("the document is JSON")
}

/// Rows 33, 34 and 76: external actions and mods are signed, trusted and decided about here; what runs them is a client.
#[test]
fn nothing_but_functions_and_expressions_is_run() {
    let document = interface();
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 50, "the document is whole");
    let running: BTreeSet<&str> = paths
        .iter()
        .filter(|(_, operations)| {
            let answers = operations["post"]["responses"].to_string();
            answers.contains("\"#/components/schemas/Run\"")
        })
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(running, BTreeSet::from(RUNS));
    let actions = paths
        .keys()
        .find(|path| path.split('/').any(|part| part.contains("action")));
    assert_eq!(
        actions, None,
        "nobody has external actions run by the control plane"
    );
}

/// Row 73: text areas are shown by clients; nothing here gives a browser the content of an item as a page.
#[test]
fn no_answer_of_the_interface_is_a_page() {
    let document = interface();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let answers = operation["responses"].to_string();
            assert!(!answers.contains("html"), "{method} {path}");
        }
    }
}
