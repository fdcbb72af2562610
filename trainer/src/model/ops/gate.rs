//! SiLU (Hendrycks and Gimpel 2016), the gated linear unit (Dauphin et al. 2017), and the one gated by SiLU (Shazeer 2020).

use burn::tensor::{Tensor, activation};

use super::Path;

/// `x · sigmoid(x)`, `[rows, width]`.
pub fn silu(x: Tensor<2>, path: Path) -> Tensor<2> {
    match path {
        Path::Composed => activation::silu(x),
        #[cfg(feature = "flex")]
        Path::Fused => {
            let dims = x.dims();
            super::fused::apply(fused::Silu, [x.into()], dims)
        }
    }
}

/// First half · sigmoid(second half), `[rows, 2 · width]` → `[rows, width]`.
pub fn glu(x: Tensor<2>, path: Path) -> Tensor<2> {
    match path {
        Path::Composed => activation::glu(x, 1),
        #[cfg(feature = "flex")]
        Path::Fused => {
            let [rows, doubled] = x.dims();
            super::fused::apply(fused::Glu { width: doubled / 2 }, [x.into()], [rows, doubled / 2])
        }
    }
}

/// silu(first half) · second half, `[rows, 2 · width]` → `[rows, width]`.
pub fn swiglu(x: Tensor<2>, path: Path) -> Tensor<2> {
    let [rows, doubled] = x.dims();
    let width = doubled / 2;
    match path {
        Path::Composed => activation::silu(x.clone().narrow(1, 0, width)) * x.narrow(1, width, width),
        #[cfg(feature = "flex")]
        Path::Fused => super::fused::apply(fused::SwiGlu { width }, [x.into()], [rows, width]),
    }
}

#[cfg(feature = "flex")]
mod fused {
    use rayon::prelude::*;

    use crate::model::ops::fused::{Gradient, Kernel};
    use crate::model::ops::simd::{sigmoid, vectorised};

    const PIECE: usize = 1 << 15;
    const ROWS: usize = 128;

    #[derive(Debug, Clone)]
    pub struct Silu;

    impl Kernel<1> for Silu {
        fn forward(&self, [x]: [&[f32]; 1], out: &mut [f32]) {
            out.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).for_each(|(out, x)| {
                vectorised(
                    #[inline(always)]
                    || {
                        for (out, x) in out.iter_mut().zip(x) {
                            *out = x * sigmoid(*x);
                        }
                    },
                );
            });
        }

        fn backward(&self, [x]: [&[f32]; 1], _: &[f32], grad: &[f32], _: [bool; 1]) -> [Gradient; 1] {
            let mut x_grad = vec![0.0; x.len()];
            let pieces = x_grad.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).zip(grad.par_chunks(PIECE));
            pieces.for_each(|((x_grad, x), grad)| {
                vectorised(
                    #[inline(always)]
                    || {
                        for ((x_grad, x), grad) in x_grad.iter_mut().zip(x).zip(grad) {
                            let gate = sigmoid(*x);
                            *x_grad = grad * gate * (1.0 + x * (1.0 - gate));
                        }
                    },
                );
            });
            [Gradient::Values(x_grad)]
        }
    }

    #[derive(Debug, Clone)]
    pub struct Glu {
        pub width: usize,
    }

    impl Kernel<1> for Glu {
        fn forward(&self, [x]: [&[f32]; 1], out: &mut [f32]) {
            let width = self.width;
            let pieces = out.par_chunks_mut(ROWS * width).zip(x.par_chunks(2 * ROWS * width));
            pieces.for_each(|(out, x)| {
                vectorised(
                    #[inline(always)]
                    || {
                        for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(2 * width)) {
                            let (value, gate) = x.split_at(width);
                            for ((out, value), gate) in out.iter_mut().zip(value).zip(gate) {
                                *out = value * sigmoid(*gate);
                            }
                        }
                    },
                );
            });
        }

        fn backward(&self, [x]: [&[f32]; 1], _: &[f32], grad: &[f32], _: [bool; 1]) -> [Gradient; 1] {
            let width = self.width;
            let mut x_grad = vec![0.0; x.len()];
            let pieces = x_grad.par_chunks_mut(2 * ROWS * width).zip(x.par_chunks(2 * ROWS * width));
            pieces.zip(grad.par_chunks(ROWS * width)).for_each(|((x_grad, x), grad)| {
                vectorised(
                    #[inline(always)]
                    || {
                        let rows = x_grad.chunks_exact_mut(2 * width).zip(x.chunks_exact(2 * width));
                        for ((x_grad, x), grad) in rows.zip(grad.chunks_exact(width)) {
                            let (value, gate) = x.split_at(width);
                            let (value_grad, gate_grad) = x_grad.split_at_mut(width);
                            let inputs = value.iter().zip(gate).zip(grad);
                            let outputs = value_grad.iter_mut().zip(gate_grad);
                            for (((value, gate), grad), (value_grad, gate_grad)) in inputs.zip(outputs) {
                                let open = sigmoid(*gate);
                                *value_grad = grad * open;
                                *gate_grad = grad * value * open * (1.0 - open);
                            }
                        }
                    },
                );
            });
            [Gradient::Values(x_grad)]
        }
    }

    #[derive(Debug, Clone)]
    pub struct SwiGlu {
        pub width: usize,
    }

    impl Kernel<1> for SwiGlu {
        fn forward(&self, [x]: [&[f32]; 1], out: &mut [f32]) {
            let width = self.width;
            let pieces = out.par_chunks_mut(ROWS * width).zip(x.par_chunks(2 * ROWS * width));
            pieces.for_each(|(out, x)| {
                vectorised(
                    #[inline(always)]
                    || {
                        for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(2 * width)) {
                            let (gate, value) = x.split_at(width);
                            for ((out, gate), value) in out.iter_mut().zip(gate).zip(value) {
                                *out = gate * sigmoid(*gate) * value;
                            }
                        }
                    },
                );
            });
        }

        fn backward(&self, [x]: [&[f32]; 1], _: &[f32], grad: &[f32], _: [bool; 1]) -> [Gradient; 1] {
            let width = self.width;
            let mut x_grad = vec![0.0; x.len()];
            let pieces = x_grad.par_chunks_mut(2 * ROWS * width).zip(x.par_chunks(2 * ROWS * width));
            pieces.zip(grad.par_chunks(ROWS * width)).for_each(|((x_grad, x), grad)| {
                vectorised(
                    #[inline(always)]
                    || {
                        let rows = x_grad.chunks_exact_mut(2 * width).zip(x.chunks_exact(2 * width));
                        for ((x_grad, x), grad) in rows.zip(grad.chunks_exact(width)) {
                            let (gate, value) = x.split_at(width);
                            let (gate_grad, value_grad) = x_grad.split_at_mut(width);
                            let inputs = gate.iter().zip(value).zip(grad);
                            let outputs = gate_grad.iter_mut().zip(value_grad);
                            for (((gate, value), grad), (gate_grad, value_grad)) in inputs.zip(outputs) {
                                let open = sigmoid(*gate);
                                *value_grad = grad * gate * open;
                                *gate_grad = grad * value * open * (1.0 + gate * (1.0 - open));
                            }
                        }
                    },
                );
            });
            [Gradient::Values(x_grad)]
        }
    }
}
