//! `pretrain METHOD` and `finetune METHOD`: one loop ([`run`]), and a module for each method.

pub mod args;
pub mod causal;
pub mod checkpoint;
pub mod ctc;
pub mod device;
pub mod method;
pub mod optimizer;
pub mod random;
pub mod report;
pub mod run;
pub mod schedule;
pub mod self_test;
pub mod seq2seq;
pub mod step;

use clap::{Args, Subcommand};

use crate::error::{Failure, Result};

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
    Ctc(Box<ctc::PretrainCtc>),
    /// A translator, or anything else that turns a text into another: an encoder-decoder as Marian has it.
    #[command(
        name = "seq2seq",
        after_help = "Example:
  linnet-train pretrain seq2seq --tokenizer data/tokenizer.json --data data/train.tsv --valid data/valid.tsv \\
      --run runs/translate --max-minutes 90
Ctrl-C saves; the same command with --resume goes on."
    )]
    Seq2Seq(Box<seq2seq::PretrainSeq2Seq>),
    /// A writer of text: a decoder as Llama has it.
    #[command(after_help = "Example:
  linnet-train pretrain causal-lm --tokenizer data/tokenizer.json --data data/train.txt --valid data/valid.txt \\
      --run runs/stories --max-minutes 60
Ctrl-C saves; the same command with --resume goes on.")]
    CausalLm(Box<causal::PretrainCausal>),
    /// Not built yet.
    MaskedLm,
    /// Not built yet.
    Word2vec,
    /// Not built yet.
    Glove,
    /// Not built yet.
    Autoencoder,
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
    Ctc(Box<ctc::FinetuneCtc>),
    /// A translator that was trained before.
    #[command(name = "seq2seq")]
    Seq2Seq(Box<seq2seq::FinetuneSeq2Seq>),
    /// A writer of text that was trained before.
    CausalLm(Box<causal::FinetuneCausal>),
}

/// Runs `pretrain`.
pub fn pretrain(args: PretrainArgs) -> Result<()> {
    match args.method {
        PretrainMethod::Ctc(args) => ctc::pretrain(&args),
        PretrainMethod::Seq2Seq(args) => seq2seq::pretrain(&args),
        PretrainMethod::CausalLm(args) => causal::pretrain(&args),
        PretrainMethod::MaskedLm => not_built("masked-lm"),
        PretrainMethod::Word2vec => not_built("word2vec"),
        PretrainMethod::Glove => not_built("glove"),
        PretrainMethod::Autoencoder => not_built("autoencoder"),
    }
}

fn not_built(method: &str) -> Result<()> {
    Err(Failure::usage(format!("`{method}` is not built yet; this version trains ctc, seq2seq and causal-lm")))
}

/// Runs `finetune`.
pub fn finetune(args: FinetuneArgs) -> Result<()> {
    match args.method {
        FinetuneMethod::Ctc(args) => ctc::finetune(&args),
        FinetuneMethod::Seq2Seq(args) => seq2seq::finetune(&args),
        FinetuneMethod::CausalLm(args) => causal::finetune(&args),
    }
}

/// `most` items, spread evenly over all of them; all where `most` is 0.
fn share_of_rows<T>(items: Vec<T>, most: usize) -> Vec<T> {
    if most == 0 || items.len() <= most {
        return items;
    }
    let all = items.len();
    items
        .into_iter()
        .enumerate()
        .filter(|(i, _)| i * most / all != (i + 1) * most / all)
        .map(|(_, item)| item)
        .collect()
}
