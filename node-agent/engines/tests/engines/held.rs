//! Between the runs of a session, and while the next one is set up: what an earlier run has left gains nothing.

use muster_engines::{Programs, RunPolicy};

use super::{
    bench::*,
    sessions::{node, run_number},
};

#[test]
fn nothing_of_a_session_goes_on_between_its_runs() {
    let node = node(4);
    let shared = node.shared().join("ticks");
    // At its end it says that it has succeeded, as its runner does, and goes on.
    let script = "import os, signal\nfile = open('/shared/ticks', 'w')\nos.chmod('/shared/ticks', 0o666)\n\
        word = b'{\"report\":\"finished\",\"ending\":\"succeeded\",\"message\":\"\"}'\n\
        os.write(250, len(word).to_bytes(4, 'big') + word)\n\
        while True:\n    file.write('x'); file.flush(); signal.raise_signal(signal.SIGCONT)";
    let order = |script: &str| order(Python, Unrestricted, script).session("ann");
    for _ in 0..5 {
        node.run(order(script)).succeeded();
        let ticks = || std::fs::metadata(&shared).expect("ticks").len();
        let between = ticks();
        // Other runs go on meanwhile.
        node.run(super::bench::order(
            Python,
            Unrestricted,
            "import time; time.sleep(0.05)",
        ))
        .succeeded();
        assert_eq!(ticks(), between, "it is stopped, or has ended");
        node.engines.end_sessions(None);
        // The next session has another user.
        std::fs::remove_file(&shared).expect("removed");
    }
}

#[test]
fn a_run_that_started_a_program_or_a_thread_is_the_last_of_its_session() {
    let node = node(4);
    let programs = RunPolicy {
        programs: Programs::All,
        ..RunPolicy::clone(&node.engines.config().unrestricted)
    };
    for script in [
        "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])",
        "import subprocess, sys\nsubprocess.run(['/usr/bin/true'])",
        "import threading\nthreading.Thread(target=print).start()",
    ] {
        let run = |script: &str| {
            let order = order(Python, Unrestricted, script).under(programs.clone());
            run_number(&node.run(order.session("ann")).succeeded())
        };
        assert_eq!((run("x = 1"), run(script), run("x = 1")), (1, 2, 1), "{script}");
        node.engines.end_sessions(None);
    }
}

#[test]
fn what_a_restricted_run_has_left_cannot_switch_the_check_off_while_the_next_is_set_up() {
    let node = node(4);
    // Reaches what decides about oversteps, if the check is off.
    let off = "off <- function() {\n  native <- get('native', envir = environment(file))\n  \
        rex <- get('rex', envir = environment(environment(native)$over))\n  rm('how', envir = rex)\n  \
        makeActiveBinding('how', function(value) 'off', rex)\n}\n";
    let run = |script: &str| {
        let columns = "a,b,c,d\n1,2020-01-02,2020-01-02 03:04:05+01:00,\"x, y\"\n";
        let order = order(R, Restricted, script).session("ann");
        node.run(order.input("x", Value, Json, "5").input("t", Table, Csv, columns))
    };
    // An input of the next run has the name of a function that is called when a value is assigned, or is locked.
    let left = "called <- 0\nrm(x)\nmakeActiveBinding('x', function(value) { called <<- called + 1; off() }, globalenv())\n\
        lockBinding('t', globalenv())";
    run(&format!("{off}{left}")).succeeded();
    let next = run("cat(x, nrow(t), called)").succeeded();
    assert_eq!((next.stdout().as_str(), run_number(&next)), ("5 1 0", 2));
    let ended = run("con <- file('run.json')");
    assert_eq!((ended.overstep(), run_number(&ended)), ("Native[file]", 3));
    // Setting up a run closes files: the second one is the next run's.
    let left = "closed <- 0\nregisterS3method('close', 'file', function(con, ...) {\n  closed <<- closed + 1\n  \
        if (closed > 1) off()\n  close.connection(con)\n})";
    run(&format!("{off}{left}")).succeeded();
    let ended = run("con <- file('run.json')");
    assert_eq!((ended.overstep(), run_number(&ended)), ("Native[environment]", 2));
}
