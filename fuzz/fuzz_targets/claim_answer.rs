//! [`linnet_fuzz::claim_answer`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| linnet_fuzz::claim_answer(data));
