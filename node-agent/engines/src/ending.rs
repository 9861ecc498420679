//! How a run ended, as data and in words.

use std::path::PathBuf;

use muster_sandbox::protocol::Mode;

/// Everything that is known after a run.
#[derive(Debug)]
pub struct RunEnding {
    /// What happened.
    pub outcome: Outcome,
    /// The mode it ran in.
    pub mode: Mode,
    /// What it printed.
    pub stdout: Printed,
    /// What it printed as errors and warnings.
    pub stderr: Printed,
    /// The outputs of a run that succeeded, in the order's order; else empty.
    pub outputs: Vec<OutputFile>,
    /// JSON that names types and rows of the outputs, as the runner wrote it: opaque here.
    pub schema: Option<PathBuf>,
    /// User and system time in milliseconds; 0 when the run was cut off.
    pub cpu_ms: u64,
    /// From the fork to the end, in milliseconds.
    pub wall_ms: u64,
    /// The largest resident size of one process in bytes; 0 when the run was cut off.
    pub peak_bytes: u64,
    /// What it might use, in bytes.
    pub memory_bytes: u64,
    /// Whether other runs of the same launcher went on beside it: its memory limit holds for all of them together.
    pub shared_memory: bool,
    /// Limits that this node cannot enforce, in words.
    pub limits_degraded: Vec<String>,
    /// What a traced run did although restricted scripts may not, each once for a line of the script:
    /// `Native[file], line 3`.
    pub oversteps: Vec<String>,
    /// Destinations that the network's broker refused, each once: `data.example.com:443`. Beside other runs of the same
    /// launcher only that there were some.
    pub network_refused: Vec<String>,
    /// Which run of its session it was, counted from 1; 0 for a run of none.
    pub session_run: u64,
}

/// What would let a restricted run do what it may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cure<'a> {
    /// Trust in the function of this name.
    Trust(&'a str),
    /// A change of this setting, which restricts it although it may be trusted.
    Setting(&'a str),
    /// Nothing: it is an expression.
    Expression,
}

/// What happened to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The script ended and all outputs are there.
    Succeeded,
    /// The script, an input or an output is wrong.
    ScriptError {
        /// For people, as the language says it.
        message: String,
    },
    /// A restricted script did what it may not.
    RestrictedCall {
        /// `Native[file]`, `os.system`, …
        what: String,
    },
    /// The script ended its process itself.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// A signal ended it.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// Its wall time was over.
    TimedOut,
    /// Its memory was used up and the kernel killed it.
    OutOfMemory,
    /// The caller wanted no more of it.
    Cancelled,
    /// It was never started, or its jail broke.
    JailRefused {
        /// One sentence.
        why: String,
    },
}

/// A stream that was cut after its first bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Printed {
    /// The head.
    pub bytes: Vec<u8>,
    /// Whether more was printed than was kept.
    pub truncated: bool,
    /// How many bytes were printed in all.
    pub total: u64,
}

/// An output that was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFile {
    /// The variable.
    pub name: String,
    /// Its file in the order's folder.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
}

/// What only the kernel refuses, as the C library says it, and the name of the error.
const KERNEL_REFUSALS: [(&str, &str); 3] = [
    ("Operation not permitted", "EPERM"),
    ("Permission denied", "EACCES"),
    ("Read-only file system", "EROFS"),
];

/// How languages say on the first line that they were given no more memory.
const NO_MEMORY: [&str; 4] = [
    "MemoryError",
    "cannot allocate vector of size",
    "cannot allocate memory",
    "memory exhausted",
];

