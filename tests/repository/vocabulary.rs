//! One concept, one word: the modules that carry concepts are named by words of `docs/vocabulary.md`.

use std::{collections::BTreeSet, path::Path};

use crate::files;

/// Where a file is a concept.
const CONCEPTS: [&str; 3] = [
    "common/wire/src/admin/v1",
    "common/wire/src/node/v1",
    "control-plane/model/src",
];

#[test]
fn modules_are_named_by_words_of_the_vocabulary() {
    let words = words();
    assert!(words.len() > 30, "docs/vocabulary.md has a table of words");
    for path in files::ending(".rs") {
        let parent = path.parent().unwrap_or(Path::new(""));
        let name = path.file_stem().expect("a name").to_string_lossy();
        if CONCEPTS.iter().any(|folder| parent == Path::new(folder)) && name != "lib" {
            assert!(
                words.contains(name.as_ref()),
                "{}: docs/vocabulary.md has no word `{name}`",
                path.display()
            );
        }
    }
}

/// The first column of every table, as names of modules.
fn words() -> BTreeSet<String> {
    files::text("docs/vocabulary.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next().map(str::trim))
        .flat_map(|cell| cell.split(", "))
        .map(|word| word.replace(' ', "_"))
        .collect()
}
