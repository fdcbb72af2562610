//! Subtitles' cues: segments cut to what a person can read at once.

use crate::{Segment, Transcript, Word};

/// Longest cue, characters: two lines of 42, as broadcasters have it.
pub const MAX_CUE_CHARS: usize = 84;

/// Longest cue, seconds.
pub const MAX_CUE_SECS: f64 = 7.0;

/// One subtitle.
#[derive(Debug, Clone, PartialEq)]
pub struct Cue {
    /// Start, milliseconds.
    pub start_ms: u64,
    /// End, milliseconds; after the start.
    pub end_ms: u64,
    /// One line of text, not escaped.
    pub text: String,
}

/// The cues of a transcript, in order. A segment within [`MAX_CUE_CHARS`] and [`MAX_CUE_SECS`] is one cue; a longer
/// one is cut between words. Segments without text give none.
pub fn cues(transcript: &Transcript) -> Vec<Cue> {
    let mut out = Vec::new();
    for segment in &transcript.segments {
        cut(segment, &mut out);
    }
    out
}

fn cut(segment: &Segment, out: &mut Vec<Cue>) {
    let whole = one_line(&segment.text);
    if whole.is_empty() {
        return;
    }
    let fits = whole.chars().count() <= MAX_CUE_CHARS && segment.end - segment.start <= MAX_CUE_SECS;
    if fits || segment.words.is_empty() {
        out.push(cue(segment.start, segment.end, whole));
        return;
    }
    let mut open: Option<(f64, f64, String)> = None;
    for Word { word, start, end, .. } in &segment.words {
        let word = one_line(word);
        open = Some(match open {
            None => (*start, *end, word),
            Some((from, to, text)) => {
                let blank = segment.blank();
                let chars = text.chars().count() + blank.len() + word.chars().count();
                if chars > MAX_CUE_CHARS || end - from > MAX_CUE_SECS {
                    out.push(cue(from, to, text));
                    (*start, *end, word)
                } else {
                    (from, *end, format!("{text}{blank}{word}"))
                }
            }
        });
    }
    if let Some((from, to, text)) = open {
        out.push(cue(from, to, text));
    }
}

fn cue(start_secs: f64, end_secs: f64, text: String) -> Cue {
    let start_ms = millis(start_secs);
    Cue { start_ms, end_ms: millis(end_secs).max(start_ms + 1), text }
}

/// Whole milliseconds; what is negative or not a number is 0.
fn millis(secs: f64) -> u64 {
    // `as` saturates and maps NaN to 0.
    (secs * 1000.0).round() as u64
}

/// Runs of white space to single blanks: a blank line would end a cue.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `HH:MM:SS` and milliseconds after `point`.
pub(super) fn timestamp(ms: u64, point: char) -> String {
    let (secs, ms) = (ms / 1000, ms % 1000);
    format!("{:02}:{:02}:{:02}{point}{ms:03}", secs / 3600, secs / 60 % 60, secs % 60)
}
