//! `pretrain seq2seq` and `finetune seq2seq`: a translator.

mod greedy;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use clap::Args;
use serde_json::{Map, json};
use sha2::{Digest, Sha256};

use super::args::{LoopArgs, usage};
use super::method::{At, Loaded, Method, Objective, Score};
use super::{run, share_of_rows};
use crate::bad::OnBad;
use crate::data::source::Source;
use crate::data::text::{self, END, PAD, Pair, Vocabulary};
use crate::data::token_batch;
use crate::error::{Failure, Result};
use crate::evaluate::chrf::Chrf;
use crate::heldout::HeldOut;
use crate::manifest::Purpose;
use crate::model::ops::cross_entropy::{NO_TARGET, cross_entropy};
use crate::model::seq2seq::{Seq2Seq, Seq2SeqConfig, Texts};
use crate::model::{Bound, Noise, Shape, Weights};

pub use greedy::{translate, write};

/// Options of `pretrain seq2seq`.
#[derive(Debug, Clone, Args)]
pub struct PretrainSeq2Seq {
    /// Tokens: `tokenizer.json` of `linnet-train vocabulary --kind words`.
    #[arg(long, value_name = "FILE")]
    pub tokenizer: PathBuf,
    /// Data and loop.
    #[command(flatten)]
    pub run: Seq2SeqArgs,
    /// Shape of the model.
    #[command(flatten)]
    pub shape: ShapeArgs,
}

/// Options of `finetune seq2seq`.
#[derive(Debug, Clone, Args)]
pub struct FinetuneSeq2Seq {
    /// Directory with model.safetensors, model.json and tokenizer.json to start from.
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Data and loop.
    #[command(flatten)]
    pub run: Seq2SeqArgs,
}

/// Options that both verbs share.
#[derive(Debug, Clone, Args)]
pub struct Seq2SeqArgs {
    /// Training pairs, tab-separated, and how often each stands in an epoch.
    #[arg(long, value_name = "FILE[*REPEAT]", required = true)]
    pub data: Vec<Source>,
    /// Validation pairs: their loss chooses the best weights.
    #[arg(long, value_name = "FILE")]
    pub valid: PathBuf,
    /// The loop.
    #[command(flatten)]
    pub run: LoopArgs,
    /// Tokens in a step: both sides, padding included.
    #[arg(long, default_value_t = 3000, help_heading = "Batches")]
    pub batch_tokens: usize,
    /// Share of the target's probability that is spread over all tokens.
    #[arg(long, default_value_t = 0.1, help_heading = "Batches")]
    pub label_smoothing: f32,
    /// Rows of the validation pairs that are judged by, spread over them; 0 is all.
    #[arg(long, default_value_t = 0, help_heading = "Reports and checkpoints")]
    pub valid_rows: usize,
    /// Rows of these that are translated, greedily, for chrF.
    #[arg(long, default_value_t = 100, help_heading = "Reports and checkpoints")]
    pub valid_translations: usize,
}

/// Shape of the model.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Shape of the model")]
pub struct ShapeArgs {
    /// Width.
    #[arg(long, default_value_t = Seq2SeqConfig::default().d_model)]
    pub d_model: usize,
    /// Layers of the encoder.
    #[arg(long, default_value_t = Seq2SeqConfig::default().encoder_layers)]
    pub encoder_layers: usize,
    /// Layers of the decoder.
    #[arg(long, default_value_t = Seq2SeqConfig::default().decoder_layers)]
    pub decoder_layers: usize,
    /// Attention heads.
    #[arg(long, default_value_t = Seq2SeqConfig::default().heads)]
    pub heads: usize,
    /// Width of the feed-forward parts.
    #[arg(long, default_value_t = Seq2SeqConfig::default().ffn)]
    pub ffn: usize,
    /// Longest sequence, tokens.
    #[arg(long, default_value_t = Seq2SeqConfig::default().positions)]
    pub positions: usize,
    /// Dropout while training.
    #[arg(long, default_value_t = Seq2SeqConfig::default().dropout)]
    pub dropout: f32,
}

