//! From an audio file to log-mel features.

use std::path::Path;

use bytes::Bytes;
use half::f16;
use linnet_features::audio::{AudioLimits, AudioReader, Media};
use linnet_features::logmel::fbank;

use crate::bad::Fault;

/// Longest utterance that training takes: attention and memory grow with it.
pub const MOST_SECS: f64 = 60.0;

/// Log-mel features of a file, `[frames, 80]`, not normalised.
///
/// f16 holds their range (−16 to 25) to 0.01, far below their deviation, at half the room.
pub fn features(path: &Path) -> Result<Vec<f16>, Fault> {
    let broken = |reason: String| Fault::Audio(path.to_owned(), reason);
    let bytes = std::fs::read(path).map_err(|error| Fault::MissingAudio(path.to_owned(), error.to_string()))?;
    let limits = AudioLimits { max_secs: MOST_SECS, ..AudioLimits::default() };
    let hint =
        path.extension().map_or(Media::Detect, |extension| Media::Hint(extension.to_string_lossy().into_owned()));
    let mut reader =
        AudioReader::open(Bytes::from(bytes), &hint, &limits).map_err(|error| broken(error.to_string()))?;
    let mut samples = Vec::new();
    while reader.read(&mut samples).map_err(|error| broken(error.to_string()))? {}
    Ok(fbank(&samples).into_iter().map(f16::from_f32).collect())
}
