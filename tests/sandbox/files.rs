//! The promise: a run reads and writes no file of the host but programs and libraries, which it cannot change.

use crate::probe::{Probe, c, python, r};

pub(crate) const PROBES: &[Probe] = &[
    r("reads a file", "cat(readLines('/mnt/agent/secret.txt'))"),
    r("lists a folder", "if ('agent' %in% list.files('/mnt')) cat('HARM')"),
    r("overwrites a file", "cat('x', file = '/mnt/canary')"),
    r("removes a file", "unlink('/mnt/canary')"),
    r("copies a file", "file.copy('/mnt/agent/secret.txt', 'mine'); cat(readLines('mine'))"),
    r("executes a file", "sys.source('/mnt/agent/code.R', globalenv())"),
    r(
        "reads with file() from behind its stub",
        "e <- parent.env(parent.env(environment(tempfile)))
         cat(readLines(get('file', e)('/mnt/agent/secret.txt')))",
    ),
    r(
        "reads with the internal function",
        "con <- eval(quote(.Internal(file('/mnt/agent/secret.txt', 'r', TRUE, 'UTF-8', 'default', FALSE))), baseenv())
         cat(readLines(con))",
    ),
    r(
        "draws over a file",
        "grDevices::pdf('/mnt/canary'); plot.new(); invisible(grDevices::dev.off())",
    ),
    python("reads a file", "print(open('/mnt/agent/secret.txt').read())"),
    python("lists a folder", "import os\nif 'agent' in os.listdir('/mnt'): print('HARM')"),
    python("overwrites a file", "open('/mnt/canary', 'w').write('x')"),
    python("renames a file", "import os; os.rename('/mnt/canary', '/mnt/moved')"),
    python("executes a file", "import runpy; runpy.run_path('/mnt/agent/code.py')"),
    python(
        "reads from a folder's descriptor",
        "import os
root = os.open('/', os.O_RDONLY)
print(os.read(os.open('mnt/agent/secret.txt', os.O_RDONLY, dir_fd=root), 100))",
    ),
    python(
        "climbs out of its folder",
        "print(open('/tmp/../mnt/agent/secret.txt').read())",
    ),
    python(
        "reads with a library that asks nobody",
        "import readline
readline.read_history_file('/mnt/agent/secret.txt')
print(readline.get_history_item(1))",
    ),
    python(
        "writes with a library that asks nobody",
        "import readline; readline.write_history_file('/mnt/canary')",
    ),
    python(
        "makes a database",
        "import sqlite3
base = sqlite3.connect(':memory:')
base.execute('create table t (a)')
base.execute(\"vacuum into '/mnt/new.db'\")",
    ),
    python(
        "reads the users' passwords",
        "print('HARM' if 'root:' in open('/etc/shadow').read() else '')",
    ),
    python(
        "reads through the root of process 1",
        "print(open('/proc/1/root/mnt/agent/secret.txt').read())",
    ),
    c("reads a file", r#"show_file("/mnt/agent/secret.txt");"#),
    c("climbs out of its folder", r#"show_file("../../../../../mnt/agent/secret.txt");"#),
    c("reads through its own root", r#"show_file("/proc/self/root/mnt/agent/secret.txt");"#),
    c(
        "reads by a file's handle",
        r#"union { struct file_handle handle; char room[256]; } file;
        int mount, place = open("/mnt", O_RDONLY);
        file.handle.handle_bytes = 128;
        if (name_to_handle_at(AT_FDCWD, "/mnt/agent/secret.txt", &file.handle, &mount, 0)) harm_if(0);
        else show(open_by_handle_at(place, &file.handle, O_RDONLY));"#,
    ),
    c("empties a file", r#"harm_if(truncate("/mnt/canary", 0) == 0);"#),
    c("removes a file", r#"harm_if(unlink("/mnt/canary") == 0);"#),
    c("makes a file", r#"harm_if(open("/mnt/new", O_WRONLY | O_CREAT, 0600) >= 0);"#),
    c("changes a file's mode", r#"harm_if(chmod("/mnt/canary", 0666) == 0);"#),
    c("changes a file's times", r#"harm_if(utimensat(AT_FDCWD, "/mnt/canary", 0, 0) == 0);"#),
    c(
        "opens a file of the system for writing",
        r#"harm_if(open("/usr/lib/os-release", O_WRONLY) >= 0);"#,
    ),
    c("learns of a file", r#"struct stat about; harm_if(stat("/mnt/agent/secret.txt", &about) == 0);"#),
    c(
        "watches a folder",
        r#"int watch = inotify_init1(IN_CLOEXEC);
        harm_if(watch >= 0 && inotify_add_watch(watch, "/mnt/agent", IN_ACCESS) >= 0);"#,
    ),
];

crate::check::promise!(PROBES);
