//! Ways around the language check. They may pass it; the kernel must stop them.

use muster_engines::{EngineKind, Outcome};

use super::bench::*;

/// What a script prints when it got through.
const THROUGH: &str = "got through";

/// Known ways around R's check: each reaches what the script must not call, and the check does not end it.
const R_WAYS: &[&str] = &[
    // The runner's own frames lie below the script's.
    "f <- get('file', envir = parent.frame(2)); x <- f('/etc/shadow', 'r'); readLines(x); cat('got through')",
    // A stub with another body still has its surroundings, and in them what it stands for.
    "f <- file; body(f) <- quote(original); f <- f(); x <- f('/usr/lib/R/new', 'w'); cat('got through')",
    "f <- file; body(f) <- quote(original); f <- f(); x <- f('/proc/1/environ', 'rb'); readBin(x, 'raw', 9); cat('got through')",
    "f <- file; body(f) <- quote(original); f <- f(); x <- f('/proc/sys/kernel/hostname', 'w'); cat('got through')",
    "s <- system; body(s) <- quote(original); s <- s(); s('echo got through')",
    "f <- socketConnection; body(f) <- quote(original); f <- f(); f('127.0.0.1', 9, timeout = 1); cat('got through')",
    // So has a copy of it.
    "s <- unserialize(serialize(system, NULL)); body(s) <- quote(original); s <- s(); s('echo got through')",
    // R's compiler inlines `.Internal` in base.
    "eval(quote(.Internal(system('echo got through', FALSE, 0L))), baseenv())",
    "eval(quote(.Internal(system('echo got through', TRUE, 0L))), baseenv())",
    "eval(quote(.Internal(socketConnection('127.0.0.1', 9, FALSE, TRUE, 'r', 'UTF-8', 5L, ''))), baseenv()); cat('got through')",
    "if (eval(quote(.Internal(Sys.chmod('/usr/lib/R', as.octmode('777'), FALSE))), baseenv())) cat('got through')",
    "if (eval(quote(.Internal(file.symlink('/etc/shadow', 'l'))), baseenv())) cat('got through')",
    "x <- eval(quote(.Internal(list.files('/root', NULL, FALSE, FALSE, FALSE, FALSE, FALSE, FALSE))), baseenv()); if (length(x)) cat('got through')",
    // Compiled code of a device starts programs.
    "postscript('x.ps', command = 'echo got through', print.it = TRUE); plot(1); invisible(dev.off())",
];

/// Known ways around Python's check.
const PYTHON_WAYS: &[&str] = &[
    // What was taken before the check wrapped it.
    "import subprocess, os\n\
        r, w = os.pipe()\n\
        pid = subprocess._fork_exec([b'/bin/echo', b'got through'], [b'/bin/echo'], True, (w,), None, None, -1, -1, -1, -1, -1, -1, r, w, False, False, 0, None, None, None, -1, None, False)\n\
        os.waitpid(pid, 0)",
    "import os\nos.mkfifo.__closure__[1].cell_contents('x')\nprint('got through')",
    // The module below os.
    "import posix\nposix.stat('/root')\nprint('got through')",
    "import posix\nposix.chroot('/')\nprint('got through')",
    "import posix\nposix.setuid(0)\nprint('got through')",
    "import posix\nposix.memfd_create('x')\nprint('got through')",
    "import posix\nposix.mkfifo('x')\nprint('got through')",
    "import posix\nposix.setpriority(0, 0, -5)\nprint('got through')",
    "import posix\nposix.pidfd_open(1)\nprint('got through')",
    "import sys\nsys.meta_path.clear()\nimport posix\nposix.nice(-5)\nprint('got through')",
    // Compiled code that opens files itself.
    "import readline\nreadline.read_history_file('/etc/shadow')\nprint('got through')",
    "import readline\nreadline.write_history_file('/usr/lib/new')\nprint('got through')",
    "import sqlite3\n\
        c = sqlite3.connect(':memory:')\n\
        c.execute(\"attach '/usr/lib/new.db' as a\")\n\
        c.execute('create table a.t (x)')\n\
        print('got through')",
    "import ssl\nssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations('/etc/shadow')\nprint('got through')",
    "import spwd\nspwd.getspnam('root')\nprint('got through')",
    "import dbm.ndbm\ndbm.ndbm.open('/usr/lib/new', 'c')\nprint('got through')",
    "import _multiprocessing\n_multiprocessing.SemLock(1, 1, 1, '/x', False)\nprint('got through')",
    // Code that passes for a library's, frames without a call that is seen, built-ins that lie.
    "exec(compile('import sys; sys._getframe()', '/usr/lib/python3.11/os.py', 'exec'))\n\
        import posix\nposix.openpty()\nprint('got through')",
    "def g():\n    \
            f = me.gi_frame.f_back\n    \
            while f:\n        \
                f.f_globals['flush'] = f.f_globals['os'] = None\n        \
                f = f.f_back\n    \
            yield\n\
        me = g()\nnext(me)\n\
        import readline\nreadline.read_history_file('/etc/shadow')\nprint('got through')",
    "import builtins, readline\n\
        builtins.isinstance = lambda *a: True\nbuiltins.type = builtins.len = builtins.BaseException = None\n\
        readline.write_history_file('/usr/lib/new')\nprint('got through')",
];

