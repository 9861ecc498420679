//! What holds for each engine: `node.toml`, and above it the `custom.properties` of a service of the original.
//!
//! Invariant: a file here never loosens trust (a value that would is an error), no documented key is passed over in
//! silence (what means nothing here is a notice with the reason), and a key that nobody documented is named.

mod file;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use muster_engines::EngineKind;

pub(super) use self::file::services;
use super::properties::{self, Entry};

/// The files of a service, below its folder; the later one wins.
const FILES: [&str; 2] = ["conf/custom.properties", "conf/additional-custom.properties"];
/// The largest of them, in bytes.
const MAX_FILE: u64 = 256 * 1024;
/// Sessions, as many as `slots.per_engine` may have.
const MOST_SESSIONS: u64 = 64;
/// Children that wait, at the most.
const MOST_WAITING: u64 = 64;
/// The documented default of `engine.session.maxtime`.
const MAX_TIME: Duration = Duration::from_mins(30);
/// The documented default of `engine.prune`.
const PRUNE: Duration = Duration::from_secs(10);
/// The documented default of `dynamic.prune.threshold`.
const THRESHOLD: u64 = 60;
/// What either of the times may be.
const SPANS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(LONGEST);
/// Seven days, in seconds.
const LONGEST: u64 = 7 * 24 * 3600;

/// What holds for one engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// `engine.session.max`: runs at a time.
    pub sessions: u32,
    /// `engine.queue.size`: children that wait, forked and locked.
    pub queue: u32,
    /// `engine.session.maxtime` in seconds; `None` for ever.
    pub session_seconds: Option<u64>,
    /// `engine.prune`: seconds after which a session that waits may be ended.
    pub prune_seconds: u64,
    /// `dynamic.prune.threshold`: from so many percent of the sessions on they are.
    pub prune_threshold: u32,
    /// `engine.execution.timeout` in seconds, and not more than `engine.session.maxtime`.
    pub wall_seconds: u64,
    /// `ram.limit` in MiB.
    pub memory_mib: u64,
    /// `packagePath`: a package library that unrestricted runs see.
    pub package_path: Option<PathBuf>,
    /// `rhome.path`, of the service R only.
    pub r_home: Option<PathBuf>,
    /// `startup.hook.script`: run in each child before it is locked.
    pub startup_hook: Option<PathBuf>,
    /// Where `disable.spotfire.trust.checks: FALSE` is written: the checks happen here, whatever is set elsewhere.
    pub keeps_checks: Option<String>,
    /// Where `terr.restricted.execution.mode: TRUE` is written.
    pub keeps_restricted_mode: Option<String>,
}

/// All engines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Services {
    /// The service R.
    pub r: Service,
    /// The service Python.
    pub python: Service,
    /// The service TERR.
    pub terr: Service,
    /// What stands in files of services and has no effect, for people.
    pub notices: Vec<Notice>,
}

/// A setting that has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whether the key is documented; else somebody misspelled it.
    pub known: bool,
    /// Where it stands, and why it has no effect.
    pub sentence: String,
}

impl Services {
    /// What holds for an engine.
    pub fn of(&self, engine: EngineKind) -> &Service {
        match engine {
            EngineKind::R => &self.r,
            EngineKind::Python => &self.python,
            EngineKind::Terr => &self.terr,
        }
    }

