//! Every compiled filter, of both architectures, is interpreted and compared with its file.

use proptest::prelude::*;

use super::*;

#[path = "../../build/compile.rs"]
mod compile;
#[path = "../../build/constants.rs"]
mod constants;
mod interpreter;
#[path = "../../build/policy.rs"]
#[expect(dead_code, reason = "the build script uses the rest")]
mod policy;
mod rules;
#[path = "../../build/syscalls.rs"]
mod syscalls;

use compile::{ALLOW, KILL, REFUSE, SECCOMP_RET_ERRNO};
use interpreter::{Call, answer};
use policy::Policy;
use rules::{interesting, ruled};
use syscalls::{ARCHITECTURES, Architecture};

const FILES: [(&str, &str); 5] = [
    ("restricted", include_str!("../../../policies/restricted.toml")),
    (
        "unrestricted",
        include_str!("../../../policies/unrestricted.toml"),
    ),
    (
        "listed-programs",
        include_str!("../../../policies/listed-programs.toml"),
    ),
    ("no-programs", include_str!("../../../policies/no-programs.toml")),
    ("supervisor", include_str!("../../../policies/supervisor.toml")),
];
/// The only other answer to what is refused: ENOSYS.
const NO_SUCH_CALL: u32 = SECCOMP_RET_ERRNO | 0x26;

/// One compiled filter and what it was compiled from.
struct Filter {
    name: &'static str,
    policy: Policy,
    architecture: &'static Architecture,
    program: Program,
}

impl Filter {
    /// The answer to a call of this name whose arguments are all nothing; none where there is no such call.
    fn unasked(&self, name: &str) -> Option<u32> {
        let number = self.architecture.number(name).expect(name)?;
        let call = Call {
            audit: self.architecture.audit,
            number,
            arguments: [0; 6],
        };
        Some(answer(self.program, &call))
    }
}

fn filters() -> Vec<Filter> {
    let programs: [[Program; 2]; 5] = [
        [compiled::RESTRICTED_X86_64, compiled::RESTRICTED_AARCH64],
        [compiled::UNRESTRICTED_X86_64, compiled::UNRESTRICTED_AARCH64],
        [
            compiled::LISTED_PROGRAMS_X86_64,
            compiled::LISTED_PROGRAMS_AARCH64,
        ],
        [compiled::NO_PROGRAMS_X86_64, compiled::NO_PROGRAMS_AARCH64],
        [compiled::SUPERVISOR_X86_64, compiled::SUPERVISOR_AARCH64],
    ];
    let mut filters = Vec::new();
    for ((name, text), programs) in FILES.into_iter().zip(programs) {
        let mut policy = Policy::parse(text).expect(name);
        while let Some(base) = policy.base.take() {
            let (_, text) = FILES.iter().find(|file| file.0 == base).expect("a file");
            policy = policy.on(&Policy::parse(text).expect("base"));
        }
        for (architecture, program) in ARCHITECTURES.iter().zip(programs) {
            let policy = policy.clone();
            filters.push(Filter {
                name,
                policy,
                architecture,
                program,
            });
        }
    }
    filters
}

/// The answer of this machine's filter to a call of this name.
fn call(program: Program, name: &str, arguments: [u64; 6]) -> u32 {
    let native = native();
    let number = native.number(name).expect(name).expect("a call of this machine");
    answer(
        program,
        &Call {
            audit: native.audit,
            number,
            arguments,
        },
    )
}

fn native() -> &'static Architecture {
    let found = ARCHITECTURES
        .iter()
        .find(|one| one.name == std::env::consts::ARCH);
    found.expect("the architecture of this machine")
}

fn compiled(name: &str) -> Program {
    match name {
        "restricted" => payload(Mode::Restricted, &Programs::None),
        "unrestricted" => payload(Mode::Unrestricted, &Programs::All),
        "listed-programs" => payload(Mode::Unrestricted, &Programs::Listed([].into())),
        "no-programs" => payload(Mode::Unrestricted, &Programs::None),
        _ => supervisor(),
    }
}

/// Numbers in and around the tables, and where other instruction sets begin.
fn numbers() -> impl Iterator<Item = u32> {
    let edges = [
        0x3fff_ffff,
        0x4000_0000,
        0x4000_0001,
        0x4000_01ff,
        0x7fff_ffff,
        0x8000_0000,
        u32::MAX,
    ];
    (0..1100).chain(edges)
}

