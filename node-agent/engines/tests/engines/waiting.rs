//! Children that wait for a run: locked before it comes, used once, replaced when they or their parent die.

use std::{fs, path::Path, time::Duration};

use muster_engines::{
    EngineKind, Engines, EnginesConfig, IdRange, Mode, Outcome, Programs, Recycle, RunPolicy,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio_util::sync::CancellationToken;

use super::bench::{Node, *};

/// A node whose ids no other test uses, so that its processes can be told by their user.
fn node(first: u32) -> Node {
    Node::new(|config| {
        assert!(config.ids.is_some(), "run as root, who may give ids to a jail");
        config.ids = Some(IdRange { first, count: 20 });
    })
}

fn warm(node: &Node, engine: EngineKind, mode: Mode) {
    RUNTIME.block_on(node.engines.warm(engine, mode)).expect("warm");
    assert_eq!(node.engines.waiting(engine, mode).now, 1);
}

fn taken(node: &Node, engine: EngineKind, mode: Mode) -> usize {
    node.engines.waiting(engine, mode).taken
}

/// The processes of these users, with their names.
pub(super) fn processes(users: std::ops::Range<u32>) -> Vec<(Pid, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("processes").flatten() {
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let value = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let user = value("Uid:").and_then(|ids| ids.split_whitespace().next()?.parse().ok());
        let pid = value("Pid:")
            .and_then(|pid| pid.parse().ok())
            .and_then(Pid::from_raw);
        if let (Some(pid), Some(name)) = (pid, value("Name:"))
            && user.is_some_and(|user| users.contains(&user))
        {
            found.push((pid, name.to_owned()));
        }
    }
    found
}

/// Kills them and returns when they are gone.
pub(super) fn kill(victims: &[(Pid, String)]) {
    assert!(!victims.is_empty(), "nothing to kill");
    for (pid, _) in victims {
        // The end of one may be that of another.
        let _ = kill_process(*pid, Signal::KILL);
    }
    let there = |pid: &Pid| {
        let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
        !status.is_empty() && !status.contains("State:\tZ")
    };
    while victims.iter().any(|(pid, _)| there(pid)) {
        std::thread::yield_now();
    }
}

#[test]
fn a_run_takes_a_child_that_waited_and_another_takes_its_place() {
    let node = Node::new(|_| {});
    for (engine, mode, script) in [
        (R, Restricted, "y <- 1L + 1L"),
        (Python, Unrestricted, "y = 1 + 1"),
    ] {
        for n in 1..=3 {
            warm(&node, engine, mode);
            let ended = node
                .run(order(engine, mode, script).output("y", Value, Csv))
                .succeeded();
            assert_eq!(ended.outputs["y"], "y\n2\n");
            assert_eq!(taken(&node, engine, mode), n, "{engine}");
        }
    }
}

#[test]
fn a_child_that_waits_is_locked_and_its_parent_is_not_process_1() {
    let first = 400_300;
    let node = node(first);
    let status = |pid: Pid, name: &str| {
        let text = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).expect("a process");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim);
        line.unwrap_or_default().to_owned()
    };
    for (engine, mode) in [(R, Restricted), (Python, Unrestricted)] {
        // Nobody has asked for a run yet.
        warm(&node, engine, mode);
        let waiting = processes(first + 1..first + 20);
        assert!(
            waiting.len() >= 2,
            "process 1 of a run and the child: {waiting:?}"
        );
        for (pid, name) in waiting {
            let found = ["NoNewPrivs:", "Seccomp:", "CapEff:", "CapBnd:"].map(|field| status(pid, field));
            let nothing = "0000000000000000";
            assert_eq!(found, ["1", "2", nothing, nothing], "{engine}: {name}");
        }
        let parents = processes(first..first + 1);
        let engines: Vec<_> = parents
            .iter()
            .filter(|(pid, _)| {
                let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
                String::from_utf8_lossy(&command).contains("/muster/runner")
            })
            .collect();
        assert!(!engines.is_empty(), "{parents:?}");
        for (pid, _) in engines {
            let numbers = status(*pid, "NSpid:");
            let inside = numbers.split_whitespace().last();
            assert!(inside.is_some_and(|number| number != "1"), "{numbers}");
        }
    }
}

#[test]
fn each_child_is_used_once() {
    let node = Node::new(|_| {});
    let script = "import builtins, json, os, sys\n\
        print(hasattr(json, 'left'), 'LEFT' in os.environ, os.getcwd(), os.listdir('tmp'), hasattr(builtins, 'left'), 'left' in sys.path)\n\
        json.left = builtins.left = os.environ['LEFT'] = 'left'\n\
        sys.path.insert(0, 'left')\nopen('tmp/left', 'w').close()\nos.chdir('tmp')\nbuiltins.print = None";
    for _ in 0..3 {
        warm(&node, Python, Unrestricted);
        let ended = node.run(order(Python, Unrestricted, script)).succeeded();
        assert_eq!(ended.stdout(), "False False /scratch [] False False\n");
    }
    let script = "cat(exists('left'), nchar(Sys.getenv('LEFT')), getwd(), is.null(getOption('left')), nlevels(factor('a')), '\\n')\n\
        left <- 1; Sys.setenv(LEFT = 'left'); options(left = 1); setwd('tmp')\n\
        unlockBinding('nlevels', baseenv()); assign('nlevels', function(x) 'left', envir = baseenv())";
    for _ in 0..3 {
        warm(&node, R, Unrestricted);
        let ended = node.run(order(R, Unrestricted, script)).succeeded();
        assert_eq!(ended.stdout(), "FALSE 0 /scratch TRUE 1 \n");
    }
}

