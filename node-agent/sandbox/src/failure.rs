//! The one error of this crate: what was attempted, and why it failed.

use std::{error::Error, fmt::Write as _, io};

/// Something that the kernel, a peer or a policy did not let happen.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A system call failed.
    #[error("cannot {attempt}")]
    Kernel {
        /// What was attempted, on what.
        attempt: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A rule of ours was broken, by a peer or by the machine.
    #[error("{0}")]
    Rule(String),
}

impl Failure {
    /// A broken rule, in one phrase.
    pub fn rule(why: impl Into<String>) -> Self {
        Self::Rule(why.into())
    }

    /// The error and its causes in one line.
    pub fn in_words(&self) -> String {
        let mut words = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            // Writing to a String cannot fail.
            let _ = write!(words, ": {error}");
            cause = error.source();
        }
        words
    }
}

/// Names the attempt behind an error of the operating system.
pub(crate) trait Attempt<T> {
    fn attempt(self, what: impl Into<String>) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Attempt<T> for Result<T, E> {
    fn attempt(self, what: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|error| Failure::Kernel {
            attempt: what.into(),
            source: error.into(),
        })
    }
}
