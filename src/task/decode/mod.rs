//! From a model's frame posteriors to words: units, CTC search, the n-gram language model, hot words.
//!
//! Shared by the daemon and by `linnet-train evaluate`, so that a figure of the trainer is the daemon's figure.

pub mod ctc;
pub mod hot_words;
pub mod lexicon;
pub mod lm;
pub mod units;

pub use ctc::{Decoded, DecodedWord, Decoder, LogProbs, SearchParams};
pub use hot_words::HotWords;
pub use lm::NgramLm;
pub use units::Units;
