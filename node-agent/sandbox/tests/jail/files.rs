//! What goes in and what comes out.

use std::{io::Write as _, process::Command};

use muster_lock::{
    client::Launcher,
    protocol::{Exit, Mode, Report, StagedFile},
};

use crate::harness::{built, jail, limits, lines, program, root, stage, start, with_file};

#[test]
fn a_run_gets_its_files_and_returns_its_outputs() {
    let launcher = jail(start(Mode::Restricted));
    let run = launcher.run(7, limits()).expect("forked");
    let plan = stage(
        "read in.csv\nread more/in.csv\nwrite out.csv result\nwrite more/out.csv deep",
        &["out.csv", "more/out.csv"],
    );
    let plan = with_file(with_file(plan, "in.csv", b"a,b"), "more/in.csv", b"c");
    run.stage(&plan, b"a,bc").expect("staged");
    let outcome = run.finish().expect("finished");
    assert_eq!(lines(&outcome)[..2], [Ok("a,b".to_owned()), Ok("c".to_owned())]);
    assert_eq!(outcome.exit, Some(Exit::Finished));
    assert_eq!(outcome.outputs, [Ok(b"result".to_vec()), Ok(b"deep".to_vec())]);
    assert!(outcome.complete);
    let finished = Report::Finished {
        ending: "succeeded".to_owned(),
        message: "the end".to_owned(),
    };
    assert_eq!(outcome.reports, [Report::Locked, finished]);
}

#[test]
fn outputs_that_are_no_plain_files_are_not_sent() {
    let launcher = jail(start(Mode::Unrestricted));
    let run = launcher.run(1, limits()).expect("forked");
    let steps = "symlink /etc/passwd link
        fifo fifo
        mkdir folder
        symlink /etc aside
        write twice x
        hardlink twice again
        sparse big 2000000
        write small 12345";
    let outputs = [
        "link",
        "fifo",
        "folder",
        "aside/passwd",
        "twice",
        "missing",
        "big",
        "small",
        "link/x",
    ];
    run.stage(&stage(steps, &outputs), &[]).expect("staged");
    let outcome = run.finish().expect("finished");
    assert!(lines(&outcome).iter().all(Result::is_ok), "{outcome:?}");
    let no = |why: &str| Err(why.to_owned());
    assert_eq!(
        outcome.outputs,
        [
            no("not a regular file"),
            no("not a regular file"),
            no("not a regular file"),
            no("not a regular file"),
            no("not a regular file"),
            no("missing"),
            no("over the output limit"),
            Ok(b"12345".to_vec()),
            no("not a regular file"),
        ]
    );
}

#[test]
fn outputs_of_a_run_that_was_killed_are_still_sent() {
    let launcher = jail(start(Mode::Restricted));
    let run = launcher.run(1, limits()).expect("forked");
    run.stage(&stage("write out half\nabort", &["out"]), &[])
        .expect("staged");
    let outcome = run.finish().expect("finished");
    assert_eq!(outcome.exit, Some(Exit::Signal(libc::SIGABRT)));
    assert_eq!(outcome.outputs, [Ok(b"half".to_vec())]);
}

/// As the jail's unit does: its filters cannot look at what `openat2` is given.
#[test]
fn outputs_are_sent_where_openat2_is_refused() {
    let mut command = Command::new(built("liar"));
    let absent = format!("{}={}", libc::SYS_openat2, libc::ENOSYS);
    command.arg(absent).arg("--").arg(program());
    let mut plan = start(Mode::Restricted);
    if !root() {
        plan.ids = None;
    }
    let launcher = Launcher::start_by(command, plan).expect("start");
    launcher.until_ready().expect("ready");
    let run = launcher.run(1, limits()).expect("forked");
    run.stage(&stage("mkdir in\nwrite in/out half", &["in/out"]), &[])
        .expect("staged");
    let outcome = run.finish().expect("finished");
    assert_eq!(outcome.outputs, [Ok(b"half".to_vec())], "{outcome:?}");
}

#[test]
fn exit_codes_are_told() {
    let launcher = jail(start(Mode::Restricted));
    let outcome = crate::harness::begin(&launcher, 1, limits(), "exit 7")
        .finish()
        .expect("finished");
    assert_eq!(outcome.exit, Some(Exit::Code(7)));
    assert_eq!(outcome.reports, [Report::Locked]);
}

#[test]
fn stages_that_lead_elsewhere_are_refused_within_the_run() {
    let launcher = jail(start(Mode::Restricted));
    for (number, path) in ["../x", "/etc/x", "a/b/c", "run.json"].into_iter().enumerate() {
        let run = launcher
            .run(number.try_into().expect("small"), limits())
            .expect("forked");
        let mut plan = stage("print never", &[]);
        plan.files.push(StagedFile {
            path: path.to_owned(),
            size: 0,
        });
        run.stage(&plan, &[]).expect("sent");
        let outcome = run.finish().expect("finished");
        assert_eq!(
            (outcome.stdout.as_str(), outcome.exit),
            ("", Some(Exit::Code(3))),
            "{path}"
        );
    }
}

#[test]
fn a_frame_that_is_no_stage_ends_the_run() {
    let launcher = jail(start(Mode::Restricted));
    for bytes in [&[0xff; 8][..], b"\0\0\0\x02{}", b"\0\0\0\x01{"] {
        let run = launcher.run(1, limits()).expect("forked");
        (&run.control).write_all(bytes).expect("sent");
        let outcome = run.finish().expect("finished");
        assert_eq!(outcome.exit, Some(Exit::Code(3)), "{bytes:?}");
    }
}
