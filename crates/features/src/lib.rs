//! From any audio to the frames that a model takes, and text normalisation for scoring.
//!
//! The daemon and the trainer use this same code, so that a model meets in production what it met in training.

pub mod audio;
pub mod logmel;
pub mod normalize;
pub mod text;
pub mod wer;
