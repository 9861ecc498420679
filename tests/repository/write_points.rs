//! Every named write point, and every commit of a join, a run or a rotation, is one at which some test kills the program.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use muster_model::audit::Event;

use crate::files;

/// Where tests kill: each name that stands there as a literal is combined with every step of a write.
const KILLERS: [&str; 8] = [
    "node-agent/agent/tests/agent/crash.rs",
    "node-agent/agent/tests/agent/renewing.rs",
    "tests/system/crash.rs",
    "tests/system/killed_node.rs",
    "tests/system/scenario/approval.rs",
    "tests/system/scenario/renewal.rs",
    KILLED_SERVER[0],
    KILLED_SERVER[1],
];

/// Where the control plane is killed on both sides of the commits that these audit events name.
const KILLED_SERVER: [&str; 2] = [
    "tests/system/killed_authority.rs",
    "tests/system/killed_server.rs",
];

/// Where the control plane changes joins, runs and its authority.
const CHANGES: [&str; 6] = [
    "authority/renew",
    "authority/rotation",
    "join",
    "join_token",
    "run",
    "reconcile/leases",
];

/// What else changes who may join and what may run.
const ELSEWHERE: [Event; 3] = [
    Event::CertificateIssued,
    Event::NodeUntrusted,
    Event::FunctionTrusted,
];

/// Records of what was only tried: nothing changes, and one that was not written is written at the next attempt.
const ALARMS: [Event; 1] = [Event::JoinOldKey];

/// What the calls begin with whose last literal names a point or a write.
const CALLS: [&str; 9] = [
    "file::write(",
    "file::place(",
    "file::settle(",
    "crash_point(",
    WRITE_POINT,
    "credentials.store(",
    ".advance(",
    "forget_exchange(",
    "keys.write(",
];

/// The call whose literals are a write and its step.
const WRITE_POINT: &str = "write_point(";

/// Calls that only hand a name on, by file. Whoever adds one adds its callers to [`CALLS`].
const HANDED_ON: [(&str, usize); 4] = [
    ("control-plane/server/src/keys.rs", 2),
    // The names of events, which have a test of their own.
    ("control-plane/store/src/tx.rs", 2),
    ("node-agent/agent/src/credentials.rs", 2),
    ("node-agent/agent/src/join.rs", 1),
];

/// Killed at by nobody: a session that was not stored is made by another login, a token that was not by another command
/// (the lost one is revoked), an export is repeated, and what a lost signature was over is signed again.
const HARMLESS: [&str; 4] = ["cli.session", "join-token", "root-key.export", "signature"];

#[test]
fn some_test_kills_at_every_named_write_point() {
    let mut names = BTreeSet::new();
    let mut handed_on: BTreeMap<String, usize> = BTreeMap::new();
    for path in files::ending(".rs").into_iter().filter(|path| is_product(path)) {
        let text = files::text(&path);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for call in calls(code, path.ends_with("keys.rs")) {
            let name = match literals(call)[..] {
                [write, _] if call.starts_with(WRITE_POINT) => Some(write),
                [_] if call.starts_with(WRITE_POINT) => None,
                [.., name] => Some(name),
                [] => None,
            };
            match name {
                Some(name) if !name.contains('{') => {
                    names.insert(name.to_owned());
                }
                _ => *handed_on.entry(path.to_string_lossy().into_owned()).or_default() += 1,
            }
        }
    }
    let expected = HANDED_ON.map(|(path, count)| (path.to_owned(), count));
    assert_eq!(handed_on, BTreeMap::from(expected), "names that are handed on");
    assert!(
        names.contains("run.claim") && names.contains("root.key"),
        "the calls are found: {names:?}"
    );
    let killers: Vec<String> = KILLERS.iter().map(files::text).collect();
    let missing: Vec<&String> = names
        .iter()
        .filter(|name| !HARMLESS.contains(&name.as_str()))
        .filter(|name| {
            let literal = format!("\"{name}\"");
            !killers.iter().any(|text| text.contains(&literal))
        })
        .collect();
    assert!(
        missing.is_empty(),
        "no test kills at {missing:?}; see {KILLERS:?}"
    );
}

#[test]
fn the_control_plane_is_killed_on_both_sides_of_every_commit_of_a_join_or_a_run() {
    let mut committed = BTreeSet::from(ELSEWHERE);
    for path in files::ending(".rs") {
        let Ok(place) = path.strip_prefix("control-plane/app/src") else {
            continue;
        };
        let place = place.with_extension("");
        if !CHANGES.iter().any(|change| place.starts_with(change)) {
            continue;
        }
        let text = files::text(&path);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (at, call) in code.match_indices("Event::") {
            let name: String = code[at + call.len()..]
                .chars()
                .take_while(|c| c.is_alphanumeric())
                .collect();
            let event = Event::ALL.iter().find(|event| format!("{event:?}") == name);
            committed.insert(*event.unwrap_or_else(|| panic!("{name} is no event")));
        }
    }
    assert!(
        [Event::JoinRevealed, Event::RunPutBack, Event::AuthorityAborted]
            .iter()
            .all(|event| committed.contains(event)),
        "the events are found: {committed:?}"
    );
    let killer = KILLED_SERVER.map(files::text).concat();
    let missing: Vec<&str> = committed
        .iter()
        .filter(|event| !ALARMS.contains(event))
        .map(|event| event.as_str())
        .filter(|event| !killer.contains(&format!("\"{event}\"")))
        .collect();
    assert!(
        missing.is_empty(),
        "{KILLED_SERVER:?} kill at none of {missing:?}"
    );
}

/// Code that ships; the definition of the points apart.
fn is_product(path: &Path) -> bool {
    let product = ["common", "control-plane", "node-agent"]
        .iter()
        .any(|part| path.starts_with(part));
    let tests = path.ends_with("tests.rs") || path.iter().any(|part| part == "tests");
    product && !tests && path != Path::new("common/daemon/src/file.rs")
}

/// The arguments of every call that names a point; in `keys`, its own methods for it are called as well.
fn calls(code: &str, keys: bool) -> Vec<&str> {
    let own = if keys {
        &["self.write(", "self.seal("][..]
    } else {
        &[]
    };
    let mut found = Vec::new();
    for call in CALLS.iter().chain(own) {
        for (at, _) in code.match_indices(call) {
            let before = &code[..at];
            // Where it is defined, or the end of a longer name.
            let other = !call.starts_with('.') && before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if before.ends_with("fn ") || other {
                continue;
            }
            found.push(arguments(&code[at..]));
        }
    }
    found
}

/// From the name of a call to the parenthesis that closes it.
fn arguments(call: &str) -> &str {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, c) in call.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return &call[..at];
                }
            }
            _ => {}
        }
    }
    call
}

/// The string literals of a call; none of ours has an escaped quote in it.
fn literals(call: &str) -> Vec<&str> {
    call.split('"').skip(1).step_by(2).collect()
}
