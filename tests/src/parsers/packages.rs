//! Lists of packages, which authors and administrators write, and archives, which come out of jailed builds.

use std::{collections::BTreeSet, fs, path::Path};

use muster_ids::{Digest, PackageLanguage, PackageList};

/// The most bytes that an archive may unpack to here.
const MOST: u64 = 64 * 1024;
const BLOCK: usize = 512;

/// A list of both languages, as people write it and as definitions hold it.
pub(super) fn list(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for language in [PackageLanguage::Python, PackageLanguage::R] {
        let Ok(list) = PackageList::read(language, text) else {
            continue;
        };
        let lines = list.lines();
        let again = PackageList::of_lines(language, lines.iter().map(String::as_str));
        assert_eq!(again.as_ref(), Ok(&list), "the canonical lines are the same list");
        assert_eq!(again.map(|again| again.digest()), Ok(list.digest()));
        for package in list.packages() {
            assert!(!package.digests.is_empty(), "every package has a digest");
            for word in [&package.name, &package.version] {
                let plain = |one: char| one.is_ascii_graphic() && !matches!(one, '/' | '\\' | '#');
                assert!(
                    !word.is_empty() && !word.starts_with(['-', '.']) && word.chars().all(plain),
                    "{word:?} is no option, path or address"
                );
            }
        }
        let names: BTreeSet<_> = list.packages().map(|package| &package.name).collect();
        assert_eq!(names.len(), lines.len(), "each name once");
    }
}

pub(super) fn list_seeds() -> Vec<Vec<u8>> {
    let digest = Digest::of(b"a wheel");
    let other = Digest::of(b"another wheel");
    [
        format!("numpy==1.26.4 --hash={digest} --hash={other}\n"),
        format!("# a remark\n\nPyTZ==2024.1 \\\n    --hash={digest} # why\nsix==1.16.0 --hash={other}\r\n"),
        format!("Rcpp 1.0.10 {digest}\njsonlite 1.8.4 {other} {digest}\n"),
    ]
    .map(String::into_bytes)
    .to_vec()
}

/// An archive of a build, unpacked as a node does it.
pub(super) fn archive(bytes: &[u8]) {
    let place = tempfile::tempdir().expect("a folder");
    let target = place.path().join("target");
    fs::create_dir(&target).expect("a folder");
    let unpacked = muster_engines::unpacked(bytes, &target, MOST);
    let beside = fs::read_dir(place.path()).expect("readable").count();
    assert_eq!(beside, 1, "nothing comes to lie beside the target");
    let found = plain_bytes(&target);
    assert!(found <= MOST, "{found} bytes");
    if let Ok(unpacked) = unpacked {
        assert_eq!(unpacked, found, "all files and nothing else was unpacked");
    }
}

/// The bytes of all files; there is nothing but files and folders.
fn plain_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("readable");
    entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let about = fs::symlink_metadata(&path).expect("there");
            if about.is_dir() {
                return plain_bytes(&path);
            }
            assert!(about.is_file(), "{} is a plain file", path.display());
            about.len()
        })
        .sum()
}

pub(super) fn archive_seeds() -> Vec<Vec<u8>> {
    let long = format!("{}/module.py", "n".repeat(120));
    let entries = [
        entry("./", b'5', b""),
        entry("package/__init__.py", b'0', b"answer = 42\n"),
        entry("././@LongLink", b'L', format!("{long}\0").as_bytes()),
        entry(&long[..100], b'0', b"x = 1\n"),
        entry("empty", 0, b""),
    ];
    let end = vec![0; 2 * BLOCK];
    let whole = [entries.concat(), end.clone()].concat();
    vec![whole, [entry("bin/run", b'0', b"#!/bin/sh\n"), end].concat()]
}

/// One entry as tar writes it.
fn entry(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut header = vec![0; BLOCK];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000755");
    header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    header[156] = kind;
    header[257..263].copy_from_slice(b"ustar\0");
    header[148..156].copy_from_slice(b"        ");
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header.extend(content);
    header.resize(header.len().next_multiple_of(BLOCK), 0);
    header
}
