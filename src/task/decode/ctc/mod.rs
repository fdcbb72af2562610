//! CTC: from frames of log-probabilities to units, words, times and confidence.
//!
//! - [`greedy`]: the likeliest unit of each frame, repeats and blanks taken out.
//! - [`beam`]: prefix beam search with language model and hot words.
//! - [`align`]: the likeliest frames of a given sequence of units, for times and confidence.
//! - [`words`]: units to words.

pub mod align;
pub mod beam;
pub mod greedy;
pub mod words;

use std::convert::Infallible;
use std::sync::Arc;

use linnet_proto::model_config::DecodingDefaults;

use super::{HotWords, NgramLm, Units};

pub use beam::{BeamSearch, Hypothesis};
pub use words::DecodedWord;

/// Natural-log probabilities, row-major `[frames, units]`.
#[derive(Debug, Clone, Copy)]
pub struct LogProbs<'a> {
    data: &'a [f32],
    units: usize,
}

/// The posteriors' shape or values cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LogProbsError {
    /// Not whole frames.
    #[error("{len} log-probabilities are not whole frames of {units} units")]
    Shape {
        /// How many there are.
        len: usize,
        /// Units of a frame.
        units: usize,
    },
    /// A value is NaN or above 0 by more than rounding.
    #[error("the log-probability of unit {unit} in frame {frame} is not a log-probability; the model is damaged")]
    Value {
        /// The frame.
        frame: usize,
        /// The unit.
        unit: usize,
    },
}

impl<'a> LogProbs<'a> {
    /// Checks shape and values: neither NaN nor more than 0 by more than rounding; −∞ is a log-probability.
    pub fn new(data: &'a [f32], units: usize) -> Result<Self, LogProbsError> {
        if units == 0 || !data.len().is_multiple_of(units) {
            return Err(LogProbsError::Shape { len: data.len(), units });
        }
        match data.iter().position(|v| v.is_nan() || *v > 1e-3) {
            Some(at) => Err(LogProbsError::Value { frame: at / units, unit: at % units }),
            None => Ok(Self { data, units }),
        }
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.data.len() / self.units
    }

    /// Units of a frame.
    pub fn units(&self) -> usize {
        self.units
    }

    /// One frame.
    pub fn frame(&self, index: usize) -> &'a [f32] {
        &self.data[index * self.units..(index + 1) * self.units]
    }

    /// All frames in order.
    pub fn iter(&self) -> std::slice::ChunksExact<'a, f32> {
        self.data.chunks_exact(self.units)
    }

    /// Mean over frames of the likeliest unit's log-probability, blanks included: a fingerprint that notices damage
    /// of a model before its text changes. 0 for no frames.
    pub fn mean_best(&self) -> f64 {
        if self.data.is_empty() {
            return 0.0;
        }
        let best = |frame: &[f32]| f64::from(frame.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        self.iter().map(best).sum::<f64>() / self.frames() as f64
    }
}

/// What the search may use. `Default` is greedy.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchParams {
    /// Prefixes that are kept per frame; 1 is greedy, which uses neither language model nor hot words.
    pub beam_width: usize,
    /// Most units that extend a prefix in one frame, the likeliest first; the blank is not counted.
    pub top_units: usize,
    /// A unit whose log-probability is below this extends no prefix.
    pub least_unit_logprob: f32,
    /// Weight of the language model's natural-log probability.
    pub lm_weight: f32,
    /// Bonus for each word, against the language model's bias to few words.
    pub word_bonus: f32,
    /// Bonus for each hot word or phrase.
    pub hot_word_boost: f32,
    /// Whether the audio ends where a sentence may end: scores the language model's sentence end.
    pub sentence_ends: bool,
}

/// Default of [`SearchParams::top_units`].
pub const TOP_UNITS: usize = 24;

/// Default of [`SearchParams::least_unit_logprob`]: a probability of 1 in 10,000.
pub const LEAST_UNIT_LOGPROB: f32 = -9.21;

