use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;

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

fn unpacked(entries: &[Vec<u8>], most: u64) -> (tempfile::TempDir, io::Result<u64>) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut archive = entries.concat();
    archive.extend([0; 2 * BLOCK]);
    let result = unpack(archive.as_slice(), &folder.path().join("in"), most);
    (folder, result)
}

#[test]
fn folders_and_files_come_out_as_they_went_in() {
    let long = format!("{}/x", "n".repeat(120));
    let entries = [
        entry("./", b'5', b""),
        entry("./a/", b'5', b""),
        entry("a/run", b'0', b"#!/bin/sh\n"),
        entry("././@LongLink", b'L', format!("{long}\0").as_bytes()),
        entry(&long[..100], b'0', b"long"),
        entry("empty", 0, b""),
    ];
    let (folder, bytes) = unpacked(&entries, 14);
    assert_eq!(bytes.expect("unpacked"), 14);
    let inside = folder.path().join("in");
    assert_eq!(fs::read(inside.join("a/run")).expect("read"), b"#!/bin/sh\n");
    assert_eq!(fs::read(inside.join(&long)).expect("read"), b"long");
    let mode = fs::metadata(inside.join("a/run"))
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o755);
}

#[test]
fn what_is_no_plain_file_below_the_target_is_refused() {
    for (entries, words) in [
        (vec![entry("../x", b'0', b"x")], "no path below it"),
        (vec![entry("/tmp/x", b'0', b"x")], "no path below it"),
        (vec![entry("a/../../x", b'0', b"x")], "no path below it"),
        (
            vec![entry("link", b'2', b"")],
            "neither a folder nor a plain file",
        ),
        (
            vec![entry("hard", b'1', b"")],
            "neither a folder nor a plain file",
        ),
        (
            vec![entry("fifo", b'6', b"")],
            "neither a folder nor a plain file",
        ),
        (
            vec![entry("device", b'3', b"")],
            "neither a folder nor a plain file",
        ),
        (
            vec![entry("header", b'x', b"9 path=/x")],
            "neither a folder nor a plain file",
        ),
        (
            vec![entry("twice", b'0', b"x"), entry("twice", b'0', b"y")],
            "exists",
        ),
        (
            vec![entry("file", b'0', b"x"), entry("file/below", b'0', b"y")],
            "exists",
        ),
        (vec![entry("large", b'0', &[0; 1000])], "large"),
        (vec![vec![1; BLOCK]], "is none"),
        (
            vec![
                entry(&"d/".repeat(45), b'5', b""),
                entry("././@LongLink", b'L', "d/".repeat(65).as_bytes()),
                entry("d", b'5', b""),
            ],
            "too deep",
        ),
    ] {
        let (folder, result) = unpacked(&entries, 999);
        let error = result.expect_err(words).to_string();
        assert!(error.contains(words), "{words}: {error}");
        let outside: Vec<_> = fs::read_dir(folder.path()).expect("listed").flatten().collect();
        assert!(
            outside.iter().all(|entry| entry.file_name() == "in"),
            "{outside:?}"
        );
    }
}

#[test]
fn an_archive_that_ends_early_is_refused() {
    let whole = entry("file", b'0', &[7; 700]);
    for length in [0, 100, BLOCK, BLOCK + 10, BLOCK + 700] {
        let folder = tempfile::tempdir().expect("a folder");
        let result = unpack(&whole[..length], folder.path(), 9999);
        assert_eq!(
            result.expect_err("cut").kind(),
            io::ErrorKind::UnexpectedEof,
            "{length}"
        );
    }
}

proptest! {
    #[test]
    fn no_bytes_make_anything_outside(bytes in prop::collection::vec(any::<u8>(), 0..2048), kind in any::<u8>(), name in "[a-z./]{1,40}") {
        let (folder, _) = unpacked(&[entry(&name, kind, &bytes), bytes.clone()], 4096);
        for found in fs::read_dir(folder.path()).expect("listed") {
            prop_assert_eq!(found.expect("an entry").file_name(), "in");
        }
    }
}
