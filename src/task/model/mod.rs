//! Language models as decoding sees them: ids in, logits out, a state between.
//!
//! [`LanguageModel`] hides whether a graph is a decoder alone ([`causal`]) or one that listens to an encoder ([`seq2seq`]),
//! whether it keeps a cache or has to read everything again, and how its inputs are called. Nothing here chooses a token.

pub mod causal;
pub mod fake;
pub mod seq2seq;
pub mod sequences;

pub use sequences::{Logits, Sequences};

use crate::engine::{EngineError, Positions, Tensor};

/// A model that continues sequences of token ids, run by one worker.
pub trait LanguageModel: Send {
    /// Size of the vocabulary: how many logits there are for each position.
    fn vocabulary(&self) -> usize;

    /// Most positions that a sequence may have; `None` when the model's configuration names none.
    fn context(&self) -> Option<usize>;

    /// One sequence with nothing in it. A sequence-to-sequence model has it listen to what its encoder heard last.
    fn begin(&mut self) -> Result<Sequences, EngineError>;

    /// Appends `ids[row]` to each row, all of the same number, and gives the logits behind them. An error leaves the sequences
    /// as they were.
    fn step(
        &mut self,
        sequences: &mut Sequences,
        ids: &[Vec<u32>],
        positions: Positions,
    ) -> Result<Logits, EngineError>;

    /// Cross-attention of the last step, by layer, `[rows, heads, positions, encoder positions]`; empty where there is none or the
    /// graph does not give it.
    fn attention(&self) -> &[Tensor] {
        &[]
    }
}

#[cfg(test)]
mod goldens;
