//! What the kernel says about this process, and whether that is what was meant.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _},
    os::{
        fd::{AsFd, BorrowedFd, RawFd},
        unix::fs::{FileTypeExt as _, MetadataExt as _},
    },
};

use crate::failure::{Attempt, Failure};

/// `/proc/self/status`, opened while it still can be.
pub(crate) struct Status(File);

impl AsFd for Status {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Status {
    /// Opens it. What is read later is the truth of that moment.
    pub(crate) fn open() -> Result<Self, Failure> {
        File::open("/proc/self/status")
            .map(Self)
            .attempt("open /proc/self/status")
    }

    /// One that another process has opened for itself.
    pub(crate) fn of_another(file: File) -> Self {
        Self(file)
    }

    /// The largest resident size so far, in bytes; nothing once the process has left its memory.
    pub(crate) fn peak_bytes(&mut self) -> Option<u64> {
        let text = self.text().ok()?;
        let kilobytes: u64 = field(&text, "VmHWM")?.strip_suffix("kB")?.trim().parse().ok()?;
        Some(kilobytes * 1024)
    }

    /// Refuses unless this process is locked: the run's user, filtered, without capabilities, one thread.
    pub(crate) fn demand_lock(&mut self) -> Result<(), Failure> {
        locked(&self.text()?)
    }

    fn text(&mut self) -> Result<String, Failure> {
        let mut text = String::new();
        self.0
            .rewind()
            .and_then(|()| self.0.read_to_string(&mut text))
            .attempt("read /proc/self/status")?;
        Ok(text)
    }
}

/// What a locked process's status says: all of these.
const LOCKED: [(&str, &str); 10] = [
    ("Uid", "1000\t1000\t1000\t1000"),
    ("Gid", "1000\t1000\t1000\t1000"),
    ("NoNewPrivs", "1"),
    ("Seccomp", "2"),
    ("Threads", "1"),
    ("CapInh", "0000000000000000"),
    ("CapPrm", "0000000000000000"),
    ("CapEff", "0000000000000000"),
    ("CapBnd", "0000000000000000"),
    ("CapAmb", "0000000000000000"),
];

fn locked(status: &str) -> Result<(), Failure> {
    for (name, value) in LOCKED {
        let found = field(status, name).unwrap_or("nothing");
        if found != value {
            return Err(Failure::rule(format!(
                "the lock is not whole: {name} is {found}, not {value}"
            )));
        }
    }
    Ok(())
}

/// Refuses to fork a process from which a child would inherit more than memory of its own: other threads' locks,
/// open channels, memory shared with the parent.
pub(crate) fn demand_forkable(ours: &[RawFd]) -> Result<(), Failure> {
    let threads = Status::open()?.text()?;
    let threads = field(&threads, "Threads").unwrap_or("no").to_owned();
    if threads != "1" {
        return Err(Failure::rule(format!(
            "the engine has {threads} threads; one of its imports started them"
        )));
    }
    let maps = fs::read_to_string("/proc/self/maps").attempt("read /proc/self/maps")?;
    if let Some(line) = shared_and_writable(&maps) {
        return Err(Failure::rule(format!(
            "the engine shares writable memory: {line}"
        )));
    }
    for entry in fs::read_dir("/proc/self/fd").attempt("list /proc/self/fd")? {
        let entry = entry.attempt("list /proc/self/fd")?;
        let Some(number) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<RawFd>().ok())
        else {
            continue;
        };
        if number > 2 && !ours.contains(&number) && !harmless(number) {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            return Err(Failure::rule(format!(
                "the engine holds descriptor {number} ({}), which a run would inherit",
                target.display()
            )));
        }
    }
    Ok(())
}

/// Files that are open for reading only: what they hold can be read by path as well.
fn harmless(number: RawFd) -> bool {
    let Ok(about) = fs::metadata(format!("/proc/self/fd/{number}")) else {
        // Closed meanwhile: the listing's own descriptor.
        return true;
    };
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
    let flags = field(&info, "flags").and_then(|flags| i32::from_str_radix(flags, 8).ok());
    let read_only = flags.is_some_and(|flags| flags & libc::O_ACCMODE == libc::O_RDONLY);
    // The listing itself is a folder of /proc; other folders could be walked with openat, beyond later mounts.
    let listing = about.is_dir()
        && fs::read_link(format!("/proc/self/fd/{number}"))
            .is_ok_and(|target| target.starts_with("/proc") && target.ends_with("fd"));
    // Memory devices: null 1:3, zero 1:5, random 1:8, urandom 1:9.
    let device = about.file_type().is_char_device() && [0x103, 0x105, 0x108, 0x109].contains(&about.rdev());
    listing || (about.is_file() && read_only) || device
}

fn shared_and_writable(maps: &str) -> Option<&str> {
    maps.lines().find(|line| {
        line.split_ascii_whitespace()
            .nth(1)
            .is_some_and(|rights| rights.as_bytes().get(1) == Some(&b'w') && rights.ends_with('s'))
    })
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_writable_memory_is_found() {
        let private = "7f00-7f01 rw-p 00000000 00:00 0\n7f01-7f02 r--s 00000000 fe:00 12 /usr/lib/x\n";
        assert_eq!(shared_and_writable(private), None);
        let shared = format!("{private}7f02-7f03 rw-s 00000000 00:01 9 /dev/zero (deleted)\n");
        assert!(shared_and_writable(&shared).expect("found").contains("/dev/zero"));
    }

    #[test]
    fn a_process_knows_its_peak() {
        let mut status = Status::open().expect("open");
        let before = status.peak_bytes().expect("it has memory");
        let much = vec![1_u8; 32 << 20];
        assert!(status.peak_bytes().expect("it still has") >= before.max(much.len() as u64));
    }

    #[test]
    fn an_unlocked_process_is_told_so() {
        let failure = Status::open()
            .expect("open")
            .demand_lock()
            .expect_err("this test is not locked");
        assert!(failure.to_string().contains("the lock is not whole"), "{failure}");
    }

    #[test]
    fn one_promise_that_does_not_hold_is_enough_to_refuse() {
        let status = |without: &str, other: &str| -> String {
            let lines = LOCKED.iter().map(|(name, value)| {
                let value = if *name == without { other } else { value };
                format!("{name}:\t{value}\n")
            });
            lines
                .filter(|line| line.len() > without.len() + 3 || !line.starts_with(without))
                .collect()
        };
        assert!(locked(&status("", "")).is_ok());
        for (name, value) in LOCKED {
            for other in ["", "3", &format!("{value}1")] {
                let failure = locked(&status(name, other)).expect_err(name).to_string();
                assert!(failure.contains(&format!("{name} is")), "{failure}");
            }
        }
    }
}
