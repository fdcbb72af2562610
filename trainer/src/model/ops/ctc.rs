//! Connectionist temporal classification: the loss (Graves et al. 2006).
//!
//! It runs on the host whatever the device: log-probabilities are small (29 units a frame), and the recursion over frames would be
//! thousands of tiny kernels on a GPU.

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use super::simd::{exp, ln, vectorised};

/// Unit 0 is the blank, always.
pub const BLANK: usize = 0;

/// Loss of each sequence, natural log.
///
/// `log_probs` `[batch, frames, units]`; `lengths` are the sequences' frames; `targets` their units without blanks. A target that
/// fits into no path gives a number beyond 1e29, a log-probability that is no number gives NaN.
pub fn losses(log_probs: &[f32], units: usize, lengths: &[usize], targets: &[&[u32]]) -> Vec<f32> {
    let sequence = (log_probs.len() / lengths.len().max(1)).max(1);
    let rows = log_probs.par_chunks(sequence).zip(lengths).zip(targets);
    rows.map(|((log_probs, length), target)| {
        let row = Row::new(*length, target);
        vectorised(
            #[inline(always)]
            || if row.is_broken(log_probs, units) { f32::NAN } else { -row.forward(log_probs, units).1 },
        )
    })
    .collect()
}

/// As [`losses`], from a tensor; with them a scalar whose gradient is that of `factor` times their sum, to go backward from. The scalar's
/// own value is of no meaning.
pub fn losses_and_objective(
    log_probs: Tensor<3>,
    lengths: &[usize],
    targets: &[&[u32]],
    factor: f32,
) -> (Vec<f32>, Tensor<1>) {
    let shape @ [_, frames, units] = log_probs.dims();
    let values: Vec<f32> = log_probs.clone().inner().into_data().iter::<f32>().collect();
    let sequence = (frames * units).max(1);
    let mut gradient = vec![0.0; values.len()];
    let rows = gradient.par_chunks_mut(sequence).zip(values.par_chunks(sequence)).zip(lengths).zip(targets);
    let losses = rows.map(|(((gradient, log_probs), length), target)| {
        let row = Row::new(*length, target);
        vectorised(
            #[inline(always)]
            || {
                let loss = row.backward(log_probs, units, factor, gradient);
                if row.is_broken(log_probs, units) { f32::NAN } else { loss }
            },
        )
    });
    let losses = losses.collect();
    let gradient = Tensor::<3>::from_data(TensorData::new(gradient, shape), &log_probs.device());
    (losses, (log_probs * gradient).sum())
}

/// Logarithm of what cannot be: so far below all others that it stays there, and yet a number, so that no difference is NaN.
const NEVER: f32 = -1e30;

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

impl Row {
    fn new(length: usize, target: &[u32]) -> Self {
        let mut states = vec![BLANK as u32];
        states.extend(target.iter().flat_map(|unit| [*unit, BLANK as u32]));
        let may_skip = |s: usize| s >= 2 && states[s] != BLANK as u32 && states[s] != states[s - 2];
        let skip = (0..states.len()).map(|s| if may_skip(s) { 0.0 } else { NEVER }).collect();
        Self { length, states, skip }
    }

    /// Whether a log-probability is no number. The recursion would take it for what cannot be.
    #[inline(always)]
    fn is_broken(&self, log_probs: &[f32], units: usize) -> bool {
        log_probs[..self.length * units].iter().fold(false, |broken, log_prob| broken | log_prob.is_nan())
    }

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
            for ((now, emitted), (((stay, step), leap), skip)) in now[2..width].iter_mut().zip(&emitted).zip(before) {
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

    /// Subtracts from `gradient` `[length, units]` the share of the paths that pass through each unit, times `factor`; gives the loss.
    #[inline(always)]
    fn backward(&self, log_probs: &[f32], units: usize, factor: f32, gradient: &mut [f32]) -> f32 {
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
        -total
    }
}
