//! Fuzzes `brigade::fuzz_entry::object`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brigade::fuzz_entry::object(bytes));
