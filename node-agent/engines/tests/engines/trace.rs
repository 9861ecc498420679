//! Runs that are traced: oversteps are listed, and the kernel refuses what they want all the same.

use muster_engines::Outcome;

use super::bench::*;

#[test]
fn an_r_run_that_is_traced_lists_every_overstep_once_a_line() {
    let script = "for (i in 1:3) try(system('echo through'), silent = TRUE)\n\
                  look <- function() file.exists('/etc/shadow')\n\
                  x <- look()\n\
                  y <- tryCatch(readLines('/etc/shadow'), error = function(e) 'refused')\n\
                  z <- try(parallel::mcparallel(1), silent = TRUE)";
    let ended = NODE
        .run(order(Terr, Restricted, script).output("y", Value, Csv).traced())
        .succeeded();
    let expected = [
        "Native[system], line 1",
        "Native[file.exists], line 3",
        "Native[file], line 4",
        "Native[loadNamespace], line 5",
    ];
    assert_eq!(ended.ending.oversteps, expected);
    assert_eq!(
        (ended.outputs["y"].as_str(), ended.stdout().as_str()),
        ("y\nrefused\n", "")
    );
}

#[test]
fn a_python_run_that_is_traced_lists_every_overstep_once_a_line() {
    let script = "import os\n\
                  def read(path):\n    \
                      try: return open(path).read()\n    \
                      except OSError: return 'refused'\n\
                  y = [read('/etc/shadow') for _ in range(3)][0]\n\
                  try: os.fork()\n\
                  except OSError: pass\n\
                  try: import requests\n\
                  except ImportError: pass";
    let ended = NODE
        .run(order(Python, Restricted, script).output("y", Value, Csv).traced())
        .succeeded();
    let expected = ["open, line 3", "os.fork, line 6", "import requests, line 8"];
    assert_eq!(ended.ending.oversteps, expected);
    assert_eq!(ended.outputs["y"], "y\nrefused\n");
}

#[test]
fn what_the_kernel_refuses_may_still_fail_a_traced_run() {
    let ended = NODE.run(order(Python, Restricted, "open('/usr/x', 'w')").traced());
    assert!(
        matches!(ended.ending.outcome, Outcome::ScriptError { .. }),
        "{:?}",
        ended.ending.outcome
    );
    assert_eq!(ended.ending.oversteps, ["open, line 1"]);
}

#[test]
fn what_was_listed_outlives_a_run_that_kills_itself() {
    let script = "import os\nos.path.exists('/etc/passwd')\nos._exit(3)";
    let ended = NODE.run(order(Python, Restricted, script).traced());
    assert_eq!(ended.ending.outcome, Outcome::Exited { code: 3 });
    assert_eq!(ended.ending.oversteps, ["os.stat, line 2"]);
}

#[test]
fn a_run_that_is_not_traced_lists_nothing_whatever_its_script_reports() {
    let script = "import json, os\n\
                  said = json.dumps({'report': 'overstep', 'what': 'made up'}).encode()\n\
                  os.write(250, len(said).to_bytes(4, 'big') + said)";
    let ended = NODE.run(order(Python, Restricted, script)).succeeded();
    assert_eq!(ended.ending.oversteps, [""; 0]);
    let ended = NODE.run(order(Python, Unrestricted, script).traced()).succeeded();
    assert_eq!(ended.ending.oversteps, [""; 0]);
}

#[test]
fn a_flood_of_oversteps_is_cut() {
    let script = "import json, os\n\
                  for i in range(1500):\n    \
                      said = json.dumps({'report': 'overstep', 'what': str(i) + '\\x1b' + 'x' * 1000}).encode()\n    \
                      os.write(250, len(said).to_bytes(4, 'big') + said)";
    let ended = NODE.run(order(Python, Restricted, script).traced());
    let listed = &ended.ending.oversteps;
    assert_eq!(listed.len(), 1000);
    assert!(listed.iter().all(|one| one.len() <= 260 && !one.contains('\x1b')));
}
