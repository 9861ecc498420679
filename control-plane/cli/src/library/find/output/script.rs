//! The scripts that trust, or untrust, everything in a report.

use super::super::code::{Found, Kind};
use crate::escape::escaped;

/// How many hashes a line names at the most: command lines are bounded.
const A_LINE: usize = 100;
/// The end of either script.
pub(super) const END: &str = "exit \"$failed\"\n";

/// The beginning of the script for `command`, which is `trust` or `untrust`.
pub(super) fn start(command: &str, begun: &str) -> String {
    let effect = match command {
        "trust" => {
            "Trusts what the search found; read the report first, and delete the lines of what is not to be trusted."
        }
        _ => "Untrusts what the search found.",
    };
    format!(
        "#!/bin/sh\n# {effect}\n# The search was begun at {begun}. MUSTER may name the program, with options.\n: \"${{MUSTER:=muster}}\"\nfailed=0\n"
    )
}

/// The lines that trust the code in an item.
pub(super) fn trust(found: &Found) -> String {
    lines(found, "trust", "")
}

/// The lines that untrust the code in an item.
pub(super) fn untrust(found: &Found) -> String {
    lines(found, "untrust", " -n")
}

fn lines(found: &Found, command: &str, options: &str) -> String {
    let Ok(codes) = &found.codes else {
        return String::new();
    };
    let mut hashes: Vec<(&str, &str)> = codes
        .iter()
        .filter_map(|code| {
            let option = match code.kind {
                Kind::Script | Kind::DataFunction => "-S",
                Kind::CustomQuery => "-Q",
                Kind::JobScript => return None,
            };
            is_harmless(&code.hash).then_some((option, code.hash.as_str()))
        })
        .collect();
    hashes.sort_unstable();
    hashes.dedup();
    if hashes.is_empty() {
        return String::new();
    }
    let mut text = format!("# {}\n", escaped(&found.item.path));
    for some in hashes.chunks(A_LINE) {
        let named: Vec<String> = some
            .iter()
            .map(|(option, hash)| format!("{option} '{hash}'"))
            .collect();
        text.push_str("$MUSTER compat ");
        text.push_str(command);
        text.push_str(options);
        text.push_str(" -i ");
        text.push_str(&found.item.id.to_string());
        text.push(' ');
        text.push_str(&named.join(" "));
        text.push_str(" || failed=1\n");
    }
    text
}

/// Whether a shell takes a hash for nothing but itself.
fn is_harmless(hash: &str) -> bool {
    !hash.is_empty()
        && hash
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || "=:+/-_".contains(character))
}
