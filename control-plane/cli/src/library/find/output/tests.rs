use muster_wire::admin::v1::library::LibraryItem;
use serde_json::json;

use super::*;

fn wanted() -> Wanted {
    Wanted {
        server: "https://localhost:8443".to_owned(),
        user: "ann@SPOTFIRE".to_owned(),
        folder: LibraryItemId::ROOT.to_string(),
        expression: None,
        trust: Vec::new(),
    }
}

fn item(number: u8, name: &str) -> LibraryItem {
    let id = format!("00000000-0000-7000-8000-0000000000{number:02x}");
    serde_json::from_value(json!({
        "id": id, "kind": "analysis", "name": name, "path": format!("/{name}"), "description": "=1+1",
        "inherits": true, "right": "read", "created": "2026-11-22T00:00:00Z", "created_by": "ann@SPOTFIRE",
        "updated": "2026-11-22T00:00:00Z",
    }))
    .expect("an item")
}

fn code(kind: Kind, hash: &str) -> Code {
    Code {
        kind,
        name: "Refresh".to_owned(),
        language: "ironpython".to_owned(),
        hash: hash.to_owned(),
        held_by: LibraryItemId::ROOT,
        text: Ok("print(\"a\")\nx = 1".to_owned()),
        trust: Trust::Unasked,
    }
}

fn found(number: u8) -> Found {
    Found {
        item: item(number, &format!("analysis {number}")),
        codes: Ok(vec![
            code(Kind::Script, &format!("sha512=script{number}")),
            code(Kind::CustomQuery, &format!("sha512=query{number}")),
        ]),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
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

/// All files of a folder.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| (name.clone(), fs::read(folder.join(name)).expect("a file"));
    names(folder).into_iter().map(read).collect()
}

#[test]
fn a_search_leaves_a_report_and_two_scripts() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut output = Output::open(folder.path(), wanted(), 1_795_305_600_000).expect("begun");
    let unread = Found {
        item: item(9, "closed"),
        codes: Err("there is no such item".to_owned()),
    };
    output.write(&[found(1), unread]).expect("written");
    let (files, counts) = output.finish().expect("finished");
    assert_eq!(
        (counts.items, counts.scripts, counts.custom_queries, counts.unread),
        (2, 1, 1, 1)
    );
    assert_eq!(
        names(folder.path()),
        [
            "report_2026-11-22_(1).csv",
            "trust_2026-11-22_(1).sh",
            "untrust_2026-11-22_(1).sh"
        ]
    );
    let report = fs::read_to_string(&files.report).expect("the report");
    assert_eq!(report.matches("\"analysis 1\"").count(), 2);
    assert!(
        report.contains("\"'=1+1\"") && report.contains("print(\"\"a\"\")\nx = 1"),
        "{report}"
    );
    assert!(report.contains("there is no such item"));
    let script = fs::read_to_string(&files.trust).expect("the script");
    let id = item(1, "x").id;
    assert!(
        script.contains(&format!(
            "$MUSTER compat trust -i {id} -Q 'sha512=query1' -S 'sha512=script1' || failed=1\n"
        )),
        "{script}"
    );
    assert!(script.ends_with("exit \"$failed\"\n"));
    let script = fs::read_to_string(&files.untrust).expect("the script");
    assert!(script.contains("compat untrust -n -i "), "{script}");
    let again = Output::open(folder.path(), wanted(), 1_795_305_600_000).expect("begun");
    assert!(!again.is_resumed());
    assert!(names(folder.path()).contains(&"report_2026-11-22_(2).csv".to_owned()));
}

#[test]
fn a_shell_takes_nothing_from_names_and_hashes() {
    let mut odd = found(1);
    odd.item.path = "/a\nrm -rf x".to_owned();
    odd.codes = Ok(vec![
        code(Kind::Script, "sha512=a'; rm -rf x"),
        code(Kind::Script, "sha512=b"),
        code(Kind::JobScript, "sha512=c"),
    ]);
    assert_eq!(
        script::trust(&odd),
        format!(
            "# /a\\nrm -rf x\n$MUSTER compat trust -i {} -S 'sha512=b' || failed=1\n",
            odd.item.id
        )
    );
    odd.codes = Ok(vec![code(Kind::JobScript, "sha512=c")]);
    assert_eq!(script::trust(&odd), "");
    let many = (0..250).map(|number| code(Kind::Script, &format!("sha512={number}")));
    odd.codes = Ok(many.collect());
    assert_eq!(script::untrust(&odd).matches("$MUSTER").count(), 3);
}

