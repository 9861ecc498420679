//! The seven functions that engines call, in C's calling convention.
//!
//! Arguments are pointers throughout, so that R's `.C` and Python's `ctypes` pass the same things.
//! Order of calls: [`muster_fork_run`] in the engine (returns in each payload), then [`muster_is_idle`] and [`muster_lock`],
//! any number of [`muster_progress`] and [`muster_overstep`], and [`muster_succeeded`] or [`muster_leave`] in the payload.

#![expect(
    unsafe_code,
    reason = "a C interface; each block says what the caller promises"
)]

use std::{
    ffi::{CStr, c_char, c_int},
    ptr,
};

use crate::{
    engine::{self, Role},
    failure::Failure,
};

/// Bytes that a runner allocates for the message of [`muster_lock`], the closing zero included.
pub const MESSAGE_BYTES: usize = 1024;

/// Tells the launcher that the engine has preloaded, then forks a payload for each run.
///
/// `*status` afterwards: 0 in a payload; 1 after an error that is no run's (it is on the standard error stream); 2
/// when the launcher is gone. After 1 and 2 the engine leaves.
///
/// # Safety
/// `status` points to an integer that may be written. The process has one thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muster_fork_run(status: *mut c_int) {
    let outcome = match engine::serve() {
        Ok(Role::Payload) => 0,
        Ok(Role::Abandoned) => 2,
        Err(failure) => {
            complain(&failure.in_words());
            1
        }
    };
    // SAFETY: the caller promises that it may be written.
    unsafe { *status = outcome };
}

/// Sets `*idle` to 1 in a payload that nobody has a run for yet, else to 0: whether there is time to prepare for one.
///
/// # Safety
/// `idle` points to an integer that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muster_is_idle(idle: *mut c_int) {
    // SAFETY: the caller promises that it may be written.
    unsafe { *idle = c_int::from(engine::is_idle()) };
}

/// Locks the payload and receives the run into the scratch folder.
///
/// `mode` is `restricted` or `unrestricted`, as the launcher was started. `*status` afterwards is 0 when the process
/// is locked and the run staged; else 1, `message` says why, and the runner must leave.
///
/// # Safety
/// `mode` points to a pointer to a C string; `status` to an integer that may be written; `message` to a pointer to
/// [`MESSAGE_BYTES`] bytes that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muster_lock(mode: *mut *mut c_char, status: *mut c_int, message: *mut *mut c_char) {
    // SAFETY: the caller promises a C string.
    let mode = unsafe { text(mode) };
    // SAFETY: the caller promises room for a number and for MESSAGE_BYTES bytes.
    unsafe { tell(engine::lock(&mode), status, message) }
}

/// Ends a run that has succeeded. Returns only in a payload that stays, with the next run in the scratch folder: `*status`
/// is 0 then; else 1, `message` says why, and the runner must leave.
///
/// # Safety
/// `status` points to an integer that may be written; `message` to a pointer to [`MESSAGE_BYTES`] bytes that may be
/// written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muster_succeeded(status: *mut c_int, message: *mut *mut c_char) {
    // SAFETY: the caller promises room for a number and for MESSAGE_BYTES bytes.
    unsafe { tell(engine::succeeded(), status, message) }
}

/// # Safety
/// `status` points to an integer that may be written; `message` is null, or points to null or to a pointer to
/// [`MESSAGE_BYTES`] bytes that may be written.
unsafe fn tell(outcome: Result<(), Failure>, status: *mut c_int, message: *mut *mut c_char) {
    // SAFETY: as the caller promises.
    unsafe {
        *status = c_int::from(outcome.is_err());
        let words = outcome
            .err()
            .map(|failure| failure.in_words())
            .unwrap_or_default();
        let words = &words.as_bytes()[..words.floor_char_boundary(MESSAGE_BYTES - 1)];
        if !message.is_null() && !(*message).is_null() {
            ptr::copy_nonoverlapping(words.as_ptr().cast::<c_char>(), *message, words.len());
            *(*message).add(words.len()) = 0;
        }
    }
}

/// Tells the agent how far the script is: a fraction from 0 to 1, or no number where that is not known, and words. Told
/// too often, it does nothing.
///
/// # Safety
/// `fraction` points to a number, `words` to a pointer to a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muster_progress(fraction: *mut f64, words: *mut *mut c_char) {
    // SAFETY: the caller promises a number and a C string.
    let (fraction, words) = unsafe { (*fraction, text(words)) };
    engine::progress(fraction, &words);
}

/// Tells the agent what a traced run overstepped, and returns.
///
/// # Safety
/// `what` points to a pointer to a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muster_overstep(what: *mut *mut c_char) {
    // SAFETY: the caller promises a C string.
    engine::overstep(&unsafe { text(what) });
}

/// Sends the run's ending and message to the agent and leaves with `code`. Never returns.
///
/// # Safety
/// `ending` and `message` point to pointers to C strings, `code` to an integer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muster_leave(ending: *mut *mut c_char, message: *mut *mut c_char, code: *mut c_int) {
    // SAFETY: the caller promises C strings and a number.
    let (ending, message, code) = unsafe { (text(ending), text(message), *code) };
    engine::leave(&ending, &message, code)
}

/// # Safety
/// `string` is null or points to null or a C string.
unsafe fn text(string: *mut *mut c_char) -> String {
    // SAFETY: the caller promises that what is not null is a C string.
    unsafe {
        if string.is_null() || (*string).is_null() {
            return String::new();
        }
        CStr::from_ptr(*string).to_string_lossy().into_owned()
    }
}

/// The standard error stream is the launcher's to read; nothing else is left to tell.
fn complain(words: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{words}");
}
