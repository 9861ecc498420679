//! Unpacks what a jailed build hands out: an archive of tar, from a stranger.
//!
//! Invariant: only folders and plain files are made, below the target and nowhere else, with no more bytes and entries
//! than are allowed. Links, devices, absolute names and names with `..` are refused, and so is whatever is no archive.

use std::{
    ffi::OsStr,
    fs, io,
    io::Read,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, OpenOptionsExt as _},
    },
    path::{Component, Path, PathBuf},
};

const BLOCK: usize = 512;
/// The longest path, in bytes.
const LONGEST_PATH: u64 = 4096;
/// The deepest path.
const DEEPEST: usize = 64;
/// The most files and folders.
const MOST_ENTRIES: usize = 200_000;

/// Unpacks `archive` below `target`, an empty folder of the caller's own. Gives the bytes of all files.
pub(super) fn unpack(mut archive: impl Read, target: &Path, most_bytes: u64) -> io::Result<u64> {
    let (mut bytes, mut entries) = (0_u64, 0);
    let mut long_name: Option<Vec<u8>> = None;
    loop {
        let mut header = [0; BLOCK];
        archive.read_exact(&mut header)?;
        if header.iter().all(|byte| *byte == 0) {
            return Ok(bytes);
        }
        check_sum(&header)?;
        let size = octal(&header[124..136])?;
        let kind = header[156];
        if kind == b'L' {
            if size > LONGEST_PATH {
                return Err(wrong("a name in it is too long"));
            }
            let mut name = Vec::new();
            (&mut archive).take(size).read_to_end(&mut name)?;
            skip_padding(&mut archive, size)?;
            long_name = Some(name);
            continue;
        }
        entries += 1;
        if entries > MOST_ENTRIES {
            return Err(wrong("it has too many files"));
        }
        let name = long_name.take().unwrap_or_else(|| name_of(&header));
        let path = path_of(&name)?;
        match kind {
            b'5' => make_folder(&target.join(path))?,
            b'0' | 0 => {
                bytes = bytes
                    .checked_add(size)
                    .filter(|bytes| *bytes <= most_bytes)
                    .ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
                let path = target.join(path);
                if let Some(folder) = path.parent() {
                    make_folder(folder)?;
                }
                let program = octal(&header[100..108])? & 0o100 != 0;
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(if program { 0o755 } else { 0o644 })
                    .open(&path)?;
                if io::copy(&mut (&mut archive).take(size), &mut file)? != size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                skip_padding(&mut archive, size)?;
            }
            _ => {
                let name = String::from_utf8_lossy(&name).escape_default().to_string();
                return Err(wrong(&format!("{name} is neither a folder nor a plain file")));
            }
        }
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path)
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Below the target: plain parts only. `.` is the target itself.
fn path_of(name: &[u8]) -> io::Result<PathBuf> {
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut path = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(name)).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            _ => {
                let name = String::from_utf8_lossy(name).escape_default().to_string();
                return Err(wrong(&format!("{name} is no path below it")));
            }
        }
    }
    if path.components().count() > DEEPEST {
        return Err(wrong("a path in it is too deep"));
    }
    Ok(path)
}

/// The name in a header; what POSIX calls prefix counts where the header is of that kind.
fn name_of(header: &[u8; BLOCK]) -> Vec<u8> {
    let text = |bytes: &[u8]| bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
    let name = text(&header[..100]);
    let prefix = text(&header[345..500]);
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() {
        [prefix, b"/".to_vec(), name].concat()
    } else {
        name
    }
}

fn octal(field: &[u8]) -> io::Result<u64> {
    let digits: Vec<u8> = field
        .iter()
        .copied()
        .skip_while(|byte| *byte == b' ')
        .take_while(|byte| !matches!(byte, 0 | b' '))
        .collect();
    let text = std::str::from_utf8(&digits).map_err(|_| wrong("a number in it is none"))?;
    if text.is_empty() {
        return Ok(0);
    }
    u64::from_str_radix(text, 8).map_err(|_| wrong("a number in it is none"))
}

fn check_sum(header: &[u8; BLOCK]) -> io::Result<()> {
    let sum: u64 = header
        .iter()
        .enumerate()
        .map(|(index, byte)| u64::from(if (148..156).contains(&index) { b' ' } else { *byte }))
        .sum();
    if octal(&header[148..156])? == sum {
        Ok(())
    } else {
        Err(wrong("it is no archive of tar"))
    }
}

fn skip_padding(archive: &mut impl Read, size: u64) -> io::Result<()> {
    let rest = size.next_multiple_of(BLOCK as u64) - size;
    let skipped = io::copy(&mut archive.take(rest), &mut io::sink())?;
    if skipped == rest {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests;
