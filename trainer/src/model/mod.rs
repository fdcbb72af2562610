//! The `linnet-ctc` encoder of `docs/model.md` in Burn: configuration, weights by name, forward pass, loss.
//!
//! Weights live on the host in one flat buffer ([`Weights`]); an [`Encoder`] binds them to a device for one step. That keeps
//! the optimiser, the averaged weights and the checkpoints plain slices, the same for every back end.

pub mod config;
pub mod ctc;
pub mod encoder;
pub mod ops;
pub mod weights;

pub use config::EncoderConfig;
pub use encoder::Encoder;
pub use weights::{Layout, Weights};
