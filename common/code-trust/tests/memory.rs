//! What a stranger's item costs to look at: alone in its process, whose greatest memory is read from the system.

use std::{cell::Cell, fs};

use muster_code_trust::{Item, ItemKind, MOST_FILES};
use muster_ids::Sha512;

/// The most memory that this process has held, bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let digits = line.expect("the peak").trim().trim_end_matches(" kB");
    digits.parse::<u64>().expect("a number") * 1024
}

/// As many of the longest and deepest paths as an item has, all different from their first part on.
fn paths() -> Vec<String> {
    let path = |number: usize| {
        let parts: Vec<String> = (0..32)
            .map(|part| format!("{number:06}{part:02}{}", "x".repeat(7)))
            .collect();
        parts.join("/")
    };
    (0..MOST_FILES).map(path).collect()
}

#[test]
fn an_item_of_the_most_and_longest_paths_takes_a_few_times_its_own_size() {
    let (paths, digest) = (paths(), Sha512::of(b""));
    let size: usize = paths.iter().map(String::len).sum();
    assert!(size > 2_000_000, "{size}");
    let before = peak();
    let analysis = Item::new(
        ItemKind::Analysis,
        b"{}".to_vec(),
        paths.iter().map(|path| (path, digest)),
    );
    let taken = peak() - before;
    assert_eq!(analysis.expect("an item").files().len(), MOST_FILES);
    assert!(taken < 16 * 1024 * 1024, "{taken} bytes for {size}");

    // Of a mod no more is read than its manifest names, and one to say so.
    let manifest = br#"{"apiVersion":"1.2","version":"1.0","name":"Rose","id":"rose","icon":"icon.svg","files":["index.html"]}"#;
    let read = Cell::new(0);
    let counted = paths.iter().map(|path| {
        read.set(read.get() + 1);
        (path, digest)
    });
    assert!(Item::of_mod(manifest.to_vec(), counted).is_err());
    assert!(read.get() <= 3, "{}", read.get());
}
