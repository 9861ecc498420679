//! The promise: a run uses no more memory, processor, time, processes, descriptors, disk and output than it may.
//!
//! Outside, what lies in `outputs/0` is collected as it is.

use muster_engines::Limits;

use crate::probe::{Probe, c, python, r};

fn memory(limits: &mut Limits) {
    limits.memory_bytes = 300 << 20;
}

fn processor(limits: &mut Limits) {
    limits.cpu_seconds = 1;
}

fn time(limits: &mut Limits) {
    limits.wall_ms = 500;
}

fn processes(limits: &mut Limits) {
    limits.processes = 12;
}

fn descriptors(limits: &mut Limits) {
    limits.open_files = 64;
}

fn disk(limits: &mut Limits) {
    limits.scratch_bytes = 4 << 20;
}

fn output(limits: &mut Limits) {
    limits.output_bytes = 1 << 20;
}

pub(crate) const PROBES: &[Probe] = &[
    r(
        "hands in more than it may",
        "con <- file('outputs/0', 'wb'); for (i in 1:4) writeBin(raw(1e6), con)
         writeBin(charToRaw('HARM'), con); close(con)",
    )
    .limits(output),
    python(
        "hands in more than it may",
        "with open('outputs/0', 'wb') as file: file.write(bytes(4 << 20) + b'HARM')",
    )
    .limits(output),
    c(
        "hands in more than it may",
        r#"static char megabyte[1 << 20];
        int file = open("outputs/0", O_WRONLY | O_CREAT, 0600);
        for (int one = 0; one < 4; one++) if (write(file, megabyte, sizeof megabyte) < 0) return;
        if (write(file, "HARM", 4) < 0) return;"#,
    )
    .limits(output),
    c(
        "hands in a file of holes",
        r#"int file = open("outputs/0", O_RDWR | O_CREAT, 0600);
        if (ftruncate(file, 6 << 20) || pwrite(file, "HARM", 4, (6 << 20) - 4) < 0) return;"#,
    )
    .limits(output),
    r("eats memory", "x <- numeric(7e7); x[] <- 1; cat('HARM')").limits(memory),
    r("waits on", "Sys.sleep(4); cat('HARM')").limits(time),
    r(
        "fills the disk",
        "x <- raw(1e6); con <- file('x', 'wb'); for (i in 1:16) writeBin(x, con); close(con)
         if (file.size('x') > 15e6) cat('HARM')",
    )
    .limits(disk),
    python("eats memory", "x = bytearray(500 << 20); print('HARM')").limits(memory),
    python(
        "eats memory slowly",
        "x = []\nfor _ in range(500): x.append(bytearray(b'x') * (1 << 20))\nprint('HARM')",
    )
    .limits(memory),
    python("computes on", "import time\nwhile time.process_time() < 1.7: pass\nprint('HARM')").limits(processor),
    python("waits on", "import time; time.sleep(4); print('HARM')").limits(time),
    python(
        "opens everything",
        "import os\nfor _ in range(200): os.dup(1)\nprint('HARM')",
    )
    .limits(descriptors),
    python(
        "fills the disk",
        "with open('x', 'wb') as file:
    for _ in range(16): file.write(bytes(1 << 20))
print('HARM')",
    )
    .limits(disk),
    c(
        "makes files without end",
        r#"char path[16];
        int made = 0, file = 0;
        for (; made < 70000 && file >= 0; made++) {
            snprintf(path, sizeof path, "%d", made);
            file = open(path, O_WRONLY | O_CREAT, 0600);
            close(file);
        }
        harm_if(made == 70000);"#,
    ),
    python(
        "starts threads without end",
        "import threading
done = threading.Event()
for _ in range(60): threading.Thread(target=done.wait, daemon=True).start()
print('HARM', flush=True); done.set()",
    )
    .limits(processes),
    c(
        "eats memory",
        "size_t size = 500u << 20;
        char *memory = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) { harm_if(0); return; }
        for (size_t at = 0; at < size; at += 4096) memory[at] = 1;
        harm();",
    )
    .limits(memory),
    c(
        "eats memory in its scratch folder",
        r#"int file = open("x", O_RDWR | O_CREAT, 0600);
        size_t size = 16u << 20;
        if (ftruncate(file, (off_t)size)) { harm_if(0); return; }
        char *memory = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        for (size_t at = 0; memory != MAP_FAILED && at < size; at += 4096) memory[at] = 1;
        harm_if(memory != MAP_FAILED);"#,
    )
    .limits(disk),
    c(
        "computes on, deaf to warnings",
        "signal(SIGXCPU, SIG_IGN);
        while (clock() < 25 * CLOCKS_PER_SEC / 10) {}
        harm();",
    )
    .limits(processor),
    c("waits on", "sigset_t all; sigfillset(&all); sigprocmask(SIG_BLOCK, &all, 0); sleep(4); harm();").limits(time),
    c(
        "starts processes without end",
        "int born = 0;
        for (pid_t child; born < 60 && (child = fork()) >= 0; born++) if (child == 0) { sleep(1); _exit(0); }
        harm_if(born == 60);",
    )
    .limits(processes),
    c(
        "starts threads without end",
        "pthread_t thread;
        int born = 0;
        while (born < 60 && pthread_create(&thread, 0, nap, 0) == 0) born++;
        harm_if(born == 60);",
    )
    .limits(processes),
    c(
        "opens everything",
        "int last = 0;
        for (int one = 0; one < 200 && last >= 0; one++) last = dup(1);
        harm_if(last >= 0);",
    )
    .limits(descriptors),
    c(
        "fills the disk",
        r#"static char megabyte[1 << 20];
        int file = open("x", O_WRONLY | O_CREAT, 0600), full = 0;
        for (int one = 0; one < 16 && !full; one++) full = write(file, megabyte, sizeof megabyte) != sizeof megabyte;
        harm_if(!full);"#,
    )
    .limits(disk),
    c(
        "reserves the disk",
        r#"harm_if(fallocate(open("x", O_WRONLY | O_CREAT, 0600), 0, 0, 16 << 20) == 0);"#,
    )
    .limits(disk),
];

crate::check::promise!(PROBES);
