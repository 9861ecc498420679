//! Golden files: what was reviewed once and must stay so until somebody accepts a change (`make bless`).

use std::fs;

use crate::workspace;

/// Fails unless `tests/golden/<name>` holds exactly `actual`. With `MUSTER_BLESS` in the environment the file is
/// written instead.
pub fn golden(name: &str, actual: &str) {
    let path = workspace().join("tests/golden").join(name);
    if std::env::var_os("MUSTER_BLESS").is_some() {
        fs::create_dir_all(path.parent().expect("below tests/golden")).expect("make the golden folder");
        fs::write(&path, actual).expect("write the golden file");
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let differing: Vec<String> = differing_lines(&expected, actual);
    assert!(
        expected == actual,
        "tests/golden/{name} differs; when the change is right, accept it with `make bless`:\n{}",
        differing.join("\n")
    );
}

/// Lines that only one of the two has.
fn differing_lines(expected: &str, actual: &str) -> Vec<String> {
    let gone = expected
        .lines()
        .filter(|line| !actual.lines().any(|other| other == *line));
    let new = actual
        .lines()
        .filter(|line| !expected.lines().any(|other| other == *line));
    gone.map(|line| format!("- {line}"))
        .chain(new.map(|line| format!("+ {line}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::differing_lines;

    #[test]
    fn lines_that_only_one_has_are_shown() {
        assert_eq!(differing_lines("same\nold\n", "same\nnew\n"), ["- old", "+ new"]);
        assert!(differing_lines("same\n", "same\n").is_empty());
    }
}
