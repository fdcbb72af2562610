//! The command line: one variant for each verb, and the table that runs it.
//!
//! A verb is a module with `pub struct Args: clap::Args` and `pub fn run(args: Args) -> Result<()>`; here it gets one
//! variant and one row. `run` prints what it made on standard output, progress on standard error, and returns a
//! [`Failure`](crate::error::Failure) whose kind is the exit code.

use clap::{Parser, Subcommand};

use crate::error::Result;
use crate::{documents, evaluate, export, lang_id, lm, parallel, sources, split, synth, train, units, vocabulary};

/// Pretrains, fine-tunes, evaluates and exports the models that linnetd loads.
#[derive(Debug, Parser)]
#[command(name = "linnet-train", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// One variant for each verb.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Train a model from random weights.
    Pretrain(train::PretrainArgs),
    /// Go on from weights that were trained before.
    Finetune(train::FinetuneArgs),
    /// Take a few steps on made-up data, to see that this build trains on this machine.
    #[command(hide = true)]
    SelfTest(train::self_test::SelfTestArgs),
    /// Make a word n-gram language model from text.
    Lm(lm::LmArgs),
    /// Make a model that tells languages apart.
    LangId(lang_id::LangIdArgs),
    /// Hear a manifest and count the errors.
    Evaluate(evaluate::EvaluateArgs),
    /// Make a package that the daemon loads.
    Export(Box<export::ExportArgs>),
    /// Split a reader's recordings by text.
    Split(split::SplitArgs),
    /// Make a speech corpus from text.
    Synth(synth::SynthArgs),
    /// Make a list of sentences from books and data sets.
    Text(sources::TextArgs),
    /// Divide sentence pairs into training, validation and test.
    Pairs(parallel::PairsArgs),
    /// Divide stories into training, validation and test.
    Documents(documents::DocumentsArgs),
    /// Learn the tokens of a text model.
    Vocabulary(vocabulary::VocabularyArgs),
    /// Make the units that a CTC model emits.
    Units(units::UnitsArgs),
}

/// Runs one verb.
pub fn run(cli: Cli) -> Result<()> {
    match cli.verb {
        Verb::Pretrain(args) => train::pretrain(args),
        Verb::Finetune(args) => train::finetune(args),
        Verb::SelfTest(args) => train::self_test::run(args),
        Verb::Lm(args) => lm::run(args),
        Verb::LangId(args) => lang_id::run(&args),
        Verb::Evaluate(args) => evaluate::run(args),
        Verb::Export(args) => export::run(*args),
        Verb::Split(args) => split::run(args),
        Verb::Synth(args) => synth::run(args),
        Verb::Text(args) => sources::run(args),
        Verb::Pairs(args) => parallel::run(args),
        Verb::Documents(args) => documents::run(args),
        Verb::Vocabulary(args) => vocabulary::run(args),
        Verb::Units(args) => units::run(args),
    }
}
