//! Fuzzes `brigade::hostile::header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brigade::hostile::header(bytes));
