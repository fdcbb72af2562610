//! The training loop.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

use burn::tensor::Device;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::args::RunArgs;
use super::checkpoint::{self, RunDir, State};
use super::optimizer::{Optimizer, StepOptions};
use super::random::Random;
use super::report::{Report, StepLine};
use super::schedule::Schedule;
use super::step::{Outcome, step};
use super::validate::{spread, validate};
use crate::bad::{BadRows, Fault, OnBad};
use crate::data::batch::{Batch, Order, plan};
use crate::data::cache::{Cache, Key};
use crate::data::set::{Item, Loader};
use crate::error::{Failure, Kind, Result};
use crate::interrupt;
use crate::manifest::Purpose;
use crate::model::{EncoderConfig, Weights};
use crate::progress::clock;
use crate::units::Units;

/// What a verb fixes before the loop begins.
pub struct Start {
    /// Shape of the encoder.
    pub config: EncoderConfig,
    /// Weights to begin with, where there is no checkpoint to go on with.
    pub weights: Weights,
    /// Units.
    pub units: Units,
    /// Defaults of the verb: highest rate, epochs in order of length, epochs without masks.
    pub defaults: (f64, u64, u64),
}

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Epochs,
    Steps,
    Time,
    Patience,
}

struct Trainer<'a> {
    args: &'a RunArgs,
    units: &'a Units,
    tokenizer: Vec<u8>,
    dir: RunDir,
    device: Device,
    cache: Cache,
    bad: BadRows,
    known_bad: HashMap<(PathBuf, usize), Key>,
    train: Vec<Vec<Item>>,
    valid: Vec<Item>,
    state: State,
    weights: Weights,
    optimizer: Optimizer,
    report: Report,
    schedule: Schedule,
    sorted_epochs: u64,
    unmasked_epochs: u64,
}

/// Trains as `args` say. Prints the directory of the best weights on standard output.
pub fn run(args: &RunArgs, start: Start) -> Result<()> {
    let mut trainer = Trainer::prepare(args, &start)?;
    let end = trainer.train()?;
    trainer.conclude(end)
}

impl<'a> Trainer<'a> {
    fn prepare(args: &'a RunArgs, start: &'a Start) -> Result<Self> {
        args.check()?;
        interrupt::listen();
        let device = super::device::device(args.backend)?;
        let dir = RunDir(args.run.clone());
        crate::output::create_dir(&dir.0)?;
        let cache = Cache::open(&args.cache.clone().unwrap_or_else(|| dir.0.join("features.bin")))?;
        let tokenizer = start.units.to_json()?.into_bytes();
        let (state, weights, optimizer) = Self::state(args, &dir, start)?;
        let report = Report::open(&dir.log())?;
        let (peak, sorted_epochs, unmasked_epochs) = start.defaults;
        let schedule = Schedule { peak: args.lr.unwrap_or(peak), warmup_steps: args.warmup_steps, last: args.final_lr };
        let mut trainer = Self {
            args,
            units: &start.units,
            tokenizer,
            dir,
            device,
            cache,
            bad: BadRows::new(args.on_bad),
            known_bad: HashMap::new(),
            train: Vec::new(),
            valid: Vec::new(),
            state,
            weights,
            optimizer,
            report,
            schedule,
            sorted_epochs: args.sorted_epochs.unwrap_or(sorted_epochs),
            unmasked_epochs: args.unmasked_epochs.unwrap_or(unmasked_epochs),
        };
        trainer.valid = spread(trainer.loader().load(&args.valid, Purpose::Evaluation)?, args.valid_rows);
        if trainer.valid.is_empty() {
            return Err(Failure::data(format!("{}: there is no good row to validate on", args.valid.display())));
        }
        trainer.load()?;
        Ok(trainer)
    }

