//! What every method of training is told.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::bad::OnBad;
use crate::error::{Failure, Result};
use crate::model::ops::product::Products;

/// Where the arithmetic runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Backend {
    /// The CPU, in Rust alone.
    #[default]
    Flex,
    /// An NVIDIA GPU (feature `cuda`).
    Cuda,
    /// Any GPU that Vulkan, Metal or Direct3D reaches (feature `wgpu`).
    Wgpu,
}

/// Options of the loop.
#[derive(Debug, Clone, Args)]
pub struct LoopArgs {
    /// Directory of the run: checkpoint, log, best and last weights.
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Go on with the checkpoint in the run's directory.
    #[arg(long)]
    pub resume: bool,
    /// Allow training data to differ from those of the checkpoint, and read them again before each epoch.
    #[arg(long)]
    pub allow_new_data: bool,
    /// What to do with bad rows and with losses that are no number.
    #[arg(long, value_enum, default_value_t)]
    pub on_bad: OnBad,
    /// Where the arithmetic runs.
    #[arg(long, value_enum, default_value_t)]
    pub backend: Backend,
    /// How matrices are multiplied while training.
    #[arg(long, value_enum, default_value_t)]
    pub products: Products,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Most epochs.
    #[arg(long, default_value_t = 50, help_heading = "Length and rate")]
    pub epochs: u64,
    /// Stop after this much training time, over all resumptions; the rate falls to its end in this time.
    #[arg(long, value_name = "MINUTES", help_heading = "Length and rate")]
    pub max_minutes: Option<f64>,
    /// Stop after this many steps.
    #[arg(long, value_name = "STEPS", help_heading = "Length and rate")]
    pub max_steps: Option<u64>,
    /// Stop when so many validations in a row brought nothing better.
    #[arg(long, value_name = "EPOCHS", help_heading = "Length and rate")]
    pub patience: Option<u64>,
    /// Highest learning rate [default: the method's].
    #[arg(long, value_name = "RATE", help_heading = "Length and rate")]
    pub lr: Option<f64>,
    /// Steps in which the rate climbs.
    #[arg(long, default_value_t = 300, help_heading = "Length and rate")]
    pub warmup_steps: u64,
    /// Rate at the end, as a share of the highest.
    #[arg(long, default_value_t = 0.05, help_heading = "Length and rate")]
    pub final_lr: f64,
    /// Weight decay of matrices and kernels.
    #[arg(long, default_value_t = 0.01, help_heading = "Length and rate")]
    pub weight_decay: f64,
    /// Longest gradient; longer ones are scaled down.
    #[arg(long, default_value_t = 5.0, help_heading = "Length and rate")]
    pub clip: f64,
    /// Share of the old average that each step keeps; 0 turns averaging off. Validation and saved weights use the average.
    #[arg(long, default_value_t = 0.999, help_heading = "Length and rate")]
    pub ema: f64,

    /// Minutes between checkpoints within an epoch.
    #[arg(long, default_value_t = 5.0, help_heading = "Reports and checkpoints")]
    pub save_minutes: f64,
    /// Minutes between validations within an epoch [default: only at its end].
    #[arg(long, value_name = "MINUTES", help_heading = "Reports and checkpoints")]
    pub valid_minutes: Option<f64>,
}

/// The rule as an error of the command line.
pub(super) fn usage(rule: impl Into<String>) -> Result<()> {
    Err(Failure::usage(rule))
}

/// The rule that a number must be more than 0.
pub(super) fn positive(name: &str, value: f64) -> Result<()> {
    match value.is_finite() && value > 0.0 {
        true => Ok(()),
        false => usage(format!("--{name} is {value}; it must be more than 0")),
    }
}

impl LoopArgs {
    /// Checks what clap cannot.
    pub fn check(&self) -> Result<()> {
        positive("save-minutes", self.save_minutes)?;
        positive("clip", self.clip)?;
        if let Some(minutes) = self.valid_minutes {
            positive("valid-minutes", minutes)?;
        }
        if let Some(minutes) = self.max_minutes {
            positive("max-minutes", minutes)?;
        }
        if let Some(rate) = self.lr {
            positive("lr", rate)?;
        }
        if !(0.0..=1.0).contains(&self.final_lr) {
            return usage(format!("--final-lr is {}; it must lie between 0 and 1", self.final_lr));
        }
        if !(0.0..1.0).contains(&self.ema) {
            return usage(format!("--ema is {}; it must be at least 0 and less than 1", self.ema));
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return usage(format!("--weight-decay is {}; it must not be negative", self.weight_decay));
        }
        Ok(())
    }
}
