//! The log: one line an event on standard error, text for people and JSON for programs.
//!
//! Invariant: an event is one line, whatever its values hold; control characters are escaped in both forms.

use std::{
    fmt::{self, Write as _},
    io::{self, IsTerminal as _},
    str::FromStr,
};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer as _,
    field::MakeExt as _,
    filter::Targets,
    fmt::{
        MakeWriter,
        format::{Writer, debug_fn},
        time::FormatTime,
    },
    layer::SubscriberExt as _,
};

use crate::{Clock, clock::format_rfc3339, escape::Escaping};

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Text.
    Text,
    /// JSON, one object a line.
    Json,
}

impl LogFormat {
    /// The names for [`crate::config::Reader::choice`].
    pub const NAMES: [(&'static str, Self); 3] =
        [("auto", Self::Auto), ("text", Self::Text), ("json", Self::Json)];
}

/// What is logged: one level and, separated by commas, others for single parts: `info,muster_server=debug`.
#[derive(Debug, Clone)]
pub struct LogLevels {
    text: String,
    targets: Targets,
}

impl PartialEq for LogLevels {
    /// What is read out of the text follows from it.
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for LogLevels {}

impl LogLevels {
    /// As they were written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for LogLevels {
    type Err = NotLevels;

    /// `Targets` itself would take a misspelt level for the name of a part.
    fn from_str(text: &str) -> Result<Self, NotLevels> {
        let targets = text.split(',').try_fold(Targets::new(), |targets, directive| {
            let (target, level) = match directive.trim().split_once('=') {
                Some((target, level)) => (Some(target), level),
                None => (None, directive.trim()),
            };
            if level.is_empty() || target == Some("") {
                return None;
            }
            let level: LevelFilter = level.parse().ok()?;
            Some(match target {
                Some(target) => targets.with_target(target, level),
                None => targets.with_default(level),
            })
        });
        let text = text.to_owned();
        targets.map(|targets| Self { text, targets }).ok_or(NotLevels)
    }
}

/// A text that is no list of levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no list of log levels")]
pub struct NotLevels;

/// The log has begun already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log has begun already")]
pub struct LogTwice;

/// Sends all events of this process to standard error.
pub fn start(format: LogFormat, levels: &LogLevels, clock: Clock) -> Result<(), LogTwice> {
    let terminal = io::stderr().is_terminal();
    let json = format == LogFormat::Json || (format == LogFormat::Auto && !terminal);
    let colour = terminal && std::env::var_os("NO_COLOR").is_none();
    let subscriber = subscriber(json, colour, levels, clock, io::stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogTwice)
}

fn subscriber<W>(
    json: bool,
    colour: bool,
    levels: &LogLevels,
    clock: Clock,
    writer: W,
) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_timer(Timer(clock));
    let layer = if json {
        layer.json().flatten_event(true).with_current_span(false).boxed()
    } else {
        let fields = debug_fn(
            |writer: &mut Writer<'_>, field: &tracing::field::Field, value: &dyn fmt::Debug| {
                if field.name() != "message" {
                    write!(writer, "{}=", field.name())?;
                }
                write!(Escaping(writer), "{value:?}")
            },
        );
        layer.with_ansi(colour).fmt_fields(fields.delimited(" ")).boxed()
    };
    tracing_subscriber::registry().with(layer.with_filter(levels.targets.clone()))
}

struct Timer(Clock);

impl FormatTime for Timer {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.write_str(&format_rfc3339(self.0.unix_ms()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is logged while `act` runs.
    fn logged(json: bool, levels: &str, act: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Sink(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Sink {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().expect("no panic").extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let sink = Sink::default();
        let (clock, _) = Clock::by_hand(1_000);
        let writer = sink.clone();
        let levels = levels.parse().expect("levels");
        let subscriber = subscriber(json, false, &levels, clock, move || writer.clone());
        tracing::subscriber::with_default(subscriber, act);
        let bytes = sink.0.lock().expect("no panic").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_text_event_is_one_readable_line() {
        let text = logged(false, "info", || {
            let name = "a\u{1b}[2Jb\nFORGED";
            tracing::info!(target: "muster", node = %name, count = 3, quoted = "x", "a node joined: {name}");
        });
        assert_eq!(
            text,
            "1970-01-01T00:00:01.000Z  INFO muster: a node joined: a\\u{1b}[2Jb\\nFORGED node=a\\u{1b}[2Jb\\nFORGED count=3 quoted=\"x\"\n"
        );
    }

    #[test]
    fn a_json_event_is_one_object_with_its_fields() {
        let text = logged(
            true,
            "info",
            || tracing::warn!(target: "muster", node = %"a\nb", "a node left"),
        );
        let event: serde_json::Value = serde_json::from_str(&text).expect("one object");
        assert_eq!(text.matches('\n').count(), 1);
        assert_eq!(
            event,
            serde_json::json!({
                "timestamp": "1970-01-01T00:00:01.000Z", "level": "WARN", "target": "muster",
                "message": "a node left", "node": "a\nb",
            })
        );
    }

    #[test]
    fn levels_hold_for_their_parts() {
        let text = logged(false, "warn,muster::join=debug", || {
            tracing::debug!(target: "muster::join", "one");
            tracing::info!(target: "muster::run", "two");
            tracing::error!(target: "other", "three");
        });
        assert!(
            text.contains("one") && !text.contains("two") && text.contains("three"),
            "{text}"
        );
    }

    #[test]
    fn a_misspelt_level_is_refused() {
        for levels in ["wanr", "", "info,", "muster=", "=info", "info,muster=loud"] {
            assert_eq!(levels.parse::<LogLevels>(), Err(NotLevels), "{levels}");
        }
    }
}
