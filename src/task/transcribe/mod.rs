//! Speech to text: audio → what a model takes at once → words with times, in bounded memory.
//!
//! - [`ctc`]: models that emit units frame by frame.
//! - [`splitter`], `pieces`: families that hear one piece between silences after the other; silence never reaches the model.
//! - [`moonshine`]: text that is written piece by piece.
//! - [`transducer`]: models that decide frame by frame with the last tokens in mind.
//! - [`whisper`]: text that is written window by window.
//! - `growing`: the answer as far as it is known.
//! - `canary`: the canned request of foreign packages.

mod activity;
mod canary;
pub mod ctc;
mod growing;
pub mod moonshine;
mod pieces;
mod punctuate;
pub mod splitter;
pub mod transducer;
pub mod whisper;

use std::path::Path;

use linnet_features::audio::{AudioError, SAMPLE_RATE};
use linnet_proto::{ErrorCode, TranscribeOptions, WireError};

use crate::engine::EngineError;
use crate::store::layout::Graphs;
use crate::store::{self, layout};
use crate::task::model::seq2seq::DecoderFiles;

pub use ctc::{Heard, Recognizer, TranscribePipeline};
pub use moonshine::MoonshinePipeline;
pub use splitter::{Piece, Splitter};
pub use transducer::TransducerPipeline;
pub use whisper::WhisperPipeline;

/// Appends the next samples; `false` at the end.
type Source<'a> = &'a mut dyn FnMut(&mut Vec<f32>) -> Result<bool, AudioError>;

/// The language of the answer: the one that is asked for, where the model `name` speaks it, else the model's main one.
fn language(asked: Option<&str>, name: &str, languages: &[String]) -> Result<String, WireError> {
    let asked = asked.map(str::trim).filter(|tag| !tag.is_empty());
    let Some(asked) = asked else { return Ok(languages.first().cloned().unwrap_or_default()) };
    // Regions and scripts (`en-GB`) are the model's own affair.
    let primary = asked.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
    // A package that does not tell what it speaks is believed to speak what is asked for.
    if languages.is_empty() || languages.contains(&primary) {
        return Ok(primary);
    }
    let message = format!(
        "the model {name} does not speak {:?}; it speaks {}; ask for one of these, or for another model",
        asked.chars().take(40).collect::<String>(),
        languages.join(", ")
    );
    Err(WireError::new(ErrorCode::UnsupportedTask, message).with_param("language"))
}

/// Options that are asked for and do nothing in a model of `family`.
pub fn without_effect(family: &str, options: &TranscribeOptions) -> Vec<&'static str> {
    let asked = [
        ("prompt", options.prompt.is_some()),
        ("hot_word_boost", options.hot_word_boost.is_some()),
        ("beam_width", options.beam_width.is_some()),
        ("lm_weight", options.lm_weight.is_some()),
        ("temperature", options.temperature.is_some()),
        ("seed", options.seed.is_some()),
        ("condition_on_previous_text", options.condition_on_previous_text.is_some()),
        ("punctuate", options.punctuate.is_some()),
    ];
    let used: &[&str] = match family {
        whisper::FAMILY => &["prompt", "beam_width", "temperature", "seed", "condition_on_previous_text"],
        moonshine::FAMILY => &[],
        layout::TRANSDUCER_FAMILY => &["beam_width"],
        store::CTC_FAMILY => &["prompt", "hot_word_boost", "beam_width", "lm_weight", "punctuate"],
        // Packages of other people come without a language model.
        _ => &["prompt", "hot_word_boost", "beam_width", "punctuate"],
    };
    asked.into_iter().filter(|(name, asked)| *asked && !used.contains(name)).map(|(name, _)| name).collect()
}

/// The graphs of an encoder-decoder's decoder.
fn decoder_files(graphs: &Graphs) -> DecoderFiles {
    let part = |name: &str| graphs.part(name).map(Path::to_path_buf);
    DecoderFiles {
        merged: part("decoder_model_merged"),
        first: part("decoder_model"),
        with_past: part("decoder_with_past_model"),
    }
}

/// Mean 0, variance 1, as `transformers`' `zero_mean_unit_var_norm`.
fn standardize(samples: &mut [f32]) {
    let count = samples.len() as f64;
    let mean = samples.iter().map(|s| f64::from(*s)).sum::<f64>() / count;
    let variance = samples.iter().map(|s| (f64::from(*s) - mean).powi(2)).sum::<f64>() / count;
    let scale = 1.0 / (variance + 1e-7).sqrt();
    samples.iter_mut().for_each(|s| *s = ((f64::from(*s) - mean) * scale) as f32);
}

fn secs(samples: u64) -> f64 {
    samples as f64 / f64::from(SAMPLE_RATE)
}

/// Whole milliseconds, so that an answer reads 1.4 and not 1.4000000000000001.
fn whole_millis(secs: f64) -> f64 {
    (secs * 1000.0).round() / 1000.0
}

/// Where each refusal of audio belongs on the wire.
fn audio_error(error: AudioError) -> WireError {
    let code = match error {
        AudioError::Unsupported(_) => ErrorCode::UnsupportedMedia,
        AudioError::Malformed(_) | AudioError::OutOfRange(_) => ErrorCode::InvalidAudio,
        AudioError::Empty => ErrorCode::EmptyAudio,
        AudioError::TooLarge(_) => ErrorCode::TooLarge,
    };
    WireError::new(code, error.to_string())
}

impl From<EngineError> for WireError {
    fn from(error: EngineError) -> Self {
        Self::new(ErrorCode::Internal, error.to_string())
    }
}

#[cfg(test)]
mod tests;
