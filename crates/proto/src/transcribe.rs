//! The transcription request's options and its answer.

use serde::{Deserialize, Serialize};

use crate::check::{length_within, number_within};
use crate::{ErrorCode, WireError};

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
    /// For CTC models words to favour (names, places), parted by commas, semicolons or new lines; for Whisper text that
    /// stands before what is said.
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
    /// Sampling temperature, 0.0 to 1.0, for models that write text (Whisper): what is tried first; 0 is the likeliest text. Others have
    /// nothing to sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Seed of the sampling, for models that sample; 0 when absent. Same seed, same text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Whether a window of audio is written with the text before it in mind, for models that can (Whisper); the model's default
    /// when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition_on_previous_text: Option<bool>,
    /// Apply casing and punctuation rules where the model gives none; the model's default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub punctuate: Option<bool>,
    /// Answer segment by segment as they are ready.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
}

impl TranscribeOptions {
    /// Checks every option against its rule, so that all transports refuse the same with the same words. Names of models
    /// and languages are the daemon's to resolve and are only checked for their length here.
    pub fn check(&self) -> Result<(), WireError> {
        number_within("hot_word_boost", self.hot_word_boost, 0.0, 20.0)?;
        number_within("lm_weight", self.lm_weight, 0.0, 4.0)?;
        number_within("temperature", self.temperature, 0.0, 1.0)?;
        if let Some(width) = self.beam_width
            && !(1..=MAX_BEAM_WIDTH).contains(&width)
        {
            let message = format!("beam_width is {width}; it must be a whole number from 1 to {MAX_BEAM_WIDTH}");
            return Err(WireError::new(ErrorCode::InvalidOption, message).with_param("beam_width"));
        }
        length_within("model", self.model.as_deref(), MAX_NAME_BYTES)?;
        length_within("language", self.language.as_deref(), MAX_NAME_BYTES)?;
        length_within("prompt", self.prompt.as_deref(), MAX_PROMPT_BYTES)
    }
}

/// Widest beam that a request may ask for.
pub const MAX_BEAM_WIDTH: u32 = 64;
/// Longest name of a model or tag of a language, bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Longest list of hot words, bytes.
pub const MAX_PROMPT_BYTES: usize = 16 * 1024;

/// One word with its place in the audio.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// The word as it stands in the text.
    pub word: String,
    /// Start, seconds from the beginning of the audio.
    pub start: f64,
    /// End, seconds from the beginning of the audio.
    pub end: f64,
    /// Probability of the word given its audio, 0.0 to 1.0.
    pub confidence: f32,
    /// Whether its times are no more than a share of its segment's, by the number of characters: the model's graph does not
    /// tell where a word is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interpolated: bool,
}

/// A stretch of speech between silences.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    /// Whether words stand without blanks between them, and it without a blank behind the segment before, as in Chinese.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unspaced: bool,
    /// How it was written, by models that write tokens in windows (Whisper).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Written>,
}

impl Segment {
    /// What parts two words, and it from the segment before.
    pub fn blank(&self) -> &'static str {
        if self.unspaced { "" } else { " " }
    }
}

/// How Whisper wrote a segment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// Start of the window that it was written from, in frames of 10 ms.
    pub seek: u64,
    /// Its tokens, timestamps among them.
    pub tokens: Vec<u32>,
    /// The temperature at which the window was written; 0 is greedy or a beam.
    pub temperature: f32,
    /// Bytes of the text by bytes compressed: high where text repeats itself.
    pub compression_ratio: f32,
    /// Probability that the window holds no speech.
    pub no_speech_prob: f32,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(options: &TranscribeOptions) -> Option<String> {
        options.check().err().and_then(|e| {
            assert_eq!(e.code, ErrorCode::InvalidOption);
            e.param
        })
    }

    #[test]
    fn the_defaults_pass_their_own_rules() {
        assert_eq!(TranscribeOptions::default().check(), Ok(()));
    }

    #[test]
    fn each_option_is_refused_just_outside_its_rule_and_taken_at_its_edge() {
        let with = |set: fn(&mut TranscribeOptions)| {
            let mut options = TranscribeOptions::default();
            set(&mut options);
            refused(&options)
        };
        assert_eq!(with(|o| o.beam_width = Some(0)).as_deref(), Some("beam_width"));
        assert_eq!(with(|o| o.beam_width = Some(65)).as_deref(), Some("beam_width"));
        assert_eq!(with(|o| o.beam_width = Some(64)), None);
        assert_eq!(with(|o| o.temperature = Some(1.01)).as_deref(), Some("temperature"));
        assert_eq!(with(|o| o.temperature = Some(1.0)), None);
        assert_eq!(with(|o| o.lm_weight = Some(f32::NAN)).as_deref(), Some("lm_weight"));
        assert_eq!(with(|o| o.hot_word_boost = Some(-0.1)).as_deref(), Some("hot_word_boost"));
        assert_eq!(with(|o| o.hot_word_boost = Some(20.0)), None);
        assert_eq!(with(|o| o.prompt = Some("x".repeat(16 * 1024 + 1))).as_deref(), Some("prompt"));
        assert_eq!(with(|o| o.model = Some("m".repeat(129))).as_deref(), Some("model"));
        assert_eq!(with(|o| o.language = Some("e".repeat(129))).as_deref(), Some("language"));
    }
}
