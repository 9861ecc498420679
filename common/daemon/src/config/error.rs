//! What can be wrong with a configuration, said so that a person can mend it.

use std::{fmt, path::PathBuf};

use crate::file::FileError;

/// Where a value or an error stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of a file, from 1; 0 stands for the whole file.
    File {
        /// The file as it was named.
        file: PathBuf,
        /// The line.
        line: usize,
    },
    /// A variable of the environment.
    Variable(String),
}

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration cannot be read: {}", chain(.0))]
    File(FileError),
    /// The file is not text.
    #[error("{} is not UTF-8 text; save it as UTF-8", .0.display())]
    Encoding(PathBuf),
    /// The file is not TOML; a key that stands twice is such an error.
    #[error("{} line {line}, column {column}: {message}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// A key, section or variable that nothing reads.
    #[error("{place}: {key} is not known{}", nearest.as_ref().map(|name| format!("; did you mean {name}?")).unwrap_or_default())]
    Unknown {
        /// Where it stands.
        place: Place,
        /// The dotted key or the variable.
        key: String,
        /// The known name that is most like it.
        nearest: Option<String>,
    },
    /// A value of another type or outside its range.
    #[error("{place}: {key} is {found}; wanted: {wanted}")]
    Value {
        /// Where it stands.
        place: Place,
        /// The dotted key.
        key: String,
        /// What is there.
        found: String,
        /// What should be there.
        wanted: String,
    },
    /// A value that the program refuses for a reason of its own.
    #[error("{place}: {key}: {reason}")]
    Refused {
        /// Where it stands.
        place: Place,
        /// The dotted key.
        key: String,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// Everything that is wrong with a configuration; there is always at least one error.
#[derive(Debug)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The errors, those of syntax first, then in the order in which the keys were read.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl From<Vec<ConfigError>> for ConfigErrors {
    fn from(errors: Vec<ConfigError>) -> Self {
        Self(errors)
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [error] = self.0.as_slice() {
            return error.fmt(f);
        }
        write!(f, "the configuration has {} errors:", self.0.len())?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line: 0 } => write!(f, "{}", file.display()),
            Self::File { file, line } => write!(f, "{} line {line}", file.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// An error with its causes: this one ends up in a list, where a printer does not follow them.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
