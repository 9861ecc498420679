//! What went wrong elsewhere is answered here: the table of the threat model names code and tests that exist, and each
//! scenario of a join has its test.

use std::collections::{BTreeMap, BTreeSet};

use muster_tests::workspace;

use crate::files;

/// Incidents in the table of docs/threat-model.md.
const INCIDENTS: usize = 38;
/// The scenarios of joins, by their numbers …
const SCENARIOS: std::ops::RangeInclusive<u8> = 1..=55;
/// … and those that come with several control planes and with restoring.
const LATER: [u8; 5] = [39, 49, 50, 53, 54];
/// The scenarios of untrusted code, by the beginnings of their tests' names.
const SANDBOX: [&str; 10] = [
    "sandbox_56_",
    "sandbox_57_",
    "trust_58_",
    "sandbox_59_",
    "sandbox_60_",
    "sandbox_61_",
    "sandbox_62_",
    "sandbox_63_",
    "sandbox_64_",
    "sandbox_65_",
];
#[test]
fn every_incident_is_answered_by_code_and_tests_that_exist() {
    let text = files::text("docs/threat-model.md");
    let (_, table) = text
        .split_once("## What went wrong elsewhere")
        .expect("the threat model has the incidents");
    let tests = test_names();
    let mut seen = 0;
    for row in table.lines().skip_while(|line| !line.starts_with("| 1 ")) {
        let Some(row) = row.strip_prefix("| ") else { break };
        seen += 1;
        let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
        let [number, _, code, shown] = cells.as_slice() else {
            panic!("incident {seen} has {} cells: {row}", cells.len());
        };
        assert_eq!(number.parse(), Ok(seen), "the incidents are numbered: {row}");
        let (code, shown) = (quoted(code), quoted(shown));
        assert!(!code.is_empty() && !shown.is_empty(), "incident {seen}: {row}");
        for path in code {
            assert!(
                workspace().join(path).is_file(),
                "incident {seen}: there is no {path}"
            );
        }
        for test in shown {
            let exists = match test.strip_prefix("join_") {
                Some(number) if number.len() == 2 => {
                    tests.iter().any(|name| name.starts_with(&format!("{test}_")))
                }
                _ => tests.contains(test),
            };
            assert!(exists, "incident {seen}: there is no test {test}");
        }
    }
    assert_eq!(seen, INCIDENTS);
}

#[test]
fn every_scenario_has_exactly_one_test() {
    let mut found: BTreeMap<u8, Vec<String>> = BTreeMap::new();
    let tests = files::ending(".rs")
        .into_iter()
        .filter(|path| path.starts_with("tests/system"));
    for name in tests.flat_map(|path| functions(&files::code(path))) {
        let number = name.strip_prefix("join_").and_then(|rest| rest.split_once('_'));
        if let Some(number) = number.and_then(|(number, _)| number.parse().ok()) {
            found.entry(number).or_default().push(name);
        }
    }
    let wrong: Vec<String> = SCENARIOS
        .filter(|number| found.get(number).map_or(0, Vec::len) != usize::from(!LATER.contains(number)))
        .map(|number| format!("{number}: {:?}", found.get(&number)))
        .collect();
    assert!(
        wrong.is_empty(),
        "these have no test, or several:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_scenario_of_untrusted_code_has_exactly_one_test() {
    let tests = files::ending(".rs")
        .into_iter()
        .filter(|path| path.starts_with("tests/system") || path.starts_with("tests/sandbox"));
    let names: Vec<String> = tests.flat_map(|path| functions(&files::code(path))).collect();
    for scenario in SANDBOX {
        let found: Vec<&String> = names.iter().filter(|name| name.starts_with(scenario)).collect();
        assert_eq!(found.len(), 1, "{scenario}: {found:?}");
    }
}

/// What stands between back ticks.
pub(crate) fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The names of all functions in files of tests and beside code.
pub(crate) fn test_names() -> BTreeSet<String> {
    files::ending(".rs")
        .into_iter()
        .flat_map(|path| functions(&files::code(path)))
        .collect()
}

fn functions(code: &str) -> Vec<String> {
    code.split("fn ")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next())
        .map(str::to_owned)
        .collect()
}
