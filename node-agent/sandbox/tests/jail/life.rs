//! Ends: whoever dies, nothing is left.

use std::{fs, io::Read as _, process::Command};

use muster_lock::protocol::{Exit, Mode, Report};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{
    begin, eventually, family, gone, groups, jail, limits, lines, program, root, stage, start, until_closed,
};

fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.try_into().expect("pid")).expect("pid");
    kill_process(pid, Signal::KILL).expect("kill");
}

#[test]
fn hanging_up_on_a_run_ends_it_and_the_next_one_works() {
    let launcher = jail(start(Mode::Unrestricted));
    let before = family(launcher.id());
    let run = begin(&launcher, 1, limits(), "linger\nlinger\npause");
    eventually("payload, supervisor and two children", || {
        family(launcher.id()).len() >= before.len() + 4
    });
    let during: Vec<u32> = family(launcher.id())
        .into_iter()
        .filter(|pid| !before.contains(pid))
        .collect();
    run.supervisor
        .shutdown(std::net::Shutdown::Both)
        .expect("hang up");
    until_closed(run);
    eventually("the run is gone", || during.iter().all(|pid| gone(*pid)));
    let next = begin(&launcher, 2, limits(), "print alive")
        .finish()
        .expect("finished");
    assert_eq!(lines(&next), [Ok("alive".to_owned())]);
}

#[test]
fn closing_the_connection_leaves_nothing() {
    let launcher = jail(start(Mode::Unrestricted));
    let id = launcher.id();
    let run = begin(&launcher, 1, limits(), "linger\npause");
    eventually("all are there", || family(id).len() >= 6);
    let all = family(id);
    assert_eq!(groups(id).is_empty(), !root());
    let ended = launcher.close().expect("closed").and_then(|status| status.code());
    assert_eq!(ended, Some(0));
    // The launcher waits for its jail, so no patience is needed.
    assert!(all.iter().all(|pid| gone(*pid)), "{all:?}");
    assert_eq!(groups(id), Vec::<std::path::PathBuf>::new());
    until_closed(run);
}

#[test]
fn a_killed_launcher_leaves_nothing() {
    let launcher = jail(start(Mode::Unrestricted));
    let id = launcher.id();
    let run = begin(&launcher, 1, limits(), "linger\npause");
    eventually("all are there", || family(id).len() >= 6);
    let all = family(id);
    kill(id);
    until_closed(run);
    eventually("all processes are gone", || all.iter().all(|pid| gone(*pid)));
    eventually("the control groups are gone", || groups(id).is_empty());
}

#[test]
fn a_killed_agent_leaves_nothing() {
    let mut agent = Command::new(program())
        .args(["--bench-spawn", "1000000"])
        .spawn()
        .expect("agent");
    eventually("a jail is at work", || family(agent.id()).len() >= 5);
    let all = family(agent.id());
    let launcher = all[1];
    kill(agent.id());
    agent.wait().expect("reaped");
    eventually("all processes are gone", || all[1..].iter().all(|pid| gone(*pid)));
    eventually("the control groups are gone", || groups(launcher).is_empty());
}

#[test]
fn the_end_of_the_payload_ends_what_it_started() {
    let launcher = jail(start(Mode::Unrestricted));
    let before = family(launcher.id());
    let outcome = begin(&launcher, 1, limits(), "linger\nlinger")
        .finish()
        .expect("finished");
    assert_eq!(outcome.exit, Some(Exit::Finished));
    eventually("only the jail is left", || {
        family(launcher.id()).len() <= before.len()
    });
}

#[test]
fn runs_follow_each_other_and_stand_beside_each_other() {
    let launcher = jail(start(Mode::Restricted));
    let waiting = begin(&launcher, 0, limits(), "pause");
    for number in 1..30 {
        let outcome = begin(&launcher, number, limits(), "print done")
            .finish()
            .expect("finished");
        assert_eq!(outcome.exit, Some(Exit::Finished), "run {number}");
    }
    drop(waiting);
}

