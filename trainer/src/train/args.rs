//! What `pretrain ctc` and `finetune ctc` are told.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::bad::OnBad;
use crate::data::augment::Augment;
use crate::data::source::Source;
use crate::error::{Failure, Result};

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

/// Options that both verbs share.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Training manifest and its share: all rows, REPEAT times; with @HOURS a part of that length, another one in each epoch.
    #[arg(long, value_name = "MANIFEST[*REPEAT][@HOURS]", required = true)]
    pub data: Vec<Source>,
    /// Validation manifest: its word error rate chooses the best weights.
    #[arg(long, value_name = "MANIFEST")]
    pub valid: PathBuf,
    /// Directory of the run: checkpoint, log, best and last weights.
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Go on with the checkpoint in the run's directory.
    #[arg(long)]
    pub resume: bool,
    /// Allow manifests to differ from those of the checkpoint, and read them again before each epoch.
    #[arg(long)]
    pub allow_new_data: bool,
    /// File of computed features; [default: features.bin in the run's directory].
    #[arg(long, value_name = "FILE")]
    pub cache: Option<PathBuf>,
    /// What to do with bad rows and with losses that are no number.
    #[arg(long, value_enum, default_value_t)]
    pub on_bad: OnBad,
    /// Where the arithmetic runs.
    #[arg(long, value_enum, default_value_t)]
    pub backend: Backend,
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
    /// Highest learning rate [default: 8e-4, fine-tuning 1e-4].
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

    /// Audio in a step, padding included, seconds.
    #[arg(long, default_value_t = 90.0, help_heading = "Batches and augmentation")]
    pub batch_secs: f64,
    /// Epochs at the start that go from the shortest row to the longest [default: 2, fine-tuning 0].
    #[arg(long, value_name = "EPOCHS", help_heading = "Batches and augmentation")]
    pub sorted_epochs: Option<u64>,
    /// Epochs at the start without masks [default: 2, fine-tuning 0].
    #[arg(long, value_name = "EPOCHS", help_heading = "Batches and augmentation")]
    pub unmasked_epochs: Option<u64>,
    /// Bands of mel bins that are masked in each row.
    #[arg(long, default_value_t = 2, help_heading = "Batches and augmentation")]
    pub freq_masks: usize,
    /// Widest band, bins.
    #[arg(long, default_value_t = 15, help_heading = "Batches and augmentation")]
    pub freq_mask_bins: usize,
    /// Stretches of time that are masked in each row, for each 10 s begun.
    #[arg(long, default_value_t = 2, help_heading = "Batches and augmentation")]
    pub time_masks: usize,
    /// Longest stretch, frames of 10 ms; at most a tenth of the row.
    #[arg(long, default_value_t = 30, help_heading = "Batches and augmentation")]
    pub time_mask_frames: usize,
    /// Speed of each row is drawn from 1 − this to 1 + this.
    #[arg(long, default_value_t = 0.1, help_heading = "Batches and augmentation")]
    pub speed: f32,

    /// Rows of the validation manifest that each epoch is judged by, spread over it; 0 is all.
    #[arg(long, default_value_t = 200, help_heading = "Reports and checkpoints")]
    pub valid_rows: usize,
    /// Minutes between checkpoints within an epoch.
    #[arg(long, default_value_t = 5.0, help_heading = "Reports and checkpoints")]
    pub save_minutes: f64,
}

fn usage(rule: impl Into<String>) -> Result<()> {
    Err(Failure::usage(rule))
}

impl RunArgs {
    /// Checks what clap cannot.
    pub fn check(&self) -> Result<()> {
        let positive = |name: &str, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => usage(format!("--{name} is {value}; it must be more than 0")),
        };
        positive("batch-secs", self.batch_secs)?;
        positive("save-minutes", self.save_minutes)?;
        positive("clip", self.clip)?;
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
        if !(0.0..=0.5).contains(&self.speed) {
            return usage(format!("--speed is {}; it must lie between 0 and 0.5", self.speed));
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return usage(format!("--weight-decay is {}; it must not be negative", self.weight_decay));
        }
        Ok(())
    }

    /// Augmentation of an epoch.
    pub fn augment(&self, masked: bool) -> Augment {
        let masks = if masked { (self.freq_masks, self.time_masks) } else { (0, 0) };
        Augment {
            speed: self.speed,
            freq_masks: masks.0,
            freq_width: self.freq_mask_bins.min(crate::data::MEL_BINS),
            time_masks: masks.1,
            time_width: self.time_mask_frames,
        }
    }

    /// Frames in a step.
    pub fn batch_frames(&self) -> usize {
        (self.batch_secs * linnet_features::logmel::FRAMES_PER_SEC as f64) as usize
    }
}
