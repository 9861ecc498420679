//! Every named write point is one at which some test kills the program.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crate::files;

/// Where tests kill: each name that stands there as a literal is combined with every step of a write.
const KILLERS: [&str; 4] = [
    "node-agent/agent/tests/agent/crash.rs",
    "tests/system/crash.rs",
    "tests/system/killed_node.rs",
    "tests/system/scenario/rotation.rs",
];

/// What the calls begin with whose last literal names a point or a write.
const CALLS: [&str; 6] = [
    "file::write(",
    "crash_point(",
    "credentials.store(",
    ".advance(",
    "forget_exchange(",
    "keys.write(",
];

/// Calls that only hand a name on, by file. Whoever adds one adds its callers to [`CALLS`].
const HANDED_ON: [(&str, usize); 3] = [
    ("control-plane/server/src/keys.rs", 2),
    ("node-agent/agent/src/credentials.rs", 2),
    ("node-agent/agent/src/join.rs", 1),
];

/// Killed at by nobody: a session that was not stored is made by another login, an export is repeated.
const HARMLESS: [&str; 2] = ["cli.session", "root-key.export"];

#[test]
fn some_test_kills_at_every_named_write_point() {
    let mut names = BTreeSet::new();
    let mut handed_on: BTreeMap<String, usize> = BTreeMap::new();
    for path in files::ending(".rs").into_iter().filter(|path| is_product(path)) {
        let text = files::text(&path);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for call in calls(code, path.ends_with("keys.rs")) {
            match literals(call).last() {
                Some(name) if !name.contains('{') => {
                    names.insert((*name).to_owned());
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
