//! How runs end, and what people are told.

use std::{collections::BTreeSet, ffi::OsString, path::Path, time::Duration};

use muster_engines::{EngineKind, Outcome, probe};
use tokio_util::sync::CancellationToken;

use super::bench::{Node, *};

#[test]
fn engines_are_described_as_they_are() {
    let probe = RUNTIME.block_on(probe(NODE.engines.config()));
    assert_eq!(probe.missing, []);
    let of = |kind| {
        probe
            .engines
            .iter()
            .find(|engine| engine.kind == kind)
            .expect("found")
    };
    let r = of(R);
    assert_eq!(r.description, format!("GNU R {}", r.version));
    assert_eq!(
        of(Terr).description,
        format!("terr (GNU R {} standing in)", r.version)
    );
    assert!(of(Python).version.starts_with("3.11."));
}

#[test]
fn a_missing_engine_says_how_to_get_it() {
    let node = Node::new(|config| config.r_home = "/nowhere".into());
    let probe = RUNTIME.block_on(probe(node.engines.config()));
    let kinds: Vec<EngineKind> = probe.missing.iter().map(|missing| missing.kind).collect();
    assert_eq!(kinds, [R, Terr]);
    assert!(
        probe.missing[0].why.contains("apt-get install r-base-core"),
        "{:?}",
        probe.missing
    );
}

#[test]
fn a_launcher_that_cannot_start_refuses_the_run() {
    let node = Node::new(|config| config.jail = "/nowhere/muster-jail".into());
    let ended = node.run(order(Python, Restricted, ""));
    assert!(
        matches!(&ended.ending.outcome, Outcome::JailRefused { why } if why.contains("/nowhere/muster-jail"))
    );
}

#[test]
fn a_launcher_behind_a_socket_serves_as_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("jail.sock");
    let program = NODE.engines.config().jail.clone();
    // What a socket unit with Accept=yes and StandardInput=socket does.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test starts what systemd starts in packages"
    )]
    let mut listener = std::process::Command::new("systemd-socket-activate")
        .args(["--seqpacket", "--accept", "--inetd", "--listen"])
        .args([&socket, &program])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .map(Ending)
        .expect("systemd-socket-activate of the Debian package systemd");
    while !is_listened_on(&socket) {
        assert!(
            listener.0.try_wait().expect("asked").is_none(),
            "the listener ended"
        );
        std::thread::yield_now();
    }
    let node = Node::new(|config| config.jail = socket);
    let ended = node.run(order(Terr, Restricted, "y <- 6 * 7").output("y", Value, Json));
    assert_eq!(
        ended.succeeded().outputs["y"].trim(),
        r#"{"type":"Real","value":42}"#
    );
}

/// Whether somebody accepts connections at `socket`.
///
/// Its file appears at `bind`, while connections are refused until `listen`; asking the kernel's table (`proc(5)`,
/// `/proc/net/unix`, flag `__SO_ACCEPTCON` = 0x10000) does not start a launcher as a connection would.
fn is_listened_on(socket: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/net/unix").expect("the kernel's table of sockets");
    table.lines().any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        columns.get(3) == Some(&"00010000") && columns.get(7).map(Path::new) == Some(socket)
    })
}

