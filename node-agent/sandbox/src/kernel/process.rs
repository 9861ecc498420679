//! Processes and descriptors: clone, fork, execute, and who keeps which descriptor.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use rustix::process::Pid;

use crate::failure::{Attempt, Failure};

/// On which side of a fork one finds oneself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// In the new process.
    Child,
    /// In the old one, with the child's process id.
    Parent(Pid),
}

/// Copies the process into new namespaces (`CLONE_NEW…` flags).
///
/// Only for processes of one thread: the copy has no other, and its allocator is as the caller left it.
pub(crate) fn clone_into(namespaces: libc::c_int) -> Result<Side, Failure> {
    let flags = libc::c_long::from(namespaces | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and with a null stack this is fork with namespaces: parent and child have separate
    // copies of memory and return from here once each. Callers have one thread, so no lock is held by another.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) };
    side(i32::try_from(pid).unwrap_or(-1)).attempt("clone a process into new namespaces")
}

/// Forks with the handlers that libraries registered (BLAS and allocators do).
pub(crate) fn fork() -> Result<Side, Failure> {
    // SAFETY: callers have one thread, so the child may do whatever the parent may.
    side(unsafe { libc::fork() }).attempt("fork a process")
}

fn side(pid: i32) -> io::Result<Side> {
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        pid => Pid::from_raw(pid)
            .map(Side::Parent)
            .ok_or_else(|| io::Error::other("a negative process id")),
    }
}

/// Replaces the program. Returns only when that fails.
pub(crate) fn execute(program: &str, arguments: &[String], environment: &[(String, String)]) -> Failure {
    let strings = || -> Result<_, Failure> {
        let text = |text: &str| {
            CString::new(text).map_err(|_| Failure::rule(format!("{text:?} contains a zero byte")))
        };
        let arguments = arguments
            .iter()
            .map(|one| text(one))
            .collect::<Result<Vec<_>, _>>()?;
        let environment = environment
            .iter()
            .map(|(name, value)| text(&format!("{name}={value}")))
            .collect::<Result<Vec<_>, _>>()?;
        Ok((text(program)?, arguments, environment))
    };
    let (path, arguments, environment) = match strings() {
        Ok(strings) => strings,
        Err(failure) => return failure,
    };
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter()
            .map(|one| one.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (argv, envp) = (pointers(&arguments), pointers(&environment));
    // SAFETY: both arrays end with a null pointer, and the strings that they point to outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    Failure::Kernel {
        attempt: format!("execute {program}"),
        source: io::Error::last_os_error(),
    }
}

/// Leaves at once: no destructors, no handlers, no flushing of the parent's buffers.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: ends the process; nothing runs afterwards.
    unsafe { libc::_exit(code) }
}

/// Whether a number is that of a descriptor.
pub(crate) fn is_open(number: RawFd) -> bool {
    // SAFETY: F_GETFD only asks.
    unsafe { libc::fcntl(number, libc::F_GETFD) != -1 }
}

