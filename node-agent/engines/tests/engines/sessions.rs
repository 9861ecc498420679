//! Sessions: runs of one user and analysis in one child that stays, and nobody else in it.

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use muster_engines::{EngineKind, IdRange, Mode, Outcome, Programs, Pruning, RunPolicy};
use tokio_util::sync::CancellationToken;

use super::{
    bench::{Ended, Node, *},
    waiting::{kill, processes},
};

/// A node whose sessions end only where a test has them end.
pub(super) fn node(sessions: usize) -> Node {
    Node::new(|config| {
        for service in [&mut config.services.r, &mut config.services.python] {
            service.sessions = sessions;
            service.pruning = Pruning {
                threshold: 100,
                age: None,
                ..Pruning::default()
            };
        }
    })
}

/// Says whether something of `leaving` is there.
fn looking(engine: EngineKind, mode: Mode) -> &'static str {
    match (engine, mode) {
        (Python, _) => {
            "import json, os, sys\n\
             print('left' in globals(), hasattr(json, 'left'), 'LEFT' in os.environ, os.path.exists('/scratch/left'), \
             'left' in sys.path, ascii(1))"
        }
        (_, Unrestricted) => {
            "cat(exists('left'), nzchar(Sys.getenv('LEFT')), is.null(getOption('left')), file.exists('/scratch/left'), \
             nlevels(factor('a')), '\n')"
        }
        (_, Restricted) => "cat(exists('left'), is.null(getOption('left')), '\n')",
    }
}

/// Leaves traces everywhere that the mode allows.
fn leaving(engine: EngineKind, mode: Mode) -> &'static str {
    match (engine, mode) {
        (Python, _) => {
            "import builtins, json, os, sys\nleft = json.left = 1\nos.environ['LEFT'] = '1'\n\
             open('/scratch/left', 'w').close()\nsys.path.append('left')\nbuiltins.ascii = lambda _: 7"
        }
        (_, Unrestricted) => {
            "left <- 1; Sys.setenv(LEFT = '1'); options(left = 1); cat('x', file = '/scratch/left')\n\
             unlockBinding('nlevels', baseenv()); assign('nlevels', function(x) 7L, envir = baseenv())"
        }
        (_, Restricted) => "left <- 1; options(left = 1)",
    }
}

fn nothing(engine: EngineKind, mode: Mode) -> &'static str {
    match (engine, mode) {
        (Python, _) => "False False False False False 1\n",
        (_, Unrestricted) => "FALSE FALSE TRUE FALSE 1 \n",
        (_, Restricted) => "FALSE TRUE \n",
    }
}

fn everything(engine: EngineKind, mode: Mode) -> &'static str {
    match (engine, mode) {
        (Python, _) => "True True True True True 7\n",
        (_, Unrestricted) => "TRUE TRUE FALSE TRUE 7 \n",
        (_, Restricted) => "TRUE FALSE \n",
    }
}

const KINDS: [(EngineKind, Mode); 4] = [
    (Python, Unrestricted),
    (Python, Restricted),
    (R, Unrestricted),
    (R, Restricted),
];

pub(super) fn run_number(ended: &Ended) -> u64 {
    ended.ending.session_run
}

#[test]
fn what_a_run_leaves_is_there_for_the_next_one_of_its_session_and_for_nobody_else() {
    let node = node(4);
    for (engine, mode) in KINDS {
        let run = |script: &str, owner: Option<&str>, mode: Mode| {
            let order = order(engine, mode, script);
            let ended = match owner {
                Some(owner) => node.run(order.session(owner)),
                None => node.run(order),
            };
            ended.succeeded()
        };
        let (left, found) = (leaving(engine, mode), looking(engine, mode));
        assert_eq!(run_number(&run(left, Some("ann/sales"), mode)), 1);
        let again = run(found, Some("ann/sales"), mode);
        assert_eq!(
            (again.stdout().as_str(), run_number(&again)),
            (everything(engine, mode), 2)
        );
        let other = if mode == Restricted {
            Unrestricted
        } else {
            Restricted
        };
        for (owner, mode) in [
            (Some("bob/sales"), mode),
            (Some("ann/costs"), mode),
            (None, mode),
            (Some("ann/sales"), other),
        ] {
            let ended = run(looking(engine, mode), owner, mode);
            assert_eq!(
                ended.stdout(),
                nothing(engine, mode),
                "{engine} {mode:?} {owner:?}"
            );
        }
        let still = run(found, Some("ann/sales"), mode);
        assert_eq!(
            (still.stdout().as_str(), run_number(&still)),
            (everything(engine, mode), 3)
        );
        node.engines.end_sessions(None);
        let anew = run(found, Some("ann/sales"), mode);
        assert_eq!(
            (anew.stdout().as_str(), run_number(&anew)),
            (nothing(engine, mode), 1)
        );
        node.engines.end_sessions(None);
    }
}

