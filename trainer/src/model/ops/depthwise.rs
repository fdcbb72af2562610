//! Causal depthwise convolution over time: each channel has its own K taps, the last of which meets the frame itself.

use burn::tensor::{Device, Tensor, TensorData};

use super::Path;

/// The convolution for kernels of one length: what all blocks of an encoder share, brought to the device once a batch.
pub struct Depthwise {
    taps: usize,
    form: Form,
}

enum Form {
    /// What [`diagonals`] gives for blocks of [`block`] frames.
    Composed(Box<Tensor<2>>),
    #[cfg(feature = "flex")]
    Fused,
}

impl Depthwise {
    /// For kernels of `taps`, which are at least one.
    pub fn new(taps: usize, device: &Device, path: Path) -> Self {
        let form = match path {
            Path::Composed => Form::Composed(Box::new(diagonals(taps, block(taps), device))),
            #[cfg(feature = "flex")]
            Path::Fused => Form::Fused,
        };
        Self { taps, form }
    }

    /// `x` `[batch · frames, channels]`, `weight` `[channels, 1, taps]`, `bias` `[channels]` → the shape of `x`. Each of the
    /// `batch` sequences begins with zeros on its left.
    ///
    /// # Panics
    /// When `weight` has another number of taps.
    pub fn apply(&self, x: Tensor<2>, weight: Tensor<3>, bias: Tensor<1>, batch: usize) -> Tensor<2> {
        let [rows, channels] = x.dims();
        let taps = weight.dims()[2];
        assert_eq!(taps, self.taps, "a kernel of another length");
        match &self.form {
            Form::Composed(diagonals) => composed(x, weight, bias, batch, Tensor::clone(diagonals)),
            #[cfg(feature = "flex")]
            Form::Fused => {
                let kernel = fused::Depthwise { frames: rows / batch, channels, taps };
                super::fused::apply(kernel, [x.into(), weight.into(), bias.into()], [rows, channels])
            }
        }
    }
}

/// Frames of a block: as many as the look-back, so that two blocks hold all that a frame meets.
fn block(taps: usize) -> usize {
    (taps - 1).max(16)
}

/// As products with band matrices: time is cut into blocks, and each channel's block is the product of the block before it
/// and itself with a matrix that holds the taps on its diagonals. Burn's grouped convolution would run its weights' gradient channel by
/// channel, which on a GPU is a thousand small kernels in each step.
fn composed(x: Tensor<2>, weight: Tensor<3>, bias: Tensor<1>, batch: usize, diagonals: Tensor<2>) -> Tensor<2> {
    let [rows, channels] = x.dims();
    let taps = weight.dims()[2];
    let frames = rows / batch;
    let block = block(taps);
    let blocks = frames.div_ceil(block);
    let x = x.reshape([batch, frames, channels]);
    // A block of zeros before the first frame, and zeros behind the last one.
    let x = x.pad([(0, 0), (block, blocks * block - frames), (0, 0)], 0.0);
    let x = x.reshape([batch, blocks + 1, block, channels]);
    let pairs = Tensor::cat(vec![x.clone().narrow(1, 0, blocks), x.narrow(1, 1, blocks)], 2);
    let pairs = pairs.permute([3, 0, 1, 2]).reshape([channels, batch * blocks, 2 * block]);
    let bands = weight.reshape([channels, taps]).matmul(diagonals);
    let y = pairs.matmul(bands.reshape([channels, 2 * block, block]));
    let y = y.reshape([channels, batch, blocks * block]).permute([1, 2, 0]).narrow(1, 0, frames);
    y.reshape([rows, channels]) + bias.unsqueeze::<2>()
}

