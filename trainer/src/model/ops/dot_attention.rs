//! Attention of text models (Vaswani et al. 2017): one sequence to itself, causal or not, or to another; with fewer heads of
//! keys than of queries (Ainslie et al. 2023) and with rotary positions (Su et al. 2021) where asked.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData, activation};

use super::Path;

/// Who sees whom.
#[derive(Debug, Clone)]
pub struct Sight {
    /// Sequences.
    pub batch: usize,
    /// Rows of each sequence of queries, padding included.
    pub query_rows: usize,
    /// Rows of each sequence of keys, padding included.
    pub key_rows: usize,
    /// Queries of each sequence; the rest is padding.
    pub query_lengths: Arc<[usize]>,
    /// Keys of each sequence.
    pub key_lengths: Arc<[usize]>,
    /// Whether a query sees no key behind its own place.
    pub causal: bool,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values; `heads` is a multiple.
    pub kv_heads: usize,
    /// Width of a head.
    pub width: usize,
    /// Base of the rotary positions' frequencies; none are applied where absent. The width is even where they are.
    pub rotary: Option<f32>,
}

impl Sight {
    /// Keys that query `i` of sequence `b` sees: the first so many. Padding sees nothing.
    pub fn seen(&self, b: usize, i: usize) -> usize {
        match (i < self.query_lengths[b], self.causal) {
            (false, _) => 0,
            (true, true) => (i + 1).min(self.key_lengths[b]),
            (true, false) => self.key_lengths[b],
        }
    }

    /// Cosine and sine of each position's angles, `[rows, width / 2]` each.
    fn angles(&self, rows: usize, base: f32) -> (Vec<f32>, Vec<f32>) {
        let half = self.width / 2;
        let angle = |i: usize| {
            let (position, pair) = (i / half, i % half);
            position as f64 * f64::from(base).powf(-((2 * pair) as f64) / self.width as f64)
        };
        let cosines = (0..rows * half).map(|i| angle(i).cos() as f32).collect();
        (cosines, (0..rows * half).map(|i| angle(i).sin() as f32).collect())
    }
}

/// `queries` `[batch · query_rows, heads · width]` and `kv` `[batch · key_rows, 2 · kv_heads · width]` (keys, then values) →
/// `[batch · query_rows, heads · width]`. Rows of padding are of no meaning.
pub fn attend(queries: Tensor<2>, kv: Tensor<2>, sight: &Sight, path: Path) -> Tensor<2> {
    match path {
        Path::Composed => composed(queries, kv, sight),
        #[cfg(feature = "flex")]
        Path::Fused => {
            let shape = [sight.batch * sight.query_rows, sight.heads * sight.width];
            super::fused::apply(fused::DotAttention::new(sight.clone()), [queries.into(), kv.into()], shape)
        }
    }
}

fn composed(queries: Tensor<2>, kv: Tensor<2>, sight: &Sight) -> Tensor<2> {
    let &Sight { batch, query_rows, key_rows, heads, kv_heads, width, .. } = sight;
    let device = queries.device();
    let rotate = |x: Tensor<4>, rows: usize| {
        let Some(base) = sight.rotary else { return x };
        let half = width / 2;
        let (cosines, sines) = sight.angles(rows, base);
        let table = |values| Tensor::<4>::from_data(TensorData::new(values, [1, 1, rows, half]), &device);
        let (cosines, sines) = (table(cosines), table(sines));
        let (first, second) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
        let turned = first.clone() * cosines.clone() - second.clone() * sines.clone();
        Tensor::cat(vec![turned, second * cosines + first * sines], 3)
    };
    let q = queries.reshape([batch, query_rows, heads, width]).swap_dims(1, 2);
    // [2, batch, kv_heads, key_rows, width]
    let kv = kv.reshape([batch, key_rows, 2, kv_heads, width]).permute([2, 0, 3, 1, 4]);
    let part = |i: usize| {
        let x = kv.clone().narrow(0, i, 1).reshape([batch, kv_heads, 1, key_rows, width]);
        x.repeat_dim(2, heads / kv_heads).reshape([batch, heads, key_rows, width])
    };
    let mut hidden = vec![-1e9f32; batch * query_rows * key_rows];
    for (row, hidden) in hidden.chunks_exact_mut(key_rows).enumerate() {
        hidden[..sight.seen(row / query_rows, row % query_rows)].fill(0.0);
    }
    let hidden = Tensor::<4>::from_data(TensorData::new(hidden, [batch, 1, query_rows, key_rows]), &device);
    let scale = (width as f32).sqrt().recip();
    let scores = rotate(q, query_rows).matmul(rotate(part(0), key_rows).swap_dims(2, 3)) * scale;
    let seen = activation::softmax(scores + hidden, 3).matmul(part(1));
    seen.swap_dims(1, 2).reshape([batch * query_rows, heads * width])
}

