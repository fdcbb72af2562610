//! `linnet-train` as a library: each verb is a module with `run`, and tests drive them without a process.

pub mod audio_header;
pub mod bad;
pub mod cli;
pub mod data;
pub mod documents;
pub mod error;
pub mod evaluate;
pub mod export;
pub mod heldout;
pub mod interrupt;
pub mod lang_id;
pub mod lm;
pub mod manifest;
pub mod model;
pub mod output;
pub mod parallel;
pub mod progress;
#[cfg(test)]
mod skips;
pub mod sources;
pub mod split;
pub mod synth;
pub mod text;
pub mod train;
pub mod units;
pub mod vocabulary;
