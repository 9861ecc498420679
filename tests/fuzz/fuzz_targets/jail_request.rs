//! A request of the agent, as a launcher reads it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| muster_tests::parsers::run("jail_request", bytes));
