//! What runs say to the broker of their network.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| muster_tests::parsers::run("broker_request", bytes));
