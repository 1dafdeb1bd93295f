//! `pointsman_fuzz::embed_and_count`, driven by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman_fuzz::embed_and_count(data));
