//! The promise: a run reaches none of the kernel's interfaces that have let others out of their jails.

use crate::probe::{Probe, c, python, r};

pub(crate) const PROBES: &[Probe] = &[
    r("lists the kernel's own files", "if (length(list.files('/sys/kernel'))) cat('HARM')"),
    r("opens the kernel's log", "f <- file('/dev/kmsg', 'rb', raw = TRUE); cat('HARM')"),
    r("reads the kernel's symbols", "if (!grepl('^0+ ', readLines('/proc/kallsyms', 1))) cat('HARM')"),
    r("reads the kernel's keys", "if (length(readLines('/proc/keys'))) cat('HARM')"),
    python(
        "keeps a key in the kernel",
        "import ctypes
if ctypes.CDLL(None).syscall(248, b'user', b'harm', b'x', 1, -2) > 0: print('HARM')",
    ),
    python(
        "makes a BPF map",
        "import ctypes, struct
how = struct.pack('IIIIII', 2, 4, 4, 1, 0, 0).ljust(128, b'\\0')
if ctypes.CDLL(None).syscall(321, 0, how, 128) >= 0: print('HARM')",
    ),
    python(
        "counts events of the processor's software",
        "import ctypes, struct
how = struct.pack('IIQ', 1, 112, 1).ljust(112, b'\\0')
if ctypes.CDLL(None).syscall(298, how, 0, -1, -1, 0) >= 0: print('HARM')",
    ),
    python(
        "opens a ring for calls that no filter sees",
        "import ctypes
if ctypes.CDLL(None).syscall(425, 4, ctypes.create_string_buffer(120)) >= 0: print('HARM')",
    ),
    python(
        "handles page faults itself",
        "import ctypes\nif ctypes.CDLL(None).syscall(323, 1) >= 0: print('HARM')",
    ),
    python(
        "puts characters into a terminal",
        "import fcntl, os, pty
pid, master = os.getpid(), None
master, slave = os.openpty()
os.setsid(); fcntl.ioctl(slave, 0x540E, 0); fcntl.ioctl(slave, 0x5412, b'x'); print('HARM')",
    ),
    python("reads the kernel's memory map", "print('HARM' if any(line.split('-')[0].strip('0 ') for line in open('/proc/iomem')) else '')"),
    c(
        "keeps a key in the kernel",
        r#"harm_if(syscall(SYS_add_key, "user", "harm", "x", 1, KEY_SPEC_PROCESS_KEYRING) > 0);"#,
    ),
    c("joins a keyring", "harm_if(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0) > 0);"),
    c(
        "makes a BPF map",
        "union bpf_attr how = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
        harm_if(syscall(SYS_bpf, BPF_MAP_CREATE, &how, sizeof how) >= 0);",
    ),
    c(
        "counts events of the kernel",
        "struct perf_event_attr how = {.type = PERF_TYPE_SOFTWARE, .size = sizeof how, .config = PERF_COUNT_SW_TASK_CLOCK};
        harm_if(syscall(SYS_perf_event_open, &how, 0, -1, -1, 0) >= 0);",
    ),
    c(
        "opens a ring for calls that no filter sees",
        "struct io_uring_params how = {0};
        harm_if(syscall(SYS_io_uring_setup, 4, &how) >= 0);",
    ),
    c(
        "handles page faults itself",
        "harm_if(syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY | O_CLOEXEC) >= 0);",
    ),
    c("lets itself be traced", "harm_if(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);"),
    c(
        "reads memory by a process's number",
        r#"char from[4] = "abc", to[4] = "";
        struct iovec here = {to, 4}, there = {from, 4};
        harm_if(process_vm_readv(getpid(), &here, 1, &there, 1, 0) == 4);"#,
    ),
    c(
        "writes memory by a process's number",
        r#"char from[4] = "abc", to[4] = "";
        struct iovec here = {from, 4}, there = {to, 4};
        harm_if(process_vm_writev(getpid(), &here, 1, &there, 1, 0) == 4);"#,
    ),
    c(
        "takes a descriptor by a process's number",
        "int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
        harm_if(self >= 0 && syscall(SYS_pidfd_getfd, self, 1, 0) >= 0);",
    ),
    c(
        "puts characters into a terminal",
        r#"int master = posix_openpt(O_RDWR | O_NOCTTY);
        int slave = master < 0 || grantpt(master) || unlockpt(master) ? -1 : open(ptsname(master), O_RDWR | O_NOCTTY);
        setsid();
        harm_if(slave >= 0 && ioctl(slave, TIOCSCTTY, 0) == 0 && ioctl(slave, TIOCSTI, "x") == 0);"#,
    ),
    c("changes a terminal's discipline", "
        int master = posix_openpt(O_RDWR | O_NOCTTY), none = 0;
        harm_if(master >= 0 && ioctl(master, TIOCSETD, &none) == 0);"),
    c("watches all files", "harm_if(syscall(SYS_fanotify_init, FAN_CLASS_NOTIF, O_RDONLY) >= 0);"),
    c(
        "makes a segment of memory",
        "char room[64] = {0};
        harm_if(syscall(SYS_modify_ldt, 0, room, sizeof room) >= 0);",
    ),
    c("locks a terminal's other end", r#"harm_if(open("/dev/ptmx", O_RDWR) >= 0);"#),
    c(
        "reads a device that it made",
        r#"char bytes[8];
        int device = mknod("device", S_IFCHR | 0600, makedev(1, 9)) ? -1 : open("device", O_RDONLY);
        harm_if(device >= 0 && read(device, bytes, sizeof bytes) == sizeof bytes);"#,
    ),
    c(
        "calls the kernel by the older gate",
        r#"long answer = 20; /* getpid of the 32-bit table */
        __asm__ volatile("int $0x80" : "+a"(answer));
        harm_if(answer == getpid());"#,
    ),
    c("sets the clock's course", "
        char how[208] = {0}; /* Asks only, with the call that sets. */
        how[0] = 2; how[1] = 0; /* ADJ_FREQUENCY, as it is */
        char now[208] = {0};
        if (syscall(SYS_adjtimex, now) < 0) { harm_if(0); return; }
        memcpy(how + 16, now + 16, 8);
        harm_if(syscall(SYS_adjtimex, how) >= 0);"),
    c("filters its own calls with an answering process", "
        struct sock_filter all = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        struct sock_fprog program = {1, &all};
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        harm_if(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program) >= 0);").trusted(),
];

crate::check::promise!(PROBES);
