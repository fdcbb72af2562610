//! `pretrain ctc` and `finetune ctc`.

pub mod args;
pub mod checkpoint;
pub mod device;
pub mod optimizer;
pub mod random;
pub mod report;
pub mod run;
pub mod schedule;
pub mod self_test;
pub mod step;
pub mod validate;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use linnet_proto::model_config::UnitKind;

use crate::error::{Failure, Result};
use crate::model::{EncoderConfig, Weights};
use crate::units::Units;
use args::RunArgs;
use run::Start;

/// `linnet-train pretrain METHOD`.
#[derive(Debug, Args)]
pub struct PretrainArgs {
    /// What is trained.
    #[command(subcommand)]
    pub method: PretrainMethod,
}

/// What can be trained from random weights.
#[derive(Debug, Subcommand)]
pub enum PretrainMethod {
    /// A speech recogniser: a small conformer with a CTC head.
    #[command(after_help = "Example:
  linnet-train pretrain ctc --units units/tokenizer.json --data reader/train.jsonl*2 --data synth/manifest.jsonl@3 \\
      --valid reader/valid.jsonl --run runs/chars4x --max-minutes 90
Ctrl-C saves; the same command with --resume goes on.")]
    Ctc(Box<PretrainCtc>),
}

/// `linnet-train finetune METHOD`.
#[derive(Debug, Args)]
pub struct FinetuneArgs {
    /// What is trained.
    #[command(subcommand)]
    pub method: FinetuneMethod,
}

/// What can go on from weights.
#[derive(Debug, Subcommand)]
pub enum FinetuneMethod {
    /// A speech recogniser that was trained before.
    #[command(after_help = "Example:
  linnet-train finetune ctc --from runs/chars4x/best --data kitchen/train.jsonl --valid kitchen/valid.jsonl --run runs/kitchen")]
    Ctc(Box<FinetuneCtc>),
}

/// Options of `pretrain ctc`.
#[derive(Debug, Clone, Args)]
pub struct PretrainCtc {
    /// Units: `tokenizer.json` of `linnet-train units`.
    #[arg(long, value_name = "FILE")]
    pub units: PathBuf,
    /// Everything else.
    #[command(flatten)]
    pub run: RunArgs,
    /// Shape of the encoder.
    #[command(flatten)]
    pub shape: ShapeArgs,
}

/// Options of `finetune ctc`.
#[derive(Debug, Clone, Args)]
pub struct FinetuneCtc {
    /// Directory with model.safetensors, model.json and tokenizer.json to start from.
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Everything else.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Shape of the encoder; see `docs/model.md`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Shape of the encoder")]
pub struct ShapeArgs {
    /// Feature frames of 10 ms for each output frame, 4 or 8; characters need 4.
    #[arg(long, default_value_t = EncoderConfig::default().subsampling)]
    pub subsampling: usize,
    /// Channels of the subsampling convolutions.
    #[arg(long, default_value_t = EncoderConfig::default().conv_channels)]
    pub conv_channels: usize,
    /// Width of the blocks.
    #[arg(long, default_value_t = EncoderConfig::default().d_model)]
    pub d_model: usize,
    /// Blocks.
    #[arg(long, default_value_t = EncoderConfig::default().layers)]
    pub layers: usize,
    /// Attention heads.
    #[arg(long, default_value_t = EncoderConfig::default().heads)]
    pub heads: usize,
    /// Width of the feed-forward parts, in widths of the blocks.
    #[arg(long, default_value_t = EncoderConfig::default().ff_mult)]
    pub ff_mult: usize,
    /// Taps of the blocks' depthwise convolution.
    #[arg(long, default_value_t = EncoderConfig::default().conv_kernel)]
    pub conv_kernel: usize,
    /// Output frames in a chunk of attention; 0 sees the whole utterance and cannot stream.
    #[arg(long, default_value_t = EncoderConfig::default().chunk_frames)]
    pub chunk_frames: usize,
    /// Chunks to the left that a frame sees beside its own.
    #[arg(long, default_value_t = EncoderConfig::default().left_chunks)]
    pub left_chunks: usize,
    /// Dropout while training.
    #[arg(long, default_value_t = EncoderConfig::default().dropout)]
    pub dropout: f32,
}

impl ShapeArgs {
    /// The configuration with this many units.
    pub fn config(&self, units: usize, unit_kind: Option<UnitKind>) -> Result<EncoderConfig> {
        let config = EncoderConfig {
            mel_bins: crate::data::MEL_BINS,
            subsampling: self.subsampling,
            conv_channels: self.conv_channels,
            d_model: self.d_model,
            layers: self.layers,
            heads: self.heads,
            ff_mult: self.ff_mult,
            conv_kernel: self.conv_kernel,
            chunk_frames: self.chunk_frames,
            left_chunks: self.left_chunks,
            units,
            dropout: self.dropout,
            unit_kind,
            ..EncoderConfig::default()
        };
        config.check().map_err(|rule| Failure::usage(format!("the encoder's {rule}")))?;
        Ok(config)
    }
}

/// Runs `pretrain`.
pub fn pretrain(args: PretrainArgs) -> Result<()> {
    let PretrainMethod::Ctc(args) = args.method;
    let units = Units::load(&args.units)?;
    let config = args.shape.config(units.len(), Some(units.kind()))?;
    let weights = Weights::random(&config, args.run.seed);
    run::run(&args.run, Start { config, weights, units, defaults: (8e-4, 2, 2) })
}

/// Runs `finetune`.
pub fn finetune(args: FinetuneArgs) -> Result<()> {
    let FinetuneMethod::Ctc(args) = args.method;
    let units = Units::load(&args.from.join("tokenizer.json"))?;
    let config = EncoderConfig::read(&args.from.join("model.json"))?;
    if config.units != units.len() {
        let (from, has, wants) = (args.from.display(), units.len(), config.units);
        return Err(Failure::data(format!(
            "{from}: tokenizer.json has {has} units and model.json {wants}; are both of one model?"
        )));
    }
    let weights = Weights::read(&config, &args.from.join("model.safetensors"))?;
    run::run(&args.run, Start { config, weights, units, defaults: (1e-4, 0, 0) })
}
