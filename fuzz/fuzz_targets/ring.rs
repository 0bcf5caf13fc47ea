//! Fuzzes `brigade::fuzz_entry::ring`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brigade::fuzz_entry::ring(bytes));
