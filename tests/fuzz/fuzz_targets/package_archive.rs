//! An archive that a jailed build hands out, as a node unpacks it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| muster_tests::parsers::run("package_archive", bytes));