impl RunEnding {
    /// A run that never began.
    pub(crate) fn refused(mode: Mode, why: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::JailRefused { why: why.into() },
            mode,
            stdout: Printed::default(),
            stderr: Printed::default(),
            outputs: Vec::new(),
            schema: None,
            cpu_ms: 0,
            wall_ms: 0,
            peak_bytes: 0,
            memory_bytes: 0,
            shared_memory: false,
            limits_degraded: Vec::new(),
            oversteps: Vec::new(),
            network_refused: Vec::new(),
            session_run: 0,
        }
    }

    /// What a restricted run overstepped, if it did: the call that the language check saw, or the error of the
    /// kernel that a failed run tells of.
    pub fn overstep(&self) -> Option<&str> {
        let said = match &self.outcome {
            Outcome::RestrictedCall { what } => return Some(what),
            Outcome::ScriptError { message } => message.clone(),
            Outcome::Exited { code } if *code != 0 => {
                String::from_utf8_lossy(&self.stderr.bytes).into_owned()
            }
            _ => return None,
        };
        if self.mode != Mode::Restricted {
            return None;
        }
        KERNEL_REFUSALS
            .iter()
            .find(|(words, _)| said.contains(words))
            .map(|(_, errno)| *errno)
    }

    /// Whether the memory limit ended it: by the kernel's hand, or because the language was given no more and said so.
    pub fn met_memory_limit(&self) -> bool {
        match &self.outcome {
            Outcome::OutOfMemory => true,
            Outcome::ScriptError { message } => {
                let first = message.lines().next().unwrap_or_default();
                NO_MEMORY.iter().any(|words| first.contains(words))
            }
            _ => false,
        }
    }

    /// The ending for people: the first line says what happened.
    pub fn in_words(&self, cure: Cure<'_>) -> String {
        let words = match &self.outcome {
            Outcome::Succeeded => "The run succeeded.".to_owned(),
            Outcome::ScriptError { message } if self.met_memory_limit() => {
                format!("The script failed because {}\n{message}", self.memory_limit())
            }
            Outcome::ScriptError { message } => format!("The script failed: {message}"),
            Outcome::RestrictedCall { .. } => String::new(),
            Outcome::Exited { code: 0 } => {
                "The script ended its own process (exit code 0) before its outputs were taken. \
                 Let it run to its end instead."
                    .to_owned()
            }
            Outcome::Exited { code } => format!("The script ended its own process with exit code {code}."),
            Outcome::Signalled { signal } => {
                format!(
                    "The script's process was ended by signal {signal} ({}).",
                    signal_name(*signal)
                )
            }
            Outcome::TimedOut => format!(
                "The run was stopped after {}.{:03} s: its time limit was reached{}. \
                 Give it less data, or ask for a longer limit.",
                self.wall_ms / 1000,
                self.wall_ms % 1000,
                self.peak(" (its largest process used ", ")")
            ),
            Outcome::OutOfMemory if self.shared_memory => {
                format!(
                    "The run was killed because the memory limit was reached{}, which holds for all runs of its engine \
                     together; others went on beside it, so the fault need not be its own. \
                     Run it again, give it less data, or have fewer slots or a higher limit on this node.",
                    self.peak(" (its largest process used ", " of it)")
                )
            }
            Outcome::OutOfMemory => format!("The run was killed because {}", self.memory_limit()),
            Outcome::Cancelled => "The run was cancelled.".to_owned(),
            Outcome::JailRefused { why } => format!("The run could not be executed: {why}"),
        };
        let Some(what) = self.overstep() else {
            return self.with_refusals(words);
        };
        let cure = match cure {
            Cure::Trust(name) => format!(
                "Have a Script Author trust this function (muster function trust {name}), or remove the call."
            ),
            Cure::Setting(name) => format!(
                "Here {name} restricts it, trusted or not. Have an administrator change that, or remove the call."
            ),
            Cure::Expression => "Remove the call: an expression runs restricted whatever is trusted. \
                                 Make it a function to have it trusted."
                .to_owned(),
        };
        format!("restricted call to {what}\n{cure}\n{words}")
            .trim_end()
            .to_owned()
    }
}

impl RunEnding {
    /// A failure may come from a destination that was refused, which few clients say.
    fn with_refusals(&self, words: String) -> String {
        if self.outcome == Outcome::Succeeded || self.network_refused.is_empty() {
            return words;
        }
        format!(
            "{words}\nThe network's broker refused {}, which the administrator's policy would have to list.",
            self.network_refused.join(", ")
        )
    }

    /// That the limit was reached, with what is known about it, and what to do.
    fn memory_limit(&self) -> String {
        let limit = match self.memory_bytes {
            0 => String::new(),
            limit => format!(" of {} MiB", limit >> 20),
        };
        let peak = self.peak("; its largest process used ", "");
        format!("it reached its memory limit{limit}{peak}. Give it less data, or ask for a higher limit.")
    }

    /// The peak between two words, where it is known.
    fn peak(&self, before: &str, after: &str) -> String {
        match self.peak_bytes {
            0 => String::new(),
            peak => format!("{before}{} MiB{after}", peak.div_ceil(1 << 20)),
        }
    }
}

