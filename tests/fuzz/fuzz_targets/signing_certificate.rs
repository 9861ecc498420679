//! The certificate of somebody who signs code.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| muster_tests::parsers::run("signing_certificate", bytes));