#[test]
fn each_filter_answers_to_every_call_as_its_file_says() {
    for Filter {
        name,
        policy,
        architecture,
        program,
    } in filters()
    {
        for number in numbers() {
            for arguments in interesting(&policy, architecture, number) {
                let call = Call {
                    audit: architecture.audit,
                    number,
                    arguments,
                };
                let expected = ruled(&policy, architecture, &call);
                assert_eq!(
                    answer(program, &call),
                    expected,
                    "{name}, {}: {call:x?}",
                    architecture.name
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn each_filter_answers_to_any_call_as_its_file_says(
        number in prop_oneof![0_u32..600, any::<u32>()],
        arguments in prop::array::uniform6(prop_oneof![0_u64..0x6000, any::<u64>()]),
        audit in prop_oneof![Just(None), any::<u32>().prop_map(Some)],
    ) {
        thread_local!(static FILTERS: Vec<Filter> = filters());
        FILTERS.with(|filters| {
            for Filter { name, policy, architecture, program } in filters {
                let call = Call { audit: audit.unwrap_or(architecture.audit), number, arguments };
                let expected = ruled(policy, architecture, &call);
                prop_assert_eq!(answer(program, &call), expected, "{}, {}", name, architecture.name);
            }
            Ok(())
        })?;
    }
}

#[test]
fn what_is_refused_is_answered_and_only_what_is_foreign_is_killed() {
    for Filter {
        policy,
        architecture,
        program,
        name,
    } in filters()
    {
        let native = numbers().filter(|number| architecture.foreign_from.is_none_or(|first| *number < first));
        for number in native {
            for arguments in interesting(&policy, architecture, number) {
                let answer = answer(
                    program,
                    &Call {
                        audit: architecture.audit,
                        number,
                        arguments,
                    },
                );
                let later = architecture.number("clone3") == Ok(Some(number)) && answer == NO_SUCH_CALL;
                assert!(
                    [ALLOW, REFUSE].contains(&answer) || later,
                    "{name}: {number}: {answer:#x}"
                );
            }
        }
    }
}

#[test]
fn the_kernel_takes_each_program() {
    for Filter {
        name,
        architecture,
        program,
        ..
    } in filters()
    {
        assert_eq!(
            interpreter::check(program),
            Ok(()),
            "{name}, {}",
            architecture.name
        );
    }
}

#[test]
fn this_machine_gets_the_filters_of_its_architecture() {
    for Filter {
        name,
        architecture,
        program,
        ..
    } in filters()
    {
        assert_eq!(
            compiled(name) == program,
            architecture.name == native().name,
            "{name}"
        );
    }
}

#[test]
fn conditions_hold_at_their_edges() {
    let (restricted, unrestricted) = (compiled("restricted"), compiled("unrestricted"));
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
        for filter in filters() {
            let answer = filter.unasked(name);
            assert_eq!(answer.unwrap_or(REFUSE), REFUSE, "{}: {name}", filter.name);
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
        for filter in filters().iter().filter(|filter| filter.name == "restricted") {
            let answer = filter.unasked(name);
            assert_eq!(answer.unwrap_or(REFUSE), REFUSE, "{name}");
        }
    }
}

#[test]
fn foreign_instruction_sets_are_killed() {
    // int 0x80 on x86, 32-bit code on ARM, the other machine, and what is none.
    let foreign = [0x4000_0003, 0x4000_0028, 0xc000_003e, 0xc000_00b7, 0];
    for Filter {
        name,
        architecture,
        program,
        ..
    } in filters()
    {
        for audit in foreign.into_iter().filter(|audit| *audit != architecture.audit) {
            for number in numbers() {
                let call = Call {
                    audit,
                    number,
                    arguments: [0; 6],
                };
                assert_eq!(
                    answer(program, &call),
                    KILL,
                    "{name}, {}: {call:x?}",
                    architecture.name
                );
            }
        }
        // x32 shares the value of x86_64.
        for number in (0x4000_0000..0x4000_0400).chain([u32::MAX]) {
            let call = Call {
                audit: architecture.audit,
                number,
                arguments: [0; 6],
            };
            let expected = if architecture.name == "x86_64" {
                KILL
            } else {
                REFUSE
            };
            assert_eq!(
                answer(program, &call),
                expected,
                "{name}, {}: {call:x?}",
                architecture.name
            );
        }
    }
}

/// Length is latency: the kernel prepares every instruction anew for each run.
#[test]
fn programs_stay_short() {
    for Filter {
        name,
        architecture,
        program,
        ..
    } in filters()
    {
        assert!(
            program.len() <= 250,
            "{name}, {}: {}",
            architecture.name,
            program.len()
        );
    }
}

#[test]
fn slips_of_the_pen_are_refused() {
    let compile = |text: &str| Policy::parse(text).and_then(|policy| compile::compile(&policy, native()));
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
        ("openat", libc::SYS_openat),
        ("clone", libc::SYS_clone),
        ("seccomp", libc::SYS_seccomp),
        ("clone3", libc::SYS_clone3),
        ("landlock_add_rule", libc::SYS_landlock_add_rule),
    ] {
        let ours = native().number(name).expect(name).map(libc::c_long::from);
        assert_eq!(ours, Some(number), "{name}");
    }
}

#[test]
fn a_table_has_every_name_and_number_once_and_in_order() {
    for architecture in &ARCHITECTURES {
        assert!(
            architecture.calls.is_sorted_by(|one, next| one.1 < next.1),
            "{}",
            architecture.name
        );
        let mut names: Vec<&str> = architecture.calls.iter().map(|call| call.0).collect();
        names.sort_unstable();
        assert!(
            names.is_sorted_by(|one, next| one != next),
            "{}",
            architecture.name
        );
    }
    // From 424 on the kernel gives all architectures one number.
    let [first, second] = ARCHITECTURES
        .each_ref()
        .map(|one| one.calls.iter().filter(|call| call.1 >= 424));
    let renewed: Vec<_> = first.filter(|call| call.0 != "map_shadow_stack").collect();
    assert_eq!(renewed, second.collect::<Vec<_>>());
}
