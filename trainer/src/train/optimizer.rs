//! AdamW (Loshchilov and Hutter 2019) over the flat weights, with clipping by the global norm and averaged weights.

use rayon::prelude::*;

use crate::model::Layout;

/// What one step is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepOptions {
    /// Learning rate.
    pub rate: f64,
    /// Weight decay of matrices and kernels.
    pub weight_decay: f64,
    /// Longest gradient.
    pub clip: f64,
    /// Share of the old average that stays.
    pub ema: f64,
}

/// Moments and average, one value for each weight.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimizer {
    /// First moments.
    pub first: Vec<f32>,
    /// Second moments.
    pub second: Vec<f32>,
    /// Averaged weights.
    pub average: Vec<f32>,
    /// Steps taken.
    pub steps: u64,
}

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.98;
const EPSILON: f32 = 1e-8;

/// The gradient is not finite; its global norm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NotFinite(pub f64);

impl Optimizer {
    /// Before the first step; the average begins at the weights.
    pub fn new(weights: &[f32]) -> Self {
        let zeros = vec![0.0; weights.len()];
        Self { first: zeros.clone(), second: zeros, average: weights.to_vec(), steps: 0 }
    }

    /// One step. Gives the gradient's norm before clipping; a gradient that is not finite changes nothing.
    pub fn step(
        &mut self,
        layout: &Layout,
        weights: &mut [f32],
        gradient: &[f32],
        options: StepOptions,
    ) -> Result<f64, NotFinite> {
        // Sums by tensor, added in order: the same on any number of threads.
        let squares: Vec<f64> = layout
            .places()
            .par_iter()
            .map(|place| gradient[place.range.clone()].iter().map(|g| f64::from(*g) * f64::from(*g)).sum())
            .collect();
        let norm = squares.iter().sum::<f64>().sqrt();
        if !norm.is_finite() {
            return Err(NotFinite(norm));
        }
        let shrink = if norm > options.clip { (options.clip / norm) as f32 } else { 1.0 };
        self.steps += 1;
        let power = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let (unbias1, unbias2) = (1.0 - BETA1.powi(power), 1.0 - BETA2.powi(power));
        let (b1, b2) = (BETA1 as f32, BETA2 as f32);
        let rate = (options.rate / unbias1) as f32;
        let unbias2 = (1.0 / unbias2) as f32;
        // The average starts short and grows to its length, so that it forgets the random weights soon.
        let keep = options.ema.min((1.0 + self.steps as f64) / (10.0 + self.steps as f64));
        let keep = if options.ema == 0.0 { 0.0 } else { keep as f32 };
        let mut rest = (weights, &mut *self.first, &mut *self.second, &mut *self.average);
        let mut pieces = Vec::with_capacity(layout.places().len());
        for place in layout.places() {
            let len = place.range.len();
            let (weights, others) = rest.0.split_at_mut(len);
            let (first, firsts) = rest.1.split_at_mut(len);
            let (second, seconds) = rest.2.split_at_mut(len);
            let (average, averages) = rest.3.split_at_mut(len);
            rest = (others, firsts, seconds, averages);
            let decay = if place.decays() { (options.rate * options.weight_decay) as f32 } else { 0.0 };
            pieces.push((weights, first, second, average, &gradient[place.range.clone()], decay));
        }
        pieces.into_par_iter().for_each(|(weights, first, second, average, gradient, decay)| {
            let moments = first.iter_mut().zip(second).zip(gradient);
            for ((weight, average), ((first, second), gradient)) in weights.iter_mut().zip(average).zip(moments) {
                let gradient = gradient * shrink;
                *first = b1 * *first + (1.0 - b1) * gradient;
                *second = b2 * *second + (1.0 - b2) * gradient * gradient;
                *weight -= decay * *weight + rate * *first / ((*second * unbias2).sqrt() + EPSILON);
                *average = keep * *average + (1.0 - keep) * *weight;
            }
        });
        Ok(norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EncoderConfig, Weights};

    fn small() -> Weights {
        let config =
            EncoderConfig { conv_channels: 2, d_model: 4, layers: 1, heads: 1, units: 3, ..EncoderConfig::default() };
        Weights::random(&config, 1)
    }

    const OPTIONS: StepOptions = StepOptions { rate: 1e-2, weight_decay: 0.1, clip: 1.0, ema: 0.0 };

    #[test]
    fn the_first_step_is_one_rate_long_against_the_gradient_and_decays_matrices_only() {
        let mut weights = small();
        let before = weights.flat.clone();
        let gradient = vec![1e-3; before.len()];
        let mut optimizer = Optimizer::new(&before);
        optimizer.step(&weights.layout, &mut weights.flat, &gradient, OPTIONS).unwrap();
        for place in weights.layout.places() {
            for i in place.range.clone() {
                let decay = if place.decays() { 1e-3 * before[i] } else { 0.0 };
                let want = before[i] - decay - 1e-2;
                assert!((weights.flat[i] - want).abs() < 1e-5, "{}: {} for {want}", place.name, weights.flat[i]);
            }
        }
        assert_eq!(optimizer.average, weights.flat);
    }

    #[test]
    fn a_gradient_that_is_no_number_changes_nothing() {
        let mut weights = small();
        let before = weights.flat.clone();
        let mut gradient = vec![0.0; before.len()];
        gradient[5] = f32::NAN;
        let mut optimizer = Optimizer::new(&before);
        assert!(optimizer.step(&weights.layout, &mut weights.flat, &gradient, OPTIONS).is_err());
        assert_eq!(weights.flat, before);
        assert_eq!(optimizer, Optimizer::new(&before));
    }

    #[test]
    fn a_long_gradient_is_scaled_to_the_clip() {
        let (mut a, mut b) = (small(), small());
        let long: Vec<f32> = (0..a.flat.len()).map(|i| (i % 7) as f32).collect();
        let norm = long.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let short: Vec<f32> = long.iter().map(|g| *g * (1.0 / norm) as f32).collect();
        let mut optimizers = (Optimizer::new(&a.flat), Optimizer::new(&b.flat));
        let measured = optimizers.0.step(&a.layout.clone(), &mut a.flat, &long, OPTIONS).unwrap();
        optimizers.1.step(&b.layout.clone(), &mut b.flat, &short, StepOptions { clip: 2.0, ..OPTIONS }).unwrap();
        assert!((measured - norm).abs() < 1e-6 * norm);
        assert!(a.flat.iter().zip(&b.flat).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}
