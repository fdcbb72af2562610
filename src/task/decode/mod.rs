//! From what models give to words. For CTC: units, search, the n-gram language model, hot words. For models that write text,
//! token by token: [`text`].
//!
//! Shared by the daemon and by `linnet-train evaluate`, so that a figure of the trainer is the daemon's figure.

pub mod ctc;
pub mod hot_words;
pub mod lexicon;
pub mod lm;
pub mod text;
pub mod units;

pub use ctc::{Decoded, DecodedWord, Decoder, LogProbs, SearchParams};
pub use hot_words::HotWords;
pub use lm::NgramLm;
pub use units::Units;
