//! What a run may use, and how it is told apart.

use std::{thread, time::Duration};

use muster_lock::{
    client::{Launcher, Outcome, Run},
    frame,
    protocol::{Exit, FromLauncher, Limits, Mode, Report, Stage},
};

use crate::harness::{as_nobody, begin, jail, limits, lines, moments, stage, start, whole};

#[test]
fn a_run_that_eats_memory_is_stopped_and_the_engine_survives() {
    let launcher = jail(start(Mode::Restricted));
    let outcome = begin(&launcher, 1, limits(), "eat 2000000000\nprint after")
        .finish()
        .expect("finished");
    if whole() {
        assert_eq!(outcome.exit, Some(Exit::OutOfMemory));
    } else {
        assert_eq!(lines(&outcome)[0], Err(libc::ENOMEM));
    }
    let next = begin(&launcher, 2, limits(), "print alive")
        .finish()
        .expect("finished");
    assert_eq!(lines(&next), [Ok("alive".to_owned())]);
}

#[test]
fn a_run_with_less_memory_than_the_jail_is_held_to_it() {
    let launcher = jail(start(Mode::Restricted));
    let less = Limits {
        memory_bytes: 128 << 20,
        ..limits()
    };
    let outcome = begin(&launcher, 1, less, "eat 200000000\nprint after")
        .finish()
        .expect("finished");
    assert_eq!(lines(&outcome), [Err(libc::ENOMEM), Ok("after".to_owned())]);
}

#[test]
fn a_run_that_computes_for_ever_is_timed_out() {
    let launcher = jail(start(Mode::Restricted));
    let short = Limits {
        cpu_seconds: 1,
        ..limits()
    };
    let outcome = begin(&launcher, 1, short, "spin").finish().expect("finished");
    assert_eq!(outcome.exit, Some(Exit::TimedOut));
    assert!((500..5000).contains(&outcome.cpu_ms), "{}", outcome.cpu_ms);
}

#[test]
fn a_run_that_waits_for_ever_is_timed_out() {
    let launcher = jail(start(Mode::Unrestricted));
    let short = Limits {
        wall_ms: 200,
        ..limits()
    };
    let outcome = begin(&launcher, 1, short, "linger\npause")
        .finish()
        .expect("finished");
    assert_eq!(outcome.exit, Some(Exit::TimedOut));
    assert!(outcome.complete);
}

#[test]
fn who_keeps_its_supervisor_busy_is_timed_out_too() {
    let launcher = jail(start(Mode::Unrestricted));
    let short = Limits {
        wall_ms: 300,
        cpu_seconds: 10,
        ..limits()
    };
    let outcome = begin(&launcher, 1, short, "storm 12\npause")
        .finish()
        .expect("finished");
    assert_eq!(outcome.exit, Some(Exit::TimedOut));
    assert!(
        outcome.cpu_ms < 5000,
        "{} ms: the wall time, not the CPU time",
        outcome.cpu_ms
    );
}

#[test]
fn processes_are_counted() {
    let launcher = jail(start(Mode::Unrestricted));
    let few = Limits {
        processes: 8,
        ..limits()
    };
    let outcome = begin(&launcher, 1, few, "bomb 100").finish().expect("finished");
    assert_eq!(lines(&outcome), [Ok("7".to_owned())], "itself and seven more");
}

#[test]
fn processes_of_all_runs_together_are_counted() {
    if !whole() {
        // They are bounded by a control group; where there is none, the launcher says so.
        return;
    }
    let launcher = jail(start(Mode::Unrestricted));
    let patient = Limits {
        wall_ms: moments(6000),
        ..limits()
    };
    let crowds = [1, 2, 3, 4].map(|number| launcher.run(number, patient).expect("forked"));
    for crowd in &crowds {
        crowd.stage(&stage("bomb 100\npause", &[]), &[]).expect("staged");
    }
    let born = |outcome: &Outcome| -> u32 {
        let first = lines(outcome)
            .into_iter()
            .next()
            .expect("a line")
            .expect("a number");
        first.parse().expect("a number")
    };
    let born: u32 = crowds
        .into_iter()
        .map(|crowd| born(&crowd.finish().expect("finished")))
        .sum();
    // Alone each gets 31: together 124, with 4 payloads, 4 first processes, the engine and the jail's first.
    assert!((40..96).contains(&born), "{born}");
}

/// No control group, one process, bounded memory, a bounded folder: all that restricted code needs.
#[test]
fn where_no_group_can_be_had_restricted_code_gets_the_smaller_set() {
    let folder = tempfile::tempdir().expect("folder");
    let launcher = as_nobody(start(Mode::Restricted), folder.path());
    let FromLauncher::Ready { degraded, .. } = launcher.until_ready().expect("ready") else {
        panic!("not ready")
    };
    let words = degraded.join("\n");
    assert!(
        words.contains("for memory") && words.contains("for processes"),
        "{words}"
    );
    let small = Limits {
        memory_bytes: 64 << 20,
        scratch_bytes: 65536,
        ..limits()
    };
    let outcome = begin(
        &launcher,
        1,
        small,
        "fork\neat 80000000\neat 1000000\nfill a 40000\nfill /tmp/b 40000",
    )
    .finish()
    .expect("finished");
    let ok = || Ok("0".to_owned());
    let results = lines(&outcome);
    assert_eq!(results[..3], [Err(libc::EPERM), Err(libc::ENOMEM), ok()]);
    assert_eq!(results[3..], [Ok(String::new()), Err(libc::ENOSPC)]);
    launcher.close().expect("closed");
}

