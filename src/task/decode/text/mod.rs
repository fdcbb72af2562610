//! Choosing tokens: what every model that writes text has in common. `docs/generation.md` says what its options mean.
//!
//! [`Generation`] takes a prompt's ids through a [`crate::task::model::LanguageModel`]: it runs the prompt in pieces
//! ([`runner`]), scores each next token ([`process`], [`constraint`]), chooses ([`search`]), and gives text as it grows
//! ([`vocabulary`], [`stop`]). It never sees a graph, a tokenizer's file or a transport.

pub mod bounds;
pub mod config;
pub mod constraint;
pub mod dice;
pub mod distribution;
pub mod generation;
pub mod logprobs;
pub mod options;
pub mod prefix_cache;
pub mod process;
pub mod runner;
pub mod search;
pub mod spelling;
pub mod stop;
pub mod vocabulary;

#[cfg(test)]
mod alphabet;
#[cfg(test)]
mod goldens;
#[cfg(test)]
mod tests;

pub use config::GenerationConfig;
pub use generation::{Checkpoint, Generation, Outcome, Prompt, Setting};
pub use options::ResolvedOptions;
pub use prefix_cache::PrefixCache;
pub use vocabulary::{Piece, Spell, Spelling, Vocabulary};
