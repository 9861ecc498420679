//! All that a stranger says on one connection of the registration listener.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| muster_tests::parsers::run("connection", bytes));
