//! The files of the repository, as git lists them.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use muster_tests::workspace;

use crate::rust_code;

/// All files of the repository, relative to the workspace; new ones that are not ignored are among them.
pub(crate) fn all() -> Vec<PathBuf> {
    let listing = run(
        "git",
        &[
            "-c",
            "safe.directory=*",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ],
    );
    listing
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .filter(|path| workspace().join(path).is_file())
        .collect()
}

/// The files whose names end like this.
pub(crate) fn ending(ending: &str) -> Vec<PathBuf> {
    all()
        .into_iter()
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect()
}

/// The text of a file of the repository.
pub(crate) fn text(path: impl Into<PathBuf>) -> String {
    let path = path.into();
    String::from_utf8_lossy(&fs::read(workspace().join(&path)).unwrap_or_else(|error| {
        panic!("cannot read {}: {error}", path.display());
    }))
    .into_owned()
}

/// The code of a Rust file, without comments and literals.
pub(crate) fn code(path: impl Into<PathBuf>) -> String {
    rust_code::code(&text(path))
}

/// What a program prints when it is run in the workspace.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test asks git, cargo and the scripts of .ci"
    )]
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(program)
        .args(arguments)
        .current_dir(workspace())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    assert!(
        status.success(),
        "{program} {arguments:?}: {status}\n{}",
        String::from_utf8_lossy(&stderr)
    );
    String::from_utf8(stdout).expect("the output is UTF-8")
}
