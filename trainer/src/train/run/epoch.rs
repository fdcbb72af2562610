//! One epoch of a run.

use std::time::Instant;

use burn::tensor::Device;

use super::{End, Trainer};
use crate::bad::OnBad;
use crate::error::{Failure, Kind, Result};
use crate::interrupt;
use crate::model::Noise;
use crate::train::method::{At, Method, is_loss};
use crate::train::optimizer::StepOptions;
use crate::train::random::Random;
use crate::train::report::StepLine;
use crate::train::step::{Outcome, Stepper};

impl<M: Method> Trainer<'_, M> {
    /// The share of the run that lies behind, by whichever bound is nearest.
    fn done(&self, batches: usize, trained_secs: f64) -> f64 {
        let epochs =
            (self.state.epoch as f64 + self.state.batch as f64 / batches.max(1) as f64) / self.args.epochs as f64;
        let steps = self.args.max_steps.map_or(0.0, |most| self.state.steps as f64 / most as f64);
        let time = self.args.max_minutes.map_or(0.0, |most| trained_secs / (60.0 * most));
        epochs.max(steps).max(time)
    }

    pub(super) fn reached(&self, trained_secs: f64) -> Option<End> {
        if self.args.max_steps.is_some_and(|most| self.state.steps >= most) {
            return Some(End::Steps);
        }
        if self.args.max_minutes.is_some_and(|most| trained_secs >= 60.0 * most) {
            return Some(End::Time);
        }
        None
    }

    /// Trains what is left of the epoch; an end where the run ends within it.
    pub(super) fn epoch(&mut self, device: &Device) -> Result<Option<End>> {
        let batches = self.method.plan(self.args.seed, self.state.epoch);
        let mut saved = self.state.trained_secs;
        let mut judged = saved;
        while self.state.batch < batches.len() {
            if interrupt::requested() {
                self.save()?;
                let message = format!(
                    "stopped after step {} and saved; the same command with --resume goes on from there",
                    self.state.steps
                );
                return Err(Failure::new(Kind::Interrupted, message));
            }
            if let Some(end) = self.reached(self.state.trained_secs) {
                return Ok(Some(end));
            }
            if self.state.trained_secs - saved > 60.0 * self.args.save_minutes {
                self.save()?;
                saved = self.state.trained_secs;
            }
            if self.args.valid_minutes.is_some_and(|minutes| self.state.trained_secs - judged > 60.0 * minutes) {
                self.judge()?;
                judged = self.state.trained_secs;
            }
            self.take(&batches[self.state.batch], batches.len(), device)?;
        }
        Ok(None)
    }

    /// Takes one step with these rows.
    fn take(&mut self, rows: &[usize], batches: usize, device: &Device) -> Result<()> {
        let begun = Instant::now();
        let rate = self.schedule.rate(self.state.moved, self.done(batches, self.state.trained_secs));
        let at = At { seed: self.args.seed, epoch: self.state.epoch, step: self.state.steps };
        let options =
            StepOptions { rate, weight_decay: self.args.weight_decay, clip: self.args.clip, ema: self.args.ema };
        let noise = Random::new(&[at.seed, 0x6472_6f70, at.step]).bits();
        let method = &mut self.method;
        let stepper = Stepper { device, options, products: self.args.products };
        let outcome = stepper.step(&mut self.weights, &mut self.optimizer, noise, |bound| {
            method.objective(bound, rows, at, Noise(noise))
        })?;
        self.state.steps += 1;
        self.state.batch += 1;
        let took = begun.elapsed().as_secs_f64();
        self.state.trained_secs += took;
        match outcome {
            Outcome::Moved { loss, units, norm, amount } => {
                self.state.moved += 1;
                self.state.epoch_loss.0 += loss;
                self.state.epoch_loss.1 += units as u64;
                let left_secs = self.left_secs(batches);
                self.report.step::<M>(StepLine {
                    epoch: self.state.epoch,
                    batches: (self.state.batch, batches),
                    step: self.state.steps,
                    loss: (loss, units),
                    norm,
                    rate,
                    amount,
                    secs: took,
                    left_secs,
                })
            }
            Outcome::BadLoss(losses) => {
                for (row, loss) in rows.iter().zip(losses).filter(|(_, loss)| !is_loss(*loss)) {
                    self.method.bad_loss(*row, loss)?;
                }
                self.report.say(&format!("step {}: a loss is no number; the step is skipped", self.state.steps));
                Ok(())
            }
            Outcome::BadGradient(norm) => self.bad_gradient(rows, norm),
        }
    }

    fn bad_gradient(&mut self, rows: &[usize], norm: f64) -> Result<()> {
        let rows: Vec<String> = rows.iter().map(|row| self.method.place(*row)).collect();
        let message = format!("step {}: the gradient's length is {norm}; rows {}", self.state.steps, rows.join(", "));
        if self.args.on_bad == OnBad::Stop {
            return Err(Failure::data(format!("{message} (--on-bad skip leaves such steps out)")));
        }
        self.bad_gradients += 1;
        self.report.say(&format!("{message}; the step is skipped"));
        Ok(())
    }

    fn left_secs(&self, batches: usize) -> f64 {
        let done = self.done(batches, self.state.trained_secs);
        self.state.trained_secs * (1.0 - done).max(0.0) / done.max(1e-9)
    }
}
