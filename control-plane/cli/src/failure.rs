//! Why a command did not do what was asked, and how that is told: one sentence on standard error, the exit
//! code, and with `--output json` one problem object on standard output.

use std::{error::Error, process::ExitCode};

use muster_client::ClientError;
use muster_daemon::{file::FileError, secret::SecretError};
use muster_wire::problem::KIND_PREFIX;
use serde_json::{Value, json};

use crate::{
    escape::{escaped, escaped_lines},
    output::{self, Format},
};

/// The operation was refused or failed.
const FAILED: u8 = 1;
/// The command line, or a file that it names, is wrong.
const USAGE: u8 = 2;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The arguments, or a file that they name, are wrong; nothing was attempted.
    #[error("{0}")]
    Usage(String),
    /// It was attempted here, in vain.
    #[error("{detail}")]
    Failed {
        /// The kind of the problem.
        kind: &'static str,
        /// One sentence with the cure.
        detail: String,
    },
    /// The control plane refused it or could not be asked.
    #[error(transparent)]
    Call(Box<ClientError>),
    /// The result says it, with the problem in it; people are told as well.
    #[error("{0}")]
    Shown(String),
    /// Everything was said already.
    #[error("the result is not as wanted")]
    Said,
}

impl Failure {
    /// The arguments are wrong.
    pub(crate) fn usage(sentence: impl Into<String>) -> Self {
        Self::Usage(sentence.into())
    }

    /// It did not succeed.
    pub(crate) fn failed(kind: &'static str, detail: impl Into<String>) -> Self {
        Self::Failed {
            kind,
            detail: detail.into(),
        }
    }

    /// Tells it, and returns the exit code.
    pub(crate) fn report(&self, format: Format) -> ExitCode {
        if !matches!(self, Self::Said) {
            output::complain(&escaped_lines(&self.sentence()));
            if format == Format::Json && !matches!(self, Self::Shown(_)) {
                // That standard output is closed too is nothing more to tell.
                let _ = output::json(&self.problem());
            }
        }
        ExitCode::from(if matches!(self, Self::Usage(_)) {
            USAGE
        } else {
            FAILED
        })
    }

    /// What a person reads.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Call(error) => match error.problem() {
                Some(problem) => problem.detail.clone(),
                None => chain(error.as_ref()),
            },
            other => other.to_string(),
        }
    }

    /// What a program reads. Problems that arose here have no HTTP status (RFC 9457 3.1.2).
    pub(crate) fn problem(&self) -> Value {
        let local = |kind: &str, title: &str| json!({ "type": format!("{KIND_PREFIX}{kind}"), "title": title, "detail": self.sentence() });
        match self {
            Self::Usage(_) => local("usage", "The command is wrong"),
            Self::Failed { kind, .. } => local(kind, "The operation did not succeed"),
            Self::Call(error) => match error.problem() {
                Some(problem) => json!(problem),
                None => local("unreachable", "The control plane could not be asked"),
            },
            Self::Shown(_) | Self::Said => Value::Null,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Call(Box::new(error))
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::failed("file", chain(&error))
    }
}

impl From<SecretError> for Failure {
    fn from(error: SecretError) -> Self {
        Self::failed("file", chain(&error))
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// What clap says of a command line: help and version are no failures.
pub(crate) fn usage(error: &clap::Error, format: Format) -> ExitCode {
    // That nobody listens any more is nothing more to tell.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    if format == Format::Json {
        let sentence = muster_daemon::usage::sentence(&error.to_string());
        let _ = output::json(&Failure::usage(escaped(&sentence)).problem());
    }
    ExitCode::from(USAGE)
}
