//! The 3×3 convolutions of stride 2 that halve time and mel bins, channels last.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use super::Path;

/// `x` `[batch, time, bins, inputs]`, `weight` `[channels, 1, 3, 3]`, `bias` `[channels]` →
/// `[batch, ⌈time / 2⌉, bins / 2, channels]`, where `inputs` is 1 (each channel reads the same plane) or `channels` (depthwise).
/// Time is padded by 2 on the left, bins by 1 on both sides; `rectify` puts a ReLU behind it.
pub fn halve(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, rectify: bool, path: Path) -> Tensor<4> {
    let [batch, time, bins, inputs] = x.dims();
    let channels = weight.dims()[0];
    match path {
        Path::Composed => composed(x, weight, bias, rectify),
        #[cfg(feature = "flex")]
        Path::Fused => {
            let kernel = fused::Halve { time, bins, inputs, channels, rectify };
            let shape = [batch, time.div_ceil(2), bins / 2, channels];
            super::fused::apply(kernel, [x.into(), weight.into(), bias.into()], shape)
        }
    }
}

/// The sum over the nine taps of what each meets, by which a GPU runs a handful of passes over memory; the weights' gradient of Burn's
/// own convolution is made for small kernels, not for ones as large as a batch's planes.
fn composed(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, rectify: bool) -> Tensor<4> {
    let [batch, time, bins, inputs] = x.dims();
    let channels = weight.dims()[0];
    let (rows, columns) = (time.div_ceil(2), bins / 2);
    // Tap (i, j) of output (t, f) meets pixel (2 t + i, 2 f + j) of the padded planes: pixels are divided by their parity.
    let (height, width) = (2 * (rows + 1), 2 * (columns + 1));
    let x = x.pad([(0, 0), (2, height - 2 - time), (1, width - 1 - bins), (0, 0)], 0.0);
    let x = x.reshape([batch, rows + 1, 2, columns + 1, 2 * inputs]);
    let weight = weight.reshape([channels, 9]).transpose();
    let mut sum = bias.reshape([1, 1, 1, channels]);
    for (tap, (i, j)) in (0..9).map(|tap| (tap, (tap / 3, tap % 3))) {
        let met = x.clone().narrow(1, i / 2, rows).narrow(2, i % 2, 1).narrow(3, j / 2, columns);
        let met = met.narrow(4, (j % 2) * inputs, inputs).reshape([batch, rows, columns, inputs]);
        sum = met * weight.clone().narrow(0, tap, 1).reshape([1, 1, 1, channels]) + sum;
    }
    if rectify { relu(sum) } else { sum }
}

#[cfg(feature = "flex")]
mod fused {
    use rayon::prelude::*;

    use crate::model::ops::depthwise::fused::transposed;
    use crate::model::ops::fused::{Gradient, Kernel};
    use crate::model::ops::simd::{add, add_product, add_scaled, vectorised};

    #[derive(Debug, Clone)]
    pub struct Halve {
        pub time: usize,
        pub bins: usize,
        pub inputs: usize,
        pub channels: usize,
        pub rectify: bool,
    }

    impl Halve {
        /// Taps of output (`t`, `f`) that lie inside: the tap's number and the pixel that it meets.
        #[inline(always)]
        fn taps(&self, t: usize, f: usize) -> impl Iterator<Item = (usize, usize)> {
            let (time, bins) = (self.time, self.bins);
            (0..9).filter_map(move |tap| {
                let (row, column) = ((2 * t + tap / 3).checked_sub(2)?, (2 * f + tap % 3).checked_sub(1)?);
                (row < time && column < bins).then_some((tap, row * bins + column))
            })
        }
    }

