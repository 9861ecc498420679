//! Ways around the language check. They may pass it; the kernel must stop them.

use muster_engines::Outcome;

use super::bench::*;

/// What a script prints when it got through.
const THROUGH: &str = "got through";

#[test]
fn r_scripts_that_dig_out_the_real_functions_meet_the_kernel() {
    // The stubs' own surroundings hold the real `file`; R's compiler inlines `.Internal` in base.
    let real = "e <- parent.env(parent.env(environment(tempfile)))";
    let internal = |call: &str| format!("eval(quote(.Internal({call})), baseenv())");
    let scripts = [
        format!("{real}; x <- e$file('/etc/shadow', 'r'); readLines(x); cat('got through')"),
        format!("{real}; x <- e$file('/usr/lib/R/new', 'w'); cat('got through')"),
        format!("{real}; x <- e$file('/muster/runner.R', 'w'); cat('got through')"),
        format!("{real}; x <- e$file('/proc/1/environ', 'rb'); readBin(x, 'raw', 10); cat('got through')"),
        internal("system('echo got through', FALSE, 0L)"),
        internal("system('echo got through', TRUE, 0L)"),
        format!(
            "x <- {}; cat('got through')",
            internal("socketConnection('127.0.0.1', 9, FALSE, TRUE, 'r', 'UTF-8', 5L, '')")
        ),
    ];
    for script in scripts {
        let ended = NODE.run(order(Terr, Restricted, &script));
        assert!(!ended.stdout().contains(THROUGH), "{script}: {ended:?}");
    }
}

#[test]
fn python_scripts_that_slip_past_the_hook_meet_the_kernel() {
    let fork_exec = "import _posixsubprocess, os\n\
        r, w = os.pipe()\n\
        pid = _posixsubprocess.fork_exec([b'/bin/echo', b'got through'], [b'/bin/echo'], True, (w,), None, None, -1, -1, -1, -1, -1, -1, r, w, False, False, 0, None, None, None, -1, None, False)\n\
        os.waitpid(pid, 0)";
    let frames = "import sys\n\
        f = sys._getframe()\n\
        while f:\n    \
            for v in list(f.f_locals.values()) + list(f.f_globals.values()):\n        \
                if callable(v) and getattr(v, '__name__', '') == 'make_leave': v.__globals__['flush'] = None\n    \
            f.f_globals['flush'] = f.f_globals['os'] = None\n    \
            f = f.f_back\n\
        try:\n    \
            open('/etc/shadow').read(); print('got through')\n\
        except OSError:\n    \
            pass";
    let builtins = "import builtins, os\n\
        builtins.isinstance = lambda *a: True\nbuiltins.type = builtins.len = builtins.BaseException = None\n\
        os.open('/etc/shadow', 0); print('got through')";
    let scripts = [
        fork_exec,
        frames,
        builtins,
        "import readline; readline.read_history_file('/etc/shadow'); print('got through')",
        "import readline; readline.write_history_file('/usr/lib/new'); print('got through')",
        "import os; os.stat('/root'); print('got through')",
        "import os; os.chroot('/'); print('got through')",
        "import os; os.setuid(0); print('got through')",
        "import _socket; print('got through' if _socket.socket() else '')",
    ];
    for script in scripts {
        let ended = NODE.run(order(Python, Restricted, script));
        assert!(!ended.stdout().contains(THROUGH), "{script}: {ended:?}");
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
