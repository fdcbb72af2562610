//! `pretrain causal-lm` and `finetune causal-lm`: a writer of text.

mod windows;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use clap::Args;
use serde_json::{Map, json};
use sha2::{Digest, Sha256};

use super::args::{LoopArgs, usage};
use super::method::{At, Loaded, Method, Objective, Score};
use super::run;
use crate::bad::OnBad;
use crate::data::source::Source;
use crate::data::text::{self, BEGIN, END, PAD, Vocabulary};
use crate::data::token_batch;
use crate::error::{Failure, Result};
use crate::export::text::Written;
use crate::heldout::HeldOut;
use crate::manifest::Purpose;
use crate::model::causal::{Causal, CausalConfig};
use crate::model::ops::cross_entropy::{NO_TARGET, cross_entropy};
use crate::model::seq2seq::Texts;
use crate::model::{Bound, Noise, Shape, Weights};
use windows::{Window, cut};

/// Options of `pretrain causal-lm`.
#[derive(Debug, Clone, Args)]
pub struct PretrainCausal {
    /// Tokens: `tokenizer.json` of `linnet-train vocabulary --kind bytes`.
    #[arg(long, value_name = "FILE")]
    pub tokenizer: PathBuf,
    /// Data and loop.
    #[command(flatten)]
    pub run: CausalArgs,
    /// Shape of the model.
    #[command(flatten)]
    pub shape: ShapeArgs,
}

/// Options of `finetune causal-lm`.
#[derive(Debug, Clone, Args)]
pub struct FinetuneCausal {
    /// Directory with model.safetensors, model.json and tokenizer.json to start from.
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Data and loop.
    #[command(flatten)]
    pub run: CausalArgs,
}

/// Options that both verbs share.
#[derive(Debug, Clone, Args)]
pub struct CausalArgs {
    /// Training documents, parted by lines `<|endoftext|>`, and how often each stands in an epoch.
    #[arg(long, value_name = "FILE[*REPEAT]", required = true)]
    pub data: Vec<Source>,
    /// Validation documents: their perplexity chooses the best weights.
    #[arg(long, value_name = "FILE")]
    pub valid: PathBuf,
    /// The loop.
    #[command(flatten)]
    pub run: LoopArgs,
    /// Tokens in a step, padding included.
    #[arg(long, default_value_t = 2048, help_heading = "Batches")]
    pub batch_tokens: usize,
    /// Tokens that are seen at once; longer documents are cut, at other places in each epoch.
    #[arg(long, default_value_t = 256, help_heading = "Batches")]
    pub window: usize,
}

/// Shape of the model.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Shape of the model")]
pub struct ShapeArgs {
    /// Width.
    #[arg(long, default_value_t = CausalConfig::default().d_model)]
    pub d_model: usize,
    /// Layers.
    #[arg(long, default_value_t = CausalConfig::default().layers)]
    pub layers: usize,
    /// Attention heads.
    #[arg(long, default_value_t = CausalConfig::default().heads)]
    pub heads: usize,
    /// Heads of keys and values.
    #[arg(long, default_value_t = CausalConfig::default().kv_heads)]
    pub kv_heads: usize,
    /// Width of the feed-forward parts.
    #[arg(long, default_value_t = CausalConfig::default().ffn)]
    pub ffn: usize,
    /// Longest text, tokens.
    #[arg(long, default_value_t = CausalConfig::default().positions)]
    pub positions: usize,
    /// Dropout while training.
    #[arg(long, default_value_t = CausalConfig::default().dropout)]
    pub dropout: f32,
}

/// Runs `pretrain causal-lm`.
pub fn pretrain(args: &PretrainCausal) -> Result<()> {
    let vocabulary = Vocabulary::load(&args.tokenizer)?;
    let shape = &args.shape;
    let config = CausalConfig {
        vocab: vocabulary.len(),
        d_model: shape.d_model,
        layers: shape.layers,
        heads: shape.heads,
        kv_heads: shape.kv_heads,
        ffn: shape.ffn,
        positions: shape.positions,
        dropout: shape.dropout,
        bos: vocabulary.id(BEGIN)?,
        eos: vocabulary.id(END)?,
        pad: vocabulary.id(PAD)?,
        ..CausalConfig::default()
    };
    config.check().map_err(|rule| Failure::usage(format!("the model's {rule}")))?;
    let weights = Weights::random(&config, args.run.run.seed);
    train(&args.run, config, weights, vocabulary, 1e-3)
}

/// Runs `finetune causal-lm`.
pub fn finetune(args: &FinetuneCausal) -> Result<()> {
    let (config, weights, vocabulary) = open(&args.from)?;
    train(&args.run, config, weights, vocabulary, 1e-4)
}

