//! Standard output and standard error, and files that results are written to.
//!
//! Invariant: a reader that went away (`muster … | head -1`) is no failure; the command goes on to its end.

use std::{
    ffi::OsString,
    io::{self, Write as _},
    path::Path,
};

use clap::ValueEnum;
use serde::Serialize;

use crate::failure::Failure;

/// How results are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    // Comments and not documentation: clap would make a list of values of them in every help text.
    // For people.
    #[default]
    Table,
    // For programs: what the control plane said; a list is one array.
    Json,
}

impl Format {
    /// What a command line asks for that cannot be understood as a whole.
    pub(crate) fn wanted(arguments: &[OsString]) -> Self {
        let json = arguments.iter().any(|argument| argument == "--output=json")
            || arguments
                .windows(2)
                .any(|pair| pair[0] == "--output" && pair[1] == "json");
        if json { Self::Json } else { Self::Table }
    }
}

/// Writes `bytes` to standard output as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(
            "output",
            format!("cannot write to standard output ({error}); check the disk or the program that reads it"),
        )),
        _ => Ok(()),
    }
}

/// Writes `text`, which is harmless already, with a line end to standard output.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes `value` as JSON to standard output.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::failed("output", format!("cannot write the result as JSON ({error})")))?;
    line(&text)
}

/// Writes `text`, which is harmless already, with a line end to standard error.
pub(crate) fn complain(text: &str) {
    complain_bytes(format!("{text}\n").as_bytes());
}

/// Writes `bytes` to standard error. When that is closed there is nobody left to tell.
pub(crate) fn complain_bytes(bytes: &[u8]) {
    let _ = io::stderr().lock().write_all(bytes);
}

/// Refuses to replace what is at `path` unless somebody says so.
pub(crate) fn refuse_overwriting(path: &Path, force: bool, option: &str) -> Result<(), Failure> {
    if path.exists() && !force {
        return Err(Failure::failed(
            "file-exists",
            format!(
                "{} exists; give {option} to replace it, or choose another place",
                path.display()
            ),
        ));
    }
    Ok(())
}