/// Takes possession of a descriptor that was inherited under a fixed number.
pub(crate) fn inherited(number: RawFd) -> Result<OwnedFd, Failure> {
    if !is_open(number) {
        return Err(Failure::Kernel {
            attempt: format!("use descriptor {number}, which the parent should have left open"),
            source: io::Error::last_os_error(),
        });
    }
    // SAFETY: it is open, and by the convention of the caller nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Refers to a descriptor that stays open for the rest of the process.
pub(crate) fn fixed(number: RawFd) -> BorrowedFd<'static> {
    // SAFETY: callers pass standard streams or numbers that `place` put there for good.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Puts a descriptor under a fixed number, replacing what was there.
pub(crate) fn place(descriptor: &OwnedFd, number: RawFd, close_on_exec: bool) -> Result<(), Failure> {
    let attempt = || format!("place a descriptor at {number}");
    if descriptor.as_raw_fd() == number {
        let flags = if close_on_exec {
            rustix::io::FdFlags::CLOEXEC
        } else {
            rustix::io::FdFlags::empty()
        };
        return rustix::io::fcntl_setfd(descriptor, flags).attempt(attempt());
    }
    let flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: replaces a descriptor that the caller gave up; no Rust value owns the number.
    if unsafe { libc::dup3(descriptor.as_raw_fd(), number, flags) } == -1 {
        return Err(Failure::Kernel {
            attempt: attempt(),
            source: io::Error::last_os_error(),
        });
    }
    Ok(())
}

/// Seeds the C library's generator anew, which R's tempfile() draws from; copies of one engine have copies of its state.
pub(crate) fn reseed() -> Result<(), Failure> {
    let mut seed: libc::c_uint = 0;
    // SAFETY: fills the local; srand refers to no memory of ours, and callers have one thread.
    let drawn = unsafe { libc::getrandom((&raw mut seed).cast(), size_of_val(&seed), 0) };
    if usize::try_from(drawn) != Ok(size_of_val(&seed)) {
        return Err(io::Error::last_os_error()).attempt("draw a random number");
    }
    // SAFETY: as above.
    unsafe { libc::srand(seed) };
    Ok(())
}

/// The null device.
pub(crate) fn null() -> Result<OwnedFd, Failure> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty()).attempt("open /dev/null")
}

/// A copy of a descriptor at `least` or above, closed on exec: out of the way of fixed numbers.
pub(crate) fn lifted(descriptor: &OwnedFd, least: RawFd) -> Result<OwnedFd, Failure> {
    rustix::io::fcntl_dupfd_cloexec(descriptor, least).attempt("copy a descriptor")
}

/// Closes everything but the standard streams and `kept`.
pub(crate) fn close_all_but(kept: &[RawFd]) -> Result<(), Failure> {
    let mut kept: Vec<u32> = kept
        .iter()
        .filter_map(|number| u32::try_from(*number).ok())
        .collect();
    kept.sort_unstable();
    let mut first = 3;
    for number in kept.into_iter().chain([u32::MAX]) {
        if number > first {
            // SAFETY: closes numbers only; callers own nothing in the range that they use afterwards.
            let done = unsafe { libc::syscall(libc::SYS_close_range, first, number - 1, 0) };
            if done != 0 {
                return Err(Failure::Kernel {
                    attempt: "close inherited descriptors".to_owned(),
                    source: io::Error::last_os_error(),
                });
            }
        }
        first = number.saturating_add(1).max(first);
    }
    Ok(())
}

/// Lets everybody else go first: for a process that only has to end, whose memory takes milliseconds to take down.
/// A courtesy, no rule: where it is refused nothing else follows.
pub(crate) fn last_in_line(pid: Pid) {
    let number = pid.as_raw_nonzero().get();
    let ordinary = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads the local.
    unsafe { libc::sched_setscheduler(number, libc::SCHED_BATCH, &raw const ordinary) };
    let who = libc::id_t::try_from(number).unwrap_or(0);
    // SAFETY: refers to no memory.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, who, 19) };
}

/// User and system time of a process in milliseconds, since its fork.
pub(crate) fn used_by(pid: Pid) -> Result<u64, Failure> {
    // The clock of a process has its number in its name; libc's way to it asks for the resolution as well.
    const SCHEDULED: libc::clockid_t = 2;
    let clock = (!pid.as_raw_nonzero().get() << 3) | SCHEDULED;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel fills the local.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error()).attempt("read what the payload used");
    }
    let ms = u64::try_from(time.tv_sec).unwrap_or(0) * 1000;
    Ok(ms + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000)
}

/// User and system time in milliseconds, and the largest resident size in bytes, of all children that were reaped.
pub(crate) fn used_by_children() -> Result<(u64, u64), Failure> {
    // SAFETY: zeroes are a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills the local.
    if unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) } != 0 {
        return Err(io::Error::last_os_error()).attempt("read what children used");
    }
    let ms = |time: libc::timeval| {
        u64::try_from(time.tv_sec).unwrap_or(0) * 1000 + u64::try_from(time.tv_usec).unwrap_or(0) / 1000
    };
    Ok((
        ms(usage.ru_utime) + ms(usage.ru_stime),
        u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
    ))
}
