//! `export` of a text model: an encoder-decoder or a decoder, in the layout in which Optimum and transformers.js write theirs.
//!
//! The steps, each of which may refuse: judge the rounded weights beside the float ones (the gate); build the graphs; let the
//! rounded weights write the canary, and, where a Python with ONNX Runtime is given, have the graphs write the same; only then
//! put the package in its place.

mod canary;
mod config;
mod judge;
mod llama;
mod marian;
mod package;
mod parts;
mod rounded;
#[cfg(test)]
mod tests;
mod transformers;

use std::path::{Path, PathBuf};

use linnet::store::write::StagedDirectory;
use linnet_proto::manifest::CanaryStatus;

use super::{ExportArgs, Precision, card, store};
use crate::data::text::Vocabulary;
use crate::error::{Failure, Result};
use crate::model::causal::CausalConfig;
use crate::model::seq2seq::Seq2SeqConfig;
use crate::model::{Shape, Weights};
use crate::output::write_whole;
use crate::train;
pub use canary::Written;
pub use judge::{Judged, Set, Sets, judge};

/// A trained text model.
pub struct TextModel {
    /// What it is, with its shape.
    pub kind: Kind,
    /// Its weights.
    pub weights: Weights,
    /// Its tokens.
    pub vocabulary: Vocabulary,
}

/// What a text model is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// An encoder-decoder, as Marian has it.
    Seq2Seq(Seq2SeqConfig),
    /// A decoder, as Llama has it.
    Causal(CausalConfig),
}

/// The bytes of `model.safetensors` as `transformers`' class for this kind of model loads it.
pub fn to_transformers(kind: &Kind, weights: &Weights) -> Result<Vec<u8>> {
    match kind {
        Kind::Seq2Seq(config) => transformers::marian(config, weights),
        Kind::Causal(config) => transformers::llama(config, weights),
    }
}

/// Whether `dir` holds the weights of a text model: its `model.json` names a method.
pub fn is_text(dir: &Path) -> bool {
    method(dir).is_some()
}

fn method(dir: &Path) -> Option<String> {
    let text = std::fs::read_to_string(dir.join("model.json")).ok()?;
    let value: serde_json::Value = serde_json::from_str(&text).ok()?;
    Some(value.get("method")?.as_str()?.to_owned())
}

impl TextModel {
    /// Reads the three files of a run; weights may be f32 or f16.
    pub fn open(dir: &Path) -> Result<Self> {
        match method(dir).as_deref() {
            Some("seq2seq") => {
                let (config, weights, vocabulary) = train::seq2seq::open(dir)?;
                Ok(Self { kind: Kind::Seq2Seq(config), weights, vocabulary })
            }
            Some("causal-lm") => {
                let (config, weights, vocabulary) = train::causal::open(dir)?;
                Ok(Self { kind: Kind::Causal(config), weights, vocabulary })
            }
            _ => Err(Failure::data(format!("{}: its model.json names neither seq2seq nor causal-lm", dir.display()))),
        }
    }

    /// The same model with weights as a package holds them.
    pub fn rounded(&self) -> Result<Self> {
        let table = match self.kind {
            Kind::Seq2Seq(_) => "shared.weight",
            Kind::Causal(_) => "tokens.weight",
        };
        Ok(Self {
            kind: self.kind.clone(),
            weights: rounded::rounded(&self.weights, table),
            vocabulary: Vocabulary::from_json(self.vocabulary.json().to_vec())?,
        })
    }

    /// Writes what `transformers` loads: `config.json`, `model.safetensors`, and the tokenizer's files.
    pub fn write_transformers(&self, dir: &Path) -> Result<()> {
        let weights = to_transformers(&self.kind, &self.weights)?;
        for (name, content) in self.json_files()? {
            write_whole(&dir.join(name), &content)?;
        }
        write_whole(&dir.join("model.safetensors"), &weights)
    }

    /// The files beside the graphs: name and content.
    fn json_files(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let configs = match &self.kind {
            Kind::Seq2Seq(config) => config::marian(config),
            Kind::Causal(config) => config::llama(config),
        };
        let json = |value: &serde_json::Value| {
            let mut text = serde_json::to_vec_pretty(value).map_err(|error| Failure::software(error.to_string()))?;
            text.push(b'\n');
            Ok::<_, Failure>(text)
        };
        Ok(vec![
            ("config.json", json(&configs.model)?),
            ("generation_config.json", json(&configs.generation)?),
            ("tokenizer_config.json", json(&configs.tokenizer)?),
            ("tokenizer.json", self.vocabulary.json().to_vec()),
        ])
    }

    /// Writes the three files of a run, the weights rounded to f16, from which `finetune --from` goes on.
    fn write_half(&self, dir: &Path) -> Result<()> {
        let json = match &self.kind {
            Kind::Seq2Seq(config) => serde_json::to_vec_pretty(config),
            Kind::Causal(config) => serde_json::to_vec_pretty(config),
        };
        write_whole(&dir.join("model.json"), &json.map_err(|error| Failure::software(error.to_string()))?)?;
        write_whole(&dir.join("tokenizer.json"), self.vocabulary.json())?;
        write_whole(&dir.join("model.safetensors"), &self.weights.to_half()?)
    }

    /// Numbers in all tensors.
    fn parameters(&self) -> usize {
        match &self.kind {
            Kind::Seq2Seq(config) => config.layout().len(),
            Kind::Causal(config) => config.layout().len(),
        }
    }
}

/// Runs `export` for a text model: prints the package's directory on standard output.
pub fn run(args: &ExportArgs) -> Result<()> {
    let int8 = match args.precision {
        Precision::F32 => false,
        Precision::Int8Weights => true,
        Precision::Int8Dynamic => {
            return Err(Failure::usage(
                "--precision int8-dynamic is for speech models; a text model has f32 or int8-weights",
            ));
        }
    };
    let model = TextModel::open(&args.from)?;
    if let Some(dir) = &args.transformers {
        model.write_transformers(dir)?;
    }
    let template = card::text_template(args.card.as_deref(), &args.facts)?;
    let sets = Sets::read(&model, &args.valid, &args.tests)?;
    let packed = if int8 { model.rounded()? } else { TextModel::open(&args.from)? };
    let gate = judge::gate(&model, &packed, &sets, args.allow_loss)?;
    let results = judge::all(&packed, &sets)?;

    let staged = StagedDirectory::beside(&args.out).map_err(store)?;
    let dir = staged.path();
    let mut canary = canary::choose(&packed, &sets)?;
    package::write_graphs(&model, int8, dir)?;
    if let Some(python) = &args.reference {
        canary::agree(python, dir, &canary)?;
        canary.status = CanaryStatus::Verified;
    }
    let bytes = package::graph_bytes(dir)?;
    let facts = judge::facts(args, &model, int8, bytes, &gate, &results);
    let card = card::fill_text(&template, &facts, &args.facts)?;
    package::write_rest(&model, args, int8, canary, &card, dir)?;
    if let Some(keep) = &args.keep_weights {
        model.write_half(keep)?;
    }
    staged.install().map_err(store)?;
    println!("{}", args.out.display());
    Ok(())
}

/// Relative path of a file in a package's directory.
fn graph_path(dir: &Path, name: &str) -> PathBuf {
    dir.join("onnx").join(name)
}
