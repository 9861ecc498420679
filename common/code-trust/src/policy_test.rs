//! The policy test: cases against a world written in a file, decided by the code that servers and nodes run.
//!
//! A file is either valid as a whole or refused with a sentence that names the place; a case that comes out otherwise
//! than expected is a line of the [`Report`].
//!
//! Invariant: a world becomes the same [`crate::TrustState`], [`crate::UserFacts`] and [`crate::Settings`] that a control
//! plane would build, so that the test tests the real thing.

use std::fmt;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{Outcome, PromptOption, Verdict, decide};

mod case;
mod form;
mod world;

use form::{CaseForm, ExpectForm, WorldForm};
use world::World;

/// What came of a policy test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// One line for each case that differs from its expectation.
    pub lines: Vec<String>,
    /// How many cases came out as expected.
    pub passed: usize,
    /// How many did not.
    pub failed: usize,
}

/// Why a file is no policy test.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the policy test is not valid: {place}: {reason}")]
pub struct PolicyError {
    place: String,
    reason: String,
}

impl PolicyError {
    fn new(place: impl Into<String>, reason: impl Into<String>) -> Self {
        // Both may quote the file, and end on a terminal.
        Self {
            place: printable(&place.into()),
            reason: printable(&reason.into()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File<'a> {
    #[serde(borrow)]
    world: &'a RawValue,
    #[serde(borrow)]
    cases: Vec<&'a RawValue>,
}

/// Decides all cases of the policy test in `text` and compares them with what is expected.
pub fn run(text: &str) -> Result<Report, PolicyError> {
    let file: File<'_> =
        serde_json::from_str(text).map_err(|error| PolicyError::new("the file", error.to_string()))?;
    let form: WorldForm = part(text, file.world, "world")?;
    let world = World::new(form)?;
    let mut report = Report {
        lines: Vec::new(),
        passed: 0,
        failed: 0,
    };
    for (at, raw) in file.cases.iter().enumerate() {
        let case: CaseForm = part(text, raw, &case_place(at, raw))?;
        let place = format!("case \"{}\"", shown(&case.name));
        let asked = case::ask(&case, &world).map_err(|reason| PolicyError::new(&place, reason))?;
        let question = asked.question();
        let decision = decide(&question, world.trust(), &asked.settings);
        if let Some(difference) = difference(&case.expect, decision.outcome) {
            report.lines.push(format!(
                "{place}: {difference} ({}){}",
                grounds(&decision.verdict()),
                world.doubt(&case.user)
            ));
            report.failed += 1;
        } else {
            report.passed += 1;
        }
    }
    Ok(report)
}

/// What is expected and what came out, if they differ. Absent fields are not compared; options have no order.
fn difference(expect: &ExpectForm, outcome: Outcome) -> Option<String> {
    let (options, reason): (&[PromptOption], _) = match outcome {
        Outcome::Prompt { options } => (options, None),
        Outcome::Deny { reason } => (&[], Some(reason)),
        _ => (&[], None),
    };
    let same_options = |expected: &Vec<PromptOption>| {
        expected.iter().all(|option| options.contains(option)) && options.iter().all(|o| expected.contains(o))
    };
    let same = expect
        .outcome
        .is_none_or(|expected| expected.as_str() == outcome.word())
        && expect.reason.is_none_or(|expected| Some(expected) == reason)
        && expect.options.as_ref().is_none_or(same_options);
    let list = |options: &[PromptOption]| options.iter().map(|o| o.as_str()).collect::<Vec<_>>().join(", ");
    let words = |outcome: Option<&str>, reason: Option<&str>, options: Option<String>| {
        let outcome = outcome.unwrap_or("any outcome").to_owned();
        let details = [reason.map(str::to_owned), options]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>();
        if details.is_empty() {
            outcome
        } else {
            format!("{outcome} [{}]", details.join("; "))
        }
    };
    (!same).then(|| {
        let expected = words(
            expect.outcome.map(form::OutcomeWord::as_str),
            expect.reason.map(crate::DenyReason::as_str),
            expect.options.as_deref().map(list),
        );
        let found = words(
            Some(outcome.word()),
            reason.map(crate::DenyReason::as_str),
            (!options.is_empty()).then(|| list(options)),
        );
        format!("expected {expected}, but it is {found}")
    })
}

/// Rule, entry and group path of a verdict in one line.
fn grounds(verdict: &Verdict) -> String {
    let mut text = format!("rule {}", verdict.rule);
    if let Some(entry) = &verdict.entry {
        text = format!("{text}; {entry}");
    }
    if !verdict.group_path.is_empty() {
        let path: Vec<_> = verdict.group_path.iter().map(muster_ids::Name::as_str).collect();
        text = format!("{text}; {}", path.join(" -> "));
    }
    text
}

/// A part of the file as its type; errors name the part, the field and the line of the file.
fn part<T: DeserializeOwned>(text: &str, raw: &RawValue, place: &str) -> Result<T, PolicyError> {
    serde_json::from_str(raw.get()).map_err(|error| {
        // Both come from one text, so the distance of their starts is where the part begins.
        let start = raw.get().as_ptr().addr().saturating_sub(text.as_ptr().addr());
        let before = text.get(..start).unwrap_or_default();
        let line = before.lines().count().max(1) - usize::from(before.ends_with('\n')) + error.line()
            - usize::from(!before.ends_with('\n'));
        let message = error.to_string();
        let message = message
            .rsplit_once(" at line ")
            .map_or(message.as_str(), |(message, _)| message);
        let field = field_at(raw.get(), error.line(), error.column())
            // These messages name the field themselves.
            .filter(|_| !message.contains(" field `"))
            .map_or_else(String::new, |field| format!("{field}: "));
        PolicyError::new(format!("{place}, line {line}"), format!("{field}{message}"))
    })
}

/// The field in whose value a line and column (counted from 1, in bytes) lies. Where the last text of an object is
/// refused for its meaning, `serde_json` gives the end of the object, so this is the field that holds the object.
fn field_at(json: &str, line: usize, column: usize) -> Option<&str> {
    let start: usize = json
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    let json = json.get(..(start + column).min(json.len()))?;
    let mut fields: Vec<Option<&str>> = Vec::new();
    let mut last_text = None;
    let mut open = None;
    let mut escaped = false;
    for (at, byte) in json.bytes().enumerate() {
        match (open, byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(from), b'"') => (last_text, open) = (json.get(from..at), None),
            (None, b'"') => open = Some(at + 1),
            (None, b'{' | b'[') => fields.push(None),
            (None, b'}' | b']') => {
                fields.pop();
            }
            (None, b':') => {
                if let Some(field) = fields.last_mut() {
                    *field = last_text;
                }
            }
            _ => {}
        }
    }
    fields.into_iter().rev().flatten().next()
}

fn case_place(at: usize, raw: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    match serde_json::from_str::<Named>(raw.get()) {
        Ok(named) => format!("case \"{}\"", shown(&named.name)),
        Err(_) => format!("case number {}", at + 1),
    }
}

fn shown(text: &str) -> String {
    printable(&text.chars().take(128).collect::<String>())
}

/// The text with its control characters written out.
fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests;