/// `[taps, 2 · block · block]` of 0 and 1: which tap stands at (input, output) of the band matrix.
fn diagonals(taps: usize, block: usize, device: &Device) -> Tensor<2> {
    let mut ones = vec![0.0f32; taps * 2 * block * block];
    for tap in 0..taps {
        for output in 0..block {
            // The last tap meets the output's own frame, which stands in the second block.
            let input = block + output + tap + 1 - taps;
            ones[(tap * 2 * block + input) * block + output] = 1.0;
        }
    }
    Tensor::from_data(TensorData::new(ones, [taps, 2 * block * block]), device)
}

#[cfg(feature = "flex")]
pub(super) mod fused {
    use rayon::prelude::*;

    use crate::model::ops::fused::{Gradient, Kernel};
    use crate::model::ops::simd::{add, add_product, vectorised};

    #[derive(Debug, Clone)]
    pub struct Depthwise {
        pub frames: usize,
        pub channels: usize,
        pub taps: usize,
    }

    /// `[rows, columns]` to `[columns, rows]`.
    pub fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
        (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
    }

    impl Kernel<3> for Depthwise {
        fn forward(&self, [x, weight, bias]: [&[f32]; 3], out: &mut [f32]) {
            let &Self { frames, channels, taps } = self;
            let weight = transposed(weight, channels, taps);
            let sequence = frames * channels;
            out.par_chunks_mut(sequence).zip(x.par_chunks(sequence)).for_each(|(out, x)| {
                vectorised(
                    #[inline(always)]
                    || {
                        for (t, out) in out.chunks_exact_mut(channels).enumerate() {
                            out.copy_from_slice(bias);
                            // Tap k meets frame t + k + 1 − K.
                            let first = (taps - 1).saturating_sub(t);
                            let x = &x[(t + first + 1 - taps) * channels..(t + 1) * channels];
                            let weight = &weight[first * channels..];
                            for (x, weight) in x.chunks_exact(channels).zip(weight.chunks_exact(channels)) {
                                add_product(out, x, weight);
                            }
                        }
                    },
                );
            });
        }

        fn backward(&self, [x, weight, _]: [&[f32]; 3], _: &[f32], grad: &[f32], _: [bool; 3]) -> [Gradient; 3] {
            let &Self { frames, channels, taps } = self;
            let weight = transposed(weight, channels, taps);
            let sequence = frames * channels;
            let mut x_grad = vec![0.0; x.len()];
            let sequences = x_grad.par_chunks_mut(sequence).zip(x.par_chunks(sequence)).zip(grad.par_chunks(sequence));
            let sums: Vec<(Vec<f32>, Vec<f32>)> = sequences
                .map(|((x_grad, x), grad)| {
                    let (mut weight_grad, mut bias_grad) = (vec![0.0f32; taps * channels], vec![0.0f32; channels]);
                    vectorised(
                        #[inline(always)]
                        || {
                            for (t, grad) in grad.chunks_exact(channels).enumerate() {
                                add(&mut bias_grad, grad);
                                let first = (taps - 1).saturating_sub(t);
                                let met = (t + first + 1 - taps) * channels..(t + 1) * channels;
                                let frames = x_grad[met.clone()].chunks_exact_mut(channels);
                                let frames = frames.zip(x[met].chunks_exact(channels));
                                let weights = weight[first * channels..].chunks_exact(channels);
                                let weights = weights.zip(weight_grad[first * channels..].chunks_exact_mut(channels));
                                for ((x_grad, x), (weight, weight_grad)) in frames.zip(weights) {
                                    add_product(x_grad, grad, weight);
                                    add_product(weight_grad, grad, x);
                                }
                            }
                        },
                    );
                    (weight_grad, bias_grad)
                })
                .collect();
            let (mut weight_grad, mut bias_grad) = (vec![0.0f32; taps * channels], vec![0.0f32; channels]);
            for (weights, biases) in &sums {
                add(&mut weight_grad, weights);
                add(&mut bias_grad, biases);
            }
            let weight_grad = transposed(&weight_grad, taps, channels);
            [Gradient::Values(x_grad), Gradient::Values(weight_grad), Gradient::Values(bias_grad)]
        }
    }
}