/// Cuts what the writer has written, in the order in which it writes: what is found later is what an uninterrupted search
/// finds.
#[test]
fn an_interruption_anywhere_loses_and_repeats_nothing() {
    let straight = tempfile::tempdir().expect("a folder");
    let mut output = Output::open(straight.path(), wanted(), 1_795_305_600_000).expect("begun");
    let start = contents(straight.path());
    output.write(&[found(1), found(2)]).expect("written");
    let before = contents(straight.path());
    output.write(&[found(3)]).expect("written");
    let after = contents(straight.path());
    output.write(&[found(4)]).expect("written");
    output.finish().expect("finished");
    let expected = contents(straight.path());

    // In the order of writing: the report, the scripts, the progress.
    let order = [
        "report_2026-11-22_(1).csv",
        "trust_2026-11-22_(1).sh",
        "untrust_2026-11-22_(1).sh",
        PROGRESS,
    ];
    let of = |state: &[(String, Vec<u8>)], name: &str| {
        state
            .iter()
            .find(|(other, _)| other == name)
            .expect("it is there")
            .1
            .clone()
    };
    let mut tried = 0;
    for (old, new) in [(&start, &before), (&before, &after)] {
        for (at, torn) in order.iter().enumerate() {
            let (from, to) = (of(old, torn).len(), of(new, torn).len());
            // The last file decides. Its last two bytes are the end of the line and the one before.
            let step = if *torn == PROGRESS { 11 } else { 97 };
            for length in (from..=to).step_by(step).chain([to - 1, to]) {
                let folder = tempfile::tempdir().expect("a folder");
                for (place, name) in order.iter().enumerate() {
                    let bytes = match place.cmp(&at) {
                        std::cmp::Ordering::Less => of(new, name),
                        std::cmp::Ordering::Equal => of(new, name)[..length].to_vec(),
                        std::cmp::Ordering::Greater => of(old, name),
                    };
                    fs::write(folder.path().join(name), bytes).expect("written");
                }
                let mut output = Output::open(folder.path(), wanted(), 1_800_000_000_000).expect("goes on");
                assert!(output.is_resumed());
                for number in 1..=4 {
                    if !output.has(item(number, "x").id) {
                        output.write(&[found(number)]).expect("written");
                    }
                }
                output.finish().expect("finished");
                assert_eq!(contents(folder.path()), expected, "{torn} at {length}");
                tried += 1;
            }
        }
    }
    assert!(tried > 60, "{tried}");
}

#[test]
fn an_interruption_of_the_end_is_harmless() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut output = Output::open(folder.path(), wanted(), 1_795_305_600_000).expect("begun");
    output.write(&[found(1)]).expect("written");
    drop(output);
    let path = folder.path().join("trust_2026-11-22_(1).sh");
    let mut script = fs::read(&path).expect("the script");
    script.extend_from_slice(&script::END.as_bytes()[..5]);
    fs::write(&path, script).expect("written");
    let output = Output::open(folder.path(), wanted(), 0).expect("goes on");
    assert!(output.has(item(1, "x").id));
    output.finish().expect("finished");
    let script = fs::read_to_string(&path).expect("the script");
    assert_eq!(script.matches("exit").count(), 1);
}

#[test]
fn a_beginning_that_was_interrupted_is_no_search() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join(PROGRESS), "{\"muster_find\":1,\"beg").expect("written");
    fs::write(folder.path().join("report_2026-11-22_(1).csv"), "").expect("written");
    let output = Output::open(folder.path(), wanted(), 1_795_305_600_000).expect("begun");
    assert!(!output.is_resumed());
    assert!(names(folder.path()).contains(&"report_2026-11-22_(2).csv".to_owned()));
}

