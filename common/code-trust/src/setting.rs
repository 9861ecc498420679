//! The settings that decisions obey, and which of their levels holds for a node.
//!
//! Invariant: the most special level that says something wins: node before pool before site before all, and the
//! documented default last. The answer carries where it came from.

use std::{collections::BTreeSet, fmt, str::FromStr};

use muster_ids::{IdError, Name, NodeId, PackageLanguage, PackageList, PackageListError, PoolId, SiteId};

use crate::{Engine, RunPolicy, RunPolicyError, words::words};

words! {
    /// The settings, by their documented names.
    pub SettingName ("setting") {
        /// Whether TERR services run everything restricted. On by default.
        TerrRestrictedExecutionMode = "terr.restricted.execution.mode",
        /// Whether services run everything as trusted. Off by default.
        DisableTrustChecks = "disable.spotfire.trust.checks",
        /// Engines for which untrusted code runs restricted where it would be refused or prompted for. None by default.
        RestrictedEngines = "restricted_engines",
        /// What unrestricted runs may use. Not set by default: a node's own file says it then.
        UnrestrictedPolicy = "unrestricted_policy",
        /// The packages of Python that runs have besides the engine's own. None by default.
        PythonPackages = "packages.python",
        /// The packages of R that runs have besides the engine's own. None by default.
        RPackages = "packages.r",
        /// What becomes of a run that may not run any more as it does. It is stopped by default.
        TrustRunning = "trust.running",
        /// On which library items a stamp counts. On all that the user can read by default.
        TrustStamps = "trust.stamps",
    }

    /// On which library items a stamp counts for what runs.
    pub StampsCount ("value of trust.stamps") {
        /// On every item that the user can read.
        Readable = "readable",
        /// On the item that runs, and on no other.
        SameItem = "same_item",
    }

    /// What becomes of a run whose trust is taken away while it runs.
    pub WhenWithdrawn ("value of trust.running") {
        /// It ends.
        Stop = "stop",
        /// It goes on to its own end, which says so.
        Finish = "finish",
    }
}

impl SettingName {
    /// What it does, in one sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::TerrRestrictedExecutionMode => "Whether TERR services run every function restricted.",
            Self::DisableTrustChecks => {
                "Whether services run every function as if a Script Author trusted it."
            }
            Self::RestrictedEngines => {
                "Engines whose untrusted functions run restricted where they would be refused."
            }
            Self::UnrestrictedPolicy => {
                "What unrestricted runs may use (JSON); where it is not set, the node's own file says it."
            }
            Self::PythonPackages => {
                "The locked list of packages of Python functions that have none of their own."
            }
            Self::RPackages => {
                "The locked list of packages of R and TERR functions that have none of their own."
            }
            Self::TrustRunning => {
                "What becomes of a run whose trust is taken away while it runs: stop or finish."
            }
            Self::TrustStamps => {
                "Where a stamp counts: for its content in every item (readable), or on its own item only (same_item)."
            }
        }
    }

    /// What holds where nobody set it: the documented defaults.
    pub fn default_setting(self) -> Setting {
        match self {
            Self::TerrRestrictedExecutionMode => Setting::TerrRestrictedExecutionMode(true),
            Self::DisableTrustChecks => Setting::DisableTrustChecks(false),
            Self::RestrictedEngines => Setting::RestrictedEngines(BTreeSet::new()),
            Self::UnrestrictedPolicy => Setting::UnrestrictedPolicy(None),
            Self::PythonPackages => Setting::Packages(PackageList::empty(PackageLanguage::Python)),
            Self::RPackages => Setting::Packages(PackageList::empty(PackageLanguage::R)),
            Self::TrustRunning => Setting::TrustRunning(WhenWithdrawn::Stop),
            Self::TrustStamps => Setting::TrustStamps(StampsCount::Readable),
        }
    }
}

/// The engines that `restricted_engines` may name: for the others the documented rules leave no choice.
pub(crate) const RESTRICTABLE: [Engine; 3] = [Engine::PythonService, Engine::RService, Engine::PythonLocal];

/// A setting with a valid value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// `terr.restricted.execution.mode`.
    TerrRestrictedExecutionMode(bool),
    /// `disable.spotfire.trust.checks`.
    DisableTrustChecks(bool),
    /// `restricted_engines`, a subset of `python_service`, `r_service`, `python_local`.
    RestrictedEngines(BTreeSet<Engine>),
    /// `unrestricted_policy`; `None` leaves it to the node's own file.
    UnrestrictedPolicy(Option<Box<RunPolicy>>),
    /// `packages.python` or `packages.r`, as the list's language says.
    Packages(PackageList),
    /// `trust.running`.
    TrustRunning(WhenWithdrawn),
    /// `trust.stamps`.
    TrustStamps(StampsCount),
}

