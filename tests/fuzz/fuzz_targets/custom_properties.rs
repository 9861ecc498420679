//! Settings of a service, as a node reads them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| muster_tests::parsers::run("custom_properties", bytes));
