//! The tree of a package set: its digest, and what makes it immutable.
//!
//! The digest is the framed SHA-256 (`Digest::of_framed`) of `"muster-package-set/1"` and, for each entry, a folder before
//! what is in it and names in byte order: the path with `/` between its parts, `folder`, `file` or `program`, and the 32 bytes of the content's
//! SHA-256 (nothing for a folder). Times, owners and other permission bits are no part of it.
//!
//! Invariant: only folders and plain files have a digest; a link in a set is an error.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::PermissionsExt as _,
    },
    path::Path,
};

use muster_ids::Digest;

/// What `root` holds, as a digest, and how many bytes its files have. Blocks while it reads.
pub(crate) fn digest(root: &Path) -> io::Result<(Digest, u64)> {
    let mut parts = vec![b"muster-package-set/1".to_vec()];
    let mut bytes = 0;
    let mut left = Vec::new();
    push_entries(root, &mut left)?;
    while let Some((path, kind)) = left.pop() {
        let place = root.join(OsString::from_vec(path.clone()));
        let (word, content): (&str, Vec<u8>) = if kind.is_dir() {
            push_entries_below(&place, &path, &mut left)?;
            ("folder", Vec::new())
        } else if kind.is_file() {
            let file = fs::File::open(&place)?;
            let program = file.metadata()?.permissions().mode() & 0o100 != 0;
            let (digest, length) = Digest::of_reader(file)?;
            bytes += length;
            (
                if program { "program" } else { "file" },
                digest.as_bytes().to_vec(),
            )
        } else {
            return Err(io::Error::other(format!(
                "{} is neither a folder nor a plain file",
                place.display()
            )));
        };
        parts.extend([path, word.as_bytes().to_vec(), content]);
    }
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    Ok((Digest::of_framed(&parts), bytes))
}

type Left = Vec<(Vec<u8>, fs::FileType)>;

fn push_entries(root: &Path, left: &mut Left) -> io::Result<()> {
    push_entries_below(root, b"", left)
}

/// The entries of a folder, so that the first in byte order is taken first. A folder's own come right after it.
fn push_entries_below(folder: &Path, path: &[u8], left: &mut Left) -> io::Result<()> {
    let begun = left.len();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let mut below = path.to_vec();
        if !below.is_empty() {
            below.push(b'/');
        }
        below.extend(entry.file_name().as_bytes());
        left.push((below, entry.file_type()?));
    }
    left[begun..].sort_by(|one, other| other.0.cmp(&one.0));
    Ok(())
}

/// Takes the right to write away from everything below `root`, and from `root` itself.
pub(super) fn seal(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        let about = fs::symlink_metadata(&path)?;
        if about.is_dir() {
            seal(&path)?;
        } else if about.is_file() {
            let mode = if about.permissions().mode() & 0o100 == 0 {
                0o444
            } else {
                0o555
            };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        }
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o555))
}

/// Removes a tree whose folders may be read-only; one that is not there is removed.
pub(super) fn remove(root: &Path) -> io::Result<()> {
    match fs::symlink_metadata(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(about) if !about.is_dir() => return fs::remove_file(root),
        Ok(_) => {}
    }
    open_folders(root)?;
    fs::remove_dir_all(root)
}

fn open_folders(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_folders(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(root.path().join("a/b")).expect("made");
        fs::create_dir(root.path().join("empty")).expect("made");
        fs::write(root.path().join("a/b/c"), "c").expect("written");
        fs::write(root.path().join("a.txt"), "a").expect("written");
        root
    }

    #[test]
    fn the_same_content_has_the_same_digest_wherever_and_whenever_it_was_made() {
        let (one, other) = (sample(), sample());
        let file = fs::File::open(other.path().join("a.txt")).expect("there");
        file.set_modified(std::time::UNIX_EPOCH).expect("set");
        let of = |folder: &tempfile::TempDir| digest(folder.path()).expect("read");
        assert_eq!(of(&one), of(&other));
        assert_eq!(of(&one).1, 2);
        seal(other.path()).expect("sealed");
        assert_eq!(of(&one), of(&other));
        remove(other.path()).expect("removed, read-only as it is");
        assert!(!other.path().exists());
    }

    #[test]
    fn whatever_is_changed_changes_the_digest() {
        let before = digest(sample().path()).expect("read").0;
        let changes: [fn(&Path); 6] = [
            |root| fs::write(root.join("a/b/c"), "d").expect("written"),
            |root| fs::rename(root.join("a.txt"), root.join("b.txt")).expect("renamed"),
            |root| fs::remove_dir(root.join("empty")).expect("removed"),
            |root| fs::write(root.join("a/new"), "").expect("written"),
            |root| {
                let mode = fs::Permissions::from_mode(0o755);
                fs::set_permissions(root.join("a.txt"), mode).expect("changed");
            },
            |root| {
                fs::remove_dir(root.join("empty")).expect("removed");
                fs::write(root.join("empty"), "").expect("written");
            },
        ];
        for (number, change) in changes.iter().enumerate() {
            let root = sample();
            change(root.path());
            assert_ne!(digest(root.path()).expect("read").0, before, "change {number}");
        }
        let root = sample();
        std::os::unix::fs::symlink("a.txt", root.path().join("link")).expect("made");
        let error = digest(root.path()).expect_err("a link").to_string();
        assert!(error.contains("link is neither"), "{error}");
    }
}
