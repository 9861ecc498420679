//! A path of the host as a policy names it.
//!
//! Invariant: absolute and plain, without `.`, `..`, doubled or trailing slashes, so that "within" is a comparison of
//! texts. What it is on a node, through links, only the node can see.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest, in bytes.
const MAX_BYTES: usize = 1024;
/// Folders that a jail makes itself; what the host has there is never shown.
const JAILS_OWN: [&str; 7] = ["/dev", "/muster", "/old", "/proc", "/scratch", "/sys", "/tmp"];
/// Where the product lies as it is packaged: settings, state with keys, sockets. A node that was set up otherwise
/// guards its own folders too.
const PRODUCT: [&str; 6] = [
    "/etc/muster",
    "/run/credentials",
    "/run/muster",
    "/var/lib/muster",
    "/var/run/credentials",
    "/var/run/muster",
];

/// An absolute path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPath(String);

impl HostPath {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `above` or something in it.
    pub fn is_within(&self, above: &Self) -> bool {
        is_within(&self.0, &above.0)
    }

    /// Why the jail has no such path of the host: one clause with the cure.
    pub(super) fn of_the_jail(&self) -> Option<String> {
        let path = &self.0;
        let own = JAILS_OWN.iter().find(|own| is_within(path, own))?;
        Some(format!(
            "{path} cannot be named, because a jail has its own {own}; name another folder"
        ))
    }

    /// Why runs must not see it, whatever the node has there: one clause with the cure.
    pub(super) fn of_the_product(&self) -> Option<String> {
        let path = &self.0;
        let product = PRODUCT
            .iter()
            .find(|its| is_within(path, its) || is_within(its, path))?;
        Some(format!(
            "{path} cannot be shown, because {product} belongs to the node's agent; name the folders that runs need"
        ))
    }
}

fn is_within(path: &str, above: &str) -> bool {
    path.strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Those that are in no other one.
pub(super) fn outermost(mut paths: BTreeSet<HostPath>) -> BTreeSet<HostPath> {
    let all: Vec<_> = paths.iter().cloned().collect();
    paths.retain(|path| !all.iter().any(|above| path != above && path.is_within(above)));
    paths
}

/// What is within both sets.
pub(super) fn common(ours: &BTreeSet<HostPath>, theirs: &BTreeSet<HostPath>) -> BTreeSet<HostPath> {
    let within = |paths: &BTreeSet<HostPath>, others: &BTreeSet<HostPath>| -> Vec<HostPath> {
        let inside = |path: &&HostPath| others.iter().any(|above| path.is_within(above));
        paths.iter().filter(inside).cloned().collect()
    };
    let both = within(ours, theirs).into_iter().chain(within(theirs, ours));
    outermost(both.collect())
}

impl FromStr for HostPath {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let shown = || {
            text.chars()
                .take(64)
                .flat_map(char::escape_default)
                .collect::<String>()
        };
        let plain = text.len() <= MAX_BYTES
            && !text.chars().any(char::is_control)
            && text
                .strip_prefix('/')
                .is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")));
        if plain {
            Ok(Self(text.to_owned()))
        } else if text == "/" {
            Err(
                "/ cannot be named, because the node's agent lies below it; name the folders that runs need"
                    .to_owned(),
            )
        } else {
            Err(format!(
                "\"{}\" is no plain absolute path; write it as /srv/data, without \"..\" and without a slash at the end",
                shown()
            ))
        }
    }
}

impl TryFrom<String> for HostPath {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HostPath> for String {
    fn from(path: HostPath) -> Self {
        path.0
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
