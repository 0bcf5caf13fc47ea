//! Fuzzes `brigade::fuzz_entry::name`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brigade::fuzz_entry::name(bytes));
