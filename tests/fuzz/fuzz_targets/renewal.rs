//! The request for the next certificate, as a control plane reads it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| muster_tests::parsers::run("renewal", bytes));
