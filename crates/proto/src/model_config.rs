//! `config.json` of Linnet's own model families.

use serde::{Deserialize, Serialize};

/// `config.json` of a `linnet-ctc` package: a conformer-like encoder with a CTC head.
///
/// The ONNX graph takes `features` `f32[1, frames, mel_bins]` (already normalised) and gives
/// `log_probs` `f32[1, ceil(frames / subsampling), units]` (natural log, rows sum to 1 in probability).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CtcConfig {
    /// Always `linnet-ctc`.
    pub model_type: String,
    /// Samples per second that the features expect: 16000.
    pub sample_rate: u32,
    /// Mel bins: 80.
    pub mel_bins: usize,
    /// Hop of the features, milliseconds: 10.
    pub frame_shift_ms: f64,
    /// Normalisation before the graph.
    pub normalization: Normalization,
    /// Feature frames per output frame: 4 or 8.
    pub subsampling: usize,
    /// Index of CTC's blank: 0.
    pub blank_id: usize,
    /// Number of units, blank included.
    pub units: usize,
    /// Longest stretch of audio that one run of the graph may take, seconds.
    pub max_segment_secs: f64,
    /// Where the units' texts stand (`tokenizer.json`): id `i + 1` of the graph is token `i`… see `UnitKind`.
    pub unit_kind: UnitKind,
    /// Relative path of the ONNX file.
    pub onnx: String,
    /// Relative path of the n-gram language model, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language_model: Option<String>,
    /// Defaults of the search.
    #[serde(default)]
    pub decoding: DecodingDefaults,
}

/// How features are normalised before the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalization {
    /// As they are.
    None,
    /// Per utterance and bin: mean 0, standard deviation 1.
    Utterance,
    /// Per bin by a running mean and deviation (streaming).
    Streaming,
}

/// What a unit is. In both kinds unit ids are the ids of `tokenizer.json`'s vocabulary, and id
/// `blank_id` is the token `<blank>`; a word begins at the token or prefix `▁` (U+2581).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitKind {
    /// One character each; `▁` alone is the space.
    Characters,
    /// BPE pieces; `▁` at a piece's beginning marks a word's beginning.
    Bpe,
}

/// Search parameters that the trainer tuned on its own validation set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DecodingDefaults {
    /// Beam width; 1 is greedy.
    pub beam_width: u32,
    /// Weight of the language model's natural-log probability.
    pub lm_weight: f32,
    /// Bonus for each word, against the language model's bias to few words.
    pub word_bonus: f32,
    /// Bonus for each hot word.
    pub hot_word_boost: f32,
    /// Apply casing and punctuation rules.
    pub punctuate: bool,
}

impl Default for DecodingDefaults {
    fn default() -> Self {
        Self { beam_width: 16, lm_weight: 0.5, word_bonus: 0.5, hot_word_boost: 4.0, punctuate: false }
    }
}
