//! How our own files look.

use std::path::Path;

use muster_tests::workspace;

use crate::{
    files::{self, run},
    layering::packages,
    rust_code::has_word,
};

#[test]
fn no_file_names_a_folder_of_the_machine_it_was_written_on() {
    let here = format!("{}/", workspace().display());
    let mut needles: Vec<&str> = vec![".cargo/registry/", "/home/", "/Users/"];
    // A checkout right below the root may be called like any folder of the product.
    if here.matches('/').count() > 2 {
        needles.push(&here);
    }
    for path in files::all()
        .into_iter()
        .filter(|path| !path.ends_with("repository/sources.rs"))
    {
        let text = files::text(&path);
        for needle in &needles {
            assert!(!text.contains(needle), "{} contains {needle}", path.display());
        }
    }
}

#[test]
fn unsafe_is_in_the_sandbox_only() {
    let found: Vec<_> = files::ending(".rs")
        .into_iter()
        .filter(|path| !path.starts_with("node-agent/sandbox") && has_word(&files::code(path), "unsafe"))
        .collect();
    assert!(found.is_empty(), "unsafe code in {found:?}");
}

#[test]
fn every_library_and_program_but_the_sandbox_forbids_unsafe_code() {
    let found: Vec<_> = crate_roots()
        .into_iter()
        .filter(|(name, root)| {
            name != "muster-sandbox" && !files::code(root).contains("#![forbid(unsafe_code)]")
        })
        .collect();
    assert!(found.is_empty(), "these do not forbid unsafe code: {found:?}");
}

#[test]
fn a_test_is_ignored_only_with_a_reason() {
    let found: Vec<_> = files::ending(".rs")
        .into_iter()
        .filter(|path| files::code(path).replace([' ', '\n'], "").contains("#[ignore]"))
        .collect();
    assert!(found.is_empty(), "write #[ignore = \"why\"] in {found:?}");
}

#[test]
fn every_module_begins_with_what_it_is_for() {
    let found: Vec<_> = files::ending(".rs")
        .into_iter()
        .filter(|path| !holds_tests_only(path))
        .filter(|path| {
            let text = files::text(path);
            let first = text.lines().next().unwrap_or_default();
            first.strip_prefix("//! ").is_none_or(str::is_empty)
        })
        .collect();
    assert!(
        found.is_empty(),
        "these begin without module documentation: {found:?}"
    );
}

#[test]
fn no_source_file_is_too_long() {
    let long = run(".ci/file-size", &["700"]);
    assert!(long.is_empty(), "split these files (lines of code):\n{long}");
}

/// Modules of tests say what they are for in the names of their tests.
fn holds_tests_only(path: &Path) -> bool {
    path.ends_with("tests.rs") || path.iter().any(|part| part == "tests")
}

/// Package and root file of every library and program of ours.
fn crate_roots() -> Vec<(String, String)> {
    let mut roots = Vec::new();
    for package in packages() {
        for target in package["targets"].as_array().expect("targets") {
            let kinds = target["kind"].as_array().expect("kinds");
            if kinds
                .iter()
                .any(|kind| kind == "test" || kind == "bench" || kind == "example")
            {
                continue;
            }
            let path = Path::new(target["src_path"].as_str().expect("path"));
            let path = path.strip_prefix(workspace()).expect("in the workspace");
            roots.push((
                package["name"].as_str().expect("name").to_owned(),
                path.to_string_lossy().into_owned(),
            ));
        }
    }
    roots
}
