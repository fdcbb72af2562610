//! Rows of a table, scaled, with positions added.

use std::sync::Arc;

use burn::tensor::{Int, Tensor, TensorData};

use super::Path;

/// What of the table is taken.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// Row of the table for each row of the result.
    pub ids: Arc<[u32]>,
    /// Factor of the table's rows.
    pub scale: f32,
    /// Added to each row: `[rows of a sequence, width]`, the same for each sequence; nothing where absent.
    pub positions: Option<Arc<[f32]>>,
}

/// `table` `[entries, width]` → `[ids, width]`.
pub fn embed(table: Tensor<2>, lookup: Lookup, path: Path) -> Tensor<2> {
    let [_, width] = table.dims();
    let rows = lookup.ids.len();
    match path {
        Path::Composed => {
            let device = table.device();
            let ids: Vec<i32> = lookup.ids.iter().map(|id| *id as i32).collect();
            let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [rows]), &device);
            let x = table.select(0, ids) * lookup.scale;
            let Some(positions) = lookup.positions else { return x };
            let all: Vec<f32> = positions.iter().copied().cycle().take(rows * width).collect();
            x + Tensor::<2>::from_data(TensorData::new(all, [rows, width]), &device)
        }
        #[cfg(feature = "flex")]
        Path::Fused => super::fused::apply(fused::Embed { lookup, width }, [table.into()], [rows, width]),
    }
}

#[cfg(feature = "flex")]
mod fused {
    use super::Lookup;
    use crate::model::ops::fused::{Gradient, Kernel};
    use crate::model::ops::simd::{add, add_scaled, vectorised};

    #[derive(Debug, Clone)]
    pub struct Embed {
        pub lookup: Lookup,
        pub width: usize,
    }

    impl Kernel<1> for Embed {
        fn forward(&self, [table]: [&[f32]; 1], out: &mut [f32]) {
            let Lookup { ids, scale, positions } = &self.lookup;
            vectorised(
                #[inline(always)]
                || {
                    for (out, id) in out.chunks_exact_mut(self.width).zip(ids.iter()) {
                        add_scaled(out, *scale, &table[*id as usize * self.width..][..self.width]);
                    }
                    if let Some(positions) = positions {
                        out.chunks_mut(positions.len()).for_each(|out| add(out, &positions[..out.len()]));
                    }
                },
            );
        }

        // In the rows' order, by one thread: sums must not depend on the number of threads, and the work is small.
        fn backward(&self, [table]: [&[f32]; 1], _: &[f32], grad: &[f32], _: [bool; 1]) -> [Gradient; 1] {
            let mut table_grad = vec![0.0; table.len()];
            vectorised(
                #[inline(always)]
                || {
                    for (grad, id) in grad.chunks_exact(self.width).zip(self.lookup.ids.iter()) {
                        let row = &mut table_grad[*id as usize * self.width..][..self.width];
                        add_scaled(row, self.lookup.scale, grad);
                    }
                },
            );
            [Gradient::Values(table_grad)]
        }
    }
}