#[test]
fn the_limits_of_an_order_hold_in_a_child_that_waited() {
    let node = Node::new(|_| {});
    warm(&node, Python, Unrestricted);
    let slow =
        order(Python, Unrestricted, "import time; time.sleep(60)").limits(|limits| limits.wall_ms = 300);
    let ended = node.run(slow);
    assert_eq!(ended.ending.outcome, Outcome::TimedOut);
    assert!(ended.ending.wall_ms < 20_000, "{}", ended.ending.wall_ms);

    warm(&node, Python, Unrestricted);
    let script = "try: x = bytearray(1 << 30)\nexcept MemoryError: print('no memory')";
    let greedy = order(Python, Unrestricted, script).limits(|limits| limits.memory_bytes = 600 << 20);
    assert_eq!(node.run(greedy).succeeded().stdout(), "no memory\n");

    warm(&node, Python, Unrestricted);
    let busy = order(Python, Unrestricted, "while True: pass").limits(|limits| limits.cpu_seconds = 1);
    assert_eq!(node.run(busy).ending.outcome, Outcome::TimedOut);
    assert_eq!(taken(&node, Python, Unrestricted), 3);

    // The size of a scratch folder is given when it is made.
    warm(&node, Python, Unrestricted);
    let script = "import os\ntry:\n    with open('big', 'wb', buffering=0) as file:\n        for n in range(64): file.write(b'x' * 32768)\n\
        except OSError as error: print(error.errno)\nos.remove('big')";
    let small = order(Python, Unrestricted, script).limits(|limits| limits.scratch_bytes = 1 << 20);
    let ended = node.run(small).succeeded();
    assert!(
        ["27\n", "28\n"].contains(&ended.stdout().as_str()),
        "{}",
        ended.stdout()
    );
    assert_eq!(taken(&node, Python, Unrestricted), 3);
}

#[test]
fn a_child_that_died_while_it_waited_is_not_given_out() {
    let first = 400_000;
    let node = node(first);
    warm(&node, R, Restricted);
    kill(&processes(first + 1..first + 20));
    let ended = node.run(order(R, Restricted, "y <- 2L").output("y", Value, Csv));
    assert_eq!(ended.succeeded().outputs["y"], "y\n2\n");
    assert_eq!(taken(&node, R, Restricted), 0);
}

#[test]
fn a_parent_that_is_killed_is_replaced_with_all_its_children() {
    let first = 400_100;
    let node = node(first);
    warm(&node, R, Restricted);
    let engine: Vec<_> = processes(first..first + 1)
        .into_iter()
        .filter(|(_, name)| name == "R")
        .collect();
    let waiting = processes(first + 1..first + 20);
    assert!(engine.len() == 1 && !waiting.is_empty(), "{engine:?} {waiting:?}");
    kill(&engine);
    let ended = node.run(order(R, Restricted, "y <- 3L").output("y", Value, Csv));
    assert_eq!(ended.succeeded().outputs["y"], "y\n3\n");
    warm(&node, R, Restricted);
    let of_the_dead =
        |(pid, _): &&(Pid, String)| Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists();
    assert_eq!(waiting.iter().filter(of_the_dead).count(), 0);
}

#[test]
fn a_parent_is_replaced_by_count_before_it_is_spent() {
    let node = Node::new(|config| {
        config.recycle = Recycle {
            runs: 3,
            ..Recycle::default()
        }
    });
    for _ in 0..5 {
        warm(&node, R, Restricted);
        node.run(order(R, Restricted, "1")).succeeded();
    }
    assert_eq!(taken(&node, R, Restricted), 5);
}

#[test]
fn launchers_of_other_policies_end_when_nobody_has_used_them_for_ten_minutes() {
    let node = Node::new(|_| {});
    let policy = |name: &str| RunPolicy {
        programs: Programs::Listed([name.into()].into()),
        ..RunPolicy::default()
    };
    let ran = |policy: RunPolicy| {
        node.run(order(R, Unrestricted, "1").under(policy)).succeeded();
    };
    let waiting_after = |minutes| {
        let now = tokio::time::Instant::now() + Duration::from_mins(minutes);
        RUNTIME.block_on(node.engines.tend(now));
        node.engines.waiting(R, Unrestricted).now
    };
    ran(policy("/usr/bin/true"));
    assert_eq!(waiting_after(60), 1, "the only one stays");
    ran(policy("/usr/bin/env"));
    assert_eq!(waiting_after(9), 2);
    assert_eq!(waiting_after(11), 1, "the one that was not used last has ended");
    ran(policy("/usr/bin/true"));
    assert_eq!(waiting_after(9), 2, "and begins again when it is wanted");
}