#[test]
fn a_session_computes_on_the_inputs_of_each_run() {
    let node = node(4);
    for (engine, mode) in KINDS {
        let script = match engine {
            Python => "print(n, len(t), t['a'][0])\nall = globals().get('all', 0) + n\ny = [all] * n",
            _ => {
                "cat(n, nrow(t), t$a[[1]], '\\n'); all <- (if (exists('all', inherits = FALSE)) all else 0) + n; y <- rep(all, n)"
            }
        };
        let ran = |n: usize| {
            let order = order(engine, mode, script).input("n", Value, Json, n.to_string());
            let order = order.input("t", Table, Csv, format!("a,b\n{n},\"x, y\"\n,z\n"));
            let ended = node
                .run(order.output("y", Column, Csv).session("ann"))
                .succeeded();
            (ended.stdout().trim().to_owned(), ended.outputs["y"].clone())
        };
        assert_eq!(
            ran(2),
            ("2 2 2".to_owned(), "y\n2\n2\n".to_owned()),
            "{engine} {mode:?}"
        );
        assert_eq!(
            ran(3),
            ("3 2 3".to_owned(), "y\n5\n5\n5\n".to_owned()),
            "{engine} {mode:?}"
        );
        assert_eq!(
            ran(1),
            ("1 2 1".to_owned(), "y\n6\n".to_owned()),
            "{engine} {mode:?}"
        );
    }
}

#[test]
fn another_policy_is_another_session() {
    let node = node(4);
    let policy = |name: &str| RunPolicy {
        programs: Programs::Listed([name.into()].into()),
        ..RunPolicy::default()
    };
    let run = |name: &str, script: &str| {
        let order = order(R, Unrestricted, script).under(policy(name)).session("ann");
        node.run(order).succeeded().stdout()
    };
    run("/usr/bin/true", "left <- 1");
    assert_eq!(run("/usr/bin/env", "cat(exists('left'))"), "FALSE");
    assert_eq!(run("/usr/bin/true", "cat(exists('left'))"), "TRUE");
}

#[test]
fn a_restricted_session_stays_restricted() {
    let node = node(4);
    for (engine, harmless, overstep, name) in [
        (Python, "x = 1", "open('/etc/passwd')", "open"),
        (R, "x <- 1", "readLines('/etc/passwd')", "Native[file]"),
        (R, "x <- 1", "unlink('run.json')", "Native[unlink]"),
    ] {
        for runs in 1..3 {
            let ended = node
                .run(order(engine, Restricted, harmless).session("ann"))
                .succeeded();
            assert_eq!(run_number(&ended), runs);
        }
        let ended = node.run(order(engine, Restricted, overstep).session("ann"));
        assert_eq!((ended.overstep(), run_number(&ended)), (name, 3));
        assert_eq!(node.engines.sessions(engine), 0, "its session has ended");
    }
    let write = "with open('mine', 'w') as file: file.write('secret')";
    node.run(order(Python, Restricted, write).session("ann"))
        .succeeded();
    let probe = "import os\nfound = []\nfor folder, _, files in os.walk('/scratch'):\n    found += files\nprint(sorted(found))";
    let ended = node
        .run(order(Python, Restricted, probe).session("bob"))
        .succeeded();
    assert_eq!(ended.stdout(), "['run.json']\n");
    let ended = node
        .run(order(Python, Restricted, probe).session("ann"))
        .succeeded();
    assert_eq!(ended.stdout(), "['mine', 'run.json']\n");
}

