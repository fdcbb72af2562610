//! One training step: forward, loss, backward, update.

use burn::tensor::{Device, Tensor, Transaction};

use super::method::{Objective, is_loss};
use super::optimizer::{NotFinite, Optimizer, StepOptions};
use crate::error::Result;
use crate::model::ops::product::Products;
use crate::model::{Bound, Weights};

/// What a step found.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The weights moved.
    Moved {
        /// Loss of all rows, natural log.
        loss: f64,
        /// Units of all rows.
        units: usize,
        /// The gradient's norm before clipping.
        norm: f64,
        /// Size of the batch.
        amount: f64,
    },
    /// A loss is no number; nothing moved. The losses, one for each row.
    BadLoss(Vec<f32>),
    /// The gradient is no number; nothing moved.
    BadGradient(f64),
}

/// What does not change within a step.
#[derive(Debug, Clone, Copy)]
pub struct Stepper<'a> {
    /// An autodiff device.
    pub device: &'a Device,
    /// What the optimiser is told.
    pub options: StepOptions,
    /// How factors are multiplied.
    pub products: Products,
}

impl Stepper<'_> {
    /// Takes one step. `key` fixes what the device draws; `objective` computes the loss with the weights on the device.
    pub fn step(
        &self,
        weights: &mut Weights,
        optimizer: &mut Optimizer,
        key: u64,
        objective: impl FnOnce(&Bound) -> Result<Objective>,
    ) -> Result<Outcome> {
        let &Self { device, options, products } = self;
        // The composed form of dropout draws from the device's generator.
        device.seed(key);
        let bound = Bound::new(weights, device).multiplied(products);
        let Objective { losses, units, mean, amount } = objective(&bound)?;
        if losses.iter().any(|loss| !is_loss(*loss)) {
            return Ok(Outcome::BadLoss(losses));
        }
        let loss = losses.iter().map(|loss| f64::from(*loss)).sum();
        let flat = gradient(&bound, mean, weights);
        drop(bound);
        Ok(match optimizer.step(&weights.layout, &mut weights.flat, &flat, options) {
            Ok(norm) => Outcome::Moved { loss, units, norm, amount },
            Err(NotFinite(norm)) => Outcome::BadGradient(norm),
        })
    }
}

/// The gradient of `mean`, as the weights lie; 0 where a weight has no part in it.
fn gradient(bound: &Bound, mean: Tensor<1>, weights: &Weights) -> Vec<f32> {
    let mut gradients = mean.backward();
    let mut transaction = Transaction::default();
    let mut found = Vec::with_capacity(bound.leaves().len());
    for leaf in bound.leaves() {
        let gradient = leaf.grad_remove(&mut gradients);
        found.push(gradient.is_some());
        if let Some(gradient) = gradient {
            transaction = transaction.register(gradient);
        }
    }
    drop(gradients);
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
    flat
}