#[test]
fn another_range_of_ids_that_overlaps_waits_for_the_runs_of_the_former_one() {
    let first = 400_200;
    let (node, other) = (node(first), node(first + 1));
    let script =
        "import os, time\nprint(flush=True)\nwhile not os.path.exists('/shared/go'): time.sleep(0.01)";
    let going = order(Python, Unrestricted, script);
    let live = going.live();
    RUNTIME.block_on(async {
        let cancel = CancellationToken::new();
        let run = node.start(going, &cancel);
        let after = async {
            shows(&live, "\n").await;
            let after = Engines::after(other.engines.config().clone(), &node.engines);
            tokio::select! {
                biased;
                warm = after.warm(R, Restricted) => panic!("{warm:?} beside a run of the former range"),
                // The engine could be there by then.
                _ = node.engines.warm(R, Unrestricted) => {}
            }
            fs::write(node.shared().join("go"), "").expect("written");
            after
        };
        let (ended, after) = tokio::join!(run, after);
        ended.succeeded();
        drop(node);
        after.warm(R, Restricted).await.expect("warm");
    });
}

#[test]
fn a_start_up_hook_runs_in_each_child_and_gives_it_its_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    let hook = folder.path().join("start.sh");
    let text = "echo hello\nexport GREETING=$'a\\nb=c'\nmkdir made\nexport NUMBER=$RANDOM$RANDOM\n";
    fs::write(&hook, text).expect("written");
    open_to_all(folder.path(), &hook);
    let node = Node::new(|config| {
        config.services.r.startup_hook = Some(hook.clone());
        config.services.python.startup_hook = Some(hook.clone());
    });
    let python =
        "import os\nprint(repr(os.environ['GREETING']), os.path.isdir('made'), os.environ['NUMBER'])";
    let r = "cat(deparse(Sys.getenv('GREETING')), Sys.getenv('NUMBER'), '\\n')";
    for (engine, script, expected) in [(Python, python, "'a\\nb=c' True "), (R, r, "\"a\\nb=c\" ")] {
        let mut numbers = std::collections::BTreeSet::new();
        for _ in 0..2 {
            warm(&node, engine, Restricted);
            let ended = node.run(order(engine, Restricted, script)).succeeded();
            let number = ended.stdout().strip_prefix(expected).map(str::to_owned);
            numbers.insert(number.unwrap_or_else(|| panic!("{}", ended.stdout())));
        }
        assert_eq!(numbers.len(), 2, "the hook runs for each child");
    }
}

#[test]
fn a_start_up_hook_that_fails_is_told_by_the_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let hook = folder.path().join("start.sh");
    fs::write(&hook, "echo no such share >&2; return 3\n").expect("written");
    open_to_all(folder.path(), &hook);
    let node = Node::new(|config| config.services.python.startup_hook = Some(hook));
    let ended = node.run(order(Python, Restricted, "1"));
    let words = ended.words();
    for part in ["start-up hook", "code 3", "no such share"] {
        assert!(words.contains(part), "{part} in {words}");
    }
}

#[test]
fn a_package_library_is_for_unrestricted_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let module = folder.path().join("ours.py");
    fs::write(&module, "answer = 42\n").expect("written");
    open_to_all(folder.path(), &module);
    let node = Node::new(|config| config.services.python.package_path = Some(folder.path().to_owned()));
    let script = "import ours\nprint(ours.answer)";
    let ended = node.run(order(Python, Unrestricted, script)).succeeded();
    assert_eq!(ended.stdout(), "42\n");
    let ended = node.run(order(Python, Restricted, script));
    assert!(!ended.stdout().contains("42"), "{ended:?}");
}

#[test]
fn a_parent_that_is_too_old_gives_no_child() {
    let node = Node::new(|config| {
        config.recycle = Recycle {
            age: Duration::ZERO,
            ..Recycle::default()
        }
    });
    for _ in 0..2 {
        RUNTIME.block_on(node.engines.warm(R, Restricted)).expect("warm");
        node.run(order(R, Restricted, "1")).succeeded();
    }
    assert_eq!(taken(&node, R, Restricted), 0);
}

#[test]
fn what_the_jail_is_worth_is_known_without_an_engine() {
    let node = Node::new(|config| config.r_home = "/does/not/exist".into());
    let standing = RUNTIME.block_on(muster_engines::look(node.engines.config()));
    let standing = standing.expect("the jail stands");
    assert!(standing.landlock_abi >= 2, "{standing:?}");
    assert_eq!(standing.own_ids, node.engines.config().ids.is_some());
    let nowhere = EnginesConfig {
        jail: "/does/not/exist".into(),
        ..node.engines.config().clone()
    };
    let why = RUNTIME
        .block_on(muster_engines::look(&nowhere))
        .expect_err("no jail");
    assert!(why.contains("/does/not/exist"), "{why}");
}
