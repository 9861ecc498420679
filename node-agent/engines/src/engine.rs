//! The engines of this node: which there are, and what they really are.

use std::{fmt, path::Path, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    EnginesConfig,
    plan::{r_environment, r_libraries, r_packages, r_program, terr_program},
    program,
};

/// A language that this node can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// GNU R.
    R,
    /// CPython in a virtual environment.
    Python,
    /// The original's own engine for R, or GNU R standing in.
    Terr,
}

/// A name that is no engine's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no engine {0:?}; there are r, python and terr")]
pub struct UnknownEngine(pub String);

impl EngineKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::R, Self::Python, Self::Terr];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::R => "r",
            Self::Python => "python",
            Self::Terr => "terr",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EngineKind {
    type Err = UnknownEngine;
    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| UnknownEngine(text.to_owned()))
    }
}

/// An engine that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// Its language.
    pub kind: EngineKind,
    /// What it really is: `terr (GNU R 4.2.2 standing in)`.
    pub description: String,
    /// The version of the program: `4.2.2`.
    pub version: String,
}

/// An engine that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its language.
    pub kind: EngineKind,
    /// One sentence with the cure.
    pub why: String,
}

/// What probing found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Those that are there.
    pub engines: Vec<Engine>,
    /// Those that are not.
    pub missing: Vec<Missing>,
}

/// Asks every engine for its version, outside the jail.
pub async fn probe(config: &EnginesConfig) -> Probe {
    let mut probe = Probe {
        engines: Vec::new(),
        missing: Vec::new(),
    };
    let r = r_version(config).await;
    let found = [
        (
            EngineKind::R,
            r.clone().map(|version| (format!("GNU R {version}"), version)),
        ),
        (
            EngineKind::Python,
            python_version(config)
                .await
                .map(|version| (format!("CPython {version}"), version)),
        ),
        (
            EngineKind::Terr,
            match &config.terr {
                Some(path) => terr_version(path)
                    .await
                    .map(|version| (format!("terr (TERR {version})"), version)),
                None => r.map(|version| (format!("terr (GNU R {version} standing in)"), version)),
            },
        ),
    ];
    for (kind, result) in found {
        match result {
            Ok((description, version)) => probe.engines.push(Engine {
                kind,
                description,
                version,
            }),
            Err(why) => probe.missing.push(Missing { kind, why }),
        }
    }
    probe
}

async fn r_version(config: &EnginesConfig) -> Result<String, String> {
    let program = r_program(&config.r_home);
    if !program.exists() {
        return Err(format!(
            "{} does not exist; install R (apt-get install r-base-core r-cran-jsonlite) or set rhome.path",
            program.display()
        ));
    }
    let environment: Vec<_> = r_environment(&config.r_home).into_iter().collect();
    let said = program::output(&program, &["--version"], &environment).await?;
    let version = after_word(&said, "version")
        .ok_or_else(|| format!("{} --version does not name a version", program.display()))?;
    for package in r_packages(config) {
        if !r_libraries(&config.r_home)
            .iter()
            .any(|library| library.join(package).is_dir())
        {
            return Err(format!(
                "R has no package {package}; install it (apt-get install r-cran-{})",
                package.to_lowercase()
            ));
        }
    }
    Ok(version)
}

async fn python_version(config: &EnginesConfig) -> Result<String, String> {
    let program = config.python.join("bin/python");
    if !program.exists() {
        return Err(format!(
            "{} does not exist; build the environment with /usr/lib/muster/make-venv.sh (in the sources packaging/engines/make-venv.sh), or set engines.python",
            program.display()
        ));
    }
    let script = "import importlib.util, sys\n\
                  print('version', '%d.%d.%d' % sys.version_info[:3])\n\
                  for name in sys.argv[1:]:\n    \
                      importlib.util.find_spec(name) or sys.exit(f'package {name} is missing')";
    let mut arguments = vec!["-I", "-B", "-c", script];
    arguments.extend(config.python_packages.iter().map(String::as_str));
    let said = program::output(&program, &arguments, &[]).await?;
    after_word(&said, "version").ok_or_else(|| format!("{} does not name a version", program.display()))
}

async fn terr_version(path: &Path) -> Result<String, String> {
    terr_program(path)?;
    let said = program::output(path, &["--version"], &[]).await?;
    after_word(&said, "version")
        .ok_or_else(|| format!("{} --version does not name a version", path.display()))
}

/// The word after the first `word`: `R version 4.2.2 Patched …` names 4.2.2.
fn after_word(text: &str, word: &str) -> Option<String> {
    text.split_whitespace()
        .skip_while(|part| *part != word)
        .nth(1)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for kind in EngineKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert_eq!("julia".parse::<EngineKind>(), Err(UnknownEngine("julia".into())));
    }

    #[test]
    fn the_version_is_the_word_after_version() {
        let said = "R version 4.2.2 Patched (2022-11-10 r83330) -- \"Innocent and Trusting\"";
        assert_eq!(after_word(said, "version").as_deref(), Some("4.2.2"));
        assert_eq!(after_word("no such word", "version"), None);
    }
}
