//! Fuzzes `brigade::hostile::name`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brigade::hostile::name(bytes));
