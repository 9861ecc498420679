//! The word of a root that an older database was put back, as a node reads it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| muster_tests::parsers::run("epoch_bump", bytes));
