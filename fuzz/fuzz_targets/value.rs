//! Fuzzes `brigade::fuzz_entry::value`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brigade::fuzz_entry::value(bytes));