#[test]
fn the_kernel_stops_what_passes_the_check_of_r() {
    stopped(Terr, R_WAYS);
}

#[test]
fn the_kernel_stops_what_passes_the_check_of_python() {
    stopped(Python, PYTHON_WAYS);
}

fn stopped(engine: EngineKind, ways: &[&str]) {
    for script in ways {
        let ended = NODE.run(order(engine, Restricted, script));
        assert!(!ended.stdout().contains(THROUGH), "{script}: {ended:?}");
        // One that the check ends proves nothing about the kernel: find another way.
        let seen = matches!(ended.ending.outcome, Outcome::RestrictedCall { .. });
        assert!(!seen, "{script}: {ended:?}");
    }
}

#[test]
fn what_only_the_kernel_refuses_is_named_by_its_error() {
    let script = "import readline; readline.write_history_file('/usr/lib/new')";
    let ended = NODE.run(order(Python, Restricted, script));
    let words = ended.words();
    assert!(
        matches!(ended.ending.outcome, Outcome::ScriptError { .. }),
        "{:?}",
        ended.ending.outcome
    );
    assert!(
        words.starts_with("restricted call to EACCES\n") || words.starts_with("restricted call to EROFS\n"),
        "{words}"
    );
}

#[test]
fn a_run_sees_no_process_but_its_own() {
    for mode in [Restricted, Unrestricted] {
        let script = "y <- eval(quote(.Internal(list.files('/proc', '^[0-9]+$', FALSE, FALSE, FALSE, FALSE, FALSE, FALSE))), baseenv())";
        let ended = NODE
            .run(order(R, mode, script).output("y", Column, Csv))
            .succeeded();
        let seen: Vec<_> = ended.outputs["y"].lines().skip(1).collect();
        assert!(
            seen.iter().all(|pid| matches!(*pid, "" | "1" | "2")),
            "{mode:?}: {seen:?}"
        );
    }
}

#[test]
fn a_run_learns_nothing_of_the_agent_and_the_engine() {
    let script = "import glob, os\n\
        y = []\n\
        for path in glob.glob('/proc/*/environ') + glob.glob('/proc/*/cmdline'):\n    \
            try:\n        \
                y.append(open(path).read())\n    \
            except OSError: pass\n\
        y = [text for text in y if 'muster-jail' in text or 'CARGO' in text]\n\
        y.append(str(sorted(os.listdir('/')))); y.append(str(os.getuid()))";
    let ended = NODE
        .run(order(Python, Unrestricted, script).output("y", Column, Json))
        .succeeded();
    let listed = &ended.outputs["y"];
    for hidden in ["'root'", "'home'", "'var'", "'work'"] {
        assert!(!listed.contains(hidden), "{listed}");
    }
    assert!(
        !listed.contains("CARGO") && !listed.contains("muster-jail"),
        "{listed}"
    );
}

#[test]
fn trusted_code_gets_the_usual_protocols_and_no_others() {
    let script = "import socket\n\
        def made(protocol, kind):\n    \
            try: return socket.socket(socket.AF_INET, kind, protocol).fileno() >= 0\n    \
            except OSError as error: return error.errno\n\
        stream, packets = socket.SOCK_STREAM, socket.SOCK_DGRAM\n\
        # The default, TCP and UDP; then multipath TCP, SCTP, DCCP and UDP-Lite.\n\
        print(made(0, stream), made(6, stream), made(17, packets))\n\
        print(made(262, stream), made(132, stream), made(33, 6), made(136, packets))";
    let ended = NODE.run(order(Python, Unrestricted, script)).succeeded();
    assert_eq!(ended.stdout(), "True True True\n1 1 1 1\n");
}
