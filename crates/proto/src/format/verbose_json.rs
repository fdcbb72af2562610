//! OpenAI's `verbose_json`
//! (<https://platform.openai.com/docs/api-reference/audio/verbose-json-object>).

use serde::{Deserialize, Serialize};

use crate::Transcript;
use crate::language::language_name;

/// OpenAI's `timestamp_granularities[]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granularities {
    /// Give `segments`.
    pub segment: bool,
    /// Give `words`.
    pub word: bool,
}

impl Default for Granularities {
    /// OpenAI's default: segments only.
    fn default() -> Self {
        Self { segment: true, word: false }
    }
}

/// The `verbose_json` object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerboseTranscript {
    /// Always `transcribe`.
    pub task: String,
    /// The language's English name in lower case (`english`), as OpenAI gives it.
    pub language: String,
    /// Length of the audio, seconds.
    pub duration: f64,
    /// The whole text.
    pub text: String,
    /// Where `word` was among the granularities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<Vec<VerboseWord>>,
    /// Where `segment` was among the granularities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<Vec<VerboseSegment>>,
    /// What the request cost, as OpenAI counts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// A word of `verbose_json`. `confidence` and `interpolated` are Linnet's additions; clients of OpenAI's pass over them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerboseWord {
    /// The word.
    pub word: String,
    /// Start, seconds.
    pub start: f64,
    /// End, seconds.
    pub end: f64,
    /// Probability of the word given its audio, 0.0 to 1.0.
    pub confidence: f32,
    /// Whether its times are only a share of its segment's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interpolated: bool,
}

/// A segment of `verbose_json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerboseSegment {
    /// Number, from 0.
    pub id: u32,
    /// Offset of Whisper's 30 s window in frames of 10 ms; the segment's start where there are no windows.
    pub seek: u64,
    /// Start, seconds.
    pub start: f64,
    /// End, seconds.
    pub end: f64,
    /// Its text.
    pub text: String,
    /// Whisper's token ids; the units of other models mean nothing outside them, so the list is empty.
    pub tokens: Vec<u32>,
    /// The temperature that Whisper wrote it at; 0 where nothing is sampled.
    pub temperature: f32,
    /// Mean log-probability.
    pub avg_logprob: f32,
    /// Bytes of the text by bytes compressed; the neutral 1 where no text is written twice.
    pub compression_ratio: f32,
    /// Whisper's; 0 for models whose segments are where speech was found.
    pub no_speech_prob: f32,
}

/// OpenAI's `usage` of a model that is paid by duration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Always `duration`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Seconds of audio, rounded up.
    pub seconds: u64,
}

impl Usage {
    /// The usage of a transcript.
    pub fn of(transcript: &Transcript) -> Self {
        Self { kind: "duration".into(), seconds: transcript.duration_secs.ceil() as u64 }
    }
}

/// `transcript` as OpenAI's `verbose_json`.
pub fn verbose_json(transcript: &Transcript, granularities: Granularities) -> VerboseTranscript {
    let words = || {
        let word = |w: &crate::Word| VerboseWord {
            word: w.word.clone(),
            start: w.start,
            end: w.end,
            confidence: w.confidence,
            interpolated: w.interpolated,
        };
        transcript.words.iter().map(word).collect()
    };
    let segments = || {
        let segment = |s: &crate::Segment| {
            let written = s.written.as_ref();
            VerboseSegment {
                id: s.id,
                seek: written.map_or((s.start * 100.0).round() as u64, |w| w.seek),
                start: s.start,
                end: s.end,
                text: s.text.clone(),
                tokens: written.map(|w| w.tokens.clone()).unwrap_or_default(),
                temperature: written.map_or(0.0, |w| w.temperature),
                avg_logprob: s.avg_logprob,
                compression_ratio: written.map_or(1.0, |w| w.compression_ratio),
                no_speech_prob: written.map_or(0.0, |w| w.no_speech_prob),
            }
        };
        transcript.segments.iter().map(segment).collect()
    };
    VerboseTranscript {
        task: "transcribe".into(),
        language: language_name(&transcript.language).to_owned(),
        duration: transcript.duration_secs,
        text: transcript.text.clone(),
        words: granularities.word.then(words),
        segments: granularities.segment.then(segments),
        usage: Some(Usage::of(transcript)),
    }
}
