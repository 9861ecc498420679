//! The receipt of a run, as whoever keeps it verifies it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| muster_tests::parsers::run("receipt", bytes));
