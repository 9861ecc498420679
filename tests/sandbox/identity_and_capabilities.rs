//! The promise: a run stays the user that it is, gains no capability and changes nothing of the machine's identity.

use crate::probe::{Probe, c, python, r};

pub(crate) const PROBES: &[Probe] = &[
    r(
        "renames the machine",
        "cat('harmed', file = '/proc/sys/kernel/hostname'); if (Sys.info()[['nodename']] == 'harmed') cat('HARM')",
    ),
    r(
        "opens a setting of the kernel for writing",
        "f <- file('/proc/sys/kernel/core_pattern', 'a'); cat('HARM'); close(f)",
    ),
    r(
        "becomes somebody else with a program",
        "cat(system('setpriv --reuid=12345 --clear-groups echo HARM', intern = TRUE))",
    ),
    python(
        "becomes somebody else",
        "import os
os.setuid(12345)
if os.getuid() == 12345: print('HARM')",
    ),
    python(
        "joins a group",
        "import os\nos.setgroups([5])\nif 5 in os.getgroups(): print('HARM')",
    ),
    python(
        "gives a file away",
        "import os
open('mine', 'w').close(); os.chown('mine', 12345, 12345)
if os.stat('mine').st_uid == 12345: print('HARM')",
    ),
    python(
        "renames the machine",
        "import socket\nsocket.sethostname('harmed')\nprint('HARM')",
    ),
    python(
        "goes before everybody",
        "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)); print('HARM')",
    ),
    python("becomes more important", "import os; os.nice(-1); print('HARM')"),
    python(
        "reads the kernel's log",
        "print('HARM' if open('/dev/kmsg', 'rb', 0).read(8192) else '')",
    ),
    c(
        "becomes somebody else",
        "harm_if(setresuid(12345, 12345, 12345) == 0);",
    ),
    c("becomes root", "harm_if(setresuid(0, 0, 0) == 0);"),
    c(
        "becomes another group",
        "harm_if(setresgid(12345, 12345, 12345) == 0);",
    ),
    c(
        "opens files as somebody else",
        "setfsuid(12345); harm_if(setfsuid((uid_t)-1) == 12345);",
    ),
    c(
        "takes all capabilities",
        "struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
        struct __user_cap_data_struct all[2] = {{1u << CAP_SYS_ADMIN, 1u << CAP_SYS_ADMIN, 0}, {0}};
        harm_if(syscall(SYS_capset, &head, all) == 0);",
    ),
    c(
        "leaves a capability to programs",
        "struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
        unsigned one = 1u << CAP_SYS_PTRACE;
        struct __user_cap_data_struct some[2] = {{one, one, one}, {0}};
        harm_if(syscall(SYS_capset, &head, some) == 0
            && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_PTRACE, 0, 0) == 0);",
    ),
    c(
        "loosens what a change of user takes away",
        "harm_if(prctl(PR_SET_SECUREBITS, 1, 0, 0, 0) == 0);",
    ),
    c(
        "renames the machine",
        r#"harm_if(sethostname("harmed", 6) == 0);"#,
    ),
    c(
        "renames the machine's domain",
        r#"harm_if(setdomainname("harmed", 6) == 0);"#,
    ),
    c(
        "reads the kernel's log",
        "char bytes[4096]; harm_if(klogctl(3, bytes, sizeof bytes) > 0);",
    ),
    c(
        "makes the layout of memory predictable",
        "harm_if(personality(ADDR_NO_RANDOMIZE) >= 0);",
    ),
];

crate::check::promise!(PROBES);
