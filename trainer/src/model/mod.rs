//! The models in Burn: configurations, weights by name, forward passes, losses.
//!
//! Weights live on the host in one flat buffer ([`Weights`]); [`Bound`] copies them to a device for one step. That keeps
//! the optimiser, the averaged weights and the checkpoints plain slices, the same for every back end.

pub mod bound;
pub mod causal;
pub mod config;
pub mod ctc;
pub mod encoder;
pub mod ops;
pub mod seq2seq;
pub mod weights;

pub use bound::{Bound, Noise};
pub use config::EncoderConfig;
pub use encoder::Encoder;
pub use weights::{Layout, Shape, Weights};
