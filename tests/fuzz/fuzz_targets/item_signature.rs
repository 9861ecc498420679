//! A signature of an item with what it takes to verify it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| muster_tests::parsers::run("item_signature", bytes));