impl Default for SearchParams {
    fn default() -> Self {
        Self {
            beam_width: 1,
            top_units: TOP_UNITS,
            least_unit_logprob: LEAST_UNIT_LOGPROB,
            lm_weight: 0.0,
            word_bonus: 0.0,
            hot_word_boost: 0.0,
            sentence_ends: true,
        }
    }
}

impl From<&DecodingDefaults> for SearchParams {
    fn from(d: &DecodingDefaults) -> Self {
        Self {
            beam_width: d.beam_width as usize,
            lm_weight: d.lm_weight,
            word_bonus: d.word_bonus,
            hot_word_boost: d.hot_word_boost,
            ..Self::default()
        }
    }
}

/// A decoded stretch of audio.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The words with one blank between.
    pub text: String,
    /// The words with their frames.
    pub words: Vec<DecodedWord>,
    /// Mean natural-log posterior of the units that make the words; 0 when there is none.
    pub avg_logprob: f32,
}

/// A decoder with its buffers: one per worker, used again and again.
#[derive(Debug)]
pub struct Decoder {
    units: Arc<Units>,
    lm: Option<Arc<NgramLm>>,
    search: BeamSearch,
    aligner: align::Aligner,
}

impl Decoder {
    /// A decoder for a model's units, with its language model where there is one.
    pub fn new(units: Arc<Units>, lm: Option<Arc<NgramLm>>) -> Self {
        Self { units, lm, search: BeamSearch::default(), aligner: align::Aligner::default() }
    }

    /// Decodes frames of this decoder's units.
    ///
    /// # Panics
    /// When `log_probs` has another number of units.
    pub fn decode(&mut self, log_probs: LogProbs<'_>, params: &SearchParams, hot: &HotWords) -> Decoded {
        let Ok(decoded) = self.decode_while::<Infallible>(log_probs, params, hot, &mut || Ok(()));
        decoded
    }

    /// As [`Decoder::decode`], with a look at `checkpoint` before it begins, every few frames of a search and after it: for
    /// whoever has to know that there is progress, or may have to stop. Its error is returned at once.
    ///
    /// # Panics
    /// When `log_probs` has another number of units.
    pub fn decode_while<E>(
        &mut self,
        log_probs: LogProbs<'_>,
        params: &SearchParams,
        hot: &HotWords,
        checkpoint: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<Decoded, E> {
        assert_eq!(log_probs.units(), self.units.len(), "frames of another model");
        checkpoint()?;
        let spans = if params.beam_width <= 1 {
            greedy::search(log_probs, self.units.blank())
        } else {
            let lm = self.lm.as_deref();
            let best = self.search.search(log_probs, &self.units, lm, hot, params, checkpoint)?;
            checkpoint()?;
            self.aligner.align(log_probs, &best.units, self.units.blank())
        };
        Ok(words::assemble(&spans, &self.units))
    }

    /// By how much the text of [`Decoder::decode`] wins, natural-log: in a search with a beam the distance of its score to
    /// the best one of another text, else the smallest change of one log-probability that changes the text. Infinite where
    /// there is no other. Rounding that differs by less cannot change the text.
    ///
    /// # Panics
    /// When `log_probs` has another number of units.
    pub fn margin(&mut self, log_probs: LogProbs<'_>, params: &SearchParams, hot: &HotWords) -> f64 {
        assert_eq!(log_probs.units(), self.units.len(), "frames of another model");
        if params.beam_width <= 1 {
            return greedy::margin(log_probs, self.units.blank());
        }
        let lm = self.lm.as_deref();
        let Ok(best) = self.search.search::<Infallible>(log_probs, &self.units, lm, hot, params, &mut || Ok(()));
        let text = self.units.spell(&best.units);
        let finalists = self.search.finalists(&self.units, lm, hot, params);
        let second = finalists.iter().find(|other| self.units.spell(&other.units) != text);
        second.map_or(f64::INFINITY, |second| best.score - second.score)
    }
}

#[cfg(test)]
mod tests;