/// A value that a setting does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// It is none of the values that are allowed.
    #[error("the setting {name} cannot be \"{shown}\"; it is {allowed}")]
    Value {
        /// Which setting.
        name: SettingName,
        /// The value, made safe to show.
        shown: String,
        /// In words.
        allowed: String,
    },
    /// The policy is none.
    #[error(transparent)]
    Policy(#[from] RunPolicyError),
}

impl Setting {
    /// Which setting it is.
    pub fn name(&self) -> SettingName {
        match self {
            Self::TerrRestrictedExecutionMode(_) => SettingName::TerrRestrictedExecutionMode,
            Self::DisableTrustChecks(_) => SettingName::DisableTrustChecks,
            Self::RestrictedEngines(_) => SettingName::RestrictedEngines,
            Self::UnrestrictedPolicy(_) => SettingName::UnrestrictedPolicy,
            Self::Packages(list) => match list.language() {
                PackageLanguage::Python => SettingName::PythonPackages,
                PackageLanguage::R => SettingName::RPackages,
            },
            Self::TrustRunning(_) => SettingName::TrustRunning,
            Self::TrustStamps(_) => SettingName::TrustStamps,
        }
    }

    /// The setting as a person writes it: `true` or `false` in either case, engines separated by commas, nothing for
    /// none, lists of packages as the files that people keep them in; JSON lists are taken too. A policy is JSON, nothing
    /// for none.
    pub fn parse(name: SettingName, given: &str) -> Result<Self, SettingError> {
        let text = given.trim();
        let refused = || refused(name, text);
        match name {
            SettingName::TerrRestrictedExecutionMode | SettingName::DisableTrustChecks => {
                let value = text.to_ascii_lowercase().parse().map_err(|_| refused())?;
                Ok(Self::switch(name, value))
            }
            SettingName::UnrestrictedPolicy if text.is_empty() => Ok(name.default_setting()),
            SettingName::UnrestrictedPolicy => Self::from_json(name, text),
            SettingName::RestrictedEngines if text.starts_with('[') => Self::from_json(name, text),
            SettingName::RestrictedEngines => {
                let words = text.split(',').map(str::trim).filter(|_| !text.is_empty());
                engines(words).map(Self::RestrictedEngines).ok_or_else(refused)
            }
            SettingName::PythonPackages | SettingName::RPackages if text.starts_with('[') => {
                Self::from_json(name, text)
            }
            SettingName::PythonPackages | SettingName::RPackages => {
                let list = PackageList::read(language_of(name), given);
                list.map(Self::Packages).map_err(|error| unlocked(name, &error))
            }
            SettingName::TrustRunning => {
                let word = text.to_ascii_lowercase().parse().map_err(|_| refused())?;
                Ok(Self::TrustRunning(word))
            }
            SettingName::TrustStamps => {
                let word = text.to_ascii_lowercase().parse().map_err(|_| refused())?;
                Ok(Self::TrustStamps(word))
            }
        }
    }

    /// The setting as it stands in the trust state and in the REST API, in JSON: a truth value, a word, a list
    /// of engines or of packages, a policy or null.
    pub fn from_json(name: SettingName, json: &str) -> Result<Self, SettingError> {
        let refused = || refused(name, json);
        match name {
            SettingName::TerrRestrictedExecutionMode | SettingName::DisableTrustChecks => {
                serde_json::from_str(json)
                    .map(|value| Self::switch(name, value))
                    .map_err(|_| refused())
            }
            SettingName::RestrictedEngines => {
                let words: Vec<String> = serde_json::from_str(json).map_err(|_| refused())?;
                engines(words.iter().map(String::as_str))
                    .map(Self::RestrictedEngines)
                    .ok_or_else(refused)
            }
            SettingName::UnrestrictedPolicy if json == "null" => Ok(name.default_setting()),
            SettingName::UnrestrictedPolicy => {
                let policy = RunPolicy::parse(json)?;
                Ok(Self::UnrestrictedPolicy(Some(Box::new(policy))))
            }
            SettingName::PythonPackages | SettingName::RPackages => {
                let lines: Vec<String> = serde_json::from_str(json).map_err(|_| refused())?;
                let list = PackageList::of_lines(language_of(name), lines.iter().map(String::as_str));
                list.map(Self::Packages).map_err(|error| unlocked(name, &error))
            }
            SettingName::TrustRunning => serde_json::from_str(json)
                .map(Self::TrustRunning)
                .map_err(|_| refused()),
            SettingName::TrustStamps => serde_json::from_str(json)
                .map(Self::TrustStamps)
                .map_err(|_| refused()),
        }
    }

