//! [`linnet_fuzz::audio`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        // libFuzzer's hook would end the process at a decoder's panic, which the reader catches. One that the reader
        // does not catch still ends it.
        drop(std::panic::take_hook());
    },
    |data: &[u8]| linnet_fuzz::audio(data)
);
