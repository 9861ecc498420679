//! The lock library as Python and R load it. What the real runners do with it is the engines' matter.

use std::{fs, path::Path};

use muster_lock::protocol::{Exit, Limits, Mode, Report, Start};

use crate::harness::{built, jail, limits, mount, stage, start};

const PYTHON: &str = r#"
import ctypes
lock = ctypes.CDLL("/opt/lock.so")
status = ctypes.c_int(0)
lock.muster_fork_run(ctypes.byref(status))
if status.value:
    raise SystemExit(status.value)
mode = ctypes.c_char_p(b"restricted")
message = ctypes.create_string_buffer(1024)
pointer = ctypes.c_char_p(ctypes.addressof(message))
lock.muster_lock(ctypes.byref(mode), ctypes.byref(status), ctypes.byref(pointer))
def leave(ending, words, code):
    lock.muster_leave(ctypes.byref(ctypes.c_char_p(ending)), ctypes.byref(ctypes.c_char_p(words)),
                      ctypes.byref(ctypes.c_int(code)))
if status.value:
    leave(b"script_error", message.value, 3)
import json, decimal, os, threading, tempfile, random
thread = threading.Thread(target=lambda: print("thread"))
thread.start()
thread.join()
with tempfile.NamedTemporaryFile() as file:
    file.write(b"x")
try:
    os.listdir("/")
except OSError as error:
    print(type(error).__name__)
try:
    os.system("true")
    print("system", os.system("true") != 0)
except OSError as error:
    print(type(error).__name__)
with open("out", "w") as file:
    json.dump(sorted(json.load(open("run.json"))), file)
import sys
sys.stdout.flush()
leave(b"succeeded", "é".encode() + b"\xff", 0)
"#;

const R: &str = r#"
dyn.load("/opt/lock.so")
status <- .C("muster_fork_run", status = 0L)$status
if (status != 0L) quit(status = status)
locked <- .C("muster_lock", "restricted", status = 0L, message = strrep(" ", 1023))
leave <- function(ending, words, code) .C("muster_leave", ending, words, as.integer(code))
if (locked$status != 0L) leave("script_error", locked$message, 3L)
fit <- lm(dist ~ speed, cars)
cat(inherits(try(readLines("/etc/passwd"), silent = TRUE), "try-error"), "\n")
cat(suppressWarnings(tryCatch(system("true"), error = function(e) 127L)) != 0, "\n")
setwd("/scratch")
pdf("plot.pdf"); plot(cars); invisible(dev.off())
writeLines(format(round(coef(fit), 3)), "out")
leave("succeeded", "fine", 0L)
"#;

#[test]
fn python_is_forked_locked_and_still_works() {
    let script = tempfile::tempdir().expect("folder");
    fs::write(script.path().join("runner.py"), PYTHON).expect("script");
    let command = ["/usr/bin/python3", "-I", "-S", "/opt/runner.py"];
    let mut start = engine(&command, &script.path().join("runner.py"), "/opt/runner.py");
    start.environment.insert("HOME".to_owned(), "/tmp".to_owned());
    let (outputs, stdout, message) = run(start);
    assert_eq!(outputs, "[\"steps\"]");
    assert_eq!(stdout, "thread\nPermissionError\nsystem True\n");
    assert_eq!(message, "é\u{fffd}");
}

#[test]
fn r_is_forked_locked_and_still_works() {
    let script = tempfile::tempdir().expect("folder");
    fs::write(script.path().join("runner.R"), R).expect("script");
    let command = ["/usr/bin/R", "--vanilla", "--no-echo", "--file=/opt/runner.R"];
    let mut start = engine(&command, &script.path().join("runner.R"), "/opt/runner.R");
    start
        .environment
        .insert("OPENBLAS_NUM_THREADS".to_owned(), "1".to_owned());
    let (outputs, stdout, message) = run(start);
    assert_eq!(
        outputs.split_whitespace().collect::<Vec<_>>(),
        ["-17.579", "3.932"]
    );
    assert_eq!(stdout, "TRUE \nTRUE \n");
    assert_eq!(message, "fine");
}

fn engine(command: &[&str], script: &Path, at: &str) -> Start {
    assert!(
        Path::new(command[0]).exists(),
        "{} is needed by this test",
        command[0]
    );
    let folder = script.parent().expect("folder");
    for path in [folder, script] {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions");
    }
    let mut start = start(Mode::Restricted);
    start.command = command.iter().map(|&word| word.to_owned()).collect();
    start
        .environment
        .insert("PATH".to_owned(), "/usr/bin:/bin".to_owned());
    start.environment.insert("LANG".to_owned(), "C.UTF-8".to_owned());
    start.mounts = vec![
        mount(&built("libmuster_lock.so"), "/opt/lock.so", false),
        mount(script, at, false),
    ];
    start.limits = roomy();
    start
}

fn roomy() -> Limits {
    Limits {
        memory_bytes: 1 << 30,
        ..limits()
    }
}

fn run(start: Start) -> (String, String, String) {
    let launcher = jail(start);
    let run = launcher.run(1, roomy()).expect("forked");
    run.stage(&stage("", &["out"]), &[]).expect("staged");
    let outcome = run.finish().expect("finished");
    assert_eq!(outcome.exit, Some(Exit::Finished), "{outcome:?}");
    let [Report::Locked, Report::Finished { ending, message }] = outcome.reports.as_slice() else {
        panic!("{outcome:?}")
    };
    assert_eq!(ending, "succeeded", "{outcome:?}");
    let output = outcome.outputs[0].clone().expect("output");
    (
        String::from_utf8_lossy(&output).into_owned(),
        outcome.stdout.clone(),
        message.clone(),
    )
}