    /// `plain` is what `node.toml` says for all; the services in `folder` change it, each for its engine.
    /// Errors are sentences that name file and line.
    pub(super) fn read(
        plain: &Service,
        folder: Option<&Path>,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, Vec<String>> {
        let (mut errors, mut notices) = (Vec::new(), Vec::new());
        let mut one = |engine: EngineKind| {
            let mut service = plain.clone();
            let mut lines = BTreeMap::new();
            for file in folder.into_iter().flat_map(|folder| files(folder, engine)) {
                match read(&file, environment) {
                    Ok(found) => lines.extend(found),
                    Err(error) => errors.push(error),
                }
            }
            let mut reading = Reading {
                engine,
                service: &mut service,
                errors: &mut errors,
                notices: &mut notices,
            };
            for (key, line) in &lines {
                reading.take(key, line);
            }
            reading.close(&lines);
            service
        };
        let (r, python, terr) = (one(EngineKind::R), one(EngineKind::Python), one(EngineKind::Terr));
        if errors.is_empty() {
            Ok(Self {
                r,
                python,
                terr,
                notices,
            })
        } else {
            Err(errors)
        }
    }
}

/// What a file is told that has the value of a documented setting by which trust would be looser.
fn loosens(key: &str, tight: &str) -> String {
    format!(
        "files on a node can only tighten trust, which means {tight}; remove the line, and have an administrator \
         loosen trust for this node with muster setting set {key}, which is recorded"
    )
}

/// `<folder>/TERR/conf/custom.properties` and the like.
fn files(folder: &Path, engine: EngineKind) -> impl Iterator<Item = PathBuf> {
    let service = folder.join(engine.name().to_uppercase());
    FILES.into_iter().map(move |file| service.join(file))
}

/// The lines of a file; none when there is no such file.
fn read(file: &Path, environment: &BTreeMap<String, String>) -> Result<BTreeMap<String, Line>, String> {
    let text = match muster_daemon::file::read(file, muster_daemon::file::Access::Any, MAX_FILE) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(BTreeMap::new()),
        Err(error) => return Err(crate::sentence(&error)),
    };
    let text = String::from_utf8(text).map_err(|_| format!("{} is not UTF-8 text", file.display()))?;
    let entries =
        properties::parse(&text, environment).map_err(|error| format!("{}, {error}", file.display()))?;
    let line = |entry: Entry| Line {
        value: entry.value,
        file: file.to_owned(),
        number: entry.line,
    };
    Ok(entries
        .into_iter()
        .map(|(key, entry)| (key, line(entry)))
        .collect())
}

/// A value and where it stands.
struct Line {
    value: String,
    file: PathBuf,
    number: usize,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, line {}", self.file.display(), self.number)
    }
}

/// Documented keys that mean nothing here, or keys that begin so, and why.
const NOT_APPLICABLE: &[(&str, &str)] = &[
    (
        "engine.port.",
        "engines have no ports here; the agent speaks to them over sockets without a name",
    ),
    (
        "spring.servlet.multipart.",
        "data reach a node through the control plane, whose limits hold",
    ),
    ("jetty.", "a node serves no HTTP to clients"),
    (
        "use.engine.containers",
        "every run is in a jail, with or without containers around the node",
    ),
    ("docker.", "every run is in a jail, which needs no image"),
    (
        "jmx.",
        "there is no Java here; see operations.listen in node.toml for metrics",
    ),
    ("javaOptions", "there is no Java here"),
    (
        "disable.java.core.dump",
        "there is no Java here, and no run leaves a core file",
    ),
    (
        "loggingLevel",
        "all engines write to the log of the node; see log.level in node.toml",
    ),
    (
        "logging.",
        "all engines write to the log of the node; see log.level in node.toml",
    ),
    (
        "service.memory.exhausted",
        "a node takes as many runs as it has sessions; see limits.memory_mib in node.toml",
    ),
    (
        "service.cpu.exhausted",
        "a node takes as many runs as it has sessions",
    ),
    ("server.", "a node serves no HTTP to clients"),
];

/// The lines of a service on their way into it.
struct Reading<'a> {
    engine: EngineKind,
    service: &'a mut Service,
    errors: &'a mut Vec<String>,
    notices: &'a mut Vec<Notice>,
}

