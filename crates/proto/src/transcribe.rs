//! The transcription request's options and its answer.

use serde::{Deserialize, Serialize};

/// What a caller may ask of a transcription. Every field has a default that works.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TranscribeOptions {
    /// Model name or alias; the daemon's default speech model when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// BCP-47 primary tag (`en`); refused when the model does not speak it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Words to favour (names, places); commas, semicolons or new lines part them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Log-probability bonus for each hot word, 0.0 to 20.0; the model's default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot_word_boost: Option<f32>,
    /// Beam width, 1 (greedy) to 64; the model's default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beam_width: Option<u32>,
    /// Weight of the language model, 0.0 to 4.0; the model's default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lm_weight: Option<f32>,
    /// OpenAI's sampling temperature, 0.0 to 1.0. CTC has nothing to sample: checked, then ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Apply casing and punctuation rules where the model gives none; the model's default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub punctuate: Option<bool>,
    /// Answer segment by segment as they are ready.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
}

/// One word with its place in the audio.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// The word as it stands in the text.
    pub word: String,
    /// Start, seconds from the beginning of the audio.
    pub start: f64,
    /// End, seconds from the beginning of the audio.
    pub end: f64,
    /// Probability of the word given its audio, 0.0 to 1.0.
    pub confidence: f32,
}

/// A stretch of speech between silences.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Number of the segment, from 0.
    pub id: u32,
    /// Start, seconds.
    pub start: f64,
    /// End, seconds.
    pub end: f64,
    /// Its text.
    pub text: String,
    /// Mean log-probability of its words.
    pub avg_logprob: f32,
    /// Its words.
    pub words: Vec<Word>,
}

/// The answer of a transcription, as `linnet transcribe --json` and MQTT give it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    /// The whole text.
    pub text: String,
    /// All words in order.
    pub words: Vec<Word>,
    /// Segments in order.
    pub segments: Vec<Segment>,
    /// The model that answered.
    pub model: String,
    /// Language of the text.
    pub language: String,
    /// Length of the audio, seconds.
    pub duration_secs: f64,
    /// Real-time factor: inference seconds per second of audio.
    pub rtf: f64,
    /// Time waited in the queue, milliseconds.
    pub queue_ms: f64,
    /// Time of decoding, features, inference and search, milliseconds.
    pub inference_ms: f64,
}
