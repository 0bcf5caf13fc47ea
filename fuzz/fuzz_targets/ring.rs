//! Fuzzes `brigade::hostile::ring`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brigade::hostile::ring(bytes));
