//! [`linnet_fuzz::push_state`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| linnet_fuzz::push_state(data));
