//! Cross entropy with smoothed labels (Szegedy et al. 2016).

use std::sync::Arc;

use burn::tensor::{Int, Tensor, TensorData, activation};

use super::Path;

/// Stands for a row that has no target: its loss is 0.
pub const NO_TARGET: u32 = u32::MAX;

/// Loss of each row, natural log: `−(1 − smoothing) · ln p(target) − smoothing / classes · Σ ln p`.
///
/// `logits` `[rows, classes]` → `[rows]`.
pub fn cross_entropy(logits: Tensor<2>, targets: Arc<[u32]>, smoothing: f32, path: Path) -> Tensor<1> {
    let [rows, classes] = logits.dims();
    match path {
        Path::Composed => {
            let device = logits.device();
            let known: Vec<f32> = targets.iter().map(|id| if *id == NO_TARGET { 0.0 } else { -1.0 }).collect();
            let ids: Vec<i32> = targets.iter().map(|id| if *id == NO_TARGET { 0 } else { *id as i32 }).collect();
            let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [rows, 1]), &device);
            let log_probs = activation::log_softmax(logits, 1);
            let right = log_probs.clone().gather(1, ids) * (1.0 - smoothing);
            let all = log_probs.mean_dim(1) * smoothing;
            (right + all).reshape([rows]) * Tensor::<1>::from_data(TensorData::new(known, [rows]), &device)
        }
        #[cfg(feature = "flex")]
        Path::Fused => {
            super::fused::apply(fused::CrossEntropy { targets, smoothing, classes }, [logits.into()], [rows])
        }
    }
}

#[cfg(feature = "flex")]
mod fused {
    use std::sync::Arc;

    use rayon::prelude::*;

    use super::NO_TARGET;
    use crate::model::ops::fused::{Gradient, Kernel};
    use crate::model::ops::simd::{exp, max, sum, vectorised};

    #[derive(Debug, Clone)]
    pub struct CrossEntropy {
        pub targets: Arc<[u32]>,
        pub smoothing: f32,
        pub classes: usize,
    }

    /// The highest of a row, and Σ e^(x − highest).
    #[inline(always)]
    fn mass(row: &[f32]) -> (f32, f32) {
        let highest = max(row);
        let (chunks, rest) = row.as_chunks::<16>();
        let mut lanes = [0.0f32; 16];
        for chunk in chunks {
            for i in 0..16 {
                lanes[i] += exp(chunk[i] - highest);
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            *lane += exp(x - highest);
        }
        (highest, sum(&lanes))
    }

    impl Kernel<1> for CrossEntropy {
        fn forward(&self, [logits]: [&[f32]; 1], out: &mut [f32]) {
            let rows = out.par_iter_mut().zip(logits.par_chunks(self.classes)).zip(self.targets.par_iter());
            rows.with_min_len(16).for_each(|((out, row), target)| {
                if *target == NO_TARGET {
                    return;
                }
                vectorised(
                    #[inline(always)]
                    || {
                        let (highest, mass) = mass(row);
                        let mean = if self.smoothing == 0.0 { 0.0 } else { sum(row) / self.classes as f32 };
                        let right = row[*target as usize];
                        *out = highest + mass.ln() - (1.0 - self.smoothing) * right - self.smoothing * mean;
                    },
                );
            });
        }

        fn backward(&self, [logits]: [&[f32]; 1], _: &[f32], grad: &[f32], _: [bool; 1]) -> [Gradient; 1] {
            let mut logit_grads = vec![0.0; logits.len()];
            let rows = logit_grads.par_chunks_mut(self.classes).zip(logits.par_chunks(self.classes));
            let rows = rows.zip(self.targets.par_iter().zip(grad)).with_min_len(16);
            rows.for_each(|((to, row), (target, grad))| {
                if *target == NO_TARGET {
                    return;
                }
                vectorised(
                    #[inline(always)]
                    || {
                        let (highest, mass) = mass(row);
                        let (share, floor) = (grad / mass, grad * self.smoothing / self.classes as f32);
                        for (to, x) in to.iter_mut().zip(row) {
                            *to = share * exp(x - highest) - floor;
                        }
                        to[*target as usize] -= grad * (1.0 - self.smoothing);
                    },
                );
            });
            [Gradient::Values(logit_grads)]
        }
    }
}
