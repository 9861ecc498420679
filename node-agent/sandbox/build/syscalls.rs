//! The architectures for which policies are compiled: their system calls, and how a filter recognizes them.
//!
//! Invariant: a call of any other instruction set is foreign and kills, since its numbers mean something else.

#[path = "syscalls/aarch64.rs"]
mod aarch64;
#[path = "syscalls/x86_64.rs"]
mod x86_64;

/// One instruction set of Linux.
#[derive(Debug)]
pub(crate) struct Architecture {
    /// As Rust's `target_arch` has it.
    pub(crate) name: &'static str,
    /// `AUDIT_ARCH_…` of linux/audit.h: what the kernel tells a filter.
    pub(crate) audit: u32,
    /// From this number on, calls belong to another instruction set that shares the value of `audit`.
    pub(crate) foreign_from: Option<u32>,
    /// Name and number of each call.
    pub(crate) calls: &'static [(&'static str, u32)],
}

/// All for which there is a launcher.
pub(crate) const ARCHITECTURES: [Architecture; 2] = [
    Architecture {
        name: "x86_64",
        audit: 0xc000_003e,
        // __X32_SYSCALL_BIT
        foreign_from: Some(0x4000_0000),
        calls: x86_64::CALLS,
    },
    Architecture {
        name: "aarch64",
        audit: 0xc000_00b7,
        // 32-bit ARM has a value of its own.
        foreign_from: None,
        calls: aarch64::CALLS,
    },
];

impl Architecture {
    /// The number of a call. `None` where only another architecture has it: newer ones lack the calls that were replaced.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u32>, String> {
        let find = |calls: &[(&str, u32)]| calls.iter().find(|call| call.0 == name).map(|call| call.1);
        match find(self.calls) {
            Some(number) => Ok(Some(number)),
            None if ARCHITECTURES.iter().any(|other| find(other.calls).is_some()) => Ok(None),
            None => Err(format!("unknown system call {name}")),
        }
    }
}
