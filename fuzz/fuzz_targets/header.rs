//! Fuzzes `brigade::fuzz_entry::header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brigade::fuzz_entry::header(bytes));
