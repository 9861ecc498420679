//! The finder of scripts, data functions and custom queries in the library.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_tests::{CommandLine, Person, Server, folder, run_program_in};
use serde_json::{Value, json};

const LIBRARY: &str = "/api/v1/library";
const IRONPYTHON: &str = r#"{"language":"ironpython","packages":[],"parameters":[],"transaction":true}"#;
const SQL: &str = r#"{"language":"sql","packages":[],"parameters":[],"transaction":true}"#;

async fn save(person: &Person, body: &Value) -> Value {
    let saved = person.post(&format!("{LIBRARY}/items"), body).await;
    saved.unwrap_or_else(|error| panic!("{body}: {error}"))
}

async fn make_folder(person: &Person, path: &str, name: &str) {
    let body = json!({ "folder": path, "name": name });
    person
        .post(&format!("{LIBRARY}/folders"), &body)
        .await
        .expect("a folder");
}

fn coded(place: &str, name: &str, kind: &str, text: &str) -> Value {
    let manifest = if kind == "custom_query" { SQL } else { IRONPYTHON };
    json!({ "folder": place, "name": name, "kind": kind, "manifest": manifest, "files": { "code": STANDARD.encode(text) } })
}

fn analysis(place: &str, name: &str, content: &Value) -> Value {
    let mut manifest = json!({ "muster_analysis": 1 });
    for (section, parts) in content.as_object().expect("sections") {
        manifest[section] = parts.clone();
    }
    json!({ "folder": place, "name": name, "kind": "analysis", "manifest": manifest.to_string() })
}

/// An analysis with a script and a query that no other has.
fn numbered(place: &str, number: usize) -> Value {
    analysis(
        place,
        &format!("analysis {number:03}"),
        &json!({
            "scripts": [{ "name": "Refresh", "language": "ironpython", "code": format!("=print({number}, \"a\")\nx = 1") }],
            "queries": [{ "name": "Sales", "language": "sql", "code": format!("select {number}") }],
        }),
    )
}

/// The rows of a report, by column.
fn rows(report: &Path) -> Vec<BTreeMap<String, String>> {
    let text = fs::read_to_string(report).expect("the report");
    let mut records: Vec<Vec<String>> = vec![Vec::new()];
    let mut rest = text.as_str();
    while let Some(inside) = rest.strip_prefix('"') {
        let mut cell = String::new();
        let mut left = inside;
        loop {
            let (part, after) = left.split_once('"').expect("cells end with a quote");
            cell.push_str(part);
            let Some(more) = after.strip_prefix('"') else {
                left = after;
                break;
            };
            cell.push('"');
            left = more;
        }
        records.last_mut().expect("a record").push(cell);
        rest = if let Some(more) = left.strip_prefix(',') {
            more
        } else {
            records.push(Vec::new());
            left.strip_prefix("\r\n").expect("records end with the line")
        };
    }
    assert_eq!(rest, "", "the report ends with a record");
    records.pop();
    let mut records = records.into_iter();
    let names = records.next().expect("the names of the columns");
    records
        .map(|record| {
            assert_eq!(record.len(), names.len());
            names.iter().cloned().zip(record).collect()
        })
        .collect()
}

