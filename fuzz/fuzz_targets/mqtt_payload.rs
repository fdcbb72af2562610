//! Any payload of a transcription over MQTT, with any content type and user property.
#![no_main]

use std::time::Duration;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use linnet::transport::mqtt::payload::{ParseLimits, parse};

fuzz_target!(|input: (Option<&str>, &str, &str, &[u8])| {
    let (content_type, name, value, payload) = input;
    let limits = ParseLimits { max_audio_bytes: 1 << 16, max_timeout: Duration::from_secs(60) };
    let properties = [(name.to_owned(), value.to_owned())];
    match parse(content_type, &properties, Bytes::copy_from_slice(payload), limits) {
        Ok(parsed) => assert!(parsed.audio.len() <= payload.len()),
        Err(refused) => assert!(!refused.message.is_empty()),
    }
});
