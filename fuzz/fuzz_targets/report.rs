//! [`linnet_fuzz::report`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| linnet_fuzz::report(data));
