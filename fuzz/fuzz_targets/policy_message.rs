//! `pointsman_fuzz::policy_message`, driven by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman_fuzz::policy_message(data));