#[test]
fn when_all_ids_are_taken_the_next_run_is_not_forked() {
    if !root() {
        return;
    }
    let launcher = jail(start(Mode::Restricted));
    let waiting: Vec<_> = (0..8)
        .map(|number| begin(&launcher, number, limits(), "pause"))
        .collect();
    let why = launcher.run(9, limits()).expect_err("no id").to_string();
    assert!(why.contains("all 8 ids"), "{why}");
    drop(waiting);
    let next = begin(&launcher, 10, limits(), "print alive")
        .finish()
        .expect("finished");
    assert_eq!(lines(&next), [Ok("alive".to_owned())]);
}

#[test]
fn an_engine_that_a_run_could_share_something_with_is_not_forked() {
    for (argument, reason) in [
        ("thread", "2 threads"),
        ("descriptor", "holds descriptor"),
        ("folder", "holds descriptor"),
        ("shared", "shares writable memory"),
    ] {
        let mut start = start(Mode::Restricted);
        start.command.push(argument.to_owned());
        let launcher = jail(start);
        let run = launcher.ask(1, limits()).expect("asked");
        let answer = format!("{:?}", launcher.receive().expect("answer"));
        assert!(
            answer.contains("NotForked") && answer.contains(reason),
            "{argument}: {answer}"
        );
        let mut nothing = Vec::new();
        (&run.supervisor).read_to_end(&mut nothing).expect("closed");
        assert_eq!(nothing, b"");
        let again = launcher.run(2, limits()).expect_err("the same").to_string();
        assert!(again.contains(reason), "{argument}: {again}");
    }
}

#[test]
fn a_fork_that_fails_leaves_the_other_runs_alone() {
    if !root() {
        // Processes of all runs together are bounded by a control group, which only root makes.
        return;
    }
    let launcher = jail(start(Mode::Unrestricted));
    let waiting = launcher.run(1, limits()).expect("forked");
    let crowds = [2, 3, 4, 5].map(|number| launcher.run(number, limits()).expect("forked"));
    for crowd in &crowds {
        crowd.stage(&stage("bomb 100\npause", &[]), &[]).expect("staged");
    }
    eventually("the group is full", || {
        groups(launcher.id()).iter().any(|group| {
            let number = |file| fs::read_to_string(group.join(file)).unwrap_or_default();
            let (now, most) = (number("pids.current"), number("pids.max"));
            !now.is_empty() && now == most
        })
    });
    let why = launcher
        .run(4, limits())
        .expect_err("no process left")
        .to_string();
    assert!(why.contains("Resource temporarily unavailable"), "{why}");
    drop(crowds);
    waiting.stage(&stage("print alive", &[]), &[]).expect("staged");
    let outcome = waiting.finish().expect("finished");
    assert_eq!(lines(&outcome), [Ok("alive".to_owned())]);
}

#[test]
fn an_engine_may_hold_files_that_it_only_reads_and_runs_do_not_get_them() {
    let mut start = start(Mode::Unrestricted);
    start.command.push("file".to_owned());
    let launcher = jail(start);
    let outcome = begin(&launcher, 1, limits(), "list /proc/self/fd")
        .finish()
        .expect("finished");
    // The standard streams, the two sockets of a run and the listing: an open file has one position for all siblings.
    assert_eq!(lines(&outcome), [Ok("0 1 2 250 251 3".to_owned())]);
}

