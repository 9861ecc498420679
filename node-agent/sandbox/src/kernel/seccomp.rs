//! Seccomp: which calls a process may make from now on.

use std::io;

use crate::failure::Failure;

/// Installs a compiled program for this process and all that it starts. There is no way back.
pub(crate) fn install(program: &[(u16, u8, u8, u32)]) -> Result<(), Failure> {
    let filters: Vec<libc::sock_filter> = program
        .iter()
        .map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k })
        .collect();
    let length = u16::try_from(filters.len()).map_err(|_| Failure::rule("a seccomp program is too long"))?;
    let program = libc::sock_fprog {
        len: length,
        filter: filters.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel reads `len` instructions from `filter`, both of which outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    if done != 0 {
        return Err(Failure::Kernel {
            attempt: "install the seccomp filter".to_owned(),
            source: io::Error::last_os_error(),
        });
    }
    Ok(())
}
