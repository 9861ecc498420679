use std::{path::Path, time::Duration};

use proptest::prelude::*;
use secrecy::ExposeSecret as _;

use super::*;

const FILE: &str = "/etc/muster/server.toml";

fn reader(text: &str, environment: &[(&str, &str)]) -> Reader {
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Reader::of_text(Path::new(FILE), text, environment)
}

fn messages(reader: Reader) -> Vec<String> {
    reader
        .finish()
        .expect_err("errors")
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn values_come_from_the_variable_before_the_file_before_the_default() {
    let text = "[front_end]\nlisten = \"127.0.0.1:1\"\n[trust]\nmax_staleness = \"5m\"\n";
    let mut reader = reader(
        text,
        &[
            ("MUSTER_FRONT_END__LISTEN", "[::1]:2"),
            ("MUSTER_CRASH_AT", "x"),
            ("HOME", "/root"),
        ],
    );
    assert_eq!(
        reader
            .address("front_end", "listen", ([0, 0, 0, 0], 8443))
            .to_string(),
        "[::1]:2"
    );
    let span = reader.duration(
        "trust",
        "max_staleness",
        Duration::from_mins(15),
        Duration::from_mins(1)..=Duration::from_hours(1),
    );
    assert_eq!(span, Duration::from_mins(5));
    assert!(!reader.bool("join", "accept_unverified_ca", false));
    let settings: Vec<String> = reader
        .finish()
        .expect("valid")
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        settings,
        [
            "front_end.listen = \"[::1]:2\"  # environment variable MUSTER_FRONT_END__LISTEN",
            "trust.max_staleness = \"5m\"  # /etc/muster/server.toml line 4",
            "join.accept_unverified_ca = false  # default",
        ]
    );
}

#[test]
fn every_error_is_reported_in_one_go_with_its_place() {
    let text = "[front_end]\nlisten = 8443\nlitsen = \"x\"\n[runs]\nslots = 0\nwait = \"1 minute\"\n[fornt]\na = 1\n";
    let mut reader = reader(text, &[("MUSTER_RUNS__SLOT", "3"), ("MUSTER_RUNS__WARM", "yes")]);
    reader.address("front_end", "listen", ([0, 0, 0, 0], 8443));
    reader.number("runs", "slots", 4, 1..=64);
    reader.duration(
        "runs",
        "wait",
        Duration::from_secs(1),
        Duration::ZERO..=Duration::from_mins(1),
    );
    reader.bool("runs", "warm", true);
    assert_eq!(
        messages(reader),
        [
            "/etc/muster/server.toml line 2: front_end.listen is 8443; wanted: an IP address and port in quotes such as \"0.0.0.0:9443\" or \"[::]:9443\"",
            "/etc/muster/server.toml line 5: runs.slots is 0; wanted: a whole number from 1 to 64",
            "/etc/muster/server.toml line 6: runs.wait is \"1 minute\"; wanted: a time span in quotes such as \"30s\" or \"15m\", from 0s to 1m",
            "environment variable MUSTER_RUNS__WARM: runs.warm is \"yes\"; wanted: true or false",
            "/etc/muster/server.toml line 7: fornt is not known; did you mean front_end?",
            "/etc/muster/server.toml line 3: front_end.litsen is not known; did you mean front_end.listen?",
            "environment variable MUSTER_RUNS__SLOT: MUSTER_RUNS__SLOT is not known; did you mean MUSTER_RUNS__SLOTS?",
        ]
    );
}

#[test]
fn a_key_that_stands_twice_is_an_error_with_line_and_column() {
    let mut reader = reader("[a]\nb = 1\nb = 2\n", &[]);
    reader.number("a", "b", 0, 0..=9);
    let messages = messages(reader);
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(
        messages[0].starts_with("/etc/muster/server.toml line 3, column 1: duplicate key"),
        "{messages:?}"
    );
}

#[test]
fn a_section_where_a_value_belongs_is_one_error_and_so_is_the_reverse() {
    let mut reader = reader("front = 3\n[a.b]\nc = 1\n", &[]);
    reader.text("a", "b", "");
    reader.text("front", "listen", "");
    let messages = messages(reader);
    assert_eq!(
        messages,
        [
            "/etc/muster/server.toml line 2: a.b is a section; wanted: a text in quotes",
            "/etc/muster/server.toml line 1: front is not known; did you mean front.listen?",
        ]
    );
}