/// The names that POSIX gives to the signals that end processes.
fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => "SIGHUP: hang-up",
        2 => "SIGINT: interrupt",
        3 => "SIGQUIT: quit",
        4 => "SIGILL: illegal instruction",
        5 => "SIGTRAP: trap",
        6 => "SIGABRT: aborted",
        7 => "SIGBUS: bus error",
        8 => "SIGFPE: arithmetic error",
        9 => "SIGKILL: killed",
        10 => "SIGUSR1: user signal 1",
        11 => "SIGSEGV: invalid memory access",
        12 => "SIGUSR2: user signal 2",
        13 => "SIGPIPE: broken pipe",
        14 => "SIGALRM: alarm",
        15 => "SIGTERM: asked to end",
        24 => "SIGXCPU: its CPU time limit was reached",
        25 => "SIGXFSZ: a file grew over its limit",
        31 => "SIGSYS: a system call that is never allowed",
        _ => "a signal without a common name",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(mode: Mode, outcome: Outcome) -> RunEnding {
        RunEnding {
            outcome,
            ..RunEnding::refused(mode, "")
        }
    }

    #[test]
    fn an_overstep_says_first_what_and_then_the_cure() {
        let ending = ending(
            Mode::Restricted,
            Outcome::RestrictedCall {
                what: "Native[file]".into(),
            },
        );
        let words = ending.in_words(Cure::Trust("Forecast"));
        let lines: Vec<_> = words.lines().collect();
        assert_eq!(lines[0], "restricted call to Native[file]");
        assert!(lines[1].contains("muster function trust Forecast"), "{words}");
        assert_eq!(lines.len(), 2);
        let words = ending.in_words(Cure::Setting("setting terr.restricted.execution.mode by default"));
        assert!(
            words.contains(
                "\nHere setting terr.restricted.execution.mode by default restricts it, trusted or not."
            ),
            "{words}"
        );
    }

    #[test]
    fn nobody_is_told_to_trust_an_expression() {
        let what = "Native[file]".to_owned();
        let words = ending(Mode::Restricted, Outcome::RestrictedCall { what }).in_words(Cure::Expression);
        assert!(
            words.starts_with("restricted call to Native[file]\nRemove the call"),
            "{words}"
        );
        assert!(!words.contains("muster function trust"), "{words}");
    }

    #[test]
    fn what_the_kernel_refused_is_an_overstep_in_restricted_mode_only() {
        let outcome = Outcome::ScriptError {
            message: "PermissionError: [Errno 13] Permission denied".into(),
        };
        assert_eq!(
            ending(Mode::Restricted, outcome.clone()).overstep(),
            Some("EACCES")
        );
        assert_eq!(ending(Mode::Unrestricted, outcome).overstep(), None);
    }

    #[test]
    fn exit_signal_time_and_memory_are_told_apart() {
        let words = [
            Outcome::Exited { code: 3 },
            Outcome::Signalled { signal: 11 },
            Outcome::TimedOut,
            Outcome::OutOfMemory,
        ]
        .map(|outcome| ending(Mode::Unrestricted, outcome).in_words(Cure::Expression));
        assert!(words[0].contains("exit code 3"));
        assert!(words[1].contains("SIGSEGV"));
        assert!(words[2].contains("time limit"));
        assert!(words[3].contains("its memory limit"));
    }

    #[test]
    fn an_end_by_a_limit_names_the_limit_and_the_peak() {
        let of = |outcome, shared_memory| {
            let ending = RunEnding {
                peak_bytes: (250 << 20) - 1,
                memory_bytes: 256 << 20,
                wall_ms: 4_007,
                shared_memory,
                ..ending(Mode::Restricted, outcome)
            };
            ending.in_words(Cure::Expression)
        };
        let memory = of(Outcome::OutOfMemory, false);
        assert!(
            memory.contains("its memory limit of 256 MiB; its largest process used 250 MiB."),
            "{memory}"
        );
        let message = "MemoryError\n\nTraceback".to_owned();
        let itself = of(Outcome::ScriptError { message }, false);
        assert!(
            itself
                .starts_with("The script failed because it reached its memory limit of 256 MiB; its largest")
        );
        assert!(itself.ends_with("limit.\nMemoryError\n\nTraceback"), "{itself}");
        let shared = of(Outcome::OutOfMemory, true);
        assert!(
            shared.contains("(its largest process used 250 MiB of it)"),
            "{shared}"
        );
        let time = of(Outcome::TimedOut, false);
        assert!(
            time.contains("after 4.007 s") && time.contains("used 250 MiB)"),
            "{time}"
        );
    }

    #[test]
    fn memory_that_runs_used_up_together_is_no_single_runs_fault() {
        let together = RunEnding {
            shared_memory: true,
            ..ending(Mode::Restricted, Outcome::OutOfMemory)
        };
        let words = together.in_words(Cure::Expression);
        assert!(words.contains("all runs of its engine together") && !words.contains("its memory limit"));
    }
}
