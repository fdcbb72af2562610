//! [`linnet_fuzz::range_reply`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| linnet_fuzz::range_reply(data));
