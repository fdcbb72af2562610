//! Connectionist temporal classification: the loss (Graves et al. 2006).

use burn::tensor::{Int, Tensor, TensorData};

use super::Path;

/// Unit 0 is the blank, always.
pub const BLANK: usize = 0;

/// Loss of each sequence, natural log, `[batch]`.
///
/// `log_probs` `[batch, frames, units]`; `lengths` are the sequences' frames; `targets` their units without blanks. A target that
/// fits into no path gives infinity, or a number beyond 1e29.
pub fn losses(log_probs: Tensor<3>, lengths: &[usize], targets: &[&[u32]], path: Path) -> Tensor<1> {
    match path {
        Path::Composed => composed(log_probs, lengths, targets),
        #[cfg(feature = "flex")]
        Path::Fused => {
            let [batch, frames, units] = log_probs.dims();
            super::fused::apply(fused::Ctc::new(frames, units, lengths, targets), [log_probs.into()], [batch])
        }
    }
}

fn composed(log_probs: Tensor<3>, lengths: &[usize], targets: &[&[u32]]) -> Tensor<1> {
    let (batch, device) = (lengths.len(), log_probs.device());
    let longest = targets.iter().map(|target| target.len()).max().unwrap_or(0).max(1);
    let mut padded = vec![0i32; batch * longest];
    for (row, target) in padded.chunks_exact_mut(longest).zip(targets) {
        row.iter_mut().zip(*target).for_each(|(to, unit)| *to = *unit as i32);
    }
    let int = |values: Vec<i32>| Tensor::<1, Int>::from_data(TensorData::new(values, [batch]), &device);
    let target_lengths = int(targets.iter().map(|target| target.len() as i32).collect());
    let lengths = int(lengths.iter().map(|length| *length as i32).collect());
    let padded = Tensor::<2, Int>::from_data(TensorData::new(padded, [batch, longest]), &device);
    burn::tensor::module::ctc_loss(log_probs.swap_dims(0, 1), padded, lengths, target_lengths, BLANK)
}

#[cfg(feature = "flex")]
mod fused {
    use std::sync::Arc;

    use rayon::prelude::*;

    use super::BLANK;
    use crate::model::ops::fused::{Gradient, Kernel};
    use crate::model::ops::simd::{exp, ln, vectorised};

    /// Logarithm of what cannot be: so far below all others that it stays there, and yet a number, so that no difference is NaN.
    const NEVER: f32 = -1e30;

    #[derive(Debug, Clone)]
    pub struct Ctc {
        frames: usize,
        units: usize,
        rows: Arc<[Row]>,
    }

    /// One sequence: its states are blank, unit, blank, …, unit, blank.
    #[derive(Debug)]
    struct Row {
        length: usize,
        states: Vec<u32>,
        /// 0 where a state may be entered past the blank before it, else [`NEVER`].
        skip: Vec<f32>,
    }

    /// ln(eᵃ + eᵇ + eᶜ).
    #[inline(always)]
    fn log_add(a: f32, b: f32, c: f32) -> f32 {
        let top = if a > b { a } else { b };
        let top = if top > c { top } else { c };
        top + ln(exp(a - top) + exp(b - top) + exp(c - top))
    }

    impl Ctc {
        pub fn new(frames: usize, units: usize, lengths: &[usize], targets: &[&[u32]]) -> Self {
            let rows = lengths.iter().zip(targets).map(|(length, target)| {
                let mut states = vec![BLANK as u32];
                states.extend(target.iter().flat_map(|unit| [*unit, BLANK as u32]));
                let may_skip = |s: usize| s >= 2 && states[s] != BLANK as u32 && states[s] != states[s - 2];
                let skip = (0..states.len()).map(|s| if may_skip(s) { 0.0 } else { NEVER }).collect();
                Row { length: *length, states, skip }
            });
            Self { frames, units, rows: rows.collect() }
        }
    }