    /// The canonical JSON of the value: engines sorted by name, packages as their canonical lines.
    pub fn to_json(&self) -> String {
        let text = self.to_text();
        match self {
            Self::TerrRestrictedExecutionMode(_)
            | Self::DisableTrustChecks(_)
            | Self::UnrestrictedPolicy(Some(_)) => text,
            Self::RestrictedEngines(engines) if engines.is_empty() => "[]".to_owned(),
            Self::UnrestrictedPolicy(None) => "null".to_owned(),
            Self::RestrictedEngines(_) => format!("[\"{}\"]", text.replace(',', "\",\"")),
            Self::Packages(list) => serde_json::Value::from(list.lines()).to_string(),
            Self::TrustRunning(_) | Self::TrustStamps(_) => format!("\"{text}\""),
        }
    }

    /// The value as people write it: what [`Setting::parse`] reads.
    pub fn to_text(&self) -> String {
        match self {
            Self::TerrRestrictedExecutionMode(value) | Self::DisableTrustChecks(value) => value.to_string(),
            Self::RestrictedEngines(engines) => {
                let mut words: Vec<_> = engines.iter().map(|engine| engine.as_str()).collect();
                words.sort_unstable();
                words.join(",")
            }
            Self::UnrestrictedPolicy(policy) => {
                policy.as_ref().map(|policy| policy.to_json()).unwrap_or_default()
            }
            Self::Packages(list) => list.lines().join("\n"),
            Self::TrustRunning(word) => word.to_string(),
            Self::TrustStamps(word) => word.to_string(),
        }
    }

    fn switch(name: SettingName, value: bool) -> Self {
        match name {
            SettingName::DisableTrustChecks => Self::DisableTrustChecks(value),
            _ => Self::TerrRestrictedExecutionMode(value),
        }
    }
}

fn engines<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<BTreeSet<Engine>> {
    words.try_fold(BTreeSet::new(), |mut engines, word| {
        let engine = RESTRICTABLE.iter().find(|engine| engine.as_str() == word)?;
        engines.insert(*engine);
        Some(engines)
    })
}

fn refused(name: SettingName, text: &str) -> SettingError {
    let allowed = match name {
        SettingName::RestrictedEngines => "a list out of python_service, r_service, python_local",
        SettingName::PythonPackages | SettingName::RPackages => "a locked list of packages",
        SettingName::UnrestrictedPolicy => "a policy as JSON",
        SettingName::TerrRestrictedExecutionMode | SettingName::DisableTrustChecks => "true or false",
        SettingName::TrustRunning => "stop or finish",
        SettingName::TrustStamps => "readable or same_item",
    };
    SettingError::Value {
        name,
        shown: text.chars().take(64).flat_map(char::escape_default).collect(),
        allowed: allowed.to_owned(),
    }
}

/// A list of packages that is not locked.
fn unlocked(name: SettingName, error: &PackageListError) -> SettingError {
    SettingError::Value {
        name,
        shown: "…".to_owned(),
        allowed: format!("a locked list of packages, and {error}"),
    }
}

fn language_of(name: SettingName) -> PackageLanguage {
    match name {
        SettingName::PythonPackages => PackageLanguage::Python,
        _ => PackageLanguage::R,
    }
}

/// The level at which a setting is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// All nodes.
    All,
    /// The nodes of a site.
    Site(SiteId),
    /// The nodes of a pool.
    Pool(PoolId),
    /// One node.
    Node(NodeId),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Site(id) => write!(f, "site/{id}"),
            Self::Pool(id) => write!(f, "pool/{id}"),
            Self::Node(id) => write!(f, "node/{id}"),
        }
    }
}

impl FromStr for Scope {
    type Err = Option<IdError>;
    fn from_str(text: &str) -> Result<Self, Option<IdError>> {
        match text.split_once('/') {
            None if text == "all" => Ok(Self::All),
            Some(("site", id)) => Ok(Self::Site(id.parse()?)),
            Some(("pool", id)) => Ok(Self::Pool(id.parse()?)),
            Some(("node", id)) => Ok(Self::Node(id.parse()?)),
            _ => Err(None),
        }
    }
}

/// Where something would run: the node with its pool and site, by identity and by the name that people know. Empty for
/// a question without a node; then only what is set for all holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The node.
    pub node: Option<(NodeId, Name)>,
    /// Its pool.
    pub pool: Option<(PoolId, Name)>,
    /// Its site.
    pub site: Option<(SiteId, Name)>,
}