/// A process that ends with its test, however the test ends.
struct Ending(std::process::Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_input_that_cannot_be_read_refuses_the_run() {
    let ended = NODE.run(order(Python, Restricted, "").file("x", "/nowhere/x.csv".as_ref()));
    let expected = "its inputs could not be handed in: No such file or directory";
    assert!(ended.words().contains(expected), "{}", ended.words());
}

#[test]
fn what_is_printed_is_taken_at_the_descriptors() {
    let script = "import os, sys\nprint('one')\nsys.stdout.flush()\nos.write(1, b'two\\n')\nos.write(2, b'three\\n')\nprint('four', end='')";
    let python = NODE.run(order(Python, Unrestricted, script)).succeeded();
    assert_eq!(
        (python.stdout().as_str(), python.stderr().as_str()),
        ("one\ntwo\nfour", "three\n")
    );
    let script = "cat('one\\n'); system('echo two; echo three >&2'); message('four'); warning('five'); 1 + 1; cat('six')";
    let r = NODE.run(order(R, Unrestricted, script)).succeeded();
    assert_eq!(r.stdout(), "one\ntwo\n[1] 2\nsix");
    assert_eq!(r.stderr(), "three\nfour\nWarning: five\n");
}

#[test]
fn a_flood_of_output_is_cut_and_counted() {
    let ended = NODE
        .run(order(
            Python,
            Restricted,
            "for _ in range(3000): print('x' * 1023)",
        ))
        .succeeded();
    let stdout = &ended.ending.stdout;
    assert_eq!(
        (stdout.bytes.len(), stdout.truncated, stdout.total),
        (1 << 20, true, 3000 * 1024)
    );
}

#[test]
fn errors_say_where() {
    let r = NODE.run(order(R, Unrestricted, "f <- function(x) stop('bad x')\nf(1)"));
    assert_eq!(r.words(), "The script failed: Error in f(1): bad x");
    let python = NODE.run(order(Python, Unrestricted, "def f(x):\n    return 1 / x\nf(0)"));
    let words = python.words();
    assert!(
        words.starts_with("The script failed: ZeroDivisionError: division by zero\n"),
        "{words}"
    );
    assert!(
        words.contains("File \"<data_function>\", line 2, in f"),
        "{words}"
    );
    assert!(!words.contains("runner.py"), "{words}");
}

#[test]
fn what_a_script_says_in_the_runners_name_is_cut_and_cannot_steer_a_terminal() {
    for ending in ["script_error", "restricted_call"] {
        let script = format!(
            "import json, os\n\
             said = {{'report': 'finished', 'ending': '{ending}', 'message': '\x1b[2Jone\\ntwo' + 'é' * 150_000}}\n\
             said = json.dumps(said).encode()\n\
             os.write(250, len(said).to_bytes(4, 'big') + said)\n\
             os._exit(1)"
        );
        let words = NODE.run(order(Python, Restricted, &script)).words();
        assert!(words.contains("\u{fffd}[2Jone\ntwoé"), "{ending}: {words:.200}");
        assert!(words.len() < 66 * 1024, "{ending}: {} bytes", words.len());
    }
}

#[test]
fn exits_and_signals_are_told_apart() {
    let cases = [
        (
            order(Python, Unrestricted, "import sys; sys.exit(3)"),
            Outcome::Exited { code: 3 },
        ),
        (
            order(Python, Restricted, "import os; os._exit(7)"),
            Outcome::Exited { code: 7 },
        ),
        (
            order(Python, Restricted, "raise SystemExit"),
            Outcome::Exited { code: 0 },
        ),
        (order(R, Restricted, "quit('no', 4)"), Outcome::Exited { code: 4 }),
        (
            order(Python, Unrestricted, "import os; os.kill(os.getpid(), 11)"),
            Outcome::Signalled { signal: 11 },
        ),
        (
            order(R, Unrestricted, "tools::pskill(Sys.getpid(), 9)"),
            Outcome::Signalled { signal: 9 },
        ),
    ];
    for (order, expected) in cases {
        assert_eq!(NODE.run(order).ending.outcome, expected);
    }
}

#[test]
fn endless_loops_are_stopped() {
    for (engine, script) in [
        (R, "repeat {}"),
        (Python, "while True: pass"),
        (Python, "import time; time.sleep(900)"),
    ] {
        let ended = NODE.run(order(engine, Restricted, script).limits(|limits| limits.wall_ms = 700));
        assert_eq!(ended.ending.outcome, Outcome::TimedOut, "{script}");
        // By the run's own supervisor, long before the agent itself loses patience.
        assert!(ended.ending.wall_ms < 10_500, "{} ms", ended.ending.wall_ms);
        assert!(ended.words().contains("time limit"), "{}", ended.words());
    }
}

#[test]
fn memory_hogs_are_told_in_words() {
    let scripts = [
        (Python, "x = bytearray(10 ** 12)"),
        (Python, "x = []\nwhile True: x.append(bytearray(10 ** 6))"),
        (R, "x <- numeric(1e12)"),
        (R, "x <- list(); repeat x[[length(x) + 1]] <- runif(1e5)"),
    ];
    for (engine, script) in scripts {
        let ended =
            NODE.run(order(engine, Restricted, script).limits(|limits| limits.memory_bytes = 400 << 20));
        let words = ended.words();
        let told = ended.ending.outcome == Outcome::OutOfMemory
            || words.contains("MemoryError")
            || words.contains("cannot allocate");
        assert!(told, "{script}: {words}");
    }
}

#[test]
fn memory_that_two_runs_used_up_together_is_told_so() {
    let cancel = CancellationToken::new();
    let waits = "import time\nopen('/shared/beside', 'w').close()\ntime.sleep(900)";
    let eats = "import os, time\nwhile not os.path.exists('/shared/beside'): time.sleep(0.01)\nx = []\nwhile True: x.append(bytearray(10 ** 7))";
    let never = CancellationToken::new();
    let eater = RUNTIME.block_on(async {
        let eating = async {
            let ended = NODE.start(order(Python, Unrestricted, eats), &never).await;
            cancel.cancel();
            ended
        };
        tokio::join!(NODE.start(order(Python, Unrestricted, waits), &cancel), eating).1
    });
    let words = eater.words();
    // Without a control group each process has a limit of its own, and the language says so.
    let told = words.contains("all runs of its engine together") || words.contains("MemoryError");
    assert!(told, "{words}");
}

#[test]
fn cancelling_ends_the_whole_tree() {
    let marker = NODE.shared().join("started");
    let script = "import subprocess\nsubprocess.Popen(['/bin/sleep', '98765'])\nopen('/shared/started', 'w').close()\nwhile True: pass";
    let cancel = CancellationToken::new();
    let ended = RUNTIME.block_on(async {
        let watch = async {
            // The script goes on from the moment of exec, a little before the kernel shows the new arguments.
            let both = || marker.exists() && running("98765");
            for _ in 0..6000 {
                if both() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert!(both(), "the script did not start its child");
            cancel.cancel();
        };
        tokio::join!(NODE.start(order(Python, Unrestricted, script), &cancel), watch).0
    });
    assert_eq!(ended.ending.outcome, Outcome::Cancelled);
    assert!(gone("98765"), "a child outlived its run");
}

#[test]
fn nothing_is_left_when_the_engines_are_dropped() {
    let before = folders_of_r();
    let node = Node::new(|config| config.r_packages = vec!["splines".into(), "stats4".into()]);
    node.run(order(R, Restricted, "x <- tempdir").output("y", Value, Json));
    assert!(running("stats4"));
    RUNTIME.block_on(async { drop(node) });
    assert!(gone("stats4"), "an engine outlived its pool");
    // Another test may run an R of its own, whose folder goes when it ends. What the dropped engines left stays.
    let mut left: BTreeSet<_> = folders_of_r().difference(&before).cloned().collect();
    RUNTIME.block_on(async {
        for _ in 0..6000 {
            if left.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            left = &left & &folders_of_r();
        }
    });
    assert!(left.is_empty(), "{left:?}");
}

/// What R has left in the machine's own temporary folder, whoever started it.
fn folders_of_r() -> BTreeSet<OsString> {
    let entries = std::fs::read_dir("/tmp").expect("/tmp").filter_map(Result::ok);
    entries
        .map(|entry| entry.file_name())
        .filter(|name| name.to_string_lossy().starts_with("Rtmp"))
        .collect()
}

/// Whether any process of this machine has this argument.
fn running(argument: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    let mut lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| {
        line.split(|byte| *byte == 0)
            .any(|part| part == argument.as_bytes())
    })
}

/// Waits until no process has this argument; false when one stays.
fn gone(argument: &str) -> bool {
    RUNTIME.block_on(async {
        for _ in 0..1000 {
            if !running(argument) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    })
}

#[test]
fn what_a_script_prints_and_says_is_seen_while_it_goes_on() {
    let scripts = [
        (
            R,
            "cat('first\\n'); muster_progress(0.25, 'fitting\\nmodels'); repeat if (file.exists('never')) break",
            Unrestricted,
        ),
        (
            Terr,
            "print('first'); muster_progress(0.25, 'fitting models'); repeat {}",
            Restricted,
        ),
        (
            Python,
            "print('first')\nmuster_progress(0.25, 'fitting\\nmodels')\nwhile True: pass",
            Restricted,
        ),
    ];
    for (engine, script, mode) in scripts {
        let order = order(engine, mode, script);
        let (live, cancel) = (order.live(), CancellationToken::new());
        let ended = RUNTIME.block_on(async {
            let watch = async {
                let (_, mut progress) = shows(&live, "first").await;
                while progress.is_none() {
                    progress = live.news(0).progress;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                cancel.cancel();
                progress.expect("said")
            };
            let (ended, progress) = tokio::join!(NODE.start(order, &cancel), watch);
            assert_eq!(
                (progress.millionths, progress.text.as_str()),
                (Some(250_000), "fitting models"),
                "{engine}"
            );
            ended
        });
        assert_eq!(ended.ending.outcome, Outcome::Cancelled, "{engine}");
        let printed = String::from_utf8_lossy(&ended.ending.stdout.bytes).into_owned();
        assert!(
            printed.contains("first"),
            "{engine}: it is kept as well: {printed}"
        );
    }
}

#[test]
fn a_script_that_says_too_much_or_nonsense_ends_as_it_would_have() {
    let flood =
        "for i in range(100_000): muster_progress(i / 100_000, 'x' * 5000)\nmuster_progress(None)\nn = 1";
    let ended = NODE.run(order(Python, Restricted, flood));
    assert_eq!(ended.ending.outcome, Outcome::Succeeded);
    let flood = "for (i in 1:20000) muster_progress(i / 20000, strrep('x', 5000)); muster_progress(NA); muster_progress()";
    let ended = NODE.run(order(R, Restricted, flood));
    assert_eq!(ended.ending.outcome, Outcome::Succeeded);
    let order = order(
        Python,
        Unrestricted,
        "import os\nos.write(250, b'\\xff' * 64)\nprint('on')\nn = 1",
    );
    // What it says makes no sense from then on, its end included; the agent goes by what the supervisor says.
    let ended = NODE.run(order);
    assert_eq!(ended.ending.outcome, Outcome::Exited { code: 0 });
    assert_eq!(String::from_utf8_lossy(&ended.ending.stdout.bytes), "on\n");
}

#[test]
fn what_goes_on_after_the_end_of_a_script_counts_for_nothing() {
    // Two ids for runs, so that each is soon needed again.
    let node = Node::new(|config| {
        if let Some(ids) = &mut config.ids {
            *ids = muster_engines::IdRange {
                first: 410_000,
                count: 3,
            };
        }
    });
    let script = "import os\n\
        y = 1\n\
        print('said')\n\
        for _ in range(3):\n    \
            if os.fork() == 0:\n        \
                while True:\n            \
                    try:\n                \
                        open('/scratch/outputs/0', 'w').write('forged')\n                \
                        os.write(1, b'.')\n            \
                    except OSError: pass\n            \
                    if os.fork() == 0: os._exit(0)";
    for _ in 0..6 {
        let order = order(Python, Unrestricted, script).output("y", Value, Csv);
        let ended = node.run(order);
        // One of them may cut the file while it is sent, which harms this run only.
        if let Outcome::JailRefused { why } = &ended.ending.outcome {
            assert!(why.starts_with("its outputs"), "{why}");
            continue;
        }
        let ended = ended.succeeded();
        // What was there when they were killed, of one, of the other or of both.
        let output = &ended.outputs["y"];
        let known = |one: char| "y\n1forged".contains(one);
        assert!(output.len() <= 6 && output.chars().all(known), "{output:?}");
        assert!(ended.stdout().trim_start_matches('.').starts_with("said\n"));
    }
}

#[test]
fn a_report_counts_whatever_becomes_of_the_process_after_it() {
    for (end, expected) in [
        // The word that ends a run, without a report: nobody has said that it succeeded.
        (
            "os.write(251, b'.'); os.kill(os.getpid(), 9)",
            Outcome::Exited { code: 0 },
        ),
        ("os.close(251); y = 1", Outcome::Succeeded),
    ] {
        let script = format!("import os\ny = 0\n{end}");
        let ended = NODE.run(order(Python, Unrestricted, &script).output("y", Value, Csv));
        assert_eq!(ended.ending.outcome, expected, "{end}");
    }
}
