//! WebVTT (<https://www.w3.org/TR/webvtt1/>).

use std::fmt::Write;

use super::cue::{cues, timestamp};
use crate::Transcript;

/// The transcript as WebVTT: the header, then cues `HH:MM:SS.mmm`, each followed by a blank line.
pub fn vtt(transcript: &Transcript) -> String {
    let mut out = String::from("WEBVTT\n\n");
    for cue in cues(transcript) {
        let (start, end) = (timestamp(cue.start_ms, '.'), timestamp(cue.end_ms, '.'));
        let text = cue.text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        // Writing to a String cannot fail.
        let _ = write!(out, "{start} --> {end}\n{text}\n\n");
    }
    out
}