#[test]
fn another_search_and_another_process_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |wanted: Wanted| match Output::open(folder.path(), wanted, 0) {
        Ok(_) => panic!("it was taken"),
        Err(failure) => failure.sentence(),
    };
    let first = Output::open(folder.path(), wanted(), 0).expect("begun");
    assert!(refused(wanted()).contains("another search is writing"));
    drop(first);
    let mut other = wanted();
    other.user = "bob@SPOTFIRE".to_owned();
    assert!(refused(other).contains("belongs to another search"));
    // Somebody took rows out of the report that the search counts on.
    fs::write(folder.path().join("report_1970-01-01_(1).csv"), "").expect("written");
    assert!(refused(wanted()).contains("shorter than it was"));
    fs::write(folder.path().join(PROGRESS), "no search\n").expect("written");
    assert!(refused(wanted()).contains("not what a search left"));
}

#[test]
fn a_file_of_progress_that_names_other_files_is_refused_and_leaves_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let victim = folder.path().join("victim");
    fs::write(&victim, "kept").expect("written");
    for named in [
        "../victim",
        "victim",
        "/tmp/report_x",
        "report_/../victim",
        "report_q3.xlsx",
        "report_2026-11-21_(1).csv",
        "report_2026-11-22_(2).csv",
    ] {
        let place = folder.path().join("reports");
        fs::create_dir_all(&place).expect("a folder");
        let at = json!({ "report": 0, "trust": 0, "untrust": 0 });
        let header = json!({
            "muster_find": 1, "begun": "2026-11-22T00:00:00Z", "search": wanted(), "report": named,
            "trust": "trust_2026-11-22_(1).sh", "untrust": "untrust_2026-11-22_(1).sh", "at": at,
        });
        fs::write(place.join(PROGRESS), format!("{header}\n")).expect("written");
        let refused = Output::open(&place, wanted(), 0).expect_err(named);
        assert!(
            refused.to_string().contains("not what a search left"),
            "{refused:?}"
        );
    }
    assert_eq!(fs::read_to_string(&victim).expect("read"), "kept");
}

#[test]
fn a_search_goes_on_only_with_files_of_ones_own_that_have_no_other_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let report = "report_1970-01-01_(1).csv";
    drop(Output::open(folder.path(), wanted(), 0).expect("begun"));
    let refused = |why: &str| {
        let refused = Output::open(folder.path(), wanted(), 0).expect_err(why);
        assert!(
            refused.sentence().contains("no file of yours alone"),
            "{why}: {refused:?}"
        );
    };
    for name in [
        PROGRESS,
        report,
        "trust_1970-01-01_(1).sh",
        "untrust_1970-01-01_(1).sh",
    ] {
        fs::hard_link(path(name), path("other")).expect("linked");
        refused(name);
        fs::remove_file(path("other")).expect("removed");
        if rustix::process::geteuid().is_root() {
            let give = |to: u32| std::os::unix::fs::chown(path(name), Some(to), None).expect("given");
            give(65_534);
            refused(name);
            give(0);
        }
        fs::rename(path(name), path("other")).expect("moved");
        std::os::unix::fs::symlink("other", path(name)).expect("linked");
        Output::open(folder.path(), wanted(), 0).expect_err("a link");
        fs::remove_file(path(name)).expect("removed");
        fs::rename(path("other"), path(name)).expect("moved back");
    }
    assert!(
        Output::open(folder.path(), wanted(), 0)
            .expect("opened")
            .is_resumed()
    );
}

#[test]
fn what_a_spreadsheet_would_go_on_with_in_the_next_row_is_cut() {
    let formula = format!("{}=cmd", "x".repeat(LONGEST_CELL));
    let cut = cell(&formula);
    assert!(
        cut.starts_with("xxx") && cut.contains("cut here") && !cut.contains('='),
        "{}",
        cut.len()
    );
    assert!(cut.encode_utf16().count() < 32_767);
    let wide = "\u{1f600}".repeat(LONGEST_CELL);
    assert!(cell(&wide).encode_utf16().count() < 32_767);
    let whole = "é".repeat(LONGEST_CELL);
    assert_eq!(cell(&whole), whole);
}
