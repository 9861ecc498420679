//! The documents that the public reads are there, and their links lead somewhere.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use muster_model::audit::Event;
use muster_tests::workspace;

use crate::files;

const PUBLIC: [&str; 10] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "docs/reference/join-protocol.md",
    "docs/threat-model.md",
    "docs/vocabulary.md",
    "systemd/README.md",
];

#[test]
fn public_documents_exist() {
    let missing: Vec<_> = PUBLIC
        .into_iter()
        .filter(|path| !workspace().join(path).is_file())
        .collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
}

#[test]
fn relative_links_of_documents_resolve() {
    let mut broken = Vec::new();
    for document in files::ending(".md") {
        for link in links(&prose(&files::text(&document))) {
            if let Some(why) = broken_link(&document, &link) {
                broken.push(format!("{}: {link}: {why}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_event_of_the_audit_log_is_explained() {
    let text = files::text(Path::new("docs/reference/audit.md"));
    let (_, events) = text.split_once("## Events").expect("a list of events");
    let rows = events.lines().filter_map(|line| line.strip_prefix("| `"));
    let explained: Vec<&str> = rows
        .flat_map(|row| row.split('|').next().unwrap_or(row).split([',', '`', ' ']))
        .filter(|name| !name.is_empty())
        .collect();
    let named: BTreeSet<&str> = explained.iter().copied().collect();
    assert_eq!(
        named.len(),
        explained.len(),
        "an event has one row: {explained:?}"
    );
    let known: BTreeSet<&str> = Event::ALL.iter().map(|event| event.as_str()).collect();
    let missing: Vec<_> = known.difference(&named).collect();
    assert!(missing.is_empty(), "docs/reference/audit.md lacks {missing:?}");
    let gone: Vec<_> = named.difference(&known).collect();
    assert!(
        gone.is_empty(),
        "docs/reference/audit.md explains {gone:?}, which are no events"
    );
}

#[test]
fn decisions_are_numbered_without_gaps() {
    let mut names: Vec<String> = files::ending(".md")
        .iter()
        .filter(|path| path.parent() == Some(Path::new("docs/adr")))
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .filter(|name| name != "README.md")
        .collect();
    names.sort();
    assert!(!names.is_empty(), "there are decisions");
    for (number, name) in (1..).zip(&names) {
        assert!(
            name.starts_with(&format!("{number:04}-")),
            "{name} has number {number:04}"
        );
        let text = files::text(Path::new("docs/adr").join(name));
        for part in ["## Context", "## Decision", "## Consequences"] {
            assert!(text.contains(part), "{name} has a part {part}");
        }
    }
}

/// Why a link of `document` leads nowhere; links to other machines are not followed.
fn broken_link(document: &Path, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target: PathBuf = match path {
        "" => document.to_owned(),
        _ => document.parent().unwrap_or(Path::new("")).join(path),
    };
    if !workspace().join(&target).exists() {
        return Some("there is no such file".to_owned());
    }
    let found = anchor.is_empty()
        || target.extension().is_none_or(|kind| kind != "md")
        || prose(&files::text(&target))
            .lines()
            .filter(|line| line.starts_with('#'))
            .any(|line| slug(line) == anchor);
    (!found).then(|| "there is no such heading".to_owned())
}

/// A document without its blocks and spans of code.
fn prose(text: &str) -> String {
    let mut in_block = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            for (index, part) in line.split('`').enumerate() {
                // Headings keep their code: it is part of their anchor.
                if index % 2 == 0 || line.starts_with('#') {
                    prose.push_str(part);
                }
            }
        }
        prose.push('\n');
    }
    prose
}

/// The targets of `[text](target)`.
fn links(prose: &str) -> Vec<String> {
    prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split_whitespace().next().unwrap_or_default().to_owned())
        .collect()
}

/// A heading as the anchor that web views of repositories make of it.
fn slug(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn links_are_found_outside_of_code_only() {
    let prose = prose("see [a](b.md#c) and `[no](x)`\n```\n[no](y)\n```\n[d](e \"title\")\n");
    assert_eq!(links(&prose), ["b.md#c", "e"]);
    assert_eq!(slug("## The jail's `socket`, v2"), "the-jails-socket-v2");
}
