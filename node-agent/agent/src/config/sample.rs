//! The `node.toml` that `muster-node join` writes where there is none: only what was given.

use std::{fmt::Write as _, path::PathBuf};

use muster_ids::{Digest, Name};

use crate::capability::Capability;

/// What a person gave to `muster-node join`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// Registration listeners, as URLs.
    pub registration: Vec<String>,
    /// The name to ask for.
    pub name: Option<Name>,
    /// What to offer.
    pub capabilities: Vec<Capability>,
    /// The pool to ask for.
    pub pool: Option<Name>,
    /// The site to ask for.
    pub site: Option<Name>,
    /// Pins of the collective's root.
    pub ca_fingerprint: Vec<Digest>,
    /// Where a join token lies.
    pub token_file: Option<PathBuf>,
    /// Another state folder.
    pub state_dir: Option<PathBuf>,
}

/// The text of a `node.toml` with these values.
pub fn sample(given: &Given) -> String {
    let mut text = "# Settings of this node; docs/reference/configuration.md lists all of them.\n".to_owned();
    let node = [
        ("name", given.name.as_ref().map(|name| quoted(name.as_str()))),
        ("capabilities", list(&given.capabilities)),
        ("pool", given.pool.as_ref().map(|name| quoted(name.as_str()))),
        ("site", given.site.as_ref().map(|name| quoted(name.as_str()))),
        (
            "state_dir",
            given
                .state_dir
                .as_ref()
                .map(|path| quoted(&path.to_string_lossy())),
        ),
    ];
    section(&mut text, "node", &node);
    section(
        &mut text,
        "control_plane",
        &[("registration", list(&given.registration))],
    );
    let token = given
        .token_file
        .as_ref()
        .map(|path| quoted(&path.to_string_lossy()));
    section(
        &mut text,
        "join",
        &[
            ("ca_fingerprint", list(&given.ca_fingerprint)),
            ("token_file", token),
        ],
    );
    text
}

fn section(text: &mut String, name: &str, keys: &[(&str, Option<String>)]) {
    let given: Vec<_> = keys
        .iter()
        .filter_map(|(key, value)| value.as_ref().map(|value| (key, value)))
        .collect();
    if given.is_empty() {
        return;
    }
    // Writing into a String cannot fail.
    let _ = writeln!(text, "\n[{name}]");
    for (key, value) in given {
        let _ = writeln!(text, "{key} = {value}");
    }
}

fn list<T: std::fmt::Display>(items: &[T]) -> Option<String> {
    let items: Vec<String> = items.iter().map(|item| quoted(&item.to_string())).collect();
    (!items.is_empty()).then(|| format!("[{}]", items.join(", ")))
}

/// A TOML basic string; its escapes are those of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