/// Runs `pretrain seq2seq`.
pub fn pretrain(args: &PretrainSeq2Seq) -> Result<()> {
    let vocabulary = Vocabulary::load(&args.tokenizer)?;
    let shape = &args.shape;
    let config = Seq2SeqConfig {
        vocab: vocabulary.len(),
        d_model: shape.d_model,
        encoder_layers: shape.encoder_layers,
        decoder_layers: shape.decoder_layers,
        heads: shape.heads,
        ffn: shape.ffn,
        positions: shape.positions,
        dropout: shape.dropout,
        eos: vocabulary.id(END)?,
        pad: vocabulary.id(PAD)?,
        ..Seq2SeqConfig::default()
    };
    config.check().map_err(|rule| Failure::usage(format!("the model's {rule}")))?;
    let weights = Weights::random(&config, args.run.run.seed);
    train(&args.run, config, weights, vocabulary, 1e-3)
}

/// Runs `finetune seq2seq`.
pub fn finetune(args: &FinetuneSeq2Seq) -> Result<()> {
    let (config, weights, vocabulary) = open(&args.from)?;
    train(&args.run, config, weights, vocabulary, 1e-4)
}

/// Reads a trained model.
pub fn open(dir: &Path) -> Result<(Seq2SeqConfig, Weights, Vocabulary)> {
    let vocabulary = Vocabulary::load(&dir.join("tokenizer.json"))?;
    let config = Seq2SeqConfig::read(&dir.join("model.json"))?;
    vocabulary.fits(config.vocab, dir)?;
    let weights = Weights::read(&config, &dir.join("model.safetensors"))?;
    Ok((config, weights, vocabulary))
}

fn train(args: &Seq2SeqArgs, config: Seq2SeqConfig, weights: Weights, vocab: Vocabulary, rate: f64) -> Result<()> {
    if !(0.0..1.0).contains(&args.label_smoothing) {
        return usage(format!("--label-smoothing is {}; it must lie between 0 and 1", args.label_smoothing));
    }
    if args.data.iter().any(|source| source.hours.is_some()) {
        return usage("--data has @HOURS, which belong to recordings; write FILE[*REPEAT]");
    }
    run::open(&args.run)?;
    run::run(&args.run, Translator::new(args, config, vocab)?, weights, rate)
}

/// A pair as tokens, without the ends.
#[derive(Debug, Clone)]
struct Row {
    source: Arc<[u32]>,
    target: Arc<[u32]>,
    /// Its file and line.
    place: (usize, usize),
}

