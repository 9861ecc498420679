//! An answer of a launcher, as the agent reads it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| muster_tests::parsers::run("jail_answer", bytes));
