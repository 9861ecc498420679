//! A locked list of packages.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| muster_tests::parsers::run("package_list", bytes));