/// The method: an encoder-decoder.
struct Translator<'a> {
    args: &'a Seq2SeqArgs,
    config: Seq2SeqConfig,
    vocabulary: Vocabulary,
    files: [(&'static str, Vec<u8>); 2],
    train: Vec<Row>,
    valid: Vec<Row>,
    valid_pairs: Vec<Pair>,
    bad_losses: usize,
}

impl<'a> Translator<'a> {
    fn new(args: &'a Seq2SeqArgs, config: Seq2SeqConfig, vocabulary: Vocabulary) -> Result<Self> {
        let json = serde_json::to_vec_pretty(&config).map_err(|error| Failure::software(error.to_string()))?;
        let files = [("model.json", json), ("tokenizer.json", vocabulary.json().to_vec())];
        let mut method = Self {
            args,
            config,
            vocabulary,
            files,
            train: Vec::new(),
            valid: Vec::new(),
            valid_pairs: Vec::new(),
            bad_losses: 0,
        };
        let pairs = text::pairs(&args.valid, Purpose::Evaluation, HeldOut::committed())?;
        let mut valid = rows(&method.config, &method.vocabulary, &pairs.kept, 0)?;
        valid = share_of_rows(valid, args.valid_rows);
        if valid.is_empty() {
            let path = args.valid.display();
            return Err(Failure::data(format!(
                "{path}: none of its pairs is held out; `linnet-train pairs` makes some"
            )));
        }
        method.valid_pairs = share_of_rows(pairs.kept, args.valid_translations);
        method.valid = valid;
        Ok(method)
    }
}

/// Pairs as tokens: those whose characters are all known and that fit into the positions.
fn rows(config: &Seq2SeqConfig, vocabulary: &Vocabulary, pairs: &[Pair], file: usize) -> Result<Vec<Row>> {
    let sources: Vec<&str> = pairs.iter().map(|pair| pair.source.as_str()).collect();
    let targets: Vec<&str> = pairs.iter().map(|pair| pair.target.as_str()).collect();
    let (sources, targets) = (vocabulary.encode(sources)?, vocabulary.encode(targets)?);
    let rows = sources.into_iter().zip(targets).zip(pairs);
    let rows = rows.map(|((source, target), pair)| Row { source, target, place: (file, pair.line) });
    let fits = |ids: &[u32]| !ids.is_empty() && ids.len() < config.positions && !vocabulary.is_unknown(ids);
    Ok(rows.filter(|row| fits(&row.source) && fits(&row.target)).collect())
}

/// Loss of each token of the targets, padding 0, `[rows · longest]`; the longest; and how many they are.
fn losses(
    config: &Seq2SeqConfig,
    bound: &Bound,
    rows: &[&Row],
    smoothing: f32,
    noise: Option<Noise>,
) -> (Tensor<1>, usize, usize) {
    let with = |first: Option<u32>, ids: &[u32], last: Option<u32>| -> Vec<u32> {
        first.into_iter().chain(ids.iter().copied()).chain(last).collect()
    };
    let Seq2SeqConfig { eos, pad, .. } = *config;
    let sources: Vec<Vec<u32>> = rows.iter().map(|row| with(None, &row.source, Some(eos))).collect();
    let inputs: Vec<Vec<u32>> = rows.iter().map(|row| with(Some(pad), &row.target, None)).collect();
    let targets: Vec<Vec<u32>> = rows.iter().map(|row| with(None, &row.target, Some(eos))).collect();
    let (sources, inputs) = (Texts::new(&sources, pad), Texts::new(&inputs, pad));
    let targets = Texts::new(&targets, NO_TARGET).ids;
    let model = Seq2Seq::new(config, bound, noise);
    let logits = model.decode(model.encode(&sources), &sources, &inputs);
    let units = inputs.lengths.iter().sum();
    (cross_entropy(logits, targets, smoothing, bound.path()), inputs.rows, units)
}

fn lengths(rows: &[Row]) -> Vec<[usize; 2]> {
    rows.iter().map(|row| [row.target.len() + 1, row.source.len() + 1]).collect()
}

/// Sum of the losses of the targets' tokens (natural log), and how many they are.
fn sum_of_losses(config: &Seq2SeqConfig, bound: &Bound, rows: &[Row], batch_tokens: usize) -> (f64, usize) {
    let (mut loss, mut tokens) = (0.0, 0);
    for batch in token_batch::plan(&lengths(rows), batch_tokens, [0, 0]) {
        let picked: Vec<&Row> = batch.iter().map(|row| &rows[*row]).collect();
        let (losses, _, units) = losses(config, bound, &picked, 0.0, None);
        loss += losses.into_data().iter::<f32>().map(f64::from).sum::<f64>();
        tokens += units;
    }
    (loss, tokens)
}

/// Sum of the losses of the targets' tokens (natural log), and how many they are. Pairs with unknown characters are left out.
pub fn loss(
    config: &Seq2SeqConfig,
    bound: &Bound,
    vocabulary: &Vocabulary,
    pairs: &[Pair],
    batch_tokens: usize,
) -> Result<(f64, usize)> {
    Ok(sum_of_losses(config, bound, &rows(config, vocabulary, pairs, 0)?, batch_tokens))
}

impl Method for Translator<'_> {
    type Config = Seq2SeqConfig;
    const AMOUNT: &'static str = "tokens";
    const AMOUNT_KEY: &'static str = "tokens_per_sec";
    const RANK_KEY: &'static str = "loss";

    fn config(&self) -> &Seq2SeqConfig {
        &self.config
    }

    fn files(&self) -> &[(&'static str, Vec<u8>)] {
        &self.files
    }

    fn load(&mut self) -> Result<Loaded> {
        let (mut hash, mut said) = (Sha256::new(), Vec::new());
        self.train.clear();
        for (file, source) in self.args.data.iter().enumerate() {
            let path = &source.manifest;
            let pairs = text::pairs(path, Purpose::Training, HeldOut::committed())?;
            if pairs.broken > 0 && self.args.run.on_bad == OnBad::Stop {
                let message =
                    format!("{}: {} lines are no pairs (--on-bad skip leaves them out)", path.display(), pairs.broken);
                return Err(Failure::data(message));
            }
            let rows = rows(&self.config, &self.vocabulary, &pairs.kept, file)?;
            hash.update(format!("{}*{}\n", path.display(), source.repeat));
            for row in &rows {
                row.source.iter().chain(row.target.iter()).for_each(|id| hash.update(id.to_le_bytes()));
            }
            said.push(format!(
                "{}: {} pairs; left out: {} held out, {} broken, {} too long or with unknown characters",
                path.display(),
                rows.len(),
                pairs.held_out,
                pairs.broken,
                pairs.kept.len() - rows.len()
            ));
            for _ in 0..source.repeat {
                self.train.extend(rows.iter().cloned());
            }
        }
        if self.train.is_empty() {
            return Err(Failure::data("there is no good training pair in the files of --data"));
        }
        Ok(Loaded { digest: hex::encode(hash.finalize()), said })
    }

    fn plan(&mut self, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
        token_batch::plan(&lengths(&self.train), self.args.batch_tokens, [seed, epoch])
    }

    fn place(&self, row: usize) -> String {
        let (file, line) = self.train[row].place;
        format!("{}:{line}", self.args.data[file].manifest.display())
    }

    fn objective(&mut self, bound: &Bound, batch: &[usize], _: At, noise: Noise) -> Result<Objective> {
        let rows: Vec<&Row> = batch.iter().map(|row| &self.train[*row]).collect();
        let (losses, longest, units) = losses(&self.config, bound, &rows, self.args.label_smoothing, Some(noise));
        let mean = losses.clone().sum() / units as f32;
        let losses: Vec<f32> = losses.into_data().iter::<f32>().collect();
        let losses = losses.chunks_exact(longest).map(|row| row.iter().sum()).collect();
        Ok(Objective { losses, units, mean, amount: units as f64 })
    }

    fn bad_loss(&mut self, row: usize, loss: f32) -> Result<()> {
        self.bad_losses += 1;
        let message = format!("{}: the loss is {loss}", self.place(row));
        if self.args.run.on_bad == OnBad::Stop {
            return Err(Failure::data(format!("{message} (--on-bad skip leaves such rows out)")));
        }
        eprintln!("{message}");
        Ok(())
    }

    fn validate(&mut self, weights: &Weights, device: &Device) -> Result<Score> {
        let bound = Bound::new(weights, device);
        let (loss, tokens) = sum_of_losses(&self.config, &bound, &self.valid, self.args.batch_tokens);
        let loss = loss / tokens.max(1) as f64;
        let sources: Vec<&str> = self.valid_pairs.iter().map(|pair| pair.source.as_str()).collect();
        let read = translate(&self.config, &bound, &self.vocabulary, &sources, self.args.batch_tokens)?;
        let mut chrf = Chrf::default();
        self.valid_pairs.iter().zip(&read).for_each(|(pair, read)| chrf.add(read, &pair.target));
        let step = (read.len() / 3).max(1);
        let examples = self.valid_pairs.iter().zip(&read).step_by(step).take(3);
        let examples =
            examples.map(|(pair, read)| [("source", pair.source.clone()), ("target", read.clone())]).collect();
        let said = format!(
            "loss {loss:.3}  perplexity {:.2} on {} pairs  chrF {:.1} on {} (greedy)",
            loss.exp(),
            self.valid.len(),
            chrf.score(),
            read.len()
        );
        let event = Map::from_iter([
            ("valid_loss".into(), json!(loss)),
            ("valid_chrf".into(), json!(chrf.score())),
            ("rows".into(), json!(self.valid.len())),
        ]);
        Ok(Score { rank: loss, said, event, examples })
    }

    fn rank(rank: f64) -> String {
        format!("loss {rank:.3} a token")
    }

    fn left_out(&self) -> Option<String> {
        (self.bad_losses > 0).then(|| format!("{} losses were no number", self.bad_losses))
    }
}
