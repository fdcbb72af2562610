//! Training data: sources with their shares, the cache of features, batches and augmentation.

pub mod augment;
pub mod batch;
pub mod cache;
pub mod extract;
pub mod set;
pub mod source;
pub mod text;
pub mod token_batch;
pub mod warp;

/// Mel bins of a feature frame.
pub const MEL_BINS: usize = linnet_features::logmel::MEL_BINS;
