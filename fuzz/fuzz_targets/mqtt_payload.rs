//! [`linnet_fuzz::mqtt_payload`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| linnet_fuzz::mqtt_payload(data));
