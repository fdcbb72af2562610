//! SubRip (`.srt`).

use std::fmt::Write;

use super::cue::{cues, timestamp};
use crate::Transcript;

/// The transcript as SubRip subtitles: numbered cues from 1, `HH:MM:SS,mmm`, a blank line after each. Empty when
/// nothing was said.
pub fn srt(transcript: &Transcript) -> String {
    let mut out = String::new();
    for (index, cue) in cues(transcript).iter().enumerate() {
        let (start, end) = (timestamp(cue.start_ms, ','), timestamp(cue.end_ms, ','));
        // SubRip has no escapes; `-->` would look like a time line.
        let text = cue.text.replace("-->", "→");
        // Writing to a String cannot fail.
        let _ = write!(out, "{}\n{start} --> {end}\n{text}\n\n", index + 1);
    }
    out
}
