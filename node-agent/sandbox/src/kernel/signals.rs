//! Signals: what a forked process must not inherit, and children's ends as a descriptor.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{FromRawFd, OwnedFd},
    ptr,
};

use crate::failure::{Attempt as _, Failure};

/// How SIGCHLD was treated and which signals were blocked before an engine began to fork.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    child: libc::sigaction,
    mask: libc::sigset_t,
}

/// Lets the kernel reap children by itself, and remembers what was before.
pub(crate) fn reap_silently() -> Result<Before, Failure> {
    // SAFETY: all-zero bytes are a valid default action and an empty set.
    let (mut action, mut mask): (libc::sigaction, libc::sigset_t) = unsafe {
        (
            MaybeUninit::zeroed().assume_init(),
            MaybeUninit::zeroed().assume_init(),
        )
    };
    action.sa_sigaction = libc::SIG_DFL;
    action.sa_flags = libc::SA_NOCLDWAIT;
    let mut child = action;
    // SAFETY: both calls read and write the locals only.
    unsafe {
        done(libc::sigaction(libc::SIGCHLD, &raw const action, &raw mut child))?;
        done(libc::sigprocmask(libc::SIG_SETMASK, ptr::null(), &raw mut mask))?;
    }
    Ok(Before { child, mask })
}

/// Puts back what [`reap_silently`] and [`children`] changed.
pub(crate) fn restore(before: &Before) -> Result<(), Failure> {
    // SAFETY: installs an action and a mask that this process had before.
    unsafe {
        done(libc::sigaction(
            libc::SIGCHLD,
            &raw const before.child,
            ptr::null_mut(),
        ))?;
        done(libc::sigprocmask(
            libc::SIG_SETMASK,
            &raw const before.mask,
            ptr::null_mut(),
        ))
    }
}

/// Every signal does what it does by default: handlers of a copied program are not ours to run.
pub(crate) fn reset() -> Result<(), Failure> {
    // SAFETY: all-zero bytes are a valid default action.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = libc::SIG_DFL;
    // These have no handlers: two that cannot, and two that the C library keeps to itself.
    let fixed = [libc::SIGKILL, libc::SIGSTOP, 32, 33];
    for signal in (1..=64).filter(|signal| !fixed.contains(signal)) {
        // SAFETY: the default action refers to no code.
        done(unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) })?;
    }
    Ok(())
}

/// As a shell starts a program: default actions, nothing blocked.
pub(crate) fn pristine() -> Result<(), Failure> {
    reset()?;
    // SAFETY: an empty set, which all-zero bytes are, unblocks all.
    unsafe {
        let none: libc::sigset_t = MaybeUninit::zeroed().assume_init();
        done(libc::sigprocmask(
            libc::SIG_SETMASK,
            &raw const none,
            ptr::null_mut(),
        ))
    }
}

/// A descriptor that becomes readable when a child ends; the signal itself is blocked.
pub(crate) fn children() -> Result<OwnedFd, Failure> {
    // SAFETY: all-zero bytes are a valid default action and an empty set; the calls read and write the locals only,
    // and the new descriptor belongs to nobody else.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = libc::SIG_DFL;
        done(libc::sigaction(libc::SIGCHLD, &raw const action, ptr::null_mut()))?;
        let mut set: libc::sigset_t = MaybeUninit::zeroed().assume_init();
        done(libc::sigaddset(&raw mut set, libc::SIGCHLD))?;
        done(libc::sigprocmask(
            libc::SIG_BLOCK,
            &raw const set,
            ptr::null_mut(),
        ))?;
        match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(Failure::Kernel {
                attempt: "watch for the end of children".to_owned(),
                source: io::Error::last_os_error(),
            }),
            number => Ok(OwnedFd::from_raw_fd(number)),
        }
    }
}

fn done(result: libc::c_int) -> Result<(), Failure> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error()).attempt("set what signals do")
    }
}

/// Kills every process that this one can see but itself; for process 1 of a namespace.
pub(crate) fn kill_everyone() {
    // SAFETY: refers to no memory. There may be nobody left, which is no error here.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// Stops every process that this one can see but itself, or lets them go on; for process 1 of a namespace.
pub(crate) fn hold_everyone(hold: bool) {
    let signal = if hold { libc::SIGSTOP } else { libc::SIGCONT };
    // SAFETY: refers to no memory. There may be nobody left, which is no error here.
    unsafe { libc::kill(-1, signal) };
}

/// Forgets what a descriptor of [`children`] has to tell: once, since who sends without end must not keep its reader.
pub(crate) fn drain(children: &OwnedFd) {
    let mut bytes = [0; 1024];
    let _ = rustix::io::read(children, &mut bytes);
}
