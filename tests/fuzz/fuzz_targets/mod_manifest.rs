//! The manifest of a mod, and the item that it makes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| muster_tests::parsers::run("mod_manifest", bytes));
