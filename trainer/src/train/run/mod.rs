//! The training loop.

mod epoch;
mod rows;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

use burn::tensor::Device;
use serde_json::json;

use super::args::RunArgs;
use super::checkpoint::{self, RunDir, State};
use super::device::device;
use super::optimizer::Optimizer;
use super::report::Report;
use super::schedule::Schedule;
use super::validate::{spread, validate};
use crate::bad::BadRows;
use crate::data::cache::{Cache, Key};
use crate::data::set::Item;
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
        let device = device(args.backend)?;
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
