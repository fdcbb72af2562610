//! Layer normalisation over the last axis (Ba, Kiros and Hinton 2016).

use burn::tensor::Tensor;

use super::Path;

/// Added to the variance.
pub const EPSILON: f32 = 1e-5;

/// `x` `[rows, width]`, `gain` and `bias` `[width]` → `[rows, width]`.
pub fn layer_norm(x: Tensor<2>, gain: Tensor<1>, bias: Tensor<1>, path: Path) -> Tensor<2> {
    match path {
        Path::Composed => composed(x, gain, bias),
        #[cfg(feature = "flex")]
        Path::Fused => {
            let [rows, width] = x.dims();
            super::fused::apply(fused::LayerNorm { width }, [x.into(), gain.into(), bias.into()], [rows, width])
        }
    }
}

fn composed(x: Tensor<2>, gain: Tensor<1>, bias: Tensor<1>) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(1);
    let variance = centred.clone().square().mean_dim(1);
    centred / (variance + EPSILON).sqrt() * gain.unsqueeze::<2>() + bias.unsqueeze::<2>()
}

#[cfg(feature = "flex")]
mod fused {
    use rayon::prelude::*;

    use super::EPSILON;
    use crate::model::ops::fused::{Gradient, Kernel};
    use crate::model::ops::simd::{dot, sum, vectorised};

    /// Rows in one piece of parallel work: fixed, so that sums over rows do not depend on the number of threads.
    const ROWS: usize = 128;

    #[derive(Debug, Clone)]
    pub struct LayerNorm {
        pub width: usize,
    }

    /// Mean and 1 / √(variance + ε) of a row.
    #[inline(always)]
    fn moments(row: &[f32]) -> (f32, f32) {
        let count = row.len() as f32;
        let mean = sum(row) / count;
        let (chunks, rest) = row.as_chunks::<16>();
        let mut lanes = [0.0f32; 16];
        for chunk in chunks {
            for i in 0..16 {
                let centred = chunk[i] - mean;
                lanes[i] += centred * centred;
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            *lane += (x - mean) * (x - mean);
        }
        (mean, 1.0 / (sum(&lanes) / count + EPSILON).sqrt())
    }

    impl Kernel<3> for LayerNorm {
        fn forward(&self, [x, gain, bias]: [&[f32]; 3], out: &mut [f32]) {
            let piece = ROWS * self.width;
            out.par_chunks_mut(piece).zip(x.par_chunks(piece)).for_each(|(out, x)| {
                vectorised(
                    #[inline(always)]
                    || {
                        for (out, x) in out.chunks_exact_mut(self.width).zip(x.chunks_exact(self.width)) {
                            let (mean, scale) = moments(x);
                            for (((out, x), gain), bias) in out.iter_mut().zip(x).zip(gain).zip(bias) {
                                *out = (x - mean) * scale * gain + bias;
                            }
                        }
                    },
                );
            });
        }

        fn backward(&self, [x, gain, _]: [&[f32]; 3], _: &[f32], grad: &[f32], _: [bool; 3]) -> [Gradient; 3] {
            let (width, piece) = (self.width, ROWS * self.width);
            let mut x_grad = vec![0.0; x.len()];
            let pieces = x_grad.par_chunks_mut(piece).zip(x.par_chunks(piece)).zip(grad.par_chunks(piece));
            let sums: Vec<(Vec<f32>, Vec<f32>)> = pieces
                .map(|((x_grad, x), grad)| {
                    let (mut gain_grad, mut bias_grad) = (vec![0.0f32; width], vec![0.0f32; width]);
                    let (mut normal, mut scaled) = (vec![0.0f32; width], vec![0.0f32; width]);
                    vectorised(
                        #[inline(always)]
                        || {
                            let rows = x_grad.chunks_exact_mut(width).zip(x.chunks_exact(width));
                            for ((x_grad, x), grad) in rows.zip(grad.chunks_exact(width)) {
                                let (mean, scale) = moments(x);
                                for (normal, x) in normal.iter_mut().zip(x) {
                                    *normal = (x - mean) * scale;
                                }
                                for ((scaled, grad), gain) in scaled.iter_mut().zip(grad).zip(gain) {
                                    *scaled = grad * gain;
                                }
                                for ((sum, grad), normal) in gain_grad.iter_mut().zip(grad).zip(&normal) {
                                    *sum += grad * normal;
                                }
                                for (sum, grad) in bias_grad.iter_mut().zip(grad) {
                                    *sum += grad;
                                }
                                let along = dot(&scaled, &normal) / width as f32;
                                let level = sum(&scaled) / width as f32;
                                for ((x_grad, scaled), normal) in x_grad.iter_mut().zip(&scaled).zip(&normal) {
                                    *x_grad = scale * (scaled - level - normal * along);
                                }
                            }
                        },
                    );
                    (gain_grad, bias_grad)
                })
                .collect();
            let (mut gain_grad, mut bias_grad) = (vec![0.0f32; width], vec![0.0f32; width]);
            for (gains, biases) in &sums {
                gain_grad.iter_mut().zip(gains).for_each(|(sum, part)| *sum += part);
                bias_grad.iter_mut().zip(biases).for_each(|(sum, part)| *sum += part);
            }
            [Gradient::Values(x_grad), Gradient::Values(gain_grad), Gradient::Values(bias_grad)]
        }
    }
}
