//! Frames of a run's process 1 and of its payload, as both readers read them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| muster_tests::parsers::run("run_report", bytes));
