//! What a node knows of earlier epochs, as a control plane reads it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| muster_tests::parsers::run("epoch_report", bytes));
