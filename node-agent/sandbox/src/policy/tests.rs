//! Every compiled filter is interpreted and compared with its file.

use std::collections::BTreeSet;

use super::*;

#[path = "../../build/compile.rs"]
mod compile;
#[path = "../../build/constants.rs"]
mod constants;
#[path = "../../build/policy.rs"]
#[expect(dead_code, reason = "the build script uses the rest")]
mod policy;
#[path = "../../build/syscalls.rs"]
mod syscalls;

use compile::{ALLOW, AND, ARCHITECTURE, FOREIGN_BIT, JUMP_AT_LEAST, JUMP_EQUAL, KILL, LOAD, REFUSE, RETURN};
use policy::Policy;

const FILES: [(&str, &str); 3] = [
    ("restricted", include_str!("../../../policies/restricted.toml")),
    (
        "unrestricted",
        include_str!("../../../policies/unrestricted.toml"),
    ),
    ("supervisor", include_str!("../../../policies/supervisor.toml")),
];

/// Runs a program as the kernel does.
fn answer(program: Program, architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let (code, yes, no, operand) = program[at];
        at += 1;
        match code {
            LOAD => {
                let index = usize::try_from(operand.saturating_sub(16) / 8).expect("small");
                accumulator = match operand {
                    0 => number,
                    4 => architecture,
                    _ => u32::try_from(arguments[index] & 0xffff_ffff).expect("masked"),
                };
            }
            AND => accumulator &= operand,
            JUMP_EQUAL => at += usize::from(if accumulator == operand { yes } else { no }),
            JUMP_AT_LEAST => at += usize::from(if accumulator >= operand { yes } else { no }),
            RETURN => return operand,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

fn call(program: Program, name: &str, arguments: [u64; 6]) -> u32 {
    answer(
        program,
        ARCHITECTURE,
        policy::syscall(name).expect(name),
        arguments,
    )
}

fn compiled(name: &str) -> Program {
    match name {
        "restricted" => payload(Mode::Restricted),
        "unrestricted" => payload(Mode::Unrestricted),
        _ => supervisor(),
    }
}

#[test]
fn what_a_file_allows_is_allowed_and_nothing_beside_it() {
    for (name, text) in FILES {
        let mut policy = Policy::parse(text).expect(name);
        if policy.base.is_some() {
            policy = policy.on(&Policy::parse(FILES[0].1).expect("base"));
        }
        let (mut always, mut sometimes) = (BTreeSet::new(), BTreeSet::new());
        for rule in &policy.syscalls {
            for call in &rule.names {
                let number = policy::syscall(call).expect(call);
                let set = if rule.when.is_empty() && rule.errno.is_none() {
                    &mut always
                } else {
                    &mut sometimes
                };
                set.insert(number);
            }
        }
        for number in (0..1100).filter(|number| always.contains(number) || !sometimes.contains(number)) {
            let expected = if always.contains(&number) { ALLOW } else { REFUSE };
            assert_eq!(
                answer(compiled(name), ARCHITECTURE, number, [0; 6]),
                expected,
                "{name}: call {number}"
            );
        }
    }
}

#[test]
fn conditions_hold_at_their_edges() {
    let (restricted, unrestricted) = (payload(Mode::Restricted), payload(Mode::Unrestricted));
    let first = |argument| [argument, 0, 0, 0, 0, 0];
    let second = |argument| [0, argument, 0, 0, 0, 0];
    let (thread, fork, user_namespace) = (0x003d_0f00, 0x0120_0011, 0x1000_0011);
    for (program, name, arguments, expected) in [
        (restricted, "clone", first(thread), ALLOW),
        (restricted, "clone", first(fork), REFUSE),
        (restricted, "clone", first(thread | 0x1000_0000), REFUSE),
        (unrestricted, "clone", first(thread), ALLOW),
        (unrestricted, "clone", first(fork), ALLOW),
        (unrestricted, "clone", first(user_namespace), REFUSE),
        (unrestricted, "clone", first(thread | 0x2000_0000), REFUSE),
        (restricted, "clone3", [0; 6], 0x0005_0026),
        (unrestricted, "clone3", [0; 6], 0x0005_0026),
        (restricted, "socket", first(1), REFUSE),
        (unrestricted, "socket", first(1), ALLOW),
        (unrestricted, "socket", first(2), ALLOW),
        (unrestricted, "socket", first(17), REFUSE),
        (unrestricted, "socket", [16, 3, 0, 0, 0, 0], ALLOW),
        (unrestricted, "socket", [16, 3, 9, 0, 0, 0], REFUSE),
        (restricted, "ioctl", second(0x5401), ALLOW),
        (restricted, "ioctl", second(0x5412), REFUSE),
        (unrestricted, "ioctl", second(0x5412), REFUSE),
        (unrestricted, "ioctl", second(0xffff_ffff_0000_5412), REFUSE),
        (unrestricted, "ioctl", second(0x1234), ALLOW),
        (restricted, "prctl", first(15), ALLOW),
        (restricted, "prctl", first(4), REFUSE),
        (unrestricted, "prctl", first(4), REFUSE),
        (unrestricted, "prctl", first(1), ALLOW),
        (restricted, "personality", first(0xffff_ffff), ALLOW),
        (restricted, "personality", first(0x0004_0000), REFUSE),
        (restricted, "prlimit64", first(0), ALLOW),
        (restricted, "prlimit64", first(1), REFUSE),
    ] {
        assert_eq!(call(program, name, arguments), expected, "{name} {arguments:x?}");
    }
}

#[test]
fn what_breaks_out_of_jails_is_in_no_policy() {
    for name in [
        "bpf",
        "keyctl",
        "add_key",
        "request_key",
        "perf_event_open",
        "userfaultfd",
        "io_uring_setup",
        "io_uring_enter",
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
        "kcmp",
        "pidfd_getfd",
        "mount",
        "umount2",
        "open_tree",
        "move_mount",
        "fsopen",
        "fsmount",
        "mount_setattr",
        "pivot_root",
        "chroot",
        "unshare",
        "setns",
        "open_by_handle_at",
        "name_to_handle_at",
        "init_module",
        "finit_module",
        "kexec_load",
        "reboot",
        "swapon",
        "acct",
        "quotactl",
        "iopl",
        "ioperm",
        "modify_ldt",
        "capset",
        "process_madvise",
        "move_pages",
        "migrate_pages",
        "syslog",
        "lookup_dcookie",
        "fanotify_init",
        "settimeofday",
        "adjtimex",
    ] {
        for (file, _) in FILES {
            assert_eq!(call(compiled(file), name, [0; 6]), REFUSE, "{file}: {name}");
        }
    }
    for name in [
        "execve",
        "execveat",
        "fork",
        "vfork",
        "memfd_create",
        // A lock on a file of the host would be seen by all runs and by the host.
        "flock",
        "socketpair",
        "connect",
        "symlink",
        "mknod",
    ] {
        assert_eq!(call(payload(Mode::Restricted), name, [0; 6]), REFUSE, "{name}");
    }
}

#[test]
fn foreign_instruction_sets_are_killed() {
    const I386: u32 = 0x4000_0003;
    for (name, _) in FILES {
        assert_eq!(answer(compiled(name), I386, 1, [0; 6]), KILL, "{name}");
        assert_eq!(
            answer(compiled(name), ARCHITECTURE, FOREIGN_BIT, [0; 6]),
            KILL,
            "{name}"
        );
        assert_eq!(
            answer(compiled(name), ARCHITECTURE, u32::MAX, [0; 6]),
            KILL,
            "{name}"
        );
    }
}

/// Length is latency: the kernel prepares every instruction anew for each run.
#[test]
fn programs_stay_short() {
    for (name, _) in FILES {
        assert!(compiled(name).len() <= 250, "{name}: {}", compiled(name).len());
    }
}

#[test]
fn slips_of_the_pen_are_refused() {
    let compile = |text: &str| Policy::parse(text).and_then(|policy| compile::compile(&policy));
    for text in [
        "[[syscalls]]\ncomment = ''\nnames = ['read']",
        "[[syscalls]]\ncomment = 'A reason.'\nnames = ['reed']",
        "[[syscalls]]\ncomment = 'A reason.'\nnames = ['read']\nwhne = []",
        "[[syscalls]]\ncomment = 'A reason.'\nnames = ['read']\nwhen = [{ argument = 6, one_of = [1] }]",
        "[[syscalls]]\ncomment = 'A reason.'\nnames = ['read']\nwhen = [{ argument = 0, one_of = ['PR_OOPS'] }]",
        "[[syscalls]]\ncomment = 'A reason.'\nnames = ['read']\nwhen = [{ argument = 0, mask = 1 }]",
    ] {
        assert!(compile(text).is_err(), "{text}");
    }
}

#[test]
fn the_table_agrees_with_libc() {
    for (name, number) in [
        ("read", libc::SYS_read),
        ("clone3", libc::SYS_clone3),
        ("landlock_add_rule", libc::SYS_landlock_add_rule),
    ] {
        assert_eq!(libc::c_long::from(policy::syscall(name).expect(name)), number);
    }
}
