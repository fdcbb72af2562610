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

/// A word of `verbose_json`. `confidence` is Linnet's addition; clients of OpenAI's pass over it.
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
}

/// A segment of `verbose_json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerboseSegment {
    /// Number, from 0.
    pub id: u32,
    /// Whisper's offset of its 30 s window in frames of 10 ms; here the segment's start.
    pub seek: u64,
    /// Start, seconds.
    pub start: f64,
    /// End, seconds.
    pub end: f64,
    /// Its text.
    pub text: String,
    /// Whisper's token ids; a CTC model's units mean nothing outside it, so the list is empty.
    pub tokens: Vec<u32>,
    /// Always 0: nothing is sampled.
    pub temperature: f32,
    /// Mean log-probability.
    pub avg_logprob: f32,
    /// Bytes of the text by bytes compressed; Linnet does not use it, so it is the neutral 1.
    pub compression_ratio: f32,
    /// 0: segments are where speech was found.
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
        };
        transcript.words.iter().map(word).collect()
    };
    let segments = || {
        let segment = |s: &crate::Segment| VerboseSegment {
            id: s.id,
            seek: (s.start * 100.0).round() as u64,
            start: s.start,
            end: s.end,
            text: s.text.clone(),
            tokens: Vec::new(),
            temperature: 0.0,
            avg_logprob: s.avg_logprob,
            compression_ratio: 1.0,
            no_speech_prob: 0.0,
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
