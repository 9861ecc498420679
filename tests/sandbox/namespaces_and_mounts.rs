//! The promise: a run makes and enters no namespace, mounts nothing, and does not move its root.

use crate::probe::{Probe, c, python, r};

pub(crate) const PROBES: &[Probe] = &[
    r(
        "makes a user namespace with a program",
        "cat(system('unshare --user echo HARM', intern = TRUE))",
    ),
    r(
        "mounts with a program",
        "if (system('mount -t tmpfs x /mnt') == 0) cat('HARM')",
    ),
    r(
        "lists the control groups",
        "if (length(list.files('/sys/fs/cgroup'))) cat('HARM')",
    ),
    r(
        "reaches namespaces of others",
        "if (length(list.files('/proc/1/ns'))) cat('HARM')",
    ),
    python("moves its root", "import os; os.chroot('/'); print('HARM')"),
    python(
        "makes a user namespace",
        "import ctypes\nif ctypes.CDLL(None).unshare(0x10000000) == 0: print('HARM')",
    ),
    python(
        "makes a mount namespace",
        "import ctypes\nif ctypes.CDLL(None).unshare(0x00020000) == 0: print('HARM')",
    ),
    python(
        "mounts",
        "import ctypes\nif ctypes.CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, None) == 0: print('HARM')",
    ),
    python(
        "enters the network of process 1",
        "import ctypes, os
if ctypes.CDLL(None).setns(os.open('/proc/1/ns/net', os.O_RDONLY), 0) == 0: print('HARM')",
    ),
    python(
        "lists the control groups",
        "import os\nif os.listdir('/sys/fs/cgroup'): print('HARM')",
    ),
    c("makes a user namespace", "harm_if(unshare(CLONE_NEWUSER) == 0);"),
    c("makes a mount namespace", "harm_if(unshare(CLONE_NEWNS) == 0);"),
    c(
        "makes a network namespace",
        "harm_if(unshare(CLONE_NEWNET) == 0);",
    ),
    c(
        "makes a namespace of control groups",
        "harm_if(unshare(CLONE_NEWCGROUP) == 0);",
    ),
    c(
        "makes a process in a user namespace",
        "long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
        if (child == 0) _exit(0);
        harm_if(child > 0);",
    ),
    c(
        "makes a process in a user namespace with the newest call",
        "struct clone_args how = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
        long child = syscall(SYS_clone3, &how, sizeof how);
        if (child == 0) _exit(0);
        harm_if(child > 0);",
    ),
    c(
        "enters the namespaces of process 1",
        r#"harm_if(setns(open("/proc/1/ns/uts", O_RDONLY), 0) == 0);"#,
    ),
    c(
        "enters the namespaces of its parent by a descriptor",
        "int other = (int)syscall(SYS_pidfd_open, getppid(), 0);
        harm_if(other >= 0 && setns(other, CLONE_NEWUTS) == 0);",
    ),
    c(
        "mounts memory",
        r#"harm_if(mount("x", "/tmp", "tmpfs", 0, 0) == 0);"#,
    ),
    c(
        "mounts processes",
        r#"harm_if(mount("proc", "/proc", "proc", 0, 0) == 0);"#,
    ),
    c(
        "shows a folder elsewhere",
        r#"harm_if(mount("/usr", "/tmp", 0, MS_BIND, 0) == 0);"#,
    ),
    c(
        "makes its scratch folder larger",
        r#"harm_if(mount(0, access("/scratch", F_OK) ? "/mnt" : "/scratch", 0, MS_REMOUNT, "size=64g") == 0);"#,
    ),
    c(
        "takes a mount away",
        r#"harm_if(umount2("/proc", MNT_DETACH) == 0);"#,
    ),
    c("moves its root", r#"harm_if(chroot("/tmp") == 0);"#),
    c(
        "climbs out of a root of its own",
        r#"mkdir("cage", 0700);
        int outside = open("/", O_RDONLY);
        harm_if(chroot("cage") == 0 && fchdir(outside) == 0 && access("usr", F_OK) == 0);"#,
    ),
    c(
        "exchanges its root",
        r#"mkdir("cage", 0700);
        harm_if(mount("x", "cage", "tmpfs", 0, 0) == 0 && mkdir("cage/old", 0700) == 0
            && syscall(SYS_pivot_root, "cage", "cage/old") == 0);"#,
    ),
    c(
        "makes a file system with the newer calls",
        r#"int context = (int)syscall(SYS_fsopen, "tmpfs", 0);
        harm_if(context >= 0 && syscall(SYS_fsconfig, context, 6, 0, 0, 0) == 0 && syscall(SYS_fsmount, context, 0, 0) >= 0);"#,
    ),
    c(
        "clones a tree of mounts",
        r#"harm_if(syscall(SYS_open_tree, AT_FDCWD, "/usr", 1) >= 0);"#,
    ),
    c(
        "makes mounts writable",
        r#"struct mount_attr writable = {.attr_clr = MOUNT_ATTR_RDONLY};
        harm_if(syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &writable, sizeof writable) == 0);"#,
    ),
    c(
        "opens a control group for writing",
        r#"int group = open("/sys/fs/cgroup/cgroup.procs", O_WRONLY);
        harm_if(group >= 0 || open("/sys/fs/cgroup/pids/cgroup.procs", O_WRONLY) >= 0);"#,
    ),
];

crate::check::promise!(PROBES);
