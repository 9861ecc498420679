//! A file of the policy test.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| muster_tests::parsers::run("policy_test", bytes));
