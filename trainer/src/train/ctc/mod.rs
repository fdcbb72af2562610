//! `pretrain ctc` and `finetune ctc`: a speech recogniser.

pub mod args;
mod rows;
pub mod validate;

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use clap::Args;
use linnet_proto::model_config::UnitKind;
use serde_json::{Map, json};

use super::method::{At, Loaded, Method, Objective, Score};
use super::{run, share_of_rows};
use crate::bad::{BadRows, Fault};
use crate::data::batch::{Batch, Order, plan};
use crate::data::cache::{Cache, Key};
use crate::data::set::Item;
use crate::error::{Failure, Result};
use crate::manifest::Purpose;
use crate::model::{Bound, Encoder, EncoderConfig, Noise, Shape, Weights, ctc};
use crate::units::Units;
use args::CtcArgs;
use validate::validate;

/// Options of `pretrain ctc`.
#[derive(Debug, Clone, Args)]
pub struct PretrainCtc {
    /// Units: `tokenizer.json` of `linnet-train units`.
    #[arg(long, value_name = "FILE")]
    pub units: PathBuf,
    /// Everything else.
    #[command(flatten)]
    pub run: CtcArgs,
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
    pub run: CtcArgs,
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

/// What a verb fixes before the loop begins, where the command line says nothing else.
struct Defaults {
    rate: f64,
    sorted_epochs: u64,
    unmasked_epochs: u64,
}

/// Runs `pretrain ctc`.
pub fn pretrain(args: &PretrainCtc) -> Result<()> {
    let units = Units::load(&args.units)?;
    let config = args.shape.config(units.len(), Some(units.kind()))?;
    let weights = Weights::random(&config, args.run.run.seed);
    train(&args.run, config, weights, units, Defaults { rate: 8e-4, sorted_epochs: 2, unmasked_epochs: 2 })
}

/// Runs `finetune ctc`.
pub fn finetune(args: &FinetuneCtc) -> Result<()> {
    let units = Units::load(&args.from.join("tokenizer.json"))?;
    let config = EncoderConfig::read(&args.from.join("model.json"))?;
    if config.units != units.len() {
        let (from, has, wants) = (args.from.display(), units.len(), config.units);
        return Err(Failure::data(format!(
            "{from}: tokenizer.json has {has} units and model.json {wants}; are both of one model?"
        )));
    }
    let weights = Weights::read(&config, &args.from.join("model.safetensors"))?;
    train(&args.run, config, weights, units, Defaults { rate: 1e-4, sorted_epochs: 0, unmasked_epochs: 0 })
}

fn train(args: &CtcArgs, config: EncoderConfig, weights: Weights, units: Units, defaults: Defaults) -> Result<()> {
    args.check()?;
    let rate = defaults.rate;
    run::run(&args.run, Ctc::open(args, config, units, defaults)?, weights, rate)
}

/// The method: a conformer with a CTC head.
struct Ctc<'a> {
    args: &'a CtcArgs,
    config: EncoderConfig,
    units: Units,
    files: [(&'static str, Vec<u8>); 2],
    cache: Cache,
    bad: BadRows,
    known_bad: HashMap<(PathBuf, usize), Key>,
    /// Rows of all sources, one after another.
    train: Vec<Item>,
    sources: Vec<Range<usize>>,
    valid: Vec<Item>,
    sorted_epochs: u64,
    unmasked_epochs: u64,
}

impl<'a> Ctc<'a> {
    fn open(args: &'a CtcArgs, config: EncoderConfig, units: Units, defaults: Defaults) -> Result<Self> {
        let dir = run::open(&args.run)?;
        let cache = Cache::open(&args.cache.clone().unwrap_or_else(|| dir.0.join("features.bin")))?;
        let json = serde_json::to_vec_pretty(&config).map_err(|error| Failure::software(error.to_string()))?;
        let mut method = Self {
            args,
            config,
            files: [("model.json", json), ("tokenizer.json", units.to_json()?.into_bytes())],
            units,
            cache,
            bad: BadRows::new(args.run.on_bad),
            known_bad: HashMap::new(),
            train: Vec::new(),
            sources: Vec::new(),
            valid: Vec::new(),
            sorted_epochs: args.sorted_epochs.unwrap_or(defaults.sorted_epochs),
            unmasked_epochs: args.unmasked_epochs.unwrap_or(defaults.unmasked_epochs),
        };
        method.valid = share_of_rows(method.loader().load(&args.valid, Purpose::Evaluation)?, args.valid_rows);
        if method.valid.is_empty() {
            return Err(Failure::data(format!("{}: there is no good row to validate on", args.valid.display())));
        }
        Ok(method)
    }
}

impl Method for Ctc<'_> {
    type Config = EncoderConfig;
    const AMOUNT: &'static str = "s of audio";
    const AMOUNT_KEY: &'static str = "audio_secs_per_sec";
    const RANK_KEY: &'static str = "wer";

    fn config(&self) -> &EncoderConfig {
        &self.config
    }

    fn files(&self) -> &[(&'static str, Vec<u8>)] {
        &self.files
    }

    fn load(&mut self) -> Result<Loaded> {
        self.read()
    }

    fn plan(&mut self, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
        let order = if epoch < self.sorted_epochs { Order::ShortestFirst } else { Order::Random };
        plan(&self.epoch_rows(seed, epoch), &self.train, self.args.batch_frames(), order, [seed, epoch])
    }

    fn place(&self, row: usize) -> String {
        self.train[row].place()
    }

    fn objective(&mut self, bound: &Bound, batch: &[usize], at: At, noise: Noise) -> Result<Objective> {
        let picked: Vec<&Item> = batch.iter().map(|row| &self.train[*row]).collect();
        let augment = self.args.augment(at.epoch >= self.unmasked_epochs);
        let batch = Batch::read(&picked, &self.cache, &self.config, &augment, [at.seed, at.step])?;
        let amount = batch.seconds();
        let targets: Vec<&[u32]> = picked.iter().map(|item| &*item.units).collect();
        let units: usize = targets.iter().map(|target| target.len()).sum();
        let shape = [picked.len(), batch.frames, self.config.mel_bins];
        let features = Tensor::<3>::from_data(TensorData::new(batch.features, shape), bound.device());
        let log_probs = Encoder::new(&self.config, bound).forward(features, &batch.lengths, Some(noise));
        let lengths: Vec<usize> = batch.lengths.iter().map(|length| self.config.output_frames(*length)).collect();
        let share = 1.0 / units.max(1) as f32;
        let (losses, mean) = ctc::losses_and_objective(log_probs, &lengths, &targets, share);
        Ok(Objective { losses, units, mean, amount })
    }

    fn bad_loss(&mut self, row: usize, loss: f32) -> Result<()> {
        let item = &self.train[row];
        self.bad.report(&item.manifest, item.utterance.line, &Fault::Loss(f64::from(loss)))
    }

    fn validate(&mut self, weights: &Weights, device: &Device) -> Result<Score> {
        let frames = self.args.batch_frames();
        let errors = validate(&self.config, weights, device, &self.valid, &self.cache, &self.units, frames)?;
        let said = format!(
            "loss {:.3}  WER {:.1} %  CER {:.1} % on {} rows",
            errors.loss,
            100.0 * errors.wer,
            100.0 * errors.cer,
            errors.rows
        );
        let event = Map::from_iter([
            ("valid_loss".into(), json!(errors.loss)),
            ("valid_wer".into(), json!(errors.wer)),
            ("valid_cer".into(), json!(errors.cer)),
            ("rows".into(), json!(errors.rows)),
        ]);
        let examples = errors.examples.into_iter().map(|(said, read)| [("said", said), ("read", read)]).collect();
        Ok(Score { rank: errors.wer, said, event, examples })
    }

    fn rank(rank: f64) -> String {
        format!("WER {:.2} % (greedy)", 100.0 * rank)
    }

    fn left_out(&self) -> Option<String> {
        self.bad.summary()
    }
}