#[test]
fn after_its_last_word_a_payload_changes_nothing() {
    let launcher = jail(start(Mode::Unrestricted));
    for number in 1..10 {
        let before = family(launcher.id());
        let run = launcher.run(number, limits()).expect("forked");
        // A child that writes the output again and again, prints and forks, and cares for no signal that it can ignore.
        let steps = "write out first\nscribble out\nscribble out";
        run.stage(&stage(steps, &["out"]), &[]).expect("staged");
        let during: Vec<u32> = family(launcher.id())
            .into_iter()
            .filter(|pid| !before.contains(pid))
            .collect();
        let outcome = run.finish().expect("finished");
        assert_eq!((outcome.exit, outcome.complete), (Some(Exit::Finished), true));
        assert!(matches!(outcome.reports.last(), Some(Report::Finished { .. })));
        // Whatever was there when it was killed; as much as was announced.
        let output = outcome.outputs[0].as_ref().expect("an output");
        assert!(
            b"first".starts_with(output) || output.iter().all(|byte| *byte == b'x'),
            "{output:?}"
        );
        assert!(outcome.cpu_ms < 20_000);
        if root() {
            launcher.until_over(number).expect("over");
            assert!(during.iter().all(|pid| gone(*pid)), "run {number}");
        }
    }
}

#[test]
fn the_status_that_follows_the_last_word_does_not_count() {
    let launcher = jail(start(Mode::Unrestricted));
    for (number, end) in
        (1..).zip(["abort", "exit 7", "group kill", "pause", "spin", "linger\nabort"].repeat(4))
    {
        // The word alone: whoever says it without a report has said nothing else.
        let outcome = begin(&launcher, number, limits(), &format!("word\n{end}\nprint never"))
            .finish()
            .expect("finished");
        assert_eq!(
            (outcome.exit, outcome.complete),
            (Some(Exit::Finished), true),
            "{end}"
        );
        assert_eq!(outcome.reports, [Report::Locked], "{end}");
    }
}

#[test]
fn an_id_has_a_new_owner_only_when_all_processes_of_the_old_one_are_gone() {
    if !root() {
        return;
    }
    let mut start = start(Mode::Unrestricted);
    // The engine's, and one for runs.
    start.ids.as_mut().expect("root gives ids").count = 2;
    let launcher = jail(start);
    let engine = family(launcher.id());
    let mut before: Vec<u32> = Vec::new();
    for number in 1..10 {
        let run = launcher.run(number, limits()).expect("forked");
        assert!(before.iter().all(|pid| gone(*pid)), "run {number}");
        eventually("process 1 and its payload are there", || {
            family(launcher.id()).len() >= engine.len() + 2
        });
        before = family(launcher.id())
            .into_iter()
            .filter(|pid| !engine.contains(pid))
            .collect();
        run.stage(&stage("bomb 20\nscribble out\nword\npause", &[]), &[])
            .expect("staged");
        assert_eq!(run.finish().expect("finished").exit, Some(Exit::Finished));
    }
}

#[test]
fn what_a_run_used_is_known_however_it_ends() {
    let launcher = jail(start(Mode::Unrestricted));
    let steps = ["eat 50000000", "eat 50000000\nfork", "eat 50000000\nexit 0"];
    for (number, steps) in (1..).zip(steps) {
        let outcome = begin(&launcher, number, limits(), steps)
            .finish()
            .expect("finished");
        assert!(
            (50_000_000..200_000_000).contains(&outcome.peak_bytes),
            "{steps}: {outcome:?}"
        );
        assert!(outcome.cpu_ms < 10_000, "{steps}: {outcome:?}");
    }
}

#[test]
fn the_result_of_a_large_run_comes_when_its_memory_is_free_again() {
    let mut start = start(Mode::Unrestricted);
    start.limits.memory_bytes = 1 << 30;
    let limits = start.limits;
    let launcher = jail(start);
    let before = family(launcher.id());
    let run = launcher.run(1, limits).expect("forked");
    eventually("process 1 and its payload are there", || {
        family(launcher.id()).len() >= before.len() + 2
    });
    let during = family(launcher.id());
    let payload = during.iter().filter(|pid| !before.contains(pid)).max();
    run.stage(&stage("eat 400000000", &[]), &[]).expect("staged");
    let outcome = run.finish().expect("finished");
    assert_eq!(outcome.exit, Some(Exit::Finished));
    assert!(outcome.peak_bytes >= 400_000_000, "{outcome:?}");
    assert!(payload.is_some_and(|pid| gone(*pid)));
}