    /// The checkpoint's state, or a new one.
    fn state(args: &RunArgs, dir: &RunDir, start: &Start) -> Result<(State, Weights, Optimizer)> {
        let path = dir.checkpoint();
        if path.exists() {
            if !args.resume {
                let message = format!(
                    "{}: this run has a checkpoint; --resume goes on with it, another --run begins anew",
                    path.display()
                );
                return Err(Failure::usage(message));
            }
            let (state, weights, optimizer) = checkpoint::read(&path)?;
            if state.config != start.config {
                let message = format!(
                    "{}: the checkpoint's encoder has another shape than the one asked for; give the same options, or another --run",
                    path.display()
                );
                return Err(Failure::usage(message));
            }
            if state.seed != args.seed {
                let message =
                    format!("{}: the checkpoint's --seed is {}, not {}", path.display(), state.seed, args.seed);
                return Err(Failure::usage(message));
            }
            return Ok((state, weights, optimizer));
        }
        let state = State {
            version: 1,
            config: start.config.clone(),
            seed: args.seed,
            data: String::new(),
            epoch: 0,
            batch: 0,
            steps: 0,
            moved: 0,
            trained_secs: 0.0,
            best: None,
            since_best: 0,
            epoch_loss: (0.0, 0),
        };
        Ok((state, start.weights.clone(), Optimizer::new(&start.weights.flat)))
    }

