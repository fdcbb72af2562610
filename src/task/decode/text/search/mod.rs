//! Searches: how answers grow token by token.

pub mod beams;
pub mod choices;
pub mod scoring;
pub mod writing;

#[cfg(test)]
mod goldens;

use linnet_proto::WireError;
use linnet_proto::generate::{Choice, Delta};

use super::options::ResolvedOptions;
use super::vocabulary::Vocabulary;
use crate::task::model::Logits;

pub use choices::Next;
pub use scoring::Scoring;
pub use writing::{Rules, Writing};

/// One way of searching.
#[derive(Debug)]
pub enum Search {
    /// Greedy or sampled.
    Choices(choices::Choices),
    /// Beams.
    Beams(beams::Beams),
}

impl Search {
    /// The search that `options` asks for, from `opening`; answers may have `most` tokens.
    pub fn new(options: &ResolvedOptions, opening: &Writing, most: usize) -> Self {
        match options.beams {
            0 | 1 => Self::Choices(choices::Choices::new(options, opening)),
            _ => Self::Beams(beams::Beams::new(options, opening, most)),
        }
    }

    /// Rows that the batch has.
    pub fn rows(&self) -> usize {
        match self {
            Self::Choices(search) => search.rows(),
            Self::Beams(search) => search.rows(),
        }
    }

    /// Prompt and answer of one row.
    pub fn ids(&self, row: usize) -> &[u32] {
        match self {
            Self::Choices(search) => search.ids(row),
            Self::Beams(search) => search.ids(row),
        }
    }

    /// Goes one token further; `None` at the end.
    pub fn advance(
        &mut self,
        logits: &Logits,
        scoring: &Scoring,
        vocabulary: &Vocabulary,
    ) -> Result<Option<Next>, WireError> {
        match self {
            Self::Choices(search) => search.advance(logits, scoring, vocabulary),
            Self::Beams(search) => search.advance(logits, scoring, vocabulary),
        }
    }

    /// Ends it where it is, because there is no more time.
    pub fn cut(&mut self) {
        match self {
            Self::Choices(search) => search.cut(),
            Self::Beams(search) => search.cut(),
        }
    }

    /// What can be shown since the last call.
    pub fn deltas(&mut self) -> Vec<Delta> {
        match self {
            Self::Choices(search) => search.deltas(),
            Self::Beams(search) => search.deltas(),
        }
    }

    /// The answers, and how many tokens they hold together.
    pub fn finish(&self) -> (Vec<Choice>, u64) {
        match self {
            Self::Choices(search) => search.finish(),
            Self::Beams(search) => search.finish(),
        }
    }
}
