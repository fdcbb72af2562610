//! Chunked self-attention with rotary positions (Vaswani et al. 2017; Su et al. 2021).

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData, activation};

use super::Path;

/// What of a batch each head sees.
#[derive(Debug, Clone)]
pub struct Span {
    /// Sequences.
    pub batch: usize,
    /// Output frames of the longest sequence: rows of each sequence.
    pub frames: usize,
    /// Output frames of each sequence; the rest is padding.
    pub lengths: Arc<[usize]>,
    /// Heads.
    pub heads: usize,
    /// Frames in a chunk; 0 is full attention.
    pub chunk: usize,
    /// Chunks to the left of a frame's own that it sees.
    pub left: usize,
}

impl Span {
    /// The frames that frame `i` of sequence `b` sees, padding left out; padding itself sees nothing.
    pub fn window(&self, b: usize, i: usize) -> std::ops::Range<usize> {
        let len = self.lengths[b];
        if i >= len {
            return 0..0;
        }
        if self.chunk == 0 {
            return 0..len;
        }
        let own = i / self.chunk;
        own.saturating_sub(self.left) * self.chunk..((own + 1) * self.chunk).min(len)
    }

    /// Cosine and sine of each position's angles, `[frames, width / heads / 2]` each.
    fn angles(&self, head: usize) -> (Vec<f32>, Vec<f32>) {
        let half = head / 2;
        let angle = |position: usize, pair: usize| position as f64 * 10_000f64.powf(-((2 * pair) as f64) / head as f64);
        let all = || (0..self.frames).flat_map(|position| (0..half).map(move |pair| (position, pair)));
        let cosines = all().map(|(position, pair)| angle(position, pair).cos() as f32).collect();
        let sines = all().map(|(position, pair)| angle(position, pair).sin() as f32).collect();
        (cosines, sines)
    }
}

/// The attention of a batch's blocks: what is the same in all of them is computed once.
pub struct Attention {
    span: Span,
    width: usize,
    form: Form,
}

enum Form {
    Composed(Box<Tables>),
    #[cfg(feature = "flex")]
    Fused(fused::Attention),
}

struct Tables {
    /// Cosines of the positions' angles, `[1, 1, frames, head / 2]`.
    cosines: Tensor<4>,
    /// Their sines.
    sines: Tensor<4>,
    /// 0 where a frame is seen and -1e9 where it is not, `[batch, 1, frames, frames]`.
    hidden: Tensor<4>,
}

impl Attention {
    /// For blocks of `width` on `device`.
    pub fn new(span: Span, width: usize, device: &Device, path: Path) -> Self {
        let form = match path {
            Path::Composed => {
                let (frames, head) = (span.frames, width / span.heads);
                let (cosines, sines) = span.angles(head);
                let table = |values| Tensor::from_data(TensorData::new(values, [1, 1, frames, head / 2]), device);
                let mut hidden = vec![-1e9f32; span.batch * frames * frames];
                for (row, hidden) in hidden.chunks_exact_mut(frames).enumerate() {
                    hidden[span.window(row / frames, row % frames)].fill(0.0);
                }
                let hidden = Tensor::from_data(TensorData::new(hidden, [span.batch, 1, frames, frames]), device);
                Form::Composed(Box::new(Tables { cosines: table(cosines), sines: table(sines), hidden }))
            }
            #[cfg(feature = "flex")]
            Path::Fused => Form::Fused(fused::Attention::new(span.clone(), width)),
        };
        Self { span, width, form }
    }

    /// `qkv` `[batch · frames, 3 · width]` → `[batch · frames, width]`. Rows of padding are of no meaning.
    pub fn apply(&self, qkv: Tensor<2>) -> Tensor<2> {
        let Span { batch, frames, heads, .. } = self.span;
        let (width, head) = (self.width, self.width / heads);
        match &self.form {
            Form::Composed(tables) => {
                let Tables { cosines, sines, hidden } = &**tables;
                // [3, batch, heads, frames, head]
                let parts = qkv.reshape([batch, frames, 3, heads, head]).permute([2, 0, 3, 1, 4]);
                let part = |i: usize| parts.clone().narrow(0, i, 1).reshape([batch, heads, frames, head]);
                let rotate = |x: Tensor<4>| {
                    let (first, second) = (x.clone().narrow(3, 0, head / 2), x.narrow(3, head / 2, head / 2));
                    let turned = first.clone() * cosines.clone() - second.clone() * sines.clone();
                    Tensor::cat(vec![turned, second * cosines.clone() + first * sines.clone()], 3)
                };
                let scale = (head as f32).sqrt().recip();
                let scores = rotate(part(0)).matmul(rotate(part(1)).swap_dims(2, 3)) * scale;
                let seen = activation::softmax(scores + hidden.clone(), 3).matmul(part(2));
                seen.permute([0, 2, 1, 3]).reshape([batch * frames, width])
            }
            #[cfg(feature = "flex")]
            Form::Fused(kernel) => super::fused::apply(kernel.clone(), [qkv.into()], [batch * frames, width]),
        }
    }
}

