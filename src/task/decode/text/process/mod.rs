//! What is done to scores before a token is chosen: `transformers`' logits processors and warpers, in its order and with its
//! numerics (`transformers/generation/logits_process.py`, 4.57), and OpenAI's penalties.
//!
//! A processor sees ids and scores and keeps no state, so that it serves one sequence, several, or a beam that jumps between
//! them. "Ban" means a score of minus infinity.

pub mod bad_texts;
pub mod bias;
pub mod build;
pub mod ends;
pub mod penalties;
pub mod repeats;
pub mod suppress;
pub mod warp;

#[cfg(test)]
mod goldens;

use std::fmt::Debug;

/// The ids that scores are for the next one of.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    /// The prompt, then what was written. For a sequence-to-sequence model the decoder's.
    pub ids: &'a [u32],
    /// How many of them are the prompt.
    pub prompt: usize,
}

impl<'a> History<'a> {
    /// What was written.
    pub fn written(&self) -> &'a [u32] {
        &self.ids[self.prompt.min(self.ids.len())..]
    }
}

/// Changes the scores of one sequence's next token.
pub trait Process: Send + Sync + Debug {
    /// Changes `scores`, one for each token of the vocabulary.
    fn apply(&self, history: &History<'_>, scores: &mut [f32]);
}

/// Processors in order.
#[derive(Debug, Default)]
pub struct Chain(Vec<Box<dyn Process>>);

impl Chain {
    /// Adds one at the end.
    pub fn push(&mut self, process: impl Process + 'static) {
        self.0.push(Box::new(process));
    }

    /// Adds one at the end, where there is one.
    pub fn push_some(&mut self, process: Option<impl Process + 'static>) {
        if let Some(process) = process {
            self.push(process);
        }
    }

    /// Whether scores pass through unchanged.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Process for Chain {
    fn apply(&self, history: &History<'_>, scores: &mut [f32]) {
        self.0.iter().for_each(|process| process.apply(history, scores));
    }
}

impl<P: Process + ?Sized> Process for std::sync::Arc<P> {
    fn apply(&self, history: &History<'_>, scores: &mut [f32]) {
        (**self).apply(history, scores);
    }
}

/// Bans `ids`; one outside the vocabulary bans nothing.
pub(super) fn ban(scores: &mut [f32], ids: impl IntoIterator<Item = u32>) {
    for id in ids {
        if let Some(score) = scores.get_mut(id as usize) {
            *score = f32::NEG_INFINITY;
        }
    }
}

/// Bans everything but `ids`, which get a score of 0.
pub(super) fn force(scores: &mut [f32], ids: &[u32]) {
    scores.fill(f32::NEG_INFINITY);
    for id in ids {
        if let Some(score) = scores.get_mut(*id as usize) {
            *score = 0.0;
        }
    }
}