impl Place {
    /// The levels that hold here, the most special first.
    pub(crate) fn levels(&self) -> impl Iterator<Item = (Scope, Origin)> {
        let node = self
            .node
            .as_ref()
            .map(|(id, name)| (Scope::Node(*id), Origin::Node(name.clone())));
        let pool = self
            .pool
            .as_ref()
            .map(|(id, name)| (Scope::Pool(*id), Origin::Pool(name.clone())));
        let site = self
            .site
            .as_ref()
            .map(|(id, name)| (Scope::Site(*id), Origin::Site(name.clone())));
        [node, pool, site, Some((Scope::All, Origin::All))]
            .into_iter()
            .flatten()
    }
}

/// Where an effective value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// Set for all.
    All,
    /// Set at the site.
    Site(Name),
    /// Set at the pool.
    Pool(Name),
    /// Set at the node.
    Node(Name),
    /// Written in a policy test.
    Given,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("by default"),
            Self::All => f.write_str("for all"),
            Self::Site(name) => write!(f, "at site {name}"),
            Self::Pool(name) => write!(f, "at pool {name}"),
            Self::Node(name) => write!(f, "at node {name}"),
            Self::Given => f.write_str("as given in the test"),
        }
    }
}

/// The value that holds, with its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
}

/// All settings as they hold at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `terr.restricted.execution.mode`.
    pub terr_restricted_execution_mode: Effective<bool>,
    /// `disable.spotfire.trust.checks`.
    pub disable_trust_checks: Effective<bool>,
    /// `restricted_engines`.
    pub restricted_engines: Effective<BTreeSet<Engine>>,
    /// `unrestricted_policy`.
    pub unrestricted_policy: Effective<Option<RunPolicy>>,
    /// `packages.python`.
    pub python_packages: Effective<PackageList>,
    /// `packages.r`.
    pub r_packages: Effective<PackageList>,
    /// `trust.running`.
    pub trust_running: Effective<WhenWithdrawn>,
    /// `trust.stamps`.
    pub trust_stamps: Effective<StampsCount>,
}

impl Default for Settings {
    /// The documented defaults: restricted, checked, no further engines.
    fn default() -> Self {
        Self {
            terr_restricted_execution_mode: Effective {
                value: true,
                origin: Origin::Default,
            },
            disable_trust_checks: Effective {
                value: false,
                origin: Origin::Default,
            },
            restricted_engines: Effective {
                value: BTreeSet::new(),
                origin: Origin::Default,
            },
            unrestricted_policy: Effective {
                value: None,
                origin: Origin::Default,
            },
            python_packages: Effective {
                value: PackageList::empty(PackageLanguage::Python),
                origin: Origin::Default,
            },
            r_packages: Effective {
                value: PackageList::empty(PackageLanguage::R),
                origin: Origin::Default,
            },
            trust_running: Effective {
                value: WhenWithdrawn::Stop,
                origin: Origin::Default,
            },
            trust_stamps: Effective {
                value: StampsCount::Readable,
                origin: Origin::Default,
            },
        }
    }
}

impl Settings {
    /// Puts a value in force.
    pub(crate) fn set(&mut self, setting: Setting, origin: Origin) {
        match setting {
            Setting::TerrRestrictedExecutionMode(value) => {
                self.terr_restricted_execution_mode = Effective { value, origin };
            }
            Setting::DisableTrustChecks(value) => self.disable_trust_checks = Effective { value, origin },
            Setting::RestrictedEngines(value) => self.restricted_engines = Effective { value, origin },
            Setting::UnrestrictedPolicy(policy) => {
                let value = policy.map(|policy| *policy);
                self.unrestricted_policy = Effective { value, origin };
            }
            Setting::Packages(value) => match value.language() {
                PackageLanguage::Python => self.python_packages = Effective { value, origin },
                PackageLanguage::R => self.r_packages = Effective { value, origin },
            },
            Setting::TrustRunning(value) => self.trust_running = Effective { value, origin },
            Setting::TrustStamps(value) => self.trust_stamps = Effective { value, origin },
        }
    }

    /// Where the value of a setting came from.
    pub fn origin(&self, name: SettingName) -> &Origin {
        match name {
            SettingName::TerrRestrictedExecutionMode => &self.terr_restricted_execution_mode.origin,
            SettingName::DisableTrustChecks => &self.disable_trust_checks.origin,
            SettingName::RestrictedEngines => &self.restricted_engines.origin,
            SettingName::UnrestrictedPolicy => &self.unrestricted_policy.origin,
            SettingName::PythonPackages => &self.python_packages.origin,
            SettingName::RPackages => &self.r_packages.origin,
            SettingName::TrustRunning => &self.trust_running.origin,
            SettingName::TrustStamps => &self.trust_stamps.origin,
        }
    }

    /// The sentence part that names a setting and where it was set, for example
    /// `setting terr.restricted.execution.mode at node terr01`.
    pub fn source(&self, name: SettingName) -> String {
        format!("setting {name} {}", self.origin(name))
    }
}

#[cfg(test)]
mod tests;