/// Reads a trained model.
pub fn open(dir: &Path) -> Result<(CausalConfig, Weights, Vocabulary)> {
    let vocabulary = Vocabulary::load(&dir.join("tokenizer.json"))?;
    let config = CausalConfig::read(&dir.join("model.json"))?;
    vocabulary.fits(config.vocab, dir)?;
    let weights = Weights::read(&config, &dir.join("model.safetensors"))?;
    Ok((config, weights, vocabulary))
}

fn train(args: &CausalArgs, config: CausalConfig, weights: Weights, vocab: Vocabulary, rate: f64) -> Result<()> {
    if !(8..=config.positions).contains(&args.window) {
        return usage(format!(
            "--window is {}; it must lie between 8 and the model's {}",
            args.window, config.positions
        ));
    }
    if args.data.iter().any(|source| source.hours.is_some()) {
        return usage("--data has @HOURS, which belong to recordings; write FILE[*REPEAT]");
    }
    run::open(&args.run)?;
    run::run(&args.run, Writer::new(args, config, vocab)?, weights, rate)
}

/// The method: a decoder.
struct Writer<'a> {
    args: &'a CausalArgs,
    config: CausalConfig,
    vocabulary: Vocabulary,
    files: [(&'static str, Vec<u8>); 2],
    /// Tokens of each document, both ends included, as often as it stands in an epoch.
    train: Vec<Arc<[u32]>>,
    /// File and number of each document.
    places: Vec<(usize, usize)>,
    /// What the epoch at hand reads.
    windows: Vec<Window>,
    valid: Vec<Arc<[u32]>>,
    valid_chars: usize,
    bad_losses: usize,
}

impl<'a> Writer<'a> {
    fn new(args: &'a CausalArgs, config: CausalConfig, vocabulary: Vocabulary) -> Result<Self> {
        let json = serde_json::to_vec_pretty(&config).map_err(|error| Failure::software(error.to_string()))?;
        let documents = text::documents(&args.valid, Purpose::Evaluation, HeldOut::committed())?.kept;
        if documents.is_empty() {
            let path = args.valid.display();
            return Err(Failure::data(format!(
                "{path}: none of its documents is held out; `linnet-train documents` makes some"
            )));
        }
        let mut method = Self {
            args,
            config,
            files: [("model.json", json), ("tokenizer.json", vocabulary.json().to_vec())],
            vocabulary,
            train: Vec::new(),
            places: Vec::new(),
            windows: Vec::new(),
            valid: Vec::new(),
            valid_chars: documents.iter().map(|text| text.chars().count()).sum(),
            bad_losses: 0,
        };
        method.valid = tokens(&method.config, &method.vocabulary, &documents)?;
        Ok(method)
    }
}

/// Documents as tokens, each with its beginning and its end.
pub fn tokens(config: &CausalConfig, vocabulary: &Vocabulary, documents: &[String]) -> Result<Vec<Arc<[u32]>>> {
    let made = vocabulary.encode(documents.iter().map(String::as_str).collect::<Vec<_>>())?;
    let CausalConfig { bos, eos, .. } = *config;
    Ok(made.iter().map(|ids| [bos].into_iter().chain(ids.iter().copied()).chain([eos]).collect()).collect())
}

/// Loss of each token of `windows` but the first, given those before it; padding 0, `[windows · longest]`; the longest; and how
/// many they are.
fn losses(config: &CausalConfig, bound: &Bound, windows: &[&[u32]], noise: Option<Noise>) -> (Tensor<1>, usize, usize) {
    let inputs: Vec<&[u32]> = windows.iter().map(|window| &window[..window.len() - 1]).collect();
    let targets: Vec<&[u32]> = windows.iter().map(|window| &window[1..]).collect();
    let inputs = Texts::new(&inputs, config.pad);
    let targets = Texts::new(&targets, NO_TARGET).ids;
    let logits = Causal::new(config, bound, noise).forward(&inputs);
    (cross_entropy(logits, targets, 0.0, bound.path()), inputs.rows, inputs.lengths.iter().sum())
}

impl Method for Writer<'_> {
    type Config = CausalConfig;
    const AMOUNT: &'static str = "tokens";
    const AMOUNT_KEY: &'static str = "tokens_per_sec";
    const RANK_KEY: &'static str = "loss";

    fn config(&self) -> &CausalConfig {
        &self.config
    }

    fn files(&self) -> &[(&'static str, Vec<u8>)] {
        &self.files
    }

    fn load(&mut self) -> Result<Loaded> {
        let (mut hash, mut said) = (Sha256::new(), Vec::new());
        self.train.clear();
        self.places.clear();
        for (file, source) in self.args.data.iter().enumerate() {
            let documents = text::documents(&source.manifest, Purpose::Training, HeldOut::committed())?;
            let made = tokens(&self.config, &self.vocabulary, &documents.kept)?;
            hash.update(format!("{}*{}\n", source.manifest.display(), source.repeat));
            made.iter().flat_map(|ids| ids.iter()).for_each(|id| hash.update(id.to_le_bytes()));
            said.push(format!(
                "{}: {} documents, {} tokens; {} documents or paragraphs held out and left out",
                source.manifest.display(),
                made.len(),
                made.iter().map(|ids| ids.len()).sum::<usize>(),
                documents.held_out
            ));
            for _ in 0..source.repeat {
                self.places.extend((0..made.len()).map(|number| (file, number)));
                self.train.extend(made.iter().cloned());
            }
        }
        if self.train.is_empty() {
            return Err(Failure::data("there is no training document in the files of --data"));
        }
        Ok(Loaded { digest: hex::encode(hash.finalize()), said })
    }

    fn plan(&mut self, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
        let lengths: Vec<usize> = self.train.iter().map(|ids| ids.len()).collect();
        self.windows = cut(&lengths, self.args.window, Some([seed, epoch]));
        let lengths: Vec<[usize; 2]> = self.windows.iter().map(|window| [window.len() - 1, 0]).collect();
        token_batch::plan(&lengths, self.args.batch_tokens, [seed, epoch])
    }

    fn place(&self, row: usize) -> String {
        let (file, number) = self.places[self.windows[row].document];
        format!("{}, document {}", self.args.data[file].manifest.display(), number + 1)
    }

    fn objective(&mut self, bound: &Bound, batch: &[usize], _: At, noise: Noise) -> Result<Objective> {
        let rows: Vec<&[u32]> = batch.iter().map(|row| self.windows[*row].of(&self.train)).collect();
        let (losses, longest, units) = losses(&self.config, bound, &rows, Some(noise));
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
        let (loss, tokens) = perplexity(&self.config, &bound, &self.valid, self.args.window, self.args.batch_tokens);
        let mean = loss / tokens.max(1) as f64;
        let bits = loss / std::f64::consts::LN_2 / self.valid_chars.max(1) as f64;
        let said = format!("loss {mean:.3}  perplexity {:.2}  {bits:.3} bits a character", mean.exp());
        let event = Map::from_iter([("valid_loss".into(), json!(mean)), ("bits_per_char".into(), json!(bits))]);
        Ok(Score { rank: mean, said, event, examples: Vec::new() })
    }

    fn rank(rank: f64) -> String {
        format!("perplexity {:.2}", rank.exp())
    }

    fn left_out(&self) -> Option<String> {
        (self.bad_losses > 0).then(|| format!("{} losses were no number", self.bad_losses))
    }
}

/// Sum of the losses of all tokens of documents (natural log), each document cut into windows, and how many they are.
pub fn perplexity(
    config: &CausalConfig,
    bound: &Bound,
    documents: &[Arc<[u32]>],
    window: usize,
    batch_tokens: usize,
) -> (f64, usize) {
    let lengths: Vec<usize> = documents.iter().map(|ids| ids.len()).collect();
    let windows = cut(&lengths, window, None);
    let lengths: Vec<[usize; 2]> = windows.iter().map(|window| [window.len() - 1, 0]).collect();
    let (mut loss, mut tokens) = (0.0, 0);
    for batch in token_batch::plan(&lengths, batch_tokens, [0, 0]) {
        let rows: Vec<&[u32]> = batch.iter().map(|row| windows[*row].of(documents)).collect();
        let (losses, _, units) = losses(config, bound, &rows, None);
        loss += losses.into_data().iter::<f32>().map(f64::from).sum::<f64>();
        tokens += units;
    }
    (loss, tokens)
}

/// The `most` tokens that are written after `prompt`, one after the other, beyond the end where it comes sooner.
pub fn write(config: &CausalConfig, bound: &Bound, prompt: &[u32], most: usize) -> Written {
    let model = Causal::new(config, bound, None);
    let mut ids = prompt.to_vec();
    let mut written = Written::default();
    while written.ids.len() < most && ids.len() < config.positions {
        let logits = model.forward(&Texts::new(&[&ids], config.pad));
        let last: Vec<f32> = logits.narrow(0, ids.len() - 1, 1).into_data().iter::<f32>().collect();
        ids.push(written.take(&last));
    }
    written
}