#[test]
fn every_ending_but_success_ends_the_session_and_the_next_run_begins_another() {
    let node = node(4);
    let run = |script: &str, change: fn(&mut muster_engines::Limits)| {
        node.run(order(Python, Unrestricted, script).limits(change).session("ann"))
    };
    let count = "n = globals().get('n', 0) + 1\nprint(n)";
    for (script, short) in [
        ("raise ValueError('x')", false),
        ("import sys; sys.exit(0)", false),
        ("import os; os._exit(3)", false),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", false),
        ("while True: pass", true),
    ] {
        assert_eq!(run(count, |_| {}).succeeded().stdout(), "1\n");
        assert_eq!(run(count, |_| {}).succeeded().stdout(), "2\n");
        let change: fn(&mut muster_engines::Limits) = if short {
            |limits| limits.wall_ms = 300
        } else {
            |_| {}
        };
        let ended = run(script, change);
        assert!(
            ended.ending.outcome != Outcome::Succeeded && run_number(&ended) == 3,
            "{script}: {ended:?}"
        );
        assert_eq!(node.engines.sessions(Python), 0, "{script}");
    }
    assert_eq!(run(count, |_| {}).succeeded().stdout(), "1\n");
    let cancelled = RUNTIME.block_on(async {
        let slow = order(
            Python,
            Unrestricted,
            "print(flush=True)\nimport time; time.sleep(60)",
        )
        .session("ann");
        let (live, cancel) = (slow.live(), CancellationToken::new());
        let stop = async {
            shows(&live, "\n").await;
            cancel.cancel();
        };
        tokio::join!(node.start(slow, &cancel), stop).0
    });
    assert_eq!(cancelled.ending.outcome, Outcome::Cancelled);
    assert_eq!(run(count, |_| {}).succeeded().stdout(), "1\n");
}

#[test]
fn a_session_that_was_killed_while_it_waited_begins_anew() {
    let first = 400_400;
    let node = Node::new(|config| {
        assert!(config.ids.is_some(), "run as root, who may give ids to a jail");
        config.ids = Some(IdRange { first, count: 20 });
        config.services.python.queue = 0;
    });
    let run =
        || node.run(order(Python, Unrestricted, "n = globals().get('n', 0) + 1\nprint(n)").session("ann"));
    assert_eq!(run().succeeded().stdout(), "1\n");
    assert_eq!(run().succeeded().stdout(), "2\n");
    kill(&processes(first + 1..first + 20));
    assert_eq!(run().succeeded().stdout(), "1\n");
}

#[test]
fn a_run_that_may_begin_no_more_when_its_turn_comes_executes_nothing() {
    let node = node(4);
    let (go, second) = (node.shared().join("go"), node.shared().join("second"));
    let script = "print('begun', flush=True)\nimport os, time\n\
        while not os.path.exists('/shared/go'): time.sleep(0.005)";
    let asked = AtomicBool::new(false);
    let (first, refused) = RUNTIME.block_on(async {
        let cancel = CancellationToken::new();
        let first = order(Python, Unrestricted, script).session("ann");
        let live = first.live();
        let behind = async {
            shows(&live, "begun").await;
            let order = order(Python, Unrestricted, "open('/shared/second', 'w').close()").session("ann");
            let may_begin = || {
                asked.store(true, SeqCst);
                false
            };
            let goes_on = async {
                assert!(!asked.load(SeqCst), "it waits for its turn");
                std::fs::write(&go, "").expect("written");
            };
            tokio::join!(node.start_if(order, &cancel, may_begin), goes_on).0
        };
        tokio::join!(node.start(first, &cancel), behind)
    });
    first.succeeded();
    assert!(refused.is_none() && asked.load(SeqCst) && !second.exists());
    let next = node
        .run(order(Python, Unrestricted, "x = 1").session("ann"))
        .succeeded();
    assert_eq!(run_number(&next), 1, "its session has ended with it");
}

