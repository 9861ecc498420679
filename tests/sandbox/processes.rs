//! The promise: a run sees, signals and traces no process but its own, and nothing of it outlives it. A restricted run
//! makes no process at all.

use crate::probe::{Probe, c, python, r};

pub(crate) const PROBES: &[Probe] = &[
    r(
        "sees others",
        "for (f in Sys.glob('/proc/[0-9]*/cmdline'))
           if (any(grepl('lab.py', suppressWarnings(readLines(f, warn = FALSE, skipNul = TRUE))))) cat('HARM')",
    ),
    r(
        "signals others",
        "for (p in 2:60) if (p != Sys.getpid()) tools::pskill(p, 10L)",
    ),
    r(
        "outlives its run with a program",
        "system('sh -c \"echo outlived-system > /proc/self/comm; sleep 5\" > /dev/null 2>&1 &'); Sys.sleep(0.3)",
    ),
    r(
        "outlives its run with a copy of itself",
        "p <- parallel:::mcfork(TRUE)
         if (inherits(p, 'masterProcess')) {
           parallel:::closeStdout(TRUE); parallel:::closeStderr(TRUE)
           cat('outlived-mcfork', file = '/proc/self/comm')
           for (n in 1:50) Sys.sleep(0.1)
           parallel:::mcexit()
         }
         Sys.sleep(0.3); tools::pskill(Sys.getpid(), 9L)",
    ),
    python(
        "sees others",
        "import glob
for path in glob.glob('/proc/[0-9]*/cmdline'):
    if 'lab.py' in open(path).read(): print('HARM')",
    ),
    python(
        "signals others",
        "import os
for pid in range(2, 60):
    try: pid in (os.getpid(), os.getppid()) or os.kill(pid, 10)
    except ProcessLookupError: pass",
    ),
    python(
        "signals others by descriptors",
        "import os, signal
for pid in range(2, 60):
    try: pid in (os.getpid(), os.getppid()) or signal.pidfd_send_signal(os.pidfd_open(pid), 10)
    except ProcessLookupError: pass",
    ),
    python(
        "outlives its run",
        "import os, time
if os.fork() == 0:
    os.setsid()
    for number in range(3): os.close(number)
    open('/proc/self/comm', 'w').write('outlived-python'); time.sleep(5); os._exit(0)
time.sleep(0.3)",
    ),
    python(
        "makes a process",
        "import os
if os.fork() == 0: os._exit(0)
print('HARM')",
    )
    .trusted(),
    python(
        "makes a process with the library for it",
        "import multiprocessing
child = multiprocessing.get_context('fork').Process(target=print)
child.start(); child.join(); print('HARM')",
    )
    .trusted(),
    python(
        "slows others",
        "import os
for pid in range(2, 60):
    try: pid in (os.getpid(), os.getppid()) or os.setpriority(os.PRIO_PROCESS, pid, 19)
    except ProcessLookupError: pass",
    ),
    c(
        "signals everybody",
        "if (kill(-1, SIGUSR1)) harm_if(0);",
    ),
    c(
        "signals a thread",
        "pid_t other = agent();
        if (syscall(SYS_tgkill, other, other, SIGUSR1)) harm_if(0);",
    ),
    c(
        "queues a signal",
        "siginfo_t about = {.si_code = SI_QUEUE};
        if (syscall(SYS_rt_sigqueueinfo, agent(), SIGUSR1, &about)) harm_if(0);",
    ),
    c(
        "signals by a descriptor",
        "int other = (int)syscall(SYS_pidfd_open, agent(), 0);
        if (other < 0 || syscall(SYS_pidfd_send_signal, other, SIGUSR1, 0, 0)) harm_if(0);",
    ),
    c("traces another", "harm_if(ptrace(PTRACE_SEIZE, agent(), 0, 0) == 0);"),
    c(
        "attaches to another",
        "pid_t other = agent();
        int stopped = ptrace(PTRACE_ATTACH, other, 0, 0) == 0;
        harm_if(stopped);
        if (stopped) { waitpid(other, 0, __WALL); ptrace(PTRACE_DETACH, other, 0, 0); }",
    ),
    c("makes a process", "pid_t child = fork(); if (child == 0) _exit(0); harm_if(child > 0);").trusted(),
    c(
        "makes a process beside its memory",
        "pid_t child = vfork(); if (child == 0) _exit(0); harm_if(child > 0);",
    )
    .trusted(),
    c(
        "makes a process with the newest call",
        "struct clone_args how = {.exit_signal = SIGCHLD};
        long child = syscall(SYS_clone3, &how, sizeof how);
        if (child == 0) _exit(0);
        harm_if(child > 0);",
    ),
    c(
        "outlives its run",
        r#"pid_t child = fork();
        if (child == 0) outlive("outlived-fork");
        usleep(300000);
        if (child < 0) harm_if(0);"#,
    ),
    c(
        "outlives its run as its parent's child",
        r#"long child = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
        if (child == 0) outlive("outlived-sibling");
        usleep(300000);
        if (child < 0) harm_if(0);"#,
    ),
    c(
        "outlives its run as an orphan",
        r#"pid_t child = fork();
        if (child == 0) {
            if (fork() == 0) outlive("outlived-orphan");
            _exit(0);
        }
        usleep(300000);
        if (child < 0) harm_if(0);"#,
    ),
    c(
        "changes another's limits",
        "/* As the user whose process it is, if that can be. */
        struct rlimit64 now;
        pid_t other = agent();
        if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)) dprintf(2, \"still the same user\\n\");
        harm_if(syscall(SYS_prlimit64, other, RLIMIT_CORE, 0, &now) == 0
            && syscall(SYS_prlimit64, other, RLIMIT_CORE, &now, 0) == 0);",
    ),
    c(
        "binds another to a processor",
        "/* Trusted code may slow its own process 1, which does not concern others. */
        unsigned long mask = ~0ul;
        harm_if(agent() > 1 && syscall(SYS_sched_setaffinity, agent(), sizeof mask, &mask) == 0);",
    ),
    c(
        "compares itself with another",
        "pid_t other = agent();
        harm_if(syscall(SYS_kcmp, other, other, 0, 0, 0) >= 0);",
    ),
];

crate::check::promise!(PROBES);