#[cfg(feature = "flex")]
mod fused {
    use std::sync::Arc;

    use rayon::prelude::*;

    use super::Sight;
    use crate::model::ops::fused::{Gradient, Kernel};
    use crate::model::ops::simd::{add_scaled, dot, exp, max, sum, vectorised};

    #[derive(Debug, Clone)]
    pub struct DotAttention {
        sight: Sight,
        /// Cosines and sines, `[rows, width / 2]`; empty without rotary positions.
        cosines: Arc<[f32]>,
        sines: Arc<[f32]>,
    }

    impl DotAttention {
        pub fn new(sight: Sight) -> Self {
            let rows = sight.query_rows.max(sight.key_rows);
            let (cosines, sines) = sight.rotary.map(|base| sight.angles(rows, base)).unwrap_or_default();
            Self { sight, cosines: cosines.into(), sines: sines.into() }
        }

        /// Copies one head out of rows of `stride`, scaled, turned by the positions (backwards for gradients).
        #[inline(always)]
        fn gather(&self, from: &[f32], stride: usize, to: &mut [f32], scale: f32) {
            let (width, half) = (self.sight.width, self.sight.width / 2);
            for (t, (to, from)) in to.chunks_exact_mut(width).zip(from.chunks(stride)).enumerate() {
                if self.cosines.is_empty() {
                    for (to, from) in to.iter_mut().zip(from) {
                        *to = from * scale;
                    }
                    continue;
                }
                let (cosines, sines) = (&self.cosines[t * half..(t + 1) * half], &self.sines[t * half..(t + 1) * half]);
                let ((to_a, to_b), (a, b)) = (to.split_at_mut(half), from[..width].split_at(half));
                for i in 0..half {
                    to_a[i] = (a[i] * cosines[i] - b[i] * sines[i]) * scale;
                    to_b[i] = (b[i] * cosines[i] + a[i] * sines[i]) * scale;
                }
            }
        }

        /// Adds one head's gradients, turned back, to rows of `stride`.
        #[inline(always)]
        fn scatter(&self, from: &[f32], to: &mut [f32], stride: usize, scale: f32) {
            let (width, half) = (self.sight.width, self.sight.width / 2);
            for (t, (from, to)) in from.chunks_exact(width).zip(to.chunks_mut(stride)).enumerate() {
                if self.cosines.is_empty() {
                    add_scaled(&mut to[..width], scale, from);
                    continue;
                }
                let (cosines, sines) = (&self.cosines[t * half..(t + 1) * half], &self.sines[t * half..(t + 1) * half]);
                let ((to_a, to_b), (a, b)) = (to[..width].split_at_mut(half), from.split_at(half));
                for i in 0..half {
                    to_a[i] += (a[i] * cosines[i] + b[i] * sines[i]) * scale;
                    to_b[i] += (b[i] * cosines[i] - a[i] * sines[i]) * scale;
                }
            }
        }

        /// Fills `weights` with what query `q` gives to each of the first keys.
        #[inline(always)]
        fn weigh(q: &[f32], keys: &[f32], weights: &mut [f32]) {
            for (weight, key) in weights.iter_mut().zip(keys.chunks_exact(q.len())) {
                *weight = dot(q, key);
            }
            let highest = max(weights);
            weights.iter_mut().for_each(|weight| *weight = exp(*weight - highest));
            let share = 1.0 / sum(weights);
            weights.iter_mut().for_each(|weight| *weight *= share);
        }

        /// Rows of keys and of values in `kv`, and its heads' offsets: (stride, key, value).
        fn places(&self, h: usize) -> (usize, usize, usize) {
            let Sight { heads, kv_heads, width, .. } = self.sight;
            let group = h / (heads / kv_heads);
            (2 * kv_heads * width, group * width, (kv_heads + group) * width)
        }
    }

