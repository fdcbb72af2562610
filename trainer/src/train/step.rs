//! One training step: forward, loss, backward, update.

use burn::tensor::{Device, Tensor, TensorData, Transaction};

use super::optimizer::{NotFinite, Optimizer, StepOptions};
use crate::data::batch::Batch;
use crate::model::encoder::Noise;
use crate::model::{Encoder, EncoderConfig, Weights, ctc};

/// What a step found.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The weights moved.
    Moved {
        /// Loss of all rows, natural log.
        loss: f64,
        /// Units of all rows' texts.
        units: usize,
        /// The gradient's norm before clipping.
        norm: f64,
    },
    /// A loss is no number; nothing moved. The losses, one for each row.
    BadLoss(Vec<f32>),
    /// The gradient is no number; nothing moved.
    BadGradient(f64),
}

/// What does not change within a step.
#[derive(Debug, Clone, Copy)]
pub struct Stepper<'a> {
    /// Shape of the encoder.
    pub config: &'a EncoderConfig,
    /// An autodiff device.
    pub device: &'a Device,
    /// What the optimiser is told.
    pub options: StepOptions,
}

/// Whether a row's loss is one: a text that fits into no path has an infinite one, or a number that stands for it.
pub fn is_loss(loss: f32) -> bool {
    loss.is_finite() && loss < 1e29
}

impl Stepper<'_> {
    /// Takes one step. `targets` are the rows' units; `key` fixes the dropout.
    pub fn step(
        &self,
        weights: &mut Weights,
        optimizer: &mut Optimizer,
        batch: Batch,
        targets: &[&[u32]],
        key: u64,
    ) -> Outcome {
        let &Self { config, device, options } = self;
        // The composed form of dropout draws from the device's generator.
        device.seed(key);
        let rows = batch.lengths.len();
        let units: usize = targets.iter().map(|target| target.len()).sum();
        let encoder = Encoder::new(config, weights, device);
        let shape = [rows, batch.frames, config.mel_bins];
        let features = Tensor::<3>::from_data(TensorData::new(batch.features, shape), device);
        let log_probs = encoder.forward(features, &batch.lengths, Some(Noise(key)));
        let lengths: Vec<usize> = batch.lengths.iter().map(|length| config.output_frames(*length)).collect();
        let share = 1.0 / units.max(1) as f32;
        let (values, objective) = ctc::losses_and_objective(log_probs, &lengths, targets, share);
        if values.iter().any(|loss| !is_loss(*loss)) {
            return Outcome::BadLoss(values);
        }
        let loss = values.iter().map(|loss| f64::from(*loss)).sum();
        let mut gradients = objective.backward();
        let mut transaction = Transaction::default();
        let mut found = Vec::with_capacity(encoder.leaves().len());
        for leaf in encoder.leaves() {
            let gradient = leaf.grad_remove(&mut gradients);
            found.push(gradient.is_some());
            if let Some(gradient) = gradient {
                transaction = transaction.register(gradient);
            }
        }
        drop((gradients, encoder));
        let mut read = transaction.execute().into_iter();
        let mut flat = vec![0.0; weights.layout.len()];
        for (place, found) in weights.layout.places().iter().zip(found) {
            if found && let Some(data) = read.next() {
                let target = &mut flat[place.range.clone()];
                match data.as_slice::<f32>() {
                    Ok(values) => target.copy_from_slice(values),
                    Err(_) => target.iter_mut().zip(data.iter::<f32>()).for_each(|(to, value)| *to = value),
                }
            }
        }
        match optimizer.step(&weights.layout, &mut weights.flat, &flat, options) {
            Ok(norm) => Outcome::Moved { loss, units, norm },
            Err(NotFinite(norm)) => Outcome::BadGradient(norm),
        }
    }
}
