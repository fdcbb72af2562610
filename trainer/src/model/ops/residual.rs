//! `x + scale · dropout(y)`: how each part of a block joins the stream (Srivastava et al. 2014).

use burn::tensor::{Distribution, Tensor};

use super::Path;

/// Dropout of one place at one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Share of the elements that becomes zero.
    pub share: f32,
    /// Key of this place and step: the same key drops the same elements in the fused form. The composed form draws from the
    /// device's generator, which the caller seeds at each step.
    pub key: u64,
}

/// `x` and `y` `[rows, width]`.
pub fn residual(x: Tensor<2>, y: Tensor<2>, scale: f32, dropout: Option<Dropout>, path: Path) -> Tensor<2> {
    match path {
        Path::Composed => match dropout {
            None => x + y * scale,
            Some(Dropout { share, .. }) => {
                let kept = 1.0 - share;
                let mask = y.random_like(Distribution::Bernoulli(f64::from(kept)));
                x + y * (mask * (scale / kept))
            }
        },
        #[cfg(feature = "flex")]
        Path::Fused => {
            let dims = x.dims();
            super::fused::apply(fused::Residual::new(scale, dropout), [x.into(), y.into()], dims)
        }
    }
}

#[cfg(feature = "flex")]
mod fused {
    use rayon::prelude::*;

    use super::Dropout;
    use crate::model::ops::fused::{Gradient, Kernel};
    use crate::model::ops::simd::vectorised;

    const PIECE: usize = 1 << 15;

    #[derive(Debug, Clone)]
    pub struct Residual {
        scale: f32,
        /// Hashes below this are dropped.
        below: u32,
        key: u64,
    }

    impl Residual {
        pub fn new(scale: f32, dropout: Option<Dropout>) -> Self {
            let Some(Dropout { share, key }) = dropout else {
                return Self { scale, below: 0, key: 0 };
            };
            Self { scale: scale / (1.0 - share), below: (f64::from(share) * 2f64.powi(32)) as u32, key }
        }

        /// Scale of the element, or 0 where it is dropped (Wang's integer hash, keyed at both ends).
        #[inline(always)]
        fn factor(&self, index: u32) -> f32 {
            let mut hash = index.wrapping_mul(0x9e37_79b1) ^ (self.key as u32);
            hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
            hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35).wrapping_add((self.key >> 32) as u32);
            hash = (hash ^ (hash >> 16)).wrapping_mul(0x27d4_eb2f);
            hash ^= hash >> 15;
            if hash < self.below { 0.0 } else { self.scale }
        }
    }

    impl Kernel<2> for Residual {
        fn forward(&self, [x, y]: [&[f32]; 2], out: &mut [f32]) {
            let pieces = out.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).zip(y.par_chunks(PIECE));
            pieces.enumerate().for_each(|(piece, ((out, x), y))| {
                let start = (piece * PIECE) as u32;
                vectorised(
                    #[inline(always)]
                    || {
                        let mut index = start;
                        for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
                            *out = x + self.factor(index) * y;
                            index = index.wrapping_add(1);
                        }
                    },
                );
            });
        }

        fn backward(&self, _: [&[f32]; 2], _: &[f32], grad: &[f32], _: [bool; 2]) -> [Gradient; 2] {
            let mut y_grad = vec![0.0; grad.len()];
            y_grad.par_chunks_mut(PIECE).zip(grad.par_chunks(PIECE)).enumerate().for_each(|(piece, (y_grad, grad))| {
                let start = (piece * PIECE) as u32;
                vectorised(
                    #[inline(always)]
                    || {
                        let mut index = start;
                        for (y_grad, grad) in y_grad.iter_mut().zip(grad) {
                            *y_grad = self.factor(index) * grad;
                            index = index.wrapping_add(1);
                        }
                    },
                );
            });
            [Gradient::Same, Gradient::Values(y_grad)]
        }
    }
}
