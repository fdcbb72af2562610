//! Products with weights: `x · weight + bias`.

use burn::tensor::Tensor;
use burn::tensor::module::linear as whole;
use clap::ValueEnum;

use super::Path;

/// How factors are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Products {
    /// 32-bit floats.
    #[default]
    F32,
    /// Rounded to bfloat16, summed as 32-bit floats: several times faster on a CPU with AMX, and only there.
    Bf16,
}

impl Products {
    /// Whether this machine and this path multiply so; the error says what lacks.
    pub fn check(self, path: Path) -> Result<(), String> {
        #[cfg(feature = "flex")]
        if self == Self::F32 || (path == Path::Fused && linnet_kernels::bf16::available()) {
            return Ok(());
        }
        #[cfg(not(feature = "flex"))]
        if self == Self::F32 {
            return Ok(());
        }
        let _ = path;
        Err("bf16 needs the back end flex on a CPU with AMX (Intel Xeon of the 4th generation and later, on Linux)"
            .into())
    }
}

/// `x` `[rows, in]`, `weight` `[in, out]` (or, `turned`, `[out, in]`), `bias` `[out]` → `[rows, out]`.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>, turned: bool, products: Products) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if products == Products::Bf16 {
        let [rows, inner] = x.dims();
        let outer = weight.dims()[if turned { 0 } else { 1 }];
        let product = fused::Product { inner, outer, turned };
        return match bias {
            Some(bias) => super::fused::apply(product, [x.into(), weight.into(), bias.into()], [rows, outer]),
            None => super::fused::apply(product, [x.into(), weight.into()], [rows, outer]),
        };
    }
    let _ = products;
    whole(x, if turned { weight.transpose() } else { weight }, bias)
}

#[cfg(feature = "flex")]
mod fused {
    use linnet_kernels::bf16::{PANEL, View, multiply, pack_columns, panel_len};
    use rayon::prelude::*;

    use crate::model::ops::fused::{Gradient, Kernel};
    use crate::model::ops::simd::{add, vectorised};

    /// Rows in one piece of parallel work: fixed, so that sums do not depend on the number of threads.
    const ROWS: usize = 4 * PANEL;

    #[derive(Debug, Clone)]
    pub struct Product {
        pub inner: usize,
        pub outer: usize,
        pub turned: bool,
    }

    fn pack(right: &View) -> Vec<u32> {
        let len = panel_len(right.rows);
        let mut packed = vec![0; right.columns.div_ceil(PANEL) * len];
        packed.par_chunks_mut(len).enumerate().for_each(|(panel, to)| pack_columns(right, panel, to));
        packed
    }

    /// `left · right` in pieces of `rows` rows.
    fn product(left: View, right: &View, rows: usize, out: &mut [f32]) {
        let packed = pack(right);
        let columns = right.columns;
        out.par_chunks_mut(rows * columns).enumerate().for_each(|(piece, out)| {
            multiply(&left.some_rows(piece * rows, out.len() / columns), &packed, columns, out);
        });
    }

    impl Product {
        /// The weight as `[in, out]`.
        fn weight<'a>(&self, weight: &'a [f32]) -> View<'a> {
            match self.turned {
                true => View::new(weight, self.outer, self.inner).transposed(),
                false => View::new(weight, self.inner, self.outer),
            }
        }

        fn forward(&self, x: &[f32], weight: &[f32], out: &mut [f32]) {
            product(View::new(x, x.len() / self.inner, self.inner), &self.weight(weight), ROWS, out);
        }

        /// Gradients of `x` and of the weight.
        fn gradients(&self, x: &[f32], weight: &[f32], grad: &[f32], wanted: [bool; 2]) -> [Gradient; 2] {
            let rows = x.len() / self.inner;
            let (x_view, grad_view) = (View::new(x, rows, self.inner), View::new(grad, rows, self.outer));
            let x_grad = if wanted[0] {
                let mut values = vec![0.0; x.len()];
                product(grad_view, &self.weight(weight).transposed(), ROWS, &mut values);
                Gradient::Values(values)
            } else {
                Gradient::None
            };
            let weight_grad = if wanted[1] {
                let mut values = vec![0.0; weight.len()];
                match self.turned {
                    true => product(grad_view.transposed(), &x_view, PANEL, &mut values),
                    false => product(x_view.transposed(), &grad_view, PANEL, &mut values),
                }
                Gradient::Values(values)
            } else {
                Gradient::None
            };
            [x_grad, weight_grad]
        }
    }

    impl Kernel<2> for Product {
        fn forward(&self, [x, weight]: [&[f32]; 2], out: &mut [f32]) {
            self.forward(x, weight, out);
        }

        fn backward(&self, [x, weight]: [&[f32]; 2], _: &[f32], grad: &[f32], wanted: [bool; 2]) -> [Gradient; 2] {
            self.gradients(x, weight, grad, wanted)
        }
    }

    impl Kernel<3> for Product {
        fn forward(&self, [x, weight, bias]: [&[f32]; 3], out: &mut [f32]) {
            self.forward(x, weight, out);
            out.par_chunks_mut(ROWS * self.outer).for_each(|out| {
                vectorised(
                    #[inline(always)]
                    || out.chunks_exact_mut(self.outer).for_each(|out| add(out, bias)),
                );
            });
        }

        fn backward(&self, inputs: [&[f32]; 3], _: &[f32], grad: &[f32], wanted: [bool; 3]) -> [Gradient; 3] {
            let [x, weight, _] = inputs;
            let [x_grad, weight_grad] = self.gradients(x, weight, grad, [wanted[0], wanted[1]]);
            // Sums of pieces, added in order: the same on any number of threads.
            let sums: Vec<Vec<f32>> = grad
                .par_chunks(ROWS * self.outer)
                .map(|grad| {
                    let mut sum = vec![0.0f32; self.outer];
                    vectorised(
                        #[inline(always)]
                        || grad.chunks_exact(self.outer).for_each(|grad| add(&mut sum, grad)),
                    );
                    sum
                })
                .collect();
            let mut bias_grad = vec![0.0f32; self.outer];
            sums.iter().for_each(|sum| add(&mut bias_grad, sum));
            [x_grad, weight_grad, Gradient::Values(bias_grad)]
        }
    }
}
