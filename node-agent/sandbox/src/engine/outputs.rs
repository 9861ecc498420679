//! Outputs of a run at its end: plain files of its scratch folder, opened without following anything.

use std::{
    io::{self, Read, Write},
    os::fd::OwnedFd,
};

use rustix::{
    fs::{FileType, Mode, OFlags},
    io::{Errno, retry_on_intr},
    net::{RecvFlags, SendFlags},
};

use crate::{
    failure::{Attempt as _, Failure},
    frame,
    protocol::Supervised,
};

/// How much is sent at once, in bytes.
pub(super) const PIECE: usize = 64 * 1024;

/// A stream socket on which a vanished peer is an error, never a signal.
pub(super) struct Socket<'a>(pub(super) &'a OwnedFd);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(retry_on_intr(|| {
            rustix::net::send(self.0, bytes, SendFlags::NOSIGNAL)
        })?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Socket<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let (count, _) = retry_on_intr(|| rustix::net::recv(self.0, &mut *bytes, RecvFlags::empty()))?;
        Ok(count)
    }
}

/// Sends each output or the reason why not. All processes of the run are gone, or killed: what a call of theirs that was
/// under way still does is theirs to answer for, and no more is sent than was announced.
pub(super) fn send(
    mut to: impl Write,
    scratch: &OwnedFd,
    list: &[String],
    limit: u64,
) -> Result<(), Failure> {
    let mut left = limit;
    for (index, path) in list.iter().enumerate() {
        let index = u32::try_from(index).map_err(|_| Failure::rule("too many outputs"))?;
        match open(scratch, path, left) {
            Ok((file, size)) => {
                left -= size;
                frame::write(&mut to, &Supervised::Output { index, size }).attempt("announce an output")?;
                copy(&mut to, &file, size).attempt("send an output")?;
            }
            Err(why) => frame::write(
                &mut to,
                &Supervised::NoOutput {
                    index,
                    why: why.to_owned(),
                },
            )
            .attempt("tell why there is no output")?,
        }
    }
    Ok(())
}

/// Folder by folder, since a unit with `RestrictSUIDSGID` has no `openat2`.
fn open(scratch: &OwnedFd, path: &str, left: u64) -> Result<(OwnedFd, u64), &'static str> {
    let step = |folder: Option<&OwnedFd>, name: &str, flags| {
        if matches!(name, "" | "." | "..") {
            return Err("not a regular file");
        }
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(folder.unwrap_or(scratch), name, flags, Mode::empty());
        opened.map_err(|error| match error {
            Errno::NOENT => "missing",
            _ => "not a regular file",
        })
    };
    let mut names: Vec<&str> = path.split('/').collect();
    let name = names.pop().unwrap_or_default();
    let mut folder = None;
    for one in names {
        folder = Some(step(folder.as_ref(), one, OFlags::PATH | OFlags::DIRECTORY)?);
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = step(folder.as_ref(), name, flags)?;
    let about = rustix::fs::fstat(&file).map_err(|_| "not a regular file")?;
    if !FileType::from_raw_mode(about.st_mode).is_file() || about.st_nlink != 1 {
        return Err("not a regular file");
    }
    let size = u64::try_from(about.st_size).map_err(|_| "not a regular file")?;
    if size > left {
        return Err("over the output limit");
    }
    Ok((file, size))
}

fn copy(mut to: impl Write, file: &OwnedFd, size: u64) -> io::Result<()> {
    let mut buffer = vec![0; usize::try_from(size).unwrap_or(PIECE).min(PIECE)];
    let mut left = size;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = retry_on_intr(|| rustix::io::read(file, &mut buffer[..most]))?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all(&buffer[..count])?;
        left -= u64::try_from(count).unwrap_or(left);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn only_what_lies_in_the_folder_is_opened() {
        let above = tempfile::tempdir().expect("a folder");
        let scratch = above.path().join("scratch");
        fs::create_dir_all(scratch.join("outputs")).expect("made");
        for file in ["secret", "scratch/own", "scratch/outputs/0"] {
            fs::write(above.path().join(file), "12345").expect("written");
        }
        symlink("..", scratch.join("up")).expect("made");
        symlink("own", scratch.join("alias")).expect("made");
        let folder = OwnedFd::from(fs::File::open(&scratch).expect("opened"));
        let size = |path: &str| open(&folder, path, 5).map(|(_, size)| size);
        assert_eq!((size("own"), size("outputs/0")), (Ok(5), Ok(5)));
        assert_eq!(
            (size("absent"), size("absent/0")),
            (Err("missing"), Err("missing"))
        );
        let secret = above.path().join("secret");
        let absolute = secret.to_str().expect("text");
        for path in [
            "../secret",
            "outputs/../own",
            "./own",
            "outputs//0",
            "own/",
            "",
            "up/secret",
            "alias",
            absolute,
            "outputs",
        ] {
            assert_eq!(size(path), Err("not a regular file"), "{path}");
        }
        assert_eq!(open(&folder, "own", 4).map(|_| ()), Err("over the output limit"));
    }
}
