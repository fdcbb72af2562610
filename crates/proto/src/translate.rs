//! Text in one language to text in another.

use serde::{Deserialize, Serialize};

use crate::WireError;
use crate::check::{length_within, list_within, whole_within};
use crate::transcribe::MAX_NAME_BYTES;

/// Most texts of one request.
pub const MAX_TEXTS: usize = 1024;
/// Most alternatives of one text.
pub const MAX_ALTERNATIVES: u32 = 8;
/// Most bytes of all texts.
pub const MAX_TRANSLATE_BYTES: usize = 4 << 20;

/// A request to translate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TranslateRequest {
    /// Model name or alias; chosen by the pair of languages when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The texts, each translated on its own.
    pub texts: Vec<String>,
    /// Language of the texts: a BCP-47 primary tag, or `auto`.
    pub source: String,
    /// Language wanted: a BCP-47 primary tag.
    pub target: String,
    /// `text` or `html` (tags are kept where they stand).
    pub format: TextFormat,
    /// Other translations to give beside the best.
    pub alternatives: u32,
    /// Beam width; the model's own when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_beams: Option<u32>,
    /// Add the alignment of words, from the decoder's attention where the graph gives it.
    pub explain: bool,
}

/// What a text is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextFormat {
    /// Plain text.
    #[default]
    Text,
    /// HTML.
    Html,
}

impl TranslateRequest {
    /// Checks every option against its rule.
    pub fn check(&self) -> Result<(), WireError> {
        length_within("model", self.model.as_deref(), MAX_NAME_BYTES)?;
        length_within("source", Some(&self.source), MAX_NAME_BYTES)?;
        length_within("target", Some(&self.target), MAX_NAME_BYTES)?;
        list_within("q", self.texts.len(), MAX_TEXTS)?;
        whole_within("alternatives", Some(self.alternatives.into()), 0, MAX_ALTERNATIVES.into())?;
        whole_within("num_beams", self.num_beams.map(u64::from), 1, crate::generate::MAX_BEAMS.into())?;
        let bytes: usize = self.texts.iter().map(String::len).sum();
        whole_within("q", Some(bytes as u64), 0, MAX_TRANSLATE_BYTES as u64)
    }
}

/// The answer, one entry for each text, in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Translated {
    /// The translations.
    pub translations: Vec<Translation>,
    /// The models that answered, in the order of their work (two for a pivot).
    pub models: Vec<String>,
    /// Time of inference, milliseconds.
    pub inference_ms: f64,
    /// How the alignment was made and what it cost, or why there is none, when `explain` asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
}

/// One text's translation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Translation {
    /// The translation.
    pub text: String,
    /// Others, the better first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<String>,
    /// The language that was found, when `auto` asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detected: Option<DetectedLanguage>,
    /// Word alignment, when `explain` asked and the graph gives attention: pairs of (source word, target word) and weight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alignment: Vec<Aligned>,
}

/// One link of an alignment; offsets are bytes of the texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Aligned {
    /// Start and end in the source text.
    pub source: (usize, usize),
    /// Start and end in the translation.
    pub target: (usize, usize),
    /// Share of attention, 0.0 to 1.0.
    pub weight: f32,
}

/// A request to name the language of texts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectRequest {
    /// Model name or alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The texts.
    pub texts: Vec<String>,
}

impl DetectRequest {
    /// Checks every option against its rule.
    pub fn check(&self) -> Result<(), WireError> {
        length_within("model", self.model.as_deref(), MAX_NAME_BYTES)?;
        list_within("q", self.texts.len(), MAX_TEXTS)?;
        let bytes: usize = self.texts.iter().map(String::len).sum();
        whole_within("q", Some(bytes as u64), 0, MAX_TRANSLATE_BYTES as u64)
    }
}

/// Languages that a text may be in, the likeliest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Detected {
    /// For each text its candidates.
    pub results: Vec<Vec<DetectedLanguage>>,
    /// The model that answered.
    pub model: String,
}

/// One candidate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DetectedLanguage {
    /// BCP-47 primary tag.
    pub language: String,
    /// Probability, 0.0 to 1.0.
    pub confidence: f32,
}
