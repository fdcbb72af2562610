//! [`linnet_fuzz::fleet_index`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| linnet_fuzz::fleet_index(data));
