//! A kernel that lies: answers some system calls of a program without doing anything.
//!
//! `liar CALL[:FIRST]=ANSWER… -- PROGRAM…`: the call of this number, and with `FIRST` only when its first argument is
//! that, "succeeds" with `ANSWER` 0 or fails with that errno. The jail's tests see whether the launcher believes it.

#![expect(unsafe_code, reason = "it installs a filter as a container would")]

use std::{io, os::unix::process::CommandExt as _, process::Command};

type Instruction = (u16, u8, u8, u32);

fn main() -> Result<(), io::Error> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (lies, program) = words.split_at(words.iter().position(|word| word == "--").unwrap_or(0));
    let mut code: Vec<Instruction> = Vec::new();
    for lie in lies {
        code.extend(told(lie).ok_or_else(|| io::Error::other(format!("no lie: {lie}")))?);
    }
    code.push((0x06, 0, 0, 0x7fff_0000));
    install(&code)?;
    let [_, program, arguments @ ..] = program else {
        return Err(io::Error::other("no program"));
    };
    #[expect(clippy::disallowed_methods, reason = "the launcher, as its users start it")]
    Err(Command::new(program).args(arguments).exec())
}

/// Loads the call's number (and its first argument), compares, answers.
fn told(lie: &str) -> Option<Vec<Instruction>> {
    let (call, answer) = lie.split_once('=')?;
    let (number, first) = match call.split_once(':') {
        Some((number, first)) => (number, Some(first.parse().ok()?)),
        None => (call, None),
    };
    let mut code = vec![
        (0x20, 0, 0, 0),
        (0x15, 0, 1 + 2 * u8::from(first.is_some()), number.parse().ok()?),
    ];
    if let Some(first) = first {
        code.extend([(0x20, 0, 0, 16), (0x15, 0, 1, first)]);
    }
    code.push((0x06, 0, 0, 0x0005_0000 | answer.parse::<u32>().ok()?));
    Some(code)
}

fn install(code: &[Instruction]) -> Result<(), io::Error> {
    let filters: Vec<libc::sock_filter> = code
        .iter()
        .map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k })
        .collect();
    let program = libc::sock_fprog {
        len: u16::try_from(filters.len()).map_err(io::Error::other)?,
        filter: filters.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel reads `len` instructions, which outlive the call. Root needs no no_new_privs for it, which may be
    // what is lied about.
    let done = unsafe {
        if libc::geteuid() != 0 {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        }
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
