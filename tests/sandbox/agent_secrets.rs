//! The promise: a run finds neither keys nor environment, memory, descriptors or sockets of the agent.
//!
//! The launcher of each jail is started with the agent's secret in its environment and with the agent's key open as
//! descriptor 7; so is each probe outside.

use crate::probe::{Probe, c, python, r};

pub(crate) const PROBES: &[Probe] = &[
    r("asks its environment", "cat(Sys.getenv('AGENT_SECRET'))"),
    r("prints its environment", "print(Sys.getenv())"),
    r(
        "reads its first environment",
        "b <- readBin('/proc/self/environ', 'raw', 100000); cat(rawToChar(b[b != 0]))",
    ),
    r(
        "reads all environments",
        "for (f in Sys.glob('/proc/[0-9]*/environ'))
           try({ b <- readBin(f, 'raw', 100000); cat(rawToChar(b[b != 0])) }, silent = TRUE)",
    ),
    r("reads the key", "cat(readLines('/mnt/agent/identity.json'))"),
    r(
        "reads others' descriptors",
        "for (f in Sys.glob('/proc/[0-9]*/fd/*'))
           if (grepl('json', Sys.readlink(f))) cat(readLines(f))",
    ),
    python(
        "asks its environment",
        "import os; print(os.environ.get('AGENT_SECRET'))",
    ),
    python(
        "reads all environments",
        "import glob
for path in glob.glob('/proc/[0-9]*/environ'):
    try: print(open(path).read())
    except OSError: pass",
    ),
    python("reads the key", "print(open('/mnt/agent/identity.json').read())"),
    python(
        "tries all descriptors",
        "import os
for number in range(3, 1024):
    try: print(os.pread(number, 200, 0))
    except OSError: pass",
    ),
    python(
        "searches the memory of others",
        "import glob
for process in glob.glob('/proc/[0-9]*'):
    try:
        maps, memory = open(process + '/maps'), open(process + '/mem', 'rb', 0)
        for line in maps:
            span, rights = line.split()[:2]
            if rights.startswith('rw'):
                begin, end = (int(part, 16) for part in span.split('-'))
                memory.seek(begin)
                found = memory.read(end - begin)
                at = found.find(b'the-key-of')
                if at >= 0 and found[at - 4:at] == bytes((88, 113, 55, 45)): print('HARM')
    except OSError: pass",
    ),
    python(
        "calls the agent",
        "import socket
agent = socket.socket(socket.AF_UNIX)
agent.connect('/mnt/agent/agent.sock')
print(agent.recv(100))",
    ),
    c(
        "asks its environment",
        r#"char *found = getenv("AGENT_SECRET");
        if (found) say(found);"#,
    ),
    c(
        "searches its own stack, where the environment was",
        "/* To the end of the stack: reading there is asked of the kernel, which knows where it ends. */
        unsigned char page[4096];
        uintptr_t at = (uintptr_t)&page & ~(uintptr_t)4095;
        int ends[2], found = 0;
        if (pipe(ends)) { harm_if(0); return; }
        for (; write(ends[1], (void *)at, 4096) == 4096; at += 4096) {
            if (read(ends[0], page, 4096) != 4096) break;
            found = found || is_secret((unsigned char *)at, 4096);
        }
        harm_if(found);",
    ),
    c(
        "searches its own memory",
        r#"harm_if(secret_in_memory_of("self"));"#,
    ),
    c(
        "searches the memory of process 1",
        r#"
        char process[16];
        snprintf(process, sizeof process, "%d", agent());
        harm_if(secret_in_memory_of(process) || secret_in_memory_of("1"));"#,
    ),
    c(
        "tries all descriptors",
        "char bytes[200];
        for (int one = 3; one < 1024; one++) {
            ssize_t count = pread(one, bytes, sizeof bytes, 0);
            if (count > 0 && write(1, bytes, (size_t)count) < 0) return;
        }",
    ),
    c(
        "reads its parent's environment",
        r#"char path[64];
        snprintf(path, sizeof path, "/proc/%d/environ", getppid());
        FILE *file = fopen(path, "r");
        for (int one; file && (one = fgetc(file)) != EOF;) if (one) putchar(one);
        fflush(stdout);
        harm_if(0);"#,
    ),
    c("reads the key", r#"show_file("/mnt/agent/identity.json");"#),
    c(
        "calls the agent",
        r#"call_unix(SOCK_STREAM, "/mnt/agent/agent.sock");"#,
    ),
    c(
        "takes a descriptor of the agent",
        "char process[300];
        int agents = syscall(SYS_pidfd_open, agent(), 0);
        int taken = agents < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, agents, 0, 0);
        for (int one = 3; agents >= 0 && one < 40; one++) {
            taken = (int)syscall(SYS_pidfd_getfd, agents, one, 0);
            ssize_t count = taken < 0 ? -1 : pread(taken, process, sizeof process, 0);
            if (count > 0 && write(1, process, (size_t)count) < 0) return;
        }
        if (taken < 0) harm_if(0);",
    ),
];

crate::check::promise!(PROBES);
