//! Norm by the mean square over the last axis (Zhang and Sennrich 2019, arXiv:1910.07467).

use burn::tensor::Tensor;

use super::Path;

/// `x` `[rows, width]`, `gain` `[width]` → `[rows, width]`; `epsilon` is added to the mean square.
pub fn rms_norm(x: Tensor<2>, gain: Tensor<1>, epsilon: f32, path: Path) -> Tensor<2> {
    match path {
        Path::Composed => {
            let square = x.clone().square().mean_dim(1);
            x / (square + epsilon).sqrt() * gain.unsqueeze::<2>()
        }
        #[cfg(feature = "flex")]
        Path::Fused => {
            let [rows, width] = x.dims();
            super::fused::apply(fused::RmsNorm { width, epsilon }, [x.into(), gain.into()], [rows, width])
        }
    }
}

#[cfg(feature = "flex")]
mod fused {
    use rayon::prelude::*;

    use crate::model::ops::fused::{Gradient, Kernel};
    use crate::model::ops::simd::{dot, vectorised};

    /// Rows in one piece of parallel work: fixed, so that sums over rows do not depend on the number of threads.
    const ROWS: usize = 128;

    #[derive(Debug, Clone)]
    pub struct RmsNorm {
        pub width: usize,
        pub epsilon: f32,
    }

    impl RmsNorm {
        #[inline(always)]
        fn scale(&self, row: &[f32]) -> f32 {
            1.0 / (dot(row, row) / self.width as f32 + self.epsilon).sqrt()
        }
    }

    impl Kernel<2> for RmsNorm {
        fn forward(&self, [x, gain]: [&[f32]; 2], out: &mut [f32]) {
            let piece = ROWS * self.width;
            out.par_chunks_mut(piece).zip(x.par_chunks(piece)).for_each(|(out, x)| {
                vectorised(
                    #[inline(always)]
                    || {
                        for (out, x) in out.chunks_exact_mut(self.width).zip(x.chunks_exact(self.width)) {
                            let scale = self.scale(x);
                            for ((out, x), gain) in out.iter_mut().zip(x).zip(gain) {
                                *out = x * scale * gain;
                            }
                        }
                    },
                );
            });
        }

        fn backward(&self, [x, gain]: [&[f32]; 2], _: &[f32], grad: &[f32], _: [bool; 2]) -> [Gradient; 2] {
            let (width, piece) = (self.width, ROWS * self.width);
            let mut x_grad = vec![0.0; x.len()];
            let pieces = x_grad.par_chunks_mut(piece).zip(x.par_chunks(piece)).zip(grad.par_chunks(piece));
            let sums: Vec<Vec<f32>> = pieces
                .map(|((x_grad, x), grad)| {
                    let (mut gain_grad, mut scaled) = (vec![0.0f32; width], vec![0.0f32; width]);
                    vectorised(
                        #[inline(always)]
                        || {
                            let rows = x_grad.chunks_exact_mut(width).zip(x.chunks_exact(width));
                            for ((x_grad, x), grad) in rows.zip(grad.chunks_exact(width)) {
                                let scale = self.scale(x);
                                for ((scaled, grad), gain) in scaled.iter_mut().zip(grad).zip(gain) {
                                    *scaled = grad * gain;
                                }
                                for ((sum, grad), x) in gain_grad.iter_mut().zip(grad).zip(x) {
                                    *sum += grad * x * scale;
                                }
                                let along = dot(&scaled, x) * scale * scale / width as f32;
                                for ((x_grad, scaled), x) in x_grad.iter_mut().zip(&scaled).zip(x) {
                                    *x_grad = scale * (scaled - x * along);
                                }
                            }
                        },
                    );
                    gain_grad
                })
                .collect();
            let mut gain_grad = vec![0.0f32; width];
            for part in &sums {
                gain_grad.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
            }
            [Gradient::Values(x_grad), Gradient::Values(gain_grad)]
        }
    }
}
