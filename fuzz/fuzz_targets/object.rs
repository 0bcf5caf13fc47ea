//! Fuzzes `brigade::hostile::object`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brigade::hostile::object(bytes));
