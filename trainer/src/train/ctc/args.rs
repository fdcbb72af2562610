//! What `pretrain ctc` and `finetune ctc` are told.

use std::path::PathBuf;

use clap::Args;

use crate::data::augment::Augment;
use crate::data::source::Source;
use crate::error::Result;
use crate::train::args::{LoopArgs, positive, usage};

/// Options that both verbs share.
#[derive(Debug, Clone, Args)]
pub struct CtcArgs {
    /// Training manifest and its share: all rows, REPEAT times; with @HOURS a part of that length, another one in each epoch.
    #[arg(long, value_name = "MANIFEST[*REPEAT][@HOURS]", required = true)]
    pub data: Vec<Source>,
    /// Validation manifest: its word error rate chooses the best weights.
    #[arg(long, value_name = "MANIFEST")]
    pub valid: PathBuf,
    /// File of computed features; [default: features.bin in the run's directory].
    #[arg(long, value_name = "FILE")]
    pub cache: Option<PathBuf>,
    /// The loop.
    #[command(flatten)]
    pub run: LoopArgs,

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
    /// Frequencies of each row are multiplied by 1 − this to 1 + this, as those of a longer or shorter vocal tract are; 0.1 makes one voice many.
    #[arg(long, default_value_t = 0.0, help_heading = "Batches and augmentation")]
    pub warp: f32,

    /// Rows of the validation manifest that each epoch is judged by, spread over it; 0 is all.
    #[arg(long, default_value_t = 200, help_heading = "Reports and checkpoints")]
    pub valid_rows: usize,
}

impl CtcArgs {
    /// Checks what clap cannot.
    pub fn check(&self) -> Result<()> {
        self.run.check()?;
        positive("batch-secs", self.batch_secs)?;
        if !(0.0..=0.5).contains(&self.speed) {
            return usage(format!("--speed is {}; it must lie between 0 and 0.5", self.speed));
        }
        if !(0.0..=0.3).contains(&self.warp) {
            return usage(format!("--warp is {}; it must lie between 0 and 0.3", self.warp));
        }
        Ok(())
    }

    /// Augmentation of an epoch.
    pub fn augment(&self, masked: bool) -> Augment {
        let masks = if masked { (self.freq_masks, self.time_masks) } else { (0, 0) };
        Augment {
            speed: self.speed,
            warp: self.warp,
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
