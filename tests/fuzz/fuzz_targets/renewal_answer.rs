//! The next certificate, as a node reads it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| muster_tests::parsers::run("renewal_answer", bytes));