    impl Kernel<3> for Halve {
        fn forward(&self, [x, weight, bias]: [&[f32]; 3], out: &mut [f32]) {
            let &Self { time, bins, inputs, channels, rectify } = self;
            let weight = transposed(weight, channels, 9);
            let half_bins = bins / 2;
            let planes = out.par_chunks_mut(time.div_ceil(2) * half_bins * channels);
            planes.zip(x.par_chunks(time * bins * inputs)).for_each(|(out, x)| {
                vectorised(
                    #[inline(always)]
                    || {
                        for (place, out) in out.chunks_exact_mut(channels).enumerate() {
                            out.copy_from_slice(bias);
                            for (tap, pixel) in self.taps(place / half_bins, place % half_bins) {
                                let weight = &weight[tap * channels..(tap + 1) * channels];
                                if inputs == 1 {
                                    add_scaled(out, x[pixel], weight);
                                } else {
                                    add_product(out, &x[pixel * channels..(pixel + 1) * channels], weight);
                                }
                            }
                            if rectify {
                                out.iter_mut().for_each(|out| *out = if *out > 0.0 { *out } else { 0.0 });
                            }
                        }
                    },
                );
            });
        }

        fn backward(
            &self,
            [x, weight, _]: [&[f32]; 3],
            out: &[f32],
            grad: &[f32],
            [x_wanted, ..]: [bool; 3],
        ) -> [Gradient; 3] {
            let &Self { time, bins, inputs, channels, rectify } = self;
            let weight = transposed(weight, channels, 9);
            let half_bins = bins / 2;
            let (plane, half_plane) = (time * bins * inputs, time.div_ceil(2) * half_bins * channels);
            let mut x_grad = vec![0.0; if x_wanted { x.len() } else { x.len() / plane }];
            let x_plane = if x_wanted { plane } else { 1 };
            let planes = x_grad.par_chunks_mut(x_plane).zip(x.par_chunks(plane));
            let planes = planes.zip(grad.par_chunks(half_plane).zip(out.par_chunks(half_plane)));
            let sums: Vec<(Vec<f32>, Vec<f32>)> = planes
                .map(|((x_grad, x), (grad, out))| {
                    let (mut weight_grad, mut bias_grad) = (vec![0.0f32; 9 * channels], vec![0.0f32; channels]);
                    let mut open = vec![0.0f32; channels];
                    vectorised(
                        #[inline(always)]
                        || {
                            let places = grad.chunks_exact(channels).zip(out.chunks_exact(channels));
                            for (place, (grad, out)) in places.enumerate() {
                                for ((open, grad), out) in open.iter_mut().zip(grad).zip(out) {
                                    *open = if !rectify || *out > 0.0 { *grad } else { 0.0 };
                                }
                                add(&mut bias_grad, &open);
                                for (tap, pixel) in self.taps(place / half_bins, place % half_bins) {
                                    let taps = tap * channels..(tap + 1) * channels;
                                    if inputs == 1 {
                                        add_scaled(&mut weight_grad[taps.clone()], x[pixel], &open);
                                        if x_wanted {
                                            let pairs = open.iter().zip(&weight[taps]);
                                            x_grad[pixel] += pairs.map(|(open, weight)| open * weight).sum::<f32>();
                                        }
                                    } else {
                                        let pixels = pixel * channels..(pixel + 1) * channels;
                                        add_product(&mut weight_grad[taps.clone()], &x[pixels.clone()], &open);
                                        if x_wanted {
                                            add_product(&mut x_grad[pixels], &weight[taps], &open);
                                        }
                                    }
                                }
                            }
                        },
                    );
                    (weight_grad, bias_grad)
                })
                .collect();
            let (mut weight_grad, mut bias_grad) = (vec![0.0f32; 9 * channels], vec![0.0f32; channels]);
            for (weights, biases) in &sums {
                add(&mut weight_grad, weights);
                add(&mut bias_grad, biases);
            }
            let x_grad = if x_wanted { Gradient::Values(x_grad) } else { Gradient::None };
            [x_grad, Gradient::Values(transposed(&weight_grad, 9, channels)), Gradient::Values(bias_grad)]
        }
    }
}