    impl Kernel<2> for DotAttention {
        fn forward(&self, [queries, kv]: [&[f32]; 2], out: &mut [f32]) {
            let Sight { query_rows, key_rows, heads, kv_heads, width, .. } = self.sight;
            let (q_len, kv_len) = (query_rows * heads * width, key_rows * 2 * kv_heads * width);
            let sequences = out.par_chunks_mut(q_len).zip(queries.par_chunks(q_len)).zip(kv.par_chunks(kv_len));
            sequences.enumerate().for_each(|(b, ((out, queries), kv))| {
                let (lq, lk) = (self.sight.query_lengths[b], self.sight.key_lengths[b]);
                vectorised(
                    #[inline(always)]
                    || {
                        let scale = (width as f32).sqrt().recip();
                        let (mut q, mut k) = (vec![0.0f32; lq * width], vec![0.0f32; lk * width]);
                        let mut weights = vec![0.0f32; lk];
                        for h in 0..heads {
                            let (stride, key, value) = self.places(h);
                            self.gather(&queries[h * width..], heads * width, &mut q, scale);
                            self.gather(&kv[key..], stride, &mut k, 1.0);
                            for (i, q) in q.chunks_exact(width).enumerate() {
                                let weights = &mut weights[..self.sight.seen(b, i)];
                                Self::weigh(q, &k, weights);
                                let out = &mut out[i * heads * width + h * width..][..width];
                                for (j, weight) in weights.iter().enumerate() {
                                    add_scaled(out, *weight, &kv[j * stride + value..][..width]);
                                }
                            }
                        }
                    },
                );
            });
        }

        fn backward(&self, [queries, kv]: [&[f32]; 2], _: &[f32], grad: &[f32], _: [bool; 2]) -> [Gradient; 2] {
            let Sight { query_rows, key_rows, heads, kv_heads, width, .. } = self.sight;
            let (q_len, kv_len) = (query_rows * heads * width, key_rows * 2 * kv_heads * width);
            let (mut q_grads, mut kv_grads) = (vec![0.0; queries.len()], vec![0.0; kv.len()]);
            let grads = q_grads.par_chunks_mut(q_len).zip(kv_grads.par_chunks_mut(kv_len));
            let sequences = grads.zip(queries.par_chunks(q_len).zip(kv.par_chunks(kv_len))).zip(grad.par_chunks(q_len));
            sequences.enumerate().for_each(|(b, (((q_grads, kv_grads), (queries, kv)), grad))| {
                let (lq, lk) = (self.sight.query_lengths[b], self.sight.key_lengths[b]);
                vectorised(
                    #[inline(always)]
                    || {
                        let scale = (width as f32).sqrt().recip();
                        let (mut q, mut k) = (vec![0.0f32; lq * width], vec![0.0f32; lk * width]);
                        let (mut q_grad, mut k_grad) = (vec![0.0f32; lq * width], vec![0.0f32; lk * width]);
                        let (mut weights, mut levels) = (vec![0.0f32; lk], vec![0.0f32; lk]);
                        for h in 0..heads {
                            let (stride, key, value) = self.places(h);
                            self.gather(&queries[h * width..], heads * width, &mut q, scale);
                            self.gather(&kv[key..], stride, &mut k, 1.0);
                            q_grad.fill(0.0);
                            k_grad.fill(0.0);
                            let rows = q.chunks_exact(width).zip(q_grad.chunks_exact_mut(width));
                            for (i, (q, q_grad)) in rows.enumerate() {
                                let seen = self.sight.seen(b, i);
                                let (weights, levels) = (&mut weights[..seen], &mut levels[..seen]);
                                Self::weigh(q, &k, weights);
                                let grad = &grad[i * heads * width + h * width..][..width];
                                for (j, (weight, level)) in weights.iter().zip(levels.iter_mut()).enumerate() {
                                    let at = j * stride + value;
                                    *level = dot(grad, &kv[at..at + width]);
                                    add_scaled(&mut kv_grads[at..at + width], *weight, grad);
                                }
                                let mean = dot(weights, levels);
                                for (j, (weight, level)) in weights.iter().zip(levels.iter()).enumerate() {
                                    let share = weight * (level - mean);
                                    add_scaled(q_grad, share, &k[j * width..(j + 1) * width]);
                                    add_scaled(&mut k_grad[j * width..(j + 1) * width], share, q);
                                }
                            }
                            self.scatter(&q_grad, &mut q_grads[h * width..], heads * width, scale);
                            self.scatter(&k_grad, &mut kv_grads[key..], stride, 1.0);
                        }
                    },
                );
            });
            [Gradient::Values(q_grads), Gradient::Values(kv_grads)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_sees_no_padding_and_if_causal_nothing_behind_itself() {
        let sight = Sight {
            batch: 1,
            query_rows: 4,
            key_rows: 5,
            query_lengths: [3].into(),
            key_lengths: [4].into(),
            causal: false,
            heads: 1,
            kv_heads: 1,
            width: 2,
            rotary: None,
        };
        assert_eq!([0, 2, 3].map(|i| sight.seen(0, i)), [4, 4, 0]);
        let causal = Sight { causal: true, ..sight };
        assert_eq!([0, 2, 3].map(|i| causal.seen(0, i)), [1, 3, 0]);
    }
}
