//! Calls that a locked run must not be able to make. Each is really made, with arguments that would let it through.

use std::ffi::CStr;

use super::process;

/// What it is called, its number, its arguments.
type Attack = (&'static str, libc::c_long, [usize; 5]);

/// "Whatever": minus one as any argument.
const MINUS_ONE: usize = usize::MAX;
const FORKED: usize = 17; // SIGCHLD
const CURRENT_FOLDER: usize = usize::MAX - 99; // AT_FDCWD

/// Names of those that were let through, whatever the mode.
pub(crate) fn common() -> Vec<&'static str> {
    const NEW_USER: usize = 0x1000_0000;
    let (scratch, memory) = (text(c"/scratch"), text(c"tmpfs"));
    let_through(&[
        ("unshare", libc::SYS_unshare, [NEW_USER, 0, 0, 0, 0]),
        ("mount", libc::SYS_mount, [memory, scratch, memory, 0, 0]),
        ("umount2", libc::SYS_umount2, [scratch, 2, 0, 0, 0]),
        (
            "open_tree",
            libc::SYS_open_tree,
            [CURRENT_FOLDER, text(c"/usr"), 1, 0, 0],
        ),
        ("fsopen", libc::SYS_fsopen, [memory, 0, 0, 0, 0]),
        ("chroot", libc::SYS_chroot, [scratch, 0, 0, 0, 0]),
        ("ptrace", libc::SYS_ptrace, [0, 0, 0, 0, 0]),
        ("bpf", libc::SYS_bpf, [0, 0, 0, 0, 0]),
        ("keyctl", libc::SYS_keyctl, [0, MINUS_ONE - 2, 0, 0, 0]),
        (
            "perf_event_open",
            libc::SYS_perf_event_open,
            [0, 0, MINUS_ONE, MINUS_ONE, 0],
        ),
        ("userfaultfd", libc::SYS_userfaultfd, [1, 0, 0, 0, 0]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0, 0]),
        ("process_vm_readv", libc::SYS_process_vm_readv, [1, 0, 0, 0, 0]),
        ("pidfd_getfd", libc::SYS_pidfd_getfd, [MINUS_ONE, 0, 0, 0, 0]),
        (
            "clone into a user namespace",
            libc::SYS_clone,
            [NEW_USER | FORKED, 0, 0, 0, 0],
        ),
        ("prctl(PR_SET_DUMPABLE)", libc::SYS_prctl, [4, 0, 0, 0, 0]),
        ("ioctl(TIOCSTI)", libc::SYS_ioctl, [0, 0x5412, text(c"x"), 0, 0]),
        ("personality", libc::SYS_personality, [0x0004_0000, 0, 0, 0, 0]),
    ])
}

/// Names of those that were let through although the mode is restricted.
pub(crate) fn restricted() -> Vec<&'static str> {
    let (unix, internet, stream) = (1, 2, 1);
    let named_pipe = 0o010_600;
    let_through(&[
        ("socket(AF_INET)", libc::SYS_socket, [internet, stream, 0, 0, 0]),
        ("socket(AF_UNIX)", libc::SYS_socket, [unix, stream, 0, 0, 0]),
        ("socketpair", libc::SYS_socketpair, [unix, stream, 0, 0, 0]),
        ("fork", libc::SYS_clone, [FORKED, 0, 0, 0, 0]),
        ("memfd_create", libc::SYS_memfd_create, [text(c"x"), 0, 0, 0, 0]),
        (
            "symlinkat",
            libc::SYS_symlinkat,
            [text(c"/usr"), CURRENT_FOLDER, text(c"/scratch/link"), 0, 0],
        ),
        (
            "mknodat",
            libc::SYS_mknodat,
            [CURRENT_FOLDER, text(c"/scratch/pipe"), named_pipe, 0, 0],
        ),
        ("prlimit64 of process 1", libc::SYS_prlimit64, [1, 7, 0, 0, 0]),
    ])
}

/// Names of those that were let through although the run may start no program. Last of all: if it works, nothing comes
/// back, and the conversation that breaks off says so.
pub(crate) fn program() -> Vec<&'static str> {
    let_through(&[("execve", libc::SYS_execve, [text(c"/bin/true"), 0, 0, 0, 0])])
}

fn text(text: &'static CStr) -> usize {
    text.as_ptr().expose_provenance()
}

fn let_through(attacks: &[Attack]) -> Vec<&'static str> {
    attacks
        .iter()
        .filter(|attack| !refused(attack))
        .map(|attack| attack.0)
        .collect()
}

/// Refused by a wall, and not for a slip in the arguments.
fn refused(&(_, number, arguments): &Attack) -> bool {
    let [first, second, third, fourth, fifth] = arguments;
    // SAFETY: pointers among the arguments are null or static C strings that are only read; no call of the tables
    // writes to this process's memory. Should one succeed, this throw-away process reports it and leaves.
    let result = unsafe { libc::syscall(number, first, second, third, fourth, fifth, 0_usize) };
    let error = std::io::Error::last_os_error().raw_os_error();
    if result == 0 && number == libc::SYS_clone {
        // The child of a fork that should not have been.
        process::leave(0);
    }
    result == -1 && error.is_some_and(|error| [libc::EPERM, libc::EACCES, libc::ENOSYS].contains(&error))
}
