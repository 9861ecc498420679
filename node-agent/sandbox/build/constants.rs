//! Names that policies may use instead of numbers, from the kernel's headers.

/// Name and value of each.
pub(crate) const CONSTANTS: &[(&str, u32)] = &[
    // asm-generic/ioctls.h
    ("TCGETS", 0x5401),
    ("TIOCSTI", 0x5412),
    ("TIOCGWINSZ", 0x5413),
    ("FIONREAD", 0x541b),
    ("TIOCLINUX", 0x541c),
    ("FIONBIO", 0x5421),
    ("TIOCSETD", 0x5423),
    ("FIONCLEX", 0x5450),
    ("FIOCLEX", 0x5451),
    // asm/prctl.h
    ("ARCH_SET_FS", 0x1002),
    ("ARCH_GET_FS", 0x1003),
    ("ARCH_CET_STATUS", 0x3001),
    // linux/prctl.h
    ("PR_SET_PDEATHSIG", 1),
    ("PR_GET_PDEATHSIG", 2),
    ("PR_GET_DUMPABLE", 3),
    ("PR_GET_KEEPCAPS", 7),
    ("PR_SET_NAME", 15),
    ("PR_GET_NAME", 16),
    ("PR_GET_SECCOMP", 21),
    ("PR_SET_SECCOMP", 22),
    ("PR_CAPBSET_READ", 23),
    ("PR_GET_SECUREBITS", 27),
    ("PR_SET_TIMERSLACK", 29),
    ("PR_GET_TIMERSLACK", 30),
    ("PR_SET_CHILD_SUBREAPER", 36),
    ("PR_GET_CHILD_SUBREAPER", 37),
    ("PR_SET_NO_NEW_PRIVS", 38),
    ("PR_GET_NO_NEW_PRIVS", 39),
    ("PR_GET_TID_ADDRESS", 40),
    ("PR_SET_VMA", 0x5356_4d41),
    // linux/socket.h, linux/netlink.h
    ("AF_UNIX", 1),
    ("AF_INET", 2),
    ("AF_INET6", 10),
    ("AF_NETLINK", 16),
    ("NETLINK_ROUTE", 0),
    // asm-generic/errno.h
    ("ENOSYS", 38),
    ("EPERM", 1),
];
