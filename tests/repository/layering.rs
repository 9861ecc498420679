//! Which of our crates depends on which: what the architecture allows, and what is there today.

use std::{collections::BTreeMap, fmt::Write as _};

use muster_tests::golden;
use serde_json::Value;

use crate::files::run;

/// Who may depend on whom, in code that ships. Tests may use more, but never reach from the control plane to the
/// node agent or back. A crate that is not here yet is added with its first real code.
const ALLOWED: &[(&str, &[&str])] = &[
    ("ids", &[]),
    ("wire", &["ids"]),
    ("pki", &["ids"]),
    ("code-trust", &["ids", "pki"]),
    ("tabular", &[]),
    ("daemon", &[]),
    ("client", &["wire", "pki", "ids"]),
    ("model", &["ids", "pki", "code-trust"]),
    ("store", &["model", "ids", "daemon"]),
    ("identity", &["model", "ids", "daemon"]),
    (
        "app",
        &[
            "model",
            "store",
            "identity",
            "pki",
            "code-trust",
            "wire",
            "ids",
            "daemon",
        ],
    ),
    (
        "server",
        &[
            "app", "store", "identity", "model", "wire", "pki", "ids", "daemon",
        ],
    ),
    (
        "cli",
        &["client", "wire", "code-trust", "pki", "tabular", "daemon", "ids"],
    ),
    ("sandbox", &[]),
    ("engines", &["sandbox", "tabular", "ids"]),
    (
        "agent",
        &[
            "client",
            "wire",
            "pki",
            "code-trust",
            "engines",
            "sandbox",
            "daemon",
            "ids",
        ],
    ),
];

/// A crate of ours.
struct Crate {
    /// Without `muster-`.
    name: String,
    /// The folder that it is in: `common`, `control-plane`, `node-agent` or `tests`.
    part: String,
    license: Option<String>,
    description: Option<String>,
    /// Crates of ours in code that ships, sorted.
    uses: Vec<String>,
    /// Crates of ours in tests only, sorted.
    tested_with: Vec<String>,
}

#[test]
fn crates_depend_only_on_what_the_architecture_allows() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let mut wrong = Vec::new();
    for Crate { name, uses, .. } in crates().iter().filter(|one| one.part != "tests") {
        let Some(allowed) = allowed.get(name.as_str()) else {
            wrong.push(format!(
                "{name} is not in the table of tests/repository/layering.rs"
            ));
            continue;
        };
        for used in uses.iter().filter(|used| !allowed.contains(&used.as_str())) {
            wrong.push(format!("{name} must not depend on {used}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn control_plane_and_node_agent_meet_only_in_common() {
    let crates = crates();
    let part: BTreeMap<_, _> = crates.iter().map(|one| (&one.name, one.part.as_str())).collect();
    for one in &crates {
        for used in one.uses.iter().chain(&one.tested_with) {
            assert!(
                one.part == "tests" || part[used] == "common" || part[used] == one.part,
                "{} of {} must not depend on {used} of {}",
                one.name,
                one.part,
                part[used]
            );
        }
    }
}

#[test]
fn the_graph_of_our_crates_is_the_reviewed_one() {
    let mut graph = String::from("# Our crates and what they depend on; in parentheses, in tests only.\n");
    for one in crates() {
        let tested_with = if one.tested_with.is_empty() {
            String::new()
        } else {
            format!(" ({})", one.tested_with.join(", "))
        };
        let line = format!("{} -> {}{tested_with}", one.name, one.uses.join(", "));
        writeln!(graph, "{}", line.trim_end()).expect("a string takes everything");
    }
    golden("layering.txt", &graph);
}

#[test]
fn every_crate_names_its_license_and_its_purpose() {
    for one in crates() {
        assert_eq!(
            one.license.as_deref(),
            Some("Apache-2.0"),
            "license of {}",
            one.name
        );
        assert!(
            one.description.is_some_and(|text| text.len() > 10),
            "description of {}",
            one.name
        );
    }
    assert!(
        crate::files::text("LICENSE").contains("Apache License"),
        "LICENSE holds the license"
    );
}

fn crates() -> Vec<Crate> {
    let mut crates: Vec<Crate> = packages().iter().map(read).collect();
    crates.sort_by(|left, right| (&left.part, &left.name).cmp(&(&right.part, &right.name)));
    assert!(crates.len() > 2, "cargo lists our crates");
    crates
}

/// The packages of the workspace as cargo describes them.
pub(crate) fn packages() -> Vec<Value> {
    let said = run(
        env!("CARGO"),
        &["metadata", "--no-deps", "--offline", "--format-version", "1"],
    );
    let said: Value = serde_json::from_str(&said).expect("cargo metadata prints JSON");
    said["packages"].as_array().expect("packages").clone()
}

fn read(package: &Value) -> Crate {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let ours = |in_tests: bool| {
        let mut names: Vec<String> = package["dependencies"]
            .as_array()
            .expect("dependencies")
            .iter()
            .filter(|dependency| (dependency["kind"] == "dev") == in_tests)
            .filter_map(|dependency| dependency["name"].as_str()?.strip_prefix("muster-"))
            .map(str::to_owned)
            .collect();
        names.sort();
        names.dedup();
        names
    };
    let folder = text(&package["manifest_path"]).expect("manifest path");
    let folder = std::path::Path::new(&folder)
        .strip_prefix(muster_tests::workspace())
        .expect("in the workspace");
    let uses = ours(false);
    let tested_with = ours(true)
        .into_iter()
        .filter(|name| !uses.contains(name))
        .collect();
    Crate {
        name: text(&package["name"])
            .expect("name")
            .trim_start_matches("muster-")
            .to_owned(),
        part: folder
            .iter()
            .next()
            .expect("a folder")
            .to_string_lossy()
            .into_owned(),
        license: text(&package["license"]),
        description: text(&package["description"]),
        uses,
        tested_with,
    }
}
