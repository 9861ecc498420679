//! The golden policy tests of the repository: the documented rows and every sentence of the rules.

use std::{collections::BTreeSet, fs, path::PathBuf};

use muster_code_trust::run_policy_test;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/policy")
}

fn files() -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(folder())
        .expect("the golden folder")
        .map(|entry| entry.expect("an entry of the golden folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            (
                path.display().to_string(),
                fs::read_to_string(&path).expect("a golden file"),
            )
        })
        .collect();
    files.sort();
    files
}

#[test]
fn every_golden_case_comes_out_as_written() {
    let mut passed = 0;
    for (path, text) in files() {
        let report = run_policy_test(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(report.failed, 0, "{path}:\n{report}");
        passed += report.passed;
    }
    assert!(passed >= 250, "only {passed} golden cases");
}

#[test]
fn every_row_that_the_format_can_express_is_there() {
    let elsewhere: BTreeSet<u32> = [25, 33, 34]
        .into_iter()
        .chain(36..=38)
        .chain([67, 73, 74, 76])
        .chain(78..=80)
        .collect();
    let expected: BTreeSet<u32> = (1..=80).filter(|row| !elsewhere.contains(row)).collect();
    let mut found = BTreeSet::new();
    for (_, text) in files() {
        found.extend(
            text.split("\"name\": \"row ")
                .skip(1)
                .filter_map(|rest| rest.get(..2)?.parse::<u32>().ok()),
        );
    }
    assert_eq!(found, expected);
}

#[test]
fn each_golden_case_fails_with_any_other_outcome() {
    let outcomes = ["allow", "allow_with_consent", "restricted", "prompt", "deny"];
    for (path, text) in files() {
        for wrong in outcomes {
            let right = text.matches(&format!("\"outcome\": \"{wrong}\"")).count();
            let mut changed = text.clone();
            for outcome in outcomes {
                changed = changed.replace(
                    &format!("\"outcome\": \"{outcome}\""),
                    &format!("\"outcome\": \"{wrong}\""),
                );
            }
            let report = run_policy_test(&changed).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(report.passed, right, "{path} with {wrong} everywhere");
            assert_eq!(report.lines.len(), report.failed);
        }
    }
}
