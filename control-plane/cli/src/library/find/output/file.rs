//! The files of a search: opened, cut and written so that they are of one search and of one user of the machine.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::OFlags;

use super::PROGRESS;
use crate::failure::Failure;

/// A file of progress is far smaller, also after a million items.
const LONGEST: u64 = 256 * 1024 * 1024;

/// The file of progress in the hands of this process alone.
pub(super) fn locked(path: &Path) -> Result<File, Failure> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(no_link())
            .open(path)
            .map_err(|error| failed("open", path, &error))?;
        require_own(&file, path)?;
        file.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => Failure::failed(
                "busy",
                format!(
                    "another search is writing to the folder of {}; choose another one",
                    path.display()
                ),
            ),
            fs::TryLockError::Error(error) => failed("lock", path, &error),
        })?;
        // Another search may have ended, and removed the file, between opening and locking.
        let held = file.metadata().map_err(|error| failed("read", path, &error))?;
        match fs::symlink_metadata(path) {
            Ok(there) if there.ino() == held.ino() && there.dev() == held.dev() => return Ok(file),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("read", path, &error)),
        }
    }
}

/// A symbolic link is not followed, and nothing waits for the other end of a pipe.
fn no_link() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed()
}

/// What somebody else put there is not gone on with: the scripts that it leads to would be theirs. One's own under a second
/// name is not written into.
fn require_own(file: &File, path: &Path) -> Result<(), Failure> {
    let there = file.metadata().map_err(|error| failed("read", path, &error))?;
    let own = there.is_file() && there.nlink() == 1 && there.uid() == rustix::process::geteuid().as_raw();
    if own {
        return Ok(());
    }
    Err(Failure::failed(
        "file",
        format!(
            "{} is no file of yours alone (another user made it, or it has a second name), so no search goes on with it; choose another folder",
            path.display()
        ),
    ))
}

/// The whole lines of the file; what a crash left of another one is cut, so that the next one begins a line.
pub(super) fn whole_lines(file: &mut File, path: &Path) -> Result<String, Failure> {
    let wrong = |error: io::Error| failed("read", path, &error);
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).map_err(wrong)?;
    let end = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    bytes.truncate(end);
    file.set_len(end as u64).map_err(wrong)?;
    file.seek(SeekFrom::End(0)).map_err(wrong)?;
    String::from_utf8(bytes).map_err(|_| not_ours(path))
}

/// The file up to this length.
pub(super) fn cut(path: &Path, length: u64) -> Result<File, Failure> {
    let wrong = |error: io::Error| failed("go on in", path, &error);
    let mut file = OpenOptions::new()
        .write(true)
        .custom_flags(no_link())
        .open(path)
        .map_err(wrong)?;
    require_own(&file, path)?;
    if file.metadata().map_err(wrong)?.len() < length {
        return Err(Failure::failed(
            "file",
            format!(
                "{} is shorter than it was when the search was interrupted; delete {PROGRESS} beside it to begin anew",
                path.display()
            ),
        ));
    }
    file.set_len(length).map_err(wrong)?;
    file.seek(SeekFrom::End(0)).map_err(wrong)?;
    Ok(file)
}

/// Three new files, or nothing where one of them exists.
pub(super) fn new_files(folder: &Path, names: &[String; 3]) -> Result<Option<[File; 3]>, Failure> {
    if names
        .iter()
        .any(|name| folder.join(name).symlink_metadata().is_ok())
    {
        return Ok(None);
    }
    let make = |name: &String| {
        let path = folder.join(name);
        // Only the report holds code, and all of them say what is in the library: they are for who searched.
        let mode = if Path::new(name).extension().is_some_and(|ending| ending == "sh") {
            0o700
        } else {
            0o600
        };
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path);
        file.map_err(|error| failed("make", &path, &error))
    };
    Ok(Some([make(&names[0])?, make(&names[1])?, make(&names[2])?]))
}

/// On the disk when it returns.
pub(super) fn append(file: &mut File, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if bytes.is_empty() {
        return Ok(());
    }
    file.write_all(bytes)
        .and_then(|()| file.sync_data())
        .map_err(|error| failed("write", path, &error))
}

pub(super) fn sync_folder(folder: &Path) -> Result<(), Failure> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| failed("write", folder, &error))
}

pub(super) fn failed(attempt: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::failed("file", format!("cannot {attempt} {} ({error})", path.display()))
}

pub(super) fn not_ours(path: &Path) -> Failure {
    Failure::failed(
        "file",
        format!(
            "{} is not what a search left; move it away, or choose another folder",
            path.display()
        ),
    )
}