#[test]
fn the_scratch_folder_has_a_size() {
    let launcher = jail(start(Mode::Unrestricted));
    let small = Limits {
        scratch_bytes: 65536,
        ..limits()
    };
    let steps = "fill a 40000\nfill /tmp/b 40000\nfill /dev/shm/c 40000";
    let outcome = begin(&launcher, 1, small, steps).finish().expect("finished");
    let results = lines(&outcome);
    assert!(results[0].is_ok(), "{results:?}");
    assert_eq!(results[1..], [Err(libc::ENOSPC), Err(libc::ENOSPC)]);
}

#[test]
fn nobody_asks_for_more_than_the_jail_has() {
    let launcher = jail(start(Mode::Restricted));
    let more = Limits {
        memory_bytes: limits().memory_bytes + 1,
        ..limits()
    };
    let why = launcher.run(1, more).expect_err("too much").to_string();
    assert!(why.contains("memory_bytes"), "{why}");
    let next = begin(&launcher, 2, limits(), "print alive")
        .finish()
        .expect("finished");
    assert_eq!(lines(&next), [Ok("alive".to_owned())]);
}

/// A run that waits for its stage as the ready ones of an agent do, and is locked.
fn waiting(launcher: &Launcher) -> Run {
    let run = launcher.run(1, limits()).expect("forked");
    let said: Option<Report> = frame::read(&run.control).expect("readable");
    assert_eq!(said, Some(Report::Locked));
    run
}

fn stage_with(steps: &str, change: impl FnOnce(&mut Limits)) -> Stage {
    let mut lower = limits();
    change(&mut lower);
    Stage {
        limits: Some(lower),
        ..stage(steps, &[])
    }
}

#[test]
fn the_clock_of_a_run_that_was_forked_ahead_begins_with_its_stage() {
    let launcher = jail(start(Mode::Restricted));
    let short = Limits {
        wall_ms: moments(3000),
        ..limits()
    };
    let run = launcher.run(1, short).expect("forked");
    // Longer than its wall time.
    thread::sleep(Duration::from_millis(2 * short.wall_ms));
    run.stage(&stage("print alive", &[]), &[]).expect("staged");
    let outcome = run.finish().expect("finished");
    assert_eq!(outcome.exit, Some(Exit::Finished));
    assert_eq!(lines(&outcome), [Ok("alive".to_owned())]);
}

#[test]
fn limits_that_come_with_the_stage_hold() {
    let launcher = jail(start(Mode::Unrestricted));
    let run = waiting(&launcher);
    let wall = stage_with("linger\npause", |lower| lower.wall_ms = 200);
    run.stage(&wall, &[]).expect("staged");
    assert_eq!(run.finish().expect("finished").exit, Some(Exit::TimedOut));

    let run = waiting(&launcher);
    let cpu = stage_with("spin", |lower| lower.cpu_seconds = 1);
    run.stage(&cpu, &[]).expect("staged");
    let outcome = run.finish().expect("finished");
    assert_eq!(outcome.exit, Some(Exit::TimedOut));
    assert!((500..5000).contains(&outcome.cpu_ms), "{}", outcome.cpu_ms);

    let run = waiting(&launcher);
    let memory = stage_with("eat 200000000\nprint after", |lower| {
        lower.memory_bytes = 128 << 20;
    });
    run.stage(&memory, &[]).expect("staged");
    let outcome = run.finish().expect("finished");
    assert_eq!(lines(&outcome), [Err(libc::ENOMEM), Ok("after".to_owned())]);

    let run = waiting(&launcher);
    let few = stage_with("bomb 100", |lower| lower.processes = 8);
    run.stage(&few, &[]).expect("staged");
    assert_eq!(lines(&run.finish().expect("finished")), [Ok("7".to_owned())]);
}

#[test]
fn limits_that_come_with_the_stage_only_lower() {
    let launcher = jail(start(Mode::Restricted));
    let short = Limits {
        wall_ms: moments(3000),
        memory_bytes: 128 << 20,
        ..limits()
    };
    let run = launcher.run(1, short).expect("forked");
    let more = stage_with("eat 200000000\npause", |_| {});
    run.stage(&more, &[]).expect("staged");
    let outcome = run.finish().expect("finished");
    assert_eq!(lines(&outcome)[0], Err(libc::ENOMEM));
    assert_eq!(outcome.exit, Some(Exit::TimedOut));

    let run = waiting(&launcher);
    let smaller = stage_with("print never", |lower| lower.scratch_bytes /= 2);
    run.stage(&smaller, &[]).expect("staged");
    let outcome = run.finish().expect("finished");
    assert!(outcome.stdout.is_empty(), "{outcome:?}");
    assert!(format!("{:?}", outcome.reports).contains("does not become smaller"));
}
