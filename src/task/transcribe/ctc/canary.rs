//! The canned request: does this model, on this machine, still hear what it heard when it was packed?

use std::path::Path;

use bytes::Bytes;
use linnet_features::audio::{AudioLimits, AudioReader, Media};
use linnet_proto::manifest::SpeechCanary;

use super::recognizer::{Heard, Recognizer};
use crate::task::decode::{HotWords, SearchParams};

/// Hears the clip as the canary says and compares text and fingerprint.
pub(super) fn prove(
    dir: &Path,
    canary: &SpeechCanary,
    recognizer: &mut Recognizer,
    search: &SearchParams,
    max_secs: f64,
) -> Result<(), String> {
    let heard = hear_clip(&dir.join(&canary.audio), recognizer, search, max_secs)?;
    if heard.decoded.text != canary.text {
        return Err(format!(
            "its canary {} was heard as {:?}, but the package says {:?}; the weights are damaged, or this machine computes otherwise",
            canary.audio, heard.decoded.text, canary.text
        ));
    }
    let off = (heard.mean_best - canary.logprob).abs();
    // A difference that is no number is not within anything.
    if off <= canary.logprob_tolerance {
        return Ok(());
    }
    Err(format!(
        "its canary {} was heard right, but with a mean log-probability of {:.5} instead of {:.5} (within {}); the weights are damaged, \
         or this machine computes otherwise",
        canary.audio, heard.mean_best, canary.logprob, canary.logprob_tolerance
    ))
}

/// Hears a clip as one piece: what an exporter records and what [`prove`] repeats. No longer than `max_secs`.
pub(super) fn hear_clip(
    path: &Path,
    recognizer: &mut Recognizer,
    search: &SearchParams,
    max_secs: f64,
) -> Result<Heard, String> {
    let named = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let bytes = Bytes::from(std::fs::read(path).map_err(|e| named(&e))?);
    let limits = AudioLimits { max_secs, ..AudioLimits::default() };
    let mut reader = AudioReader::open(bytes, &Media::Detect, &limits).map_err(|e| named(&e))?;
    let mut samples = Vec::new();
    while reader.read(&mut samples).map_err(|e| named(&e))? {}
    recognizer.hear(&samples, search, &HotWords::default()).map_err(|e| named(&e))
}
