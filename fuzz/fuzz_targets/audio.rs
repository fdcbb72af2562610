//! Any bytes as an audio file: refused, or read as finite samples within the limits.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use linnet_features::audio::{AudioLimits, AudioReader, Media, SAMPLE_RATE};

fuzz_target!(|data: &[u8]| {
    let limits = AudioLimits { max_secs: 20.0, ..AudioLimits::default() };
    let Ok(mut reader) = AudioReader::open(Bytes::copy_from_slice(data), &Media::Detect, &limits) else { return };
    let mut total = 0.0;
    let mut samples = Vec::new();
    loop {
        samples.clear();
        let goes_on = reader.read(&mut samples);
        assert!(samples.iter().all(|s| s.is_finite()));
        total += samples.len() as f64;
        // One block may pass the limit before it is seen.
        assert!(total <= (limits.max_secs + 2.0) * f64::from(SAMPLE_RATE));
        if !matches!(goes_on, Ok(true)) {
            return;
        }
    }
});
