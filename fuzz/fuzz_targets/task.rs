//! Fuzzes `brigade::hostile::task`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brigade::hostile::task(bytes));
