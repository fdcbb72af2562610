//! The training loop.

mod epoch;

use std::time::Instant;

use burn::tensor::Device;
use serde_json::json;

use super::args::LoopArgs;
use super::checkpoint::{self, RunDir, State};
use super::device::device;
use super::method::{Config, Method};
use super::optimizer::Optimizer;
use super::report::Report;
use super::schedule::Schedule;
use crate::error::{Failure, Kind, Result};
use crate::interrupt;
use crate::model::Weights;
use crate::model::ops::Path;
use crate::progress::clock;

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Epochs,
    Steps,
    Time,
    Patience,
}

struct Trainer<'a, M: Method> {
    args: &'a LoopArgs,
    method: M,
    dir: RunDir,
    device: Device,
    state: State<Config<M>>,
    weights: Weights,
    optimizer: Optimizer,
    report: Report,
    schedule: Schedule,
    /// Steps that were skipped because their gradient was no number.
    bad_gradients: u64,
}

/// Trains as `args` say, with `weights` to begin with where there is no checkpoint to go on with, and `rate` as the highest
/// one where `args` have none. Prints the directory of the best weights on standard output.
pub fn run<M: Method>(args: &LoopArgs, method: M, weights: Weights, rate: f64) -> Result<()> {
    let mut trainer = Trainer::prepare(args, method, weights, rate)?;
    let end = trainer.train()?;
    trainer.conclude(end)
}

/// Makes the run's directory and begins to listen to Ctrl-C: what must be done before rows are read.
pub fn open(args: &LoopArgs) -> Result<RunDir> {
    args.check()?;
    interrupt::listen();
    let dir = RunDir(args.run.clone());
    crate::output::create_dir(&dir.0)?;
    Ok(dir)
}

impl<'a, M: Method> Trainer<'a, M> {
    fn prepare(args: &'a LoopArgs, method: M, weights: Weights, rate: f64) -> Result<Self> {
        let dir = open(args)?;
        let device = device(args.backend)?;
        args.products.check(Path::of(&device)).map_err(|rule| Failure::unavailable(format!("--products: {rule}")))?;
        let (state, weights, optimizer) = Self::state(args, &dir, method.config(), weights)?;
        let report = Report::open(&dir.log())?;
        let schedule = Schedule { peak: args.lr.unwrap_or(rate), warmup_steps: args.warmup_steps, last: args.final_lr };
        let mut trainer =
            Self { args, method, dir, device, state, weights, optimizer, report, schedule, bad_gradients: 0 };
        trainer.load()?;
        Ok(trainer)
    }

    /// Reads the training rows; notes what changed since the checkpoint.
    fn load(&mut self) -> Result<()> {
        let loaded = self.method.load()?;
        if self.state.data == loaded.digest {
            return Ok(());
        }
        if !self.state.data.is_empty() {
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
        loaded.said.iter().for_each(|line| self.report.say(line));
        self.state.data = loaded.digest;
        Ok(())
    }

    /// The checkpoint's state, or a new one.
    fn state(
        args: &LoopArgs,
        dir: &RunDir,
        config: &Config<M>,
        weights: Weights,
    ) -> Result<(State<Config<M>>, Weights, Optimizer)> {
        let path = dir.checkpoint();
        if path.exists() {
            if !args.resume {
                let message = format!(
                    "{}: this run has a checkpoint; --resume goes on with it, another --run begins anew",
                    path.display()
                );
                return Err(Failure::usage(message));
            }
            let (state, weights, optimizer) = checkpoint::read::<Config<M>>(&path)?;
            if state.config != *config {
                let message = format!(
                    "{}: the checkpoint's model has another shape than the one asked for; give the same options, or another --run",
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
            config: config.clone(),
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
        let optimizer = Optimizer::new(&weights.flat);
        Ok((state, weights, optimizer))
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
        let score = self.method.validate(&weights, &self.device)?;
        let best = self.state.best.is_none_or(|(rank, _)| score.rank < rank);
        if best {
            self.dir.write_model("best", self.method.files(), &weights)?;
            self.state.best = Some((score.rank, self.state.epoch));
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
        self.dir.write_model("last", self.method.files(), &self.average())
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
        if let Some(summary) = self.method.left_out() {
            self.report.say(&summary);
        }
        if self.bad_gradients > 0 {
            self.report.say(&format!("{} steps skipped: their gradient was no number", self.bad_gradients));
        }
        let Some((rank, epoch)) = self.state.best else {
            return Err(Failure::new(Kind::Usage, "nothing was trained: the bounds of the run are already reached"));
        };
        let best = self.dir.0.join("best");
        self.report.event(json!({
            "event": "end", "why": why, "steps": self.state.steps, "trained_secs": self.state.trained_secs,
            (format!("best_{}", M::RANK_KEY)): rank, "best_epoch": epoch + 1,
        }))?;
        println!("{}: {} (epoch {})", best.display(), M::rank(rank), epoch + 1);
        Ok(())
    }
}