#[test]
fn runs_of_one_session_never_overlap() {
    let node = node(4);
    let script = "import time\nbegun = time.monotonic()\ntime.sleep(0.2)\nprint(begun, time.monotonic())\n\
        n = globals().get('n', 0) + 1";
    let ended = RUNTIME.block_on(async {
        let cancel = CancellationToken::new();
        let run = || node.start(order(Python, Unrestricted, script).session("ann"), &cancel);
        let (one, two, three) = tokio::join!(run(), run(), run());
        [one, two, three].map(Ended::succeeded)
    });
    let mut spans: Vec<Vec<f64>> = ended
        .iter()
        .map(|ended| {
            ended
                .stdout()
                .split_whitespace()
                .map(|word| word.parse().expect("a time"))
                .collect()
        })
        .collect();
    spans.sort_by(|one, two| one[0].total_cmp(&two[0]));
    assert!(spans.windows(2).all(|pair| pair[0][1] <= pair[1][0]), "{spans:?}");
    let mut numbers: Vec<u64> = ended.iter().map(run_number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn sessions_end_by_idle_time_age_and_number() {
    let pruned = Node::new(|config| {
        config.services.r.sessions = 2;
        config.services.r.pruning = Pruning {
            threshold: 100,
            idle: Duration::from_hours(1),
            age: Some(Duration::from_hours(2)),
        };
    });
    let run = |node: &Node, owner: &str| {
        let script = "cat(exists('left')); left <- 1";
        node.run(order(R, Restricted, script).session(owner))
            .succeeded()
            .stdout()
    };
    assert_eq!(
        (run(&pruned, "a"), run(&pruned, "b"), run(&pruned, "a")),
        three("FALSE", "FALSE", "TRUE")
    );
    // A third one takes the place of the one that waits longest.
    assert_eq!(
        (run(&pruned, "c"), run(&pruned, "a"), run(&pruned, "b")),
        three("FALSE", "TRUE", "FALSE")
    );
    let now = tokio::time::Instant::now();
    RUNTIME.block_on(pruned.engines.tend(now + Duration::from_secs(7000)));
    assert_eq!(pruned.engines.sessions(R), 2, "a threshold of 100 never prunes");
    RUNTIME.block_on(pruned.engines.tend(now + Duration::from_secs(7300)));
    assert_eq!(pruned.engines.sessions(R), 0, "their age is over");

    let idle = Node::new(|config| {
        config.services.r.pruning = Pruning {
            threshold: 0,
            idle: Duration::from_hours(1),
            age: None,
        };
    });
    run(&idle, "a");
    let now = tokio::time::Instant::now();
    RUNTIME.block_on(idle.engines.tend(now + Duration::from_secs(3500)));
    assert_eq!(idle.engines.sessions(R), 1);
    RUNTIME.block_on(idle.engines.tend(now + Duration::from_secs(3700)));
    assert_eq!(idle.engines.sessions(R), 0);
}

fn three(one: &str, two: &str, three: &str) -> (String, String, String) {
    (one.to_owned(), two.to_owned(), three.to_owned())
}

#[test]
fn a_traced_run_belongs_to_no_session() {
    let node = node(4);
    let order = || order(Python, Restricted, "x = 1").session("ann");
    assert_eq!(run_number(&node.run(order().traced()).succeeded()), 0);
    assert_eq!(run_number(&node.run(order()).succeeded()), 1);
    assert_eq!(run_number(&node.run(order().traced()).succeeded()), 0);
    assert_eq!(run_number(&node.run(order()).succeeded()), 2);
}

#[test]
fn the_cpu_time_of_a_session_is_that_of_all_its_runs() {
    let node = node(4);
    let busy = "import time\nend = time.process_time() + 0.6\nwhile time.process_time() < end: pass";
    let numbers: Vec<u64> = (0..3)
        .map(|_| {
            let order = order(Python, Unrestricted, busy).limits(|limits| limits.cpu_seconds = 4);
            run_number(&node.run(order.session("ann")).succeeded())
        })
        .collect();
    assert_eq!(numbers[..2], [1, 2]);
    let ended = node.run(
        order(Python, Unrestricted, busy)
            .limits(|limits| limits.cpu_seconds = 1)
            .session("ann"),
    );
    assert_eq!(
        run_number(&ended.succeeded()),
        1,
        "other limits are another session"
    );
    assert_eq!(
        node.engines.sessions(Python),
        1,
        "which has used more than half of its time and has ended"
    );
}