#[test]
fn nested_sections_and_lists_have_variables_too() {
    let mut reader = reader(
        "[engines.r]\npaths = [\"/a\", \"/b\"]\nextra = [1]\n",
        &[
            ("MUSTER_NODE__CONTROL_PLANES", "https://a:9443, https://b:9443"),
            ("MUSTER_ENGINES__R__HOME", "/opt/r"),
            ("MUSTER_NODE__POOL", ""),
        ],
    );
    assert_eq!(
        reader.list("node", "control_planes", &[]),
        ["https://a:9443", "https://b:9443"]
    );
    assert_eq!(reader.list("engines.r", "paths", &[]), ["/a", "/b"]);
    assert_eq!(
        reader.path("engines.r", "home", "/usr/lib/R"),
        Path::new("/opt/r")
    );
    assert_eq!(reader.optional_text("node", "pool"), None);
    reader.list("engines.r", "extra", &[]);
    assert_eq!(
        messages(reader),
        [
            "/etc/muster/server.toml line 3: engines.r.extra is a list with elements that are not texts; wanted: a list of texts in quotes"
        ]
    );
}

#[test]
fn a_secret_text_is_not_shown_among_the_settings() {
    let mut reader = reader("[database]\nurl = \"postgres://m:hunter2@db/m\"\n", &[]);
    let url = reader.secret_text("database", "url", "sqlite:muster.db");
    assert_eq!(url.expose_secret(), "postgres://m:hunter2@db/m");
    assert!(!format!("{reader:?} {url:?}").contains("hunter2"));
    let settings = reader.finish().expect("valid");
    assert_eq!(settings[0].value.as_deref(), Some("\"(not shown)\""));
}

#[test]
fn a_secret_of_the_wrong_type_is_not_part_of_the_error() {
    for (text, environment) in [
        ("[database]\nurl = 4711\n", &[][..]),
        ("", &[("MUSTER_DATABASE__URL", "4711\u{fffd}")]),
    ] {
        let mut reader = reader(text, environment);
        reader.secret_text("database", "url", "");
        let messages = messages(reader);
        assert!(
            messages[0].contains("database.url") && !messages[0].contains("4711"),
            "{messages:?}"
        );
    }
}

#[test]
fn a_credential_is_a_plain_name_in_the_folder_that_systemd_made() {
    let with = |value: &str, folder: &[(&str, &str)]| {
        let mut reader = reader(&format!("[a]\nkey = \"{value}\"\n"), folder);
        let secret = reader.optional_secret_file("a", "key");
        reader
            .finish()
            .ok()
            .and(secret)
            .map(|secret| secret.path().to_owned())
    };
    let folder = [("CREDENTIALS_DIRECTORY", "/run/credentials/muster-server.service")];
    assert_eq!(
        with("credential:key", &folder).as_deref(),
        Some(Path::new("/run/credentials/muster-server.service/key"))
    );
    assert_eq!(
        with("/etc/muster/key", &folder).as_deref(),
        Some(Path::new("/etc/muster/key"))
    );
    for (value, folder) in [
        ("credential:../key", &folder[..]),
        ("credential:", &folder),
        ("key", &folder),
        ("credential:key", &[]),
    ] {
        assert_eq!(with(value, folder), None, "{value}");
    }
}

#[test]
fn a_choice_names_what_is_allowed() {
    let mut reader = reader("[log]\nformat = \"yaml\"\n", &[]);
    assert!(!reader.choice("log", "format", &[("json", true), ("text", false)], "text"));
    assert_eq!(
        messages(reader),
        ["/etc/muster/server.toml line 2: log.format is \"yaml\"; wanted: one of \"json\", \"text\""]
    );
}

#[test]
fn only_a_file_that_nobody_named_may_be_missing() {
    let folder = tempfile::tempdir().expect("folder");
    let missing = folder.path().join("node.toml");
    assert!(
        Reader::open(&missing, false, [])
            .expect("empty")
            .finish()
            .expect("valid")
            .is_empty()
    );
    let error = Reader::open(&missing, true, []).expect_err("missing").to_string();
    assert!(
        error.contains("node.toml") && error.contains("No such file"),
        "{error}"
    );
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[\\[\\]a-c.=\"',#\\\\{}0-9\\n é-]{0,60}") {
        let mut reader = reader(&text, &[]);
        reader.text("a", "b", "");
        reader.number("a.b", "c", 1, 0..=5);
        let _ = reader.finish();
    }
}
