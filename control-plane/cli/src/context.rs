//! What every command needs: the global options, the session, clock and random numbers.

use std::{collections::BTreeMap, io::IsTerminal as _};

use muster_daemon::{Clock, Random};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    cli::Options,
    failure::Failure,
    output::{self, Format},
    profile::Store,
};

/// The surroundings of a command.
pub(crate) struct Context {
    /// Global options.
    pub(crate) options: Options,
    /// Where the session is kept.
    pub(crate) store: Store,
    /// The machine's clock.
    pub(crate) clock: Clock,
    /// The machine's random numbers.
    pub(crate) random: Random,
    /// The environment.
    pub(crate) environment: BTreeMap<String, String>,
    /// Whether tables may be coloured.
    pub(crate) colour: bool,
}

impl Context {
    /// The surroundings that `options` and the environment describe.
    pub(crate) fn new(options: Options) -> Self {
        let environment: BTreeMap<_, _> = muster_daemon::environment().collect();
        let plain = environment.get("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            store: Store::new(options.profile_dir.as_deref(), &environment),
            clock: Clock::system(),
            random: Random::system(),
            colour: !plain && std::io::stdout().is_terminal(),
            environment,
            options,
        }
    }

    /// Shows a result: `value` for programs, or what `text` makes of it, escaped, for people.
    pub(crate) fn show<T: Serialize + ?Sized>(
        &self,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self.options.output {
            Format::Json => output::json(value),
            Format::Table => output::line(&text()),
        }
    }

    /// Shows a result that is not as wanted, and returns why as what the command ends with. Programs get one object: the
    /// result with the members of a problem (RFC 9457) that it does not have itself.
    pub(crate) fn show_refused<T: Serialize + ?Sized>(
        &self,
        value: &T,
        text: impl FnOnce() -> String,
        why: &Failure,
    ) -> Failure {
        let shown = match self.options.output {
            Format::Json => serde_json::to_value(value)
                .map_err(|error| Failure::failed("output", error.to_string()))
                .and_then(|mut whole| {
                    if let (Some(whole), Value::Object(problem)) = (whole.as_object_mut(), why.problem()) {
                        for (name, value) in problem {
                            whole.entry(name).or_insert(value);
                        }
                    }
                    output::json(&whole)
                }),
            Format::Table => output::line(&text()),
        };
        shown.err().unwrap_or_else(|| Failure::Shown(why.sentence()))
    }

    /// Says that something was done whose answer is empty; programs get the sentence as the `message` of an object.
    pub(crate) fn done(&self, sentence: &str) -> Result<(), Failure> {
        self.show(&json!({ "message": sentence }), || sentence.to_owned())
    }
}
