//! The two databases have the same history.

use std::{collections::BTreeSet, path::Path};

use crate::files;

#[test]
fn both_databases_have_the_same_migrations() {
    let sqlite = names("control-plane/migrations/sqlite");
    let postgres = names("control-plane/migrations/postgres");
    assert!(!sqlite.is_empty(), "there are migrations");
    assert_eq!(sqlite, postgres);
}

#[test]
fn migrations_are_numbered_without_gaps() {
    for (expected, name) in (1..).zip(names("control-plane/migrations/sqlite")) {
        let (number, rest) = name.split_at_checked(4).expect("four digits");
        assert_eq!(number.parse(), Ok(expected), "number of {name}");
        assert!(rest.starts_with('_'), "{name} has a name after its number");
    }
}

fn names(folder: &str) -> BTreeSet<String> {
    files::ending(".sql")
        .iter()
        .filter(|path| path.parent() == Some(Path::new(folder)))
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect()
}