    fn loader(&mut self) -> Loader<'_> {
        Loader {
            units: self.units,
            config: &self.state.config,
            cache: &mut self.cache,
            bad: &mut self.bad,
            known_bad: &mut self.known_bad,
            progress: true,
        }
    }

    /// Reads the training manifests; notes what changed since the checkpoint.
    fn load(&mut self) -> Result<()> {
        let mut train = Vec::with_capacity(self.args.data.len());
        for source in &self.args.data {
            train.push(self.loader().load(&source.manifest, Purpose::Training)?);
        }
        if train.iter().all(Vec::is_empty) {
            return Err(Failure::data("there is no good training row in the manifests of --data"));
        }
        let mut hash = Sha256::new();
        for (source, items) in self.args.data.iter().zip(&train) {
            hash.update(format!("{}*{}@{:?}\n", source.manifest.display(), source.repeat, source.hours));
            for item in items {
                hash.update(format!("{} {}\n", item.utterance.text, item.frames));
            }
        }
        let digest = hex::encode(hash.finalize());
        if !self.state.data.is_empty() && self.state.data != digest {
            if !self.args.allow_new_data {
                return Err(Failure::usage(
                    "the training rows differ from those of the checkpoint; --allow-new-data goes on with the new ones",
                ));
            }
            // The rest of a begun epoch has lost its meaning.
            if self.state.batch > 0 {
                self.state.epoch += 1;
                self.state.batch = 0;
                self.state.epoch_loss = (0.0, 0);
            }
        }
        if self.state.data != digest {
            for (source, items) in self.args.data.iter().zip(&train) {
                let hours = items.iter().map(|item| item.frames as f64).sum::<f64>() / 360_000.0;
                self.report.say(&format!("{}: {} rows, {hours:.2} hours", source.manifest.display(), items.len()));
            }
        }
        (self.state.data, self.train) = (digest, train);
        Ok(())
    }

    /// The rows of an epoch, as positions in all sources' rows one after another.
    fn epoch_rows(&self, all: &mut Vec<Item>) -> Vec<usize> {
        let mut rows = Vec::new();
        for (i, (source, items)) in self.args.data.iter().zip(&self.train).enumerate() {
            let seconds: Vec<f64> = items.iter().map(|item| item.frames as f64 / 100.0).collect();
            let seed = self.args.seed.wrapping_add(i as u64);
            rows.extend(source.rows(&seconds, seed, self.state.epoch).into_iter().map(|row| row + all.len()));
            all.extend(items.iter().cloned());
        }
        rows
    }

    /// The share of the run that lies behind, by whichever bound is nearest.
    fn done(&self, batches: usize, trained_secs: f64) -> f64 {
        let epochs =
            (self.state.epoch as f64 + self.state.batch as f64 / batches.max(1) as f64) / self.args.epochs as f64;
        let steps = self.args.max_steps.map_or(0.0, |most| self.state.steps as f64 / most as f64);
        let time = self.args.max_minutes.map_or(0.0, |most| trained_secs / (60.0 * most));
        epochs.max(steps).max(time)
    }

    fn reached(&self, trained_secs: f64) -> Option<End> {
        if self.args.max_steps.is_some_and(|most| self.state.steps >= most) {
            return Some(End::Steps);
        }
        if self.args.max_minutes.is_some_and(|most| trained_secs >= 60.0 * most) {
            return Some(End::Time);
        }
        None
    }

    fn train(&mut self) -> Result<End> {
        let autodiff = self.device.clone().autodiff();
        self.report.event(json!({
            "event": "start", "config": self.state.config, "weights": self.weights.layout.len(), "seed": self.args.seed,
            "epoch": self.state.epoch + 1, "step": self.state.steps,
        }))?;
        while self.state.epoch < self.args.epochs {
            if self.args.patience.is_some_and(|most| self.state.since_best >= most) {
                return Ok(End::Patience);
            }
            if let Some(end) = self.reached(self.state.trained_secs) {
                return Ok(end);
            }
            if self.args.allow_new_data && self.state.batch == 0 {
                self.load()?;
            }
            let end = self.epoch(&autodiff)?;
            self.judge()?;
            if let Some(end) = end {
                self.save()?;
                return Ok(end);
            }
            self.state.epoch += 1;
            self.state.batch = 0;
            self.state.epoch_loss = (0.0, 0);
            self.save()?;
        }
        Ok(End::Epochs)
    }

    /// Trains what is left of the epoch; an end where the run ends within it.
    fn epoch(&mut self, device: &Device) -> Result<Option<End>> {
        let mut items = Vec::new();
        let rows = self.epoch_rows(&mut items);
        let epoch = self.state.epoch;
        let order = if epoch < self.sorted_epochs { Order::ShortestFirst } else { Order::Random };
        let batches = plan(&rows, &items, self.args.batch_frames(), order, [self.args.seed, epoch]);
        let augment = self.args.augment(epoch >= self.unmasked_epochs);
        let mut clock = Instant::now();
        let mut saved = self.state.trained_secs;
        while self.state.batch < batches.len() {
            if interrupt::requested() {
                self.save()?;
                return Err(interrupt::failure(&format!("saved step {} with --resume to go on", self.state.steps)));
            }
            if let Some(end) = self.reached(self.state.trained_secs) {
                return Ok(Some(end));
            }
            if self.state.trained_secs - saved > 60.0 * self.args.save_minutes {
                self.save()?;
                saved = self.state.trained_secs;
            }
            let picked: Vec<&Item> = batches[self.state.batch].iter().map(|row| &items[*row]).collect();
            let done = self.done(batches.len(), self.state.trained_secs);
            let rate = self.schedule.rate(self.state.moved, done);
            let key = [self.args.seed, self.state.steps];
            let batch = Batch::read(&picked, &self.cache, &self.state.config, &augment, key)?;
            let targets: Vec<&[u32]> = picked.iter().map(|item| &*item.units).collect();
            let audio_secs = batch.seconds();
            let options =
                StepOptions { rate, weight_decay: self.args.weight_decay, clip: self.args.clip, ema: self.args.ema };
            let noise = Random::new(&[key[0], 0x6472_6f70, key[1]]).bits();
            let outcome = step(
                &self.state.config,
                &mut self.weights,
                &mut self.optimizer,
                device,
                batch,
                &targets,
                noise,
                options,
            );
            self.state.steps += 1;
            self.state.batch += 1;
            let took = clock.elapsed().as_secs_f64();
            clock = Instant::now();
            self.state.trained_secs += took;
            match outcome {
                Outcome::Moved { loss, units, norm } => {
                    self.state.moved += 1;
                    self.state.epoch_loss.0 += loss;
                    self.state.epoch_loss.1 += units as u64;
                    let left = self.left_secs(batches.len());
                    self.report.step(StepLine {
                        epoch,
                        batches: (self.state.batch, batches.len()),
                        step: self.state.steps,
                        loss: (loss, units),
                        norm,
                        rate,
                        secs: (audio_secs, took),
                        left_secs: left,
                    })?;
                }
                Outcome::BadLoss(losses) => {
                    for (item, loss) in picked.iter().zip(losses).filter(|(_, loss)| !loss.is_finite() || *loss > 1e29)
                    {
                        self.bad.report(&item.manifest, item.utterance.line, &Fault::Loss(f64::from(loss)))?;
                    }
                    self.report.say(&format!("step {}: a loss is no number; the step is skipped", self.state.steps));
                }
                Outcome::BadGradient(norm) => self.bad_gradient(&picked, norm)?,
            }
        }
        Ok(None)
    }

    fn bad_gradient(&mut self, picked: &[&Item], norm: f64) -> Result<()> {
        let rows: Vec<String> = picked.iter().map(|item| item.place()).collect();
        let message = format!("step {}: the gradient's length is {norm}; rows {}", self.state.steps, rows.join(", "));
        if self.args.on_bad == OnBad::Stop {
            return Err(Failure::data(format!("{message} (--on-bad skip leaves such steps out)")));
        }
        self.report.say(&format!("{message}; the step is skipped"));
        Ok(())
    }

    fn left_secs(&self, batches: usize) -> f64 {
        let done = self.done(batches, self.state.trained_secs);
        self.state.trained_secs * (1.0 - done).max(0.0) / done.max(1e-9)
    }

    fn average(&self) -> Weights {
        Weights { layout: self.weights.layout.clone(), flat: self.optimizer.average.clone() }
    }

    /// Validates the averaged weights and keeps them where they are the best.
    fn judge(&mut self) -> Result<()> {
        let begun = Instant::now();
        let weights = self.average();
        let frames = self.args.batch_frames();
        let score = validate(&self.state.config, &weights, &self.device, &self.valid, &self.cache, self.units, frames)?;
        let best = self.state.best.is_none_or(|(wer, _)| score.wer < wer);
        if best {
            self.dir.write_model("best", &self.state.config, &weights, &self.tokenizer)?;
            self.state.best = Some((score.wer, self.state.epoch));
            self.state.since_best = 0;
        } else {
            self.state.since_best += 1;
        }
        // Validation counts into the time that was given, so that a run ends when it was told to.
        self.state.trained_secs += begun.elapsed().as_secs_f64();
        let (loss, units) = self.state.epoch_loss;
        let loss = loss / units.max(1) as f64;
        self.report.epoch(self.state.epoch, self.state.steps, loss, &score, best, self.state.trained_secs)
    }

    fn save(&mut self) -> Result<()> {
        checkpoint::write(&self.dir.checkpoint(), &self.state, &self.weights, &self.optimizer)?;
        self.dir.write_model("last", &self.state.config, &self.average(), &self.tokenizer)
    }

    fn conclude(&mut self, end: End) -> Result<()> {
        let why = match end {
            End::Epochs => "all epochs are done",
            End::Steps => "all steps are done",
            End::Time => "the time is over",
            End::Patience => "nothing got better any more",
        };
        let trained = clock(self.state.trained_secs);
        self.report.say(&format!("{why}: {} steps in {trained}", self.state.steps));
        if let Some(summary) = self.bad.summary() {
            self.report.say(&summary);
        }
        let Some((wer, epoch)) = self.state.best else {
            return Err(Failure::new(Kind::Usage, "nothing was trained: the bounds of the run are already reached"));
        };
        let best = self.dir.0.join("best");
        self.report.event(json!({
            "event": "end", "why": why, "steps": self.state.steps, "trained_secs": self.state.trained_secs,
            "best_wer": wer, "best_epoch": epoch + 1,
        }))?;
        println!("{}: WER {:.2} % (greedy, epoch {})", best.display(), 100.0 * wer, epoch + 1);
        Ok(())
    }
}