fn names(place: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(place)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

fn only(place: &Path, start: &str) -> PathBuf {
    let found: Vec<String> = names(place)
        .into_iter()
        .filter(|name| name.starts_with(start))
        .collect();
    assert_eq!(found.len(), 1, "{start}: {:?}", names(place));
    place.join(&found[0])
}

fn done(muster: &CommandLine, arguments: &[&str]) -> String {
    let (code, said, complained) = muster.run(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {said}{complained}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_of_hundreds_of_items_that_is_killed_goes_on_and_lists_each_once() {
    const ITEMS: usize = 300;
    let server = Server::private();
    let muster = CommandLine::log_in(&server);
    let admin = server.admin().await;
    // A line is told for each item. Paths are so long that the lines of a third of the items do not fit into a pipe.
    let mut place = String::new();
    for depth in 0..8 {
        let name = format!("{depth}{}", "x".repeat(120));
        make_folder(&admin, if place.is_empty() { "/" } else { &place }, &name).await;
        place = format!("{place}/{name}");
    }
    let mut expected = BTreeSet::new();
    for number in 0..ITEMS {
        let saved = save(&admin, &numbered(&place, number)).await;
        let id = saved["id"].as_str().expect("an identifier").to_owned();
        for (kind, text) in [
            ("script", format!("'=print({number}, \"a\")\nx = 1")),
            ("custom_query", format!("select {number}")),
        ] {
            expected.insert((id.clone(), kind.to_owned(), text));
        }
    }
    let held = || {
        let database = server.database();
        let items = database.rows("SELECT * FROM library_items ORDER BY id");
        (
            items,
            database.number("SELECT count(*) FROM trust_changes"),
            database
                .number("SELECT count(*) FROM audit WHERE event LIKE 'library.%' OR event LIKE 'trust.%'"),
        )
    };
    let before = held();

    let output = folder("found");
    let out = output.to_string_lossy().into_owned();
    // Nothing is trusted, so nobody is asked.
    let first = ["compat", "find-analysis-scripts", "-v", "-p", "/", &out];
    let second = ["library", "find-scripts", "--single-threaded", "--verbose", &out];
    let told = muster.run_and_kill(&first, 10);
    assert!(
        told[0].contains("analysis 000: 1 script, 1 custom_query"),
        "{told:?}"
    );
    let interrupted = only(&output, "find-scripts.progress");
    let lines = |path: &Path| fs::read_to_string(path).expect("the progress").lines().count();
    let (checkpoints, report) = (lines(&interrupted), only(&output, "report_"));
    assert!(checkpoints > 1);
    // Another search does not take what this one has left.
    let (code, _, complained) = muster.run(&["library", "find-scripts", "--match", "x", &out]);
    assert!(
        code == Some(1) && complained.contains("belongs to another search"),
        "{complained}"
    );
    let told = muster.run_and_kill(&second, 10);
    assert!(told[0].contains("Going on with the search"), "{told:?}");
    assert!(lines(&interrupted) > checkpoints);
    // What a crash may leave behind what was counted.
    let mut torn = fs::read(&report).expect("the report");
    torn.extend_from_slice(b"\"half a ro");
    fs::write(&report, torn).expect("written");
    let mut torn = fs::read(&interrupted).expect("the progress");
    torn.extend_from_slice(b"{\"done\":[\"");
    fs::write(&interrupted, torn).expect("written");
    let (code, said, complained) = muster.run(&[&second[..], &["--output", "json"]].concat());
    assert!(
        code == Some(0) && complained.contains("Going on"),
        "{said}{complained}"
    );
    let summary: Value = serde_json::from_str(&said).expect("a summary");
    assert_eq!(
        (&summary["items"], &summary["scripts"], &summary["custom_queries"]),
        (&json!(ITEMS), &json!(ITEMS), &json!(ITEMS))
    );

    let found = rows(&only(&output, "report_"));
    assert_eq!(found.len(), 2 * ITEMS, "rows are there once");
    let listed: BTreeSet<(String, String, String)> = found
        .iter()
        .map(|row| {
            let of = |name: &str| row[name].clone();
            (of("Library file ID"), of("Entity type"), of("Entity content"))
        })
        .collect();
    assert_eq!(listed, expected);
    assert!(!names(&output).contains(&"find-scripts.progress".to_owned()));
    let script = fs::read_to_string(only(&output, "trust_")).expect("the script");
    assert_eq!(script.matches("compat trust -i ").count(), ITEMS);
    let script = fs::read_to_string(only(&output, "untrust_")).expect("the script");
    assert_eq!(script.matches("compat untrust -n -i ").count(), ITEMS);
    assert_eq!(held(), before, "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_holds_code_is_found_and_the_rest_is_not() {
    let server = Server::private();
    let muster = CommandLine::log_in(&server);
    let admin = server.admin().await;
    for (path, name) in [("/", "Team"), ("/Team", "Inner"), ("/", "Other")] {
        make_folder(&admin, path, name).await;
    }
    let script = save(&admin, &coded("/Team", "refresh", "script", "1")).await;
    save(&admin, &coded("/Team/Inner", "sales", "custom_query", "select 1")).await;
    save(&admin, &coded("/Other", "nightly", "job_script", "2")).await;
    let action = json!({ "folder": "/Team", "name": "order", "kind": "external_action", "manifest": "{}" });
    save(&admin, &action).await;
    let function = admin.register("forecast", "r", "y <- 1").await;
    let report = save(
        &admin,
        &analysis(
            "/Team/Inner",
            "Sales report",
            &json!({
                "scripts": [
                    { "name": "by name", "item": script["id"] },
                    { "name": "own", "language": "javascript", "code": "3" },
                ],
                "data_functions": [{ "name": "Forecast", "item": function.id.to_string() }],
                "actions": [{ "name": "Order", "configuration": { "service": "orders" } }],
            }),
        ),
    )
    .await;
    let search = |options: &[&str]| {
        let output = folder("found");
        let out = output.to_string_lossy().into_owned();
        done(&muster, &[&["library", "find-scripts", &out], options].concat());
        let mut found: Vec<[String; 5]> = rows(&only(&output, "report_"))
            .iter()
            .map(|row| {
                [
                    "Library file path",
                    "Entity type",
                    "Entity name",
                    "Entity language",
                    "Entity content",
                ]
                .map(|name| row[name].clone())
            })
            .collect();
        found.sort();
        found
    };
    let all = search(&[]);
    let expected = [
        ["/Other/nightly", "job_script", "nightly", "ironpython", "2"],
        [
            "/Team/Inner/Sales report",
            "data_function",
            "Forecast",
            "r",
            "y <- 1",
        ],
        ["/Team/Inner/Sales report", "script", "by name", "ironpython", "1"],
        ["/Team/Inner/Sales report", "script", "own", "javascript", "3"],
        ["/Team/Inner/sales", "custom_query", "sales", "sql", "select 1"],
        ["/Team/refresh", "script", "refresh", "ironpython", "1"],
        ["/forecast", "data_function", "forecast", "r", "y <- 1"],
    ];
    assert_eq!(all, expected);
    assert_eq!(search(&["--folder", "/Team/Inner"]), expected[1..5]);
    assert_eq!(
        search(&["--folder", "/Team", "--match", "name:sales type:custom_query"]),
        expected[4..5]
    );
    assert_eq!(search(&["--match", "\"sales report\""]), expected[1..4]);
    assert!(search(&["--match", "type:mod"]).is_empty());

    let refused = |arguments: &[&str]| {
        let (code, said, complained) = muster.run(arguments);
        assert_ne!(code, Some(0), "{arguments:?}: {said}");
        complained
    };
    let id = report["id"].as_str().expect("an identifier");
    assert!(refused(&["library", "find-scripts", "--folder", id]).contains("is no folder"));
    assert!(refused(&["library", "find-scripts", "--match", "a OR b"]).contains("OR"));
    assert!(refused(&["compat", "find-analysis-scripts", "-s", "true"]).contains("give -n"));
    assert!(refused(&["library", "find-scripts", "--trust", "scripts"]).contains("give --yes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_is_trusted_and_untrusted_where_that_is_asked_for() {
    let server = Server::private();
    let muster = CommandLine::log_in(&server);
    let admin = server.admin().await;
    make_folder(&admin, "/", "Team").await;
    for number in 0..12 {
        save(&admin, &numbered("/Team", number)).await;
    }
    save(&admin, &coded("/Team", "nightly", "job_script", "2")).await;
    let function = admin.register("forecast", "r", "y <- 1").await;
    let named = json!({ "data_functions": [{ "name": "Forecast", "item": function.id.to_string() }] });
    save(&admin, &analysis("/Team", "by name", &named)).await;
    let find = |options: &[&str]| {
        let output = folder("found");
        let out = output.to_string_lossy().into_owned();
        let all = [
            &["compat", "find-analysis-scripts", "-n", "-p", "/Team/", &out],
            options,
        ]
        .concat();
        let (code, said, complained) = muster.run(&all);
        (code, format!("{said}{complained}"), output)
    };
    let stamps = async || {
        let page: Value = admin.get("/api/v1/trust/stamps?limit=1000").await;
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for stamp in page["items"].as_array().expect("a list") {
            *kinds
                .entry(stamp["kind"].as_str().expect("a kind").to_owned())
                .or_default() += 1;
        }
        let of = |kind: &str| kinds.get(kind).copied().unwrap_or_default();
        (of("script"), of("data_function"), of("custom_query"))
    };
    let states = |output: &Path| {
        let mut states: BTreeMap<String, usize> = BTreeMap::new();
        for row in rows(&only(output, "report_")) {
            *states.entry(row["Entity trust"].clone()).or_default() += 1;
        }
        states
    };
    let counted = |some: &[(&str, usize)]| -> BTreeMap<String, usize> {
        some.iter()
            .map(|(state, count)| ((*state).to_owned(), *count))
            .collect()
    };

    // To find is for everybody who can read; to trust is not.
    let all = ["-s", "true", "-d", "true", "-q", "true"];
    let (code, said, output) = find(&all);
    assert!(code == Some(1) && said.contains("25 were refused"), "{said}");
    assert_eq!(states(&output), counted(&[("", 1), ("refused", 25)]));
    admin.add_member("Script Author", admin.name()).await;
    let (code, said, output) = find(&all);
    assert!(
        code == Some(1) && said.contains("Trusted 13; 0 were trusted already, 12 were refused"),
        "{said}"
    );
    assert_eq!(
        states(&output),
        counted(&[("", 1), ("refused", 12), ("trusted now", 13)])
    );
    assert_eq!(stamps().await, (12, 1, 0));
    admin.add_member("Custom Query Author", admin.name()).await;
    admin
        .put_empty(&[
            "groups",
            "Custom Query Author",
            "licenses",
            "Custom Query in Connections",
        ])
        .await;
    let (code, said, output) = find(&["-q", "true"]);
    assert!(code == Some(0) && said.contains("Trusted 12"), "{said}");
    assert_eq!(
        states(&output),
        counted(&[("", 1), ("trusted", 13), ("trusted now", 12)])
    );
    let (code, said, output) = find(&all);
    assert!(
        code == Some(0) && said.contains("Trusted 0; 25 were trusted already"),
        "{said}"
    );
    assert_eq!(stamps().await, (12, 1, 12));

    let program = muster.command();
    let script = |start: &str| {
        let path = only(&output, start);
        let (worked, said) =
            run_program_in("sh", &[&path.to_string_lossy()], &[("MUSTER", program.as_str())]);
        assert!(worked, "{start}: {said}");
    };
    script("untrust_");
    assert_eq!(stamps().await, (0, 0, 0));
    script("trust_");
    assert_eq!(stamps().await, (12, 1, 12));
    script("untrust_");
    let (code, said, _) = find(&["--auto-trust-data-functions=true"]);
    assert!(code == Some(0) && said.contains("Trusted 1;"), "{said}");
    assert_eq!(stamps().await, (0, 1, 0));
}