#[cfg(feature = "flex")]
mod fused {
    use rayon::prelude::*;

    use super::Span;
    use crate::model::ops::fused::{Gradient, Kernel};
    use crate::model::ops::simd::{add_scaled, dot, exp, max, sum, vectorised};

    #[derive(Debug, Clone)]
    pub struct Attention {
        span: Span,
        width: usize,
        cosines: std::sync::Arc<[f32]>,
        sines: std::sync::Arc<[f32]>,
    }

    /// Queries, keys and values of one head of one sequence, each `[head, frames]`: frames are contiguous, so that all
    /// loops run along them.
    struct Head {
        q: Vec<f32>,
        k: Vec<f32>,
        v: Vec<f32>,
    }

    impl Attention {
        pub fn new(span: Span, width: usize) -> Self {
            let (cosines, sines) = span.angles(width / span.heads);
            Self { span, width, cosines: cosines.into(), sines: sines.into() }
        }

        fn head(&self) -> usize {
            self.width / self.span.heads
        }

        /// Copies one head out of `qkv` `[frames, 3 · width]`, turned by its positions, queries scaled.
        #[inline(always)]
        fn gather(&self, qkv: &[f32], h: usize, len: usize) -> Head {
            let (head, half) = (self.head(), self.head() / 2);
            let scale = (head as f32).sqrt().recip();
            let mut to = Head { q: vec![0.0; head * len], k: vec![0.0; head * len], v: vec![0.0; head * len] };
            for (t, row) in qkv.chunks_exact(3 * self.width).take(len).enumerate() {
                let (q, k) = (&row[h * head..], &row[self.width + h * head..]);
                let v = &row[2 * self.width + h * head..];
                for i in 0..half {
                    let (cosine, sine) = (self.cosines[t * half + i], self.sines[t * half + i]);
                    to.q[i * len + t] = (q[i] * cosine - q[half + i] * sine) * scale;
                    to.q[(half + i) * len + t] = (q[half + i] * cosine + q[i] * sine) * scale;
                    to.k[i * len + t] = k[i] * cosine - k[half + i] * sine;
                    to.k[(half + i) * len + t] = k[half + i] * cosine + k[i] * sine;
                }
                for (i, v) in v[..head].iter().enumerate() {
                    to.v[i * len + t] = *v;
                }
            }
            to
        }

        /// Turns gradients `[head, frames]` back and adds them to one head of `qkv_grad` `[frames, 3 · width]`.
        #[inline(always)]
        fn scatter(&self, from: &Head, qkv_grad: &mut [f32], h: usize, len: usize) {
            let (head, half) = (self.head(), self.head() / 2);
            let scale = (head as f32).sqrt().recip();
            for (t, row) in qkv_grad.chunks_exact_mut(3 * self.width).take(len).enumerate() {
                for i in 0..half {
                    let (cosine, sine) = (self.cosines[t * half + i], self.sines[t * half + i]);
                    let (a, b) = (from.q[i * len + t], from.q[(half + i) * len + t]);
                    row[h * head + i] = (a * cosine + b * sine) * scale;
                    row[h * head + half + i] = (b * cosine - a * sine) * scale;
                    let (a, b) = (from.k[i * len + t], from.k[(half + i) * len + t]);
                    row[self.width + h * head + i] = a * cosine + b * sine;
                    row[self.width + h * head + half + i] = b * cosine - a * sine;
                }
                for i in 0..head {
                    row[2 * self.width + h * head + i] = from.v[i * len + t];
                }
            }
        }

        /// Fills `weights` with frame `i`'s attention over `window`.
        #[inline(always)]
        fn weigh(&self, parts: &Head, i: usize, window: std::ops::Range<usize>, len: usize, weights: &mut [f32]) {
            weights.fill(0.0);
            for (q, k) in parts.q.chunks_exact(len).zip(parts.k.chunks_exact(len)) {
                add_scaled(weights, q[i], &k[window.clone()]);
            }
            let highest = max(weights);
            weights.iter_mut().for_each(|weight| *weight = exp(*weight - highest));
            let share = 1.0 / sum(weights);
            weights.iter_mut().for_each(|weight| *weight *= share);
        }
    }