    impl Row {
        /// Forward variables `[length, 2 + states]`, two impossible states before the first; and the log-probability of all paths.
        #[inline(always)]
        fn forward(&self, log_probs: &[f32], units: usize) -> (Vec<f32>, f32) {
            let width = self.states.len() + 2;
            let mut alpha = vec![NEVER; self.length * width];
            let mut emitted = vec![0.0f32; self.states.len()];
            for (t, probs) in log_probs.chunks_exact(units).take(self.length).enumerate() {
                if t == 0 {
                    for (alpha, state) in alpha[2..width].iter_mut().zip(&self.states).take(2) {
                        *alpha = probs[*state as usize];
                    }
                    continue;
                }
                self.states.iter().zip(&mut emitted).for_each(|(state, emitted)| *emitted = probs[*state as usize]);
                let (before, now) = alpha[(t - 1) * width..].split_at_mut(width);
                let before = before[2..].iter().zip(&before[1..]).zip(&*before).zip(&self.skip);
                for ((now, emitted), (((stay, step), leap), skip)) in now[2..width].iter_mut().zip(&emitted).zip(before)
                {
                    let sum = log_add(*stay, *step, *leap + *skip) + *emitted;
                    *now = if sum > NEVER { sum } else { NEVER };
                }
            }
            let total = match alpha.rchunks_exact(width).next() {
                Some(last) => log_add(last[width - 1], last[width - 2], NEVER),
                None => NEVER,
            };
            (alpha, total)
        }

        /// Subtracts from `gradient` `[length, units]` the share of the paths that pass through each unit, times `factor`.
        #[inline(always)]
        fn backward(&self, log_probs: &[f32], units: usize, factor: f32, gradient: &mut [f32]) {
            let (alpha, total) = self.forward(log_probs, units);
            let (states, width) = (self.states.len(), self.states.len() + 2);
            // What is to come after a state, two impossible states behind the last; and the same with the emission in it.
            let (mut beta, mut entered) = (vec![NEVER; states], vec![NEVER; states + 2]);
            let mut skip = self.skip.clone();
            skip.extend([NEVER, NEVER]);
            let mut shares = vec![0.0f32; states];
            for t in (0..self.length).rev() {
                if t + 1 == self.length {
                    beta.iter_mut().rev().take(2).for_each(|beta| *beta = 0.0);
                } else {
                    let next = entered.iter().zip(&entered[1..]).zip(&entered[2..]).zip(&skip[2..]);
                    for (beta, (((stay, step), leap), skip)) in beta.iter_mut().zip(next) {
                        let sum = log_add(*stay, *step, *leap + *skip);
                        *beta = if sum > NEVER { sum } else { NEVER };
                    }
                }
                let alpha = &alpha[t * width + 2..(t + 1) * width];
                for ((share, alpha), beta) in shares.iter_mut().zip(alpha).zip(&beta) {
                    let log = alpha + beta - total;
                    *share = if log > -80.0 { factor * exp(log) } else { 0.0 };
                }
                let probs = &log_probs[t * units..(t + 1) * units];
                let gradient = &mut gradient[t * units..(t + 1) * units];
                for (s, state) in self.states.iter().enumerate() {
                    gradient[*state as usize] -= shares[s];
                    entered[s] = beta[s] + probs[*state as usize];
                }
            }
        }
    }

    impl Kernel<1> for Ctc {
        fn forward(&self, [log_probs]: [&[f32]; 1], out: &mut [f32]) {
            let sequences = log_probs.par_chunks(self.frames * self.units);
            out.par_iter_mut().zip(sequences).zip(&*self.rows).for_each(|((out, log_probs), row)| {
                *out = vectorised(
                    #[inline(always)]
                    || -row.forward(log_probs, self.units).1,
                );
            });
        }

        fn backward(&self, [log_probs]: [&[f32]; 1], _: &[f32], grad: &[f32], _: [bool; 1]) -> [Gradient; 1] {
            let mut gradient = vec![0.0; log_probs.len()];
            let sequence = self.frames * self.units;
            let sequences = gradient.par_chunks_mut(sequence).zip(log_probs.par_chunks(sequence));
            sequences.zip(grad).zip(&*self.rows).for_each(|(((gradient, log_probs), factor), row)| {
                vectorised(
                    #[inline(always)]
                    || row.backward(log_probs, self.units, *factor, gradient),
                );
            });
            [Gradient::Values(gradient)]
        }
    }
}
