//! The models' parts that are neither a matrix product nor a reshape.
//!
//! Each exists twice: composed of Burn's tensor operations, which runs on every back end, and as one fused kernel over slices
//! for `flex`, where a composition would pass over memory a dozen times. Tests hold both to the same values and gradients.

pub mod attention;
pub mod cross_entropy;
pub mod ctc;
pub mod depthwise;
pub mod dot_attention;
pub mod embedding;
#[cfg(feature = "flex")]
pub mod fused;
pub mod gate;
pub mod layer_norm;
pub mod product;
pub mod residual;
pub mod rms_norm;
#[cfg_attr(not(feature = "flex"), allow(dead_code))] // Without it only the loss is left here.
mod simd;
pub mod subsample;
#[cfg(test)]
mod tests;

use burn::tensor::Device;

/// Which of the two forms runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Burn's tensor operations, on any device.
    Composed,
    /// One kernel over slices, on the `flex` device.
    #[cfg(feature = "flex")]
    Fused,
}

impl Path {
    /// The faster form that `device` has.
    pub fn of(device: &Device) -> Self {
        #[cfg(feature = "flex")]
        if *device == Device::flex() {
            return Self::Fused;
        }
        let _ = device;
        Self::Composed
    }
}
