//! A probe: code that does one harm where nothing stops it.
//!
//! Harm is recognised by what it leaves: the probe prints [`HARM`] after the harm or the agent's secret as its fruit,
//! the agent of the lab was reached, a file of the lab was changed, or a process outlived its run.

use muster_engines::Limits;

/// What a probe prints when it did its harm.
pub(crate) const HARM: &str = "HARM";

/// What the agent of each lab keeps. No probe's code holds it.
pub(crate) const SECRET: &str = "Xq7-the-key-of-the-agent-Zw3";

/// The language of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Language {
    R,
    Python,
    C,
}

pub(crate) struct Probe {
    pub(crate) language: Language,
    pub(crate) name: &'static str,
    /// R and Python: a script. C: the body of a function, which finds all of `payloads/native.c`.
    pub(crate) code: &'static str,
    /// Whether an unrestricted run with the host's network may do it.
    pub(crate) trusted: bool,
    /// Narrower limits than usual.
    pub(crate) limits: fn(&mut Limits),
}

const fn probe(language: Language, name: &'static str, code: &'static str) -> Probe {
    Probe {
        language,
        name,
        code,
        trusted: false,
        limits: |_| {},
    }
}

pub(crate) const fn r(name: &'static str, code: &'static str) -> Probe {
    probe(Language::R, name, code)
}

pub(crate) const fn python(name: &'static str, code: &'static str) -> Probe {
    probe(Language::Python, name, code)
}

pub(crate) const fn c(name: &'static str, code: &'static str) -> Probe {
    probe(Language::C, name, code)
}

impl Probe {
    /// Trusted code may do it.
    pub(crate) const fn trusted(self) -> Self {
        Self {
            trusted: true,
            ..self
        }
    }

    pub(crate) const fn limits(self, limits: fn(&mut Limits)) -> Self {
        Self { limits, ..self }
    }

    /// What people find it by.
    pub(crate) fn title(&self) -> String {
        format!("{:?}: {}", self.language, self.name)
    }
}

/// What was seen of one probe.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// How the run ended, in words.
    pub(crate) ending: String,
    /// What it left behind.
    pub(crate) traces: Vec<String>,
}

impl Seen {
    /// What harm was done, if any.
    pub(crate) fn harm(&self) -> Option<String> {
        if let Some(trace) = self.traces.first() {
            return Some(trace.clone());
        }
        if self.stdout.contains(HARM) {
            return Some("it says so".to_owned());
        }
        [&self.stdout, &self.stderr, &self.ending]
            .into_iter()
            .find(|text| text.contains(SECRET))
            .map(|text| format!("the secret came out: {}", text.trim()))
    }
}
