//! Fuzzes `brigade::hostile::control`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brigade::hostile::control(bytes));
