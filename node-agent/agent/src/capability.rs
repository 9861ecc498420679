//! What a node offers to run, by the documented names, and the engine behind each.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A capability of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Capability {
    /// Runs `terr` functions.
    Terr,
    /// Runs open-source R functions.
    R,
    /// Runs Python functions.
    Python,
}

/// A text that is no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a capability is TERR, R or PYTHON")]
pub struct UnknownCapability;

impl Capability {
    /// Every capability, in the order in which people see them.
    pub const ALL: [Self; 3] = [Self::Terr, Self::R, Self::Python];

    /// The documented name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Terr => "TERR",
            Self::R => "R",
            Self::Python => "PYTHON",
        }
    }

    /// The engine's name in grants, claims and functions.
    pub fn engine(self) -> &'static str {
        match self {
            Self::Terr => "terr",
            Self::R => "r",
            Self::Python => "python",
        }
    }

    /// The capability of an engine.
    pub fn of_engine(engine: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|capability| capability.engine() == engine)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Capability {
    type Err = UnknownCapability;
    /// Upper and lower case do not differ.
    fn from_str(text: &str) -> Result<Self, UnknownCapability> {
        Self::ALL
            .into_iter()
            .find(|capability| capability.as_str().eq_ignore_ascii_case(text))
            .ok_or(UnknownCapability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_survives_its_text_in_either_case() {
        for capability in Capability::ALL {
            assert_eq!(capability.as_str().to_lowercase().parse(), Ok(capability));
            assert_eq!(Capability::of_engine(capability.engine()), Some(capability));
        }
        assert_eq!("JULIA".parse::<Capability>(), Err(UnknownCapability));
    }
}
