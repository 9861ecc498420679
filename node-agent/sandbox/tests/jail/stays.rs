//! Between the runs of a session: nothing goes on, or there is no session.

use std::io::Write as _;

use muster_lock::{
    client::{Launcher, Run},
    frame,
    protocol::{Exit, Mode, Supervised, ToSupervisor},
};

use crate::harness::{begin, eventually, family, field, jail, limits, start};

/// A run that has begun, and its payload and all that it started.
fn begun(launcher: &Launcher, steps: &str, processes: usize) -> (Run, Vec<u32>) {
    let before = family(launcher.id());
    let run = begin(launcher, 1, limits(), steps);
    while event(&run) != Supervised::Begun {}
    let of_run = || -> Vec<u32> {
        let mut family = family(launcher.id());
        family.retain(|pid| !before.contains(pid));
        family
    };
    // With its process 1.
    eventually("its processes are there", || of_run().len() > processes);
    let mut found = of_run();
    let first = found.iter().copied().min();
    found.retain(|pid| Some(*pid) != first);
    (run, found)
}

fn event(run: &Run) -> Supervised {
    frame::read(&run.supervisor)
        .expect("understood")
        .expect("an event")
}

fn tell(run: &Run, what: &ToSupervisor) {
    frame::write(&run.supervisor, what).expect("told");
}

/// Processor time of its own code, in hundredths of a second.
fn used(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let (_, after_name) = stat.rsplit_once(')').unwrap_or_default();
    let used = after_name.split_whitespace().nth(11);
    used.and_then(|used| used.parse().ok()).unwrap_or(0)
}

fn is_stopped(pid: u32) -> bool {
    field(pid, "State").is_some_and(|state| state.starts_with('T'))
}

#[test]
fn a_payload_that_is_alone_is_stopped_between_its_runs_and_goes_on_with_the_next() {
    for mode in [Mode::Unrestricted, Mode::Restricted] {
        let launcher = jail(start(mode));
        let (run, payload) = begun(&launcher, "spin", 1);
        for _ in 0..3 {
            tell(&run, &ToSupervisor::Collect);
            assert!(matches!(event(&run), Supervised::Stays { .. }), "{mode:?}");
            assert_eq!(event(&run), Supervised::Done);
            assert!(is_stopped(payload[0]));
            let next = ToSupervisor::Begin {
                outputs: Vec::new(),
                wall_ms: 20_000,
                output_bytes: 0,
            };
            tell(&run, &next);
            assert_eq!(event(&run), Supervised::Begun);
            assert!(!is_stopped(payload[0]));
        }
    }
}

#[test]
fn a_payload_that_has_started_another_process_does_not_stay() {
    let launcher = jail(start(Mode::Unrestricted));
    for (steps, processes) in [
        ("linger\nspin", 2),
        ("linger\ncontinue", 2),
        ("fork\nlinger\nspin", 3),
    ] {
        let (run, _) = begun(&launcher, steps, processes);
        tell(&run, &ToSupervisor::Collect);
        let Supervised::Ended { exit, .. } = event(&run) else {
            panic!("{steps}: it stays");
        };
        assert_eq!((exit, event(&run)), (Exit::Finished, Supervised::Done), "{steps}");
    }
}

#[test]
fn a_payload_that_lets_itself_go_on_is_stopped_or_ended() {
    let launcher = jail(start(Mode::Unrestricted));
    for _ in 0..20 {
        let (run, payload) = begun(&launcher, "continue", 1);
        tell(&run, &ToSupervisor::Collect);
        match event(&run) {
            // It was stopped before it could raise the signal again, and then nobody raises it.
            Supervised::Stays { .. } => assert!(is_stopped(payload[0])),
            other => assert!(matches!(other, Supervised::Ended { .. }), "{other:?}"),
        }
    }
}

#[test]
fn a_payload_that_has_a_timer_let_it_go_on_is_ended() {
    let launcher = jail(start(Mode::Unrestricted));
    let (run, payload) = begun(&launcher, "continue later\nspin", 1);
    // Or it would be stopped before it has a timer.
    eventually("it spins", || used(payload[0]) >= 10);
    tell(&run, &ToSupervisor::Collect);
    let mut events = Vec::new();
    while !matches!(events.last(), Some(Supervised::Ended { .. })) {
        events.push(event(&run));
    }
    assert_eq!(event(&run), Supervised::Done);
    // Nobody is left to be told of a next run.
    let _ = (&run.supervisor).write_all(b"?");
    assert_eq!(frame::read::<Supervised>(&run.supervisor).ok().flatten(), None);
}
