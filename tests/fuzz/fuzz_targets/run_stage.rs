//! What a payload is given, as it puts it into its folder.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| muster_tests::parsers::run("run_stage", bytes));