    impl Kernel<1> for Attention {
        fn forward(&self, [qkv]: [&[f32]; 1], out: &mut [f32]) {
            let (frames, width, head) = (self.span.frames, self.width, self.head());
            let sequences = out.par_chunks_mut(frames * width).zip(qkv.par_chunks(frames * 3 * width));
            sequences.enumerate().for_each(|(b, (out, qkv))| {
                let len = self.span.lengths[b];
                vectorised(
                    #[inline(always)]
                    || {
                        let mut weights = vec![0.0f32; len];
                        for h in 0..self.span.heads {
                            let parts = self.gather(qkv, h, len);
                            for (i, out) in out.chunks_exact_mut(width).take(len).enumerate() {
                                let window = self.span.window(b, i);
                                let weights = &mut weights[window.clone()];
                                self.weigh(&parts, i, window.clone(), len, weights);
                                let out = &mut out[h * head..(h + 1) * head];
                                for (out, v) in out.iter_mut().zip(parts.v.chunks_exact(len)) {
                                    *out = dot(weights, &v[window.clone()]);
                                }
                            }
                        }
                    },
                );
            });
        }

        fn backward(&self, [qkv]: [&[f32]; 1], _: &[f32], grad: &[f32], _: [bool; 1]) -> [Gradient; 1] {
            let (frames, width, head) = (self.span.frames, self.width, self.head());
            let mut qkv_grad = vec![0.0; qkv.len()];
            let sequences = qkv_grad.par_chunks_mut(frames * 3 * width).zip(qkv.par_chunks(frames * 3 * width));
            sequences.zip(grad.par_chunks(frames * width)).enumerate().for_each(|(b, ((qkv_grad, qkv), grad))| {
                let len = self.span.lengths[b];
                vectorised(
                    #[inline(always)]
                    || {
                        let (mut weights, mut weight_grads) = (vec![0.0f32; len], vec![0.0f32; len]);
                        for h in 0..self.span.heads {
                            let parts = self.gather(qkv, h, len);
                            let zeros = || vec![0.0f32; head * len];
                            let mut grads = Head { q: zeros(), k: zeros(), v: zeros() };
                            for (i, grad) in grad.chunks_exact(width).take(len).enumerate() {
                                let window = self.span.window(b, i);
                                let weights = &mut weights[window.clone()];
                                self.weigh(&parts, i, window.clone(), len, weights);
                                let weight_grads = &mut weight_grads[window.clone()];
                                weight_grads.fill(0.0);
                                let grad = &grad[h * head..(h + 1) * head];
                                let values = parts.v.chunks_exact(len).zip(grads.v.chunks_exact_mut(len));
                                for (grad, (v, v_grad)) in grad.iter().zip(values) {
                                    add_scaled(weight_grads, *grad, &v[window.clone()]);
                                    add_scaled(&mut v_grad[window.clone()], *grad, weights);
                                }
                                let level = dot(weights, weight_grads);
                                for (weight_grad, weight) in weight_grads.iter_mut().zip(&*weights) {
                                    *weight_grad = weight * (*weight_grad - level);
                                }
                                let queries = parts.q.chunks_exact(len).zip(grads.q.chunks_exact_mut(len));
                                let keys = parts.k.chunks_exact(len).zip(grads.k.chunks_exact_mut(len));
                                for ((q, q_grad), (k, k_grad)) in queries.zip(keys) {
                                    q_grad[i] = dot(weight_grads, &k[window.clone()]);
                                    add_scaled(&mut k_grad[window.clone()], q[i], weight_grads);
                                }
                            }
                            self.scatter(&grads, qkv_grad, h, len);
                        }
                    },
                );
            });
            [Gradient::Values(qkv_grad)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_sees_its_chunk_and_the_chunks_to_its_left_and_no_padding() {
        let span = Span { batch: 1, frames: 12, lengths: [10].into(), heads: 1, chunk: 4, left: 1 };
        assert_eq!(span.window(0, 0), 0..4);
        assert_eq!(span.window(0, 7), 0..8);
        assert_eq!(span.window(0, 8), 4..10);
        assert_eq!(span.window(0, 10), 0..0);
        let full = Span { chunk: 0, ..span };
        assert_eq!(full.window(0, 3), 0..10);
    }
}