impl Reading<'_> {
    fn take(&mut self, key: &str, entry: &Line) {
        match key {
            "engine.session.max" => {
                if let Some(value) = self.number(key, entry, 1..=MOST_SESSIONS) {
                    self.service.sessions = super::small(value);
                }
            }
            "engine.queue.size" => {
                if let Some(value) = self.number(key, entry, 0..=MOST_WAITING) {
                    self.service.queue = super::small(value);
                }
            }
            "engine.execution.timeout" => {
                if let Some(value) = self.number(key, entry, 1..=LONGEST) {
                    self.service.wall_seconds = value;
                }
            }
            // Held against the time-out when all lines are known.
            "engine.session.maxtime" => {
                if entry.value == "-1" {
                    self.service.session_seconds = None;
                } else if let Some(value) = self.number(key, entry, 1..=LONGEST) {
                    self.service.session_seconds = Some(value);
                }
            }
            "engine.prune" => {
                if let Some(value) = self.number(key, entry, 0..=LONGEST) {
                    self.service.prune_seconds = value;
                }
            }
            "dynamic.prune.threshold" => {
                if let Some(value) = self.number(key, entry, 0..=100) {
                    self.service.prune_threshold = super::small(value);
                }
            }
            "ram.limit" => {
                if let Some(value) = self.number(key, entry, 64..=1024 * 1024) {
                    self.service.memory_mib = value;
                }
            }
            "packagePath" => {
                if !entry.value.is_empty() {
                    self.service.package_path = self.folder(key, entry);
                }
            }
            "rhome.path" if self.engine == EngineKind::R => {
                if !entry.value.is_empty() {
                    self.service.r_home = self.folder(key, entry);
                }
            }
            "rhome.path" => self.no_effect(key, entry, "it belongs to the service R"),
            "startup.hook.script" => {
                if !entry.value.is_empty() {
                    self.hook(key, entry);
                }
            }
            "disable.spotfire.trust.checks" => {
                let keeps = self.only_tightens(key, entry, "FALSE");
                self.service.keeps_checks = keeps.or_else(|| self.service.keeps_checks.take());
            }
            "terr.restricted.execution.mode" if self.engine == EngineKind::Terr => {
                let keeps = self.only_tightens(key, entry, "TRUE");
                self.service.keeps_restricted_mode =
                    keeps.or_else(|| self.service.keeps_restricted_mode.take());
            }
            "terr.restricted.execution.mode" => {
                self.no_effect(key, entry, "it belongs to the service TERR");
            }
            _ => self.other(key, entry),
        }
    }

    /// No run may last longer than a session.
    fn close(&mut self, lines: &BTreeMap<String, Line>) {
        let given = lines
            .get("engine.session.maxtime")
            .map(|line| line.value.as_str());
        // The documented default goes with the time-out of the same kind of file, not with that of node.toml.
        let default = lines
            .contains_key("engine.execution.timeout")
            .then_some(MAX_TIME.as_secs());
        if let Some(age) = given.map_or(default, |given| given.parse().ok()) {
            self.service.wall_seconds = self.service.wall_seconds.min(age);
        }
    }

    fn other(&mut self, key: &str, entry: &Line) {
        let fits =
            |(known, _): &&(&str, &str)| key == *known || (known.ends_with('.') && key.starts_with(known));
        if let Some((_, why)) = NOT_APPLICABLE.iter().find(fits) {
            self.no_effect(key, entry, why);
            return;
        }
        let sentence = format!(
            "{entry}: there is no setting {key}, so that it has no effect; correct its name or remove the line"
        );
        self.notices.push(Notice {
            known: false,
            sentence,
        });
    }

    fn no_effect(&mut self, key: &str, entry: &Line, why: &str) {
        self.notices.push(Notice {
            known: true,
            sentence: format!("{entry}: {key} is not applicable: {why}"),
        });
    }

    fn number(&mut self, key: &str, entry: &Line, range: RangeInclusive<u64>) -> Option<u64> {
        let value = entry.value.parse().ok().filter(|value| range.contains(value));
        if value.is_none() {
            self.refuse(
                key,
                entry,
                &format!("write a whole number from {} to {}", range.start(), range.end()),
            );
        }
        value
    }

    fn folder(&mut self, key: &str, entry: &Line) -> Option<PathBuf> {
        let path = PathBuf::from(&entry.value);
        let plain = path.is_absolute()
            && path.parent().is_some()
            && path
                .components()
                .skip(1)
                .all(|part| matches!(part, Component::Normal(_)));
        if !plain {
            self.refuse(key, entry, "write the absolute path of a folder");
        }
        plain.then_some(path)
    }

    /// Relative to the folder of the service, and not out of it.
    fn hook(&mut self, key: &str, entry: &Line) {
        let path = Path::new(&entry.value);
        let plain = path
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let service = entry.file.ancestors().nth(2);
        match service {
            Some(service) if plain => self.service.startup_hook = Some(service.join(path)),
            _ => self.refuse(
                key,
                entry,
                "write a path such as conf/start.sh, below the folder of the service",
            ),
        }
    }

    /// Where the setting is written, if it has the value that tightens; the other one is refused.
    fn only_tightens(&mut self, key: &str, entry: &Line, tight: &str) -> Option<String> {
        if entry.value.eq_ignore_ascii_case(tight) {
            return Some(format!("{key} in {}", entry.file.display()));
        }
        self.refuse(key, entry, &loosens(key, tight));
        None
    }

    fn refuse(&mut self, key: &str, entry: &Line, why: &str) {
        self.errors.push(format!("{entry}: {key}: {why}"));
    }
}
