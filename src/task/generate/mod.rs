//! Text from models that write: decoders alone and encoder-decoders, for every task that is writing: completion, conversation, code between two
//! ends, translation, summaries.
//!
//! A pipeline joins three parts that know nothing of each other: a graph ([`super::model`]), a tokenizer ([`super::tokenizer`]), and what chooses
//! tokens ([`super::decode::text`]).

mod canary;
mod chat;
mod config;
mod infill;
mod request;
mod spell;
mod summarize;
mod tools;
pub mod translate;
mod writer;

use std::sync::Arc;

use linnet_proto::manifest::Canary;
use linnet_proto::{ErrorCode, WireError};

use super::decode::text::{GenerationConfig, PrefixCache, Setting, Spell, Vocabulary};
use super::model::causal::CausalGraph;
use super::model::seq2seq::{DecoderFiles, Seq2SeqGraph};
use super::tokenizer::{EncodeError, TextTokenizer};
use super::{Execute, Pipeline, TaskContext, wrong_task};
use crate::engine::{Engine, EngineError, Model};
use crate::job::{Answer, Job, TaskRequest};
use crate::status::Events;
use crate::store::{Package, PackageError, layout, memory};

use config::WriterConfig;
use spell::Silent;
use writer::Writer;

/// A loaded model that writes.
#[derive(Debug, Clone)]
pub struct GeneratePipeline(Arc<Shared>);

/// What all workers share.
#[derive(Debug)]
struct Shared {
    name: String,
    family: String,
    pairs: Vec<String>,
    graph: Graph,
    /// `None` for a package without a tokenizer, which takes and gives token ids alone.
    tokenizer: Option<Arc<TextTokenizer>>,
    template: Option<chat::Template>,
    config: WriterConfig,
    generation: GenerationConfig,
    setting: Setting,
}

/// The weights.
#[derive(Debug)]
enum Graph {
    Causal(CausalGraph),
    Seq2Seq { encoder: Arc<dyn Model>, decoder: Seq2SeqGraph },
}

impl GeneratePipeline {
    /// Loads a package in the layout of an export.
    pub fn load(package: &Package, engine: &dyn Engine, events: &Events) -> Result<Self, PackageError> {
        package.check_memory(memory::memory())?;
        let dir = &package.dir;
        let config = WriterConfig::read(dir)?;
        let generation = GenerationConfig::of_package(dir).map_err(|e| PackageError::invalid(dir, e.to_string()))?;
        let tokenizer = load_tokenizer(dir, config.vocabulary)?;
        let template = match &tokenizer {
            Some(tokenizer) => chat::Template::load(dir, tokenizer).map_err(|e| PackageError::invalid(dir, e))?,
            None => None,
        };
        let available = memory::memory().map(|memory| memory.available_mib << 20);
        let graphs = layout::choose(dir, package.manifest.dtype.as_deref(), available)?;
        let graph = load_graph(&graphs, package, engine, &config)?;
        if !graph.keeps_cache() {
            let name = package.manifest.name.as_str();
            log::warn!(MODEL = name; "{name}: its graph takes no cache, so that every token reads all others again; export it with past");
        }
        let spell: Box<dyn Spell> = match &tokenizer {
            Some(tokenizer) => Box::new(Arc::clone(tokenizer)),
            None => Box::new(Silent),
        };
        let vocabulary = Vocabulary::new(spell, config.vocabulary, &generation.eos_token_id);
        // Sequences of an encoder-decoder listen to one input: their beginnings are nobody else's.
        let prefixes =
            matches!(graph, Graph::Causal(_)).then(|| Arc::new(PrefixCache::new(events.metrics().prefixes().clone())));
        let setting = Setting { vocabulary: Arc::new(vocabulary), prefixes, processors: Vec::new() };
        let manifest = &package.manifest;
        Ok(Self(Arc::new(Shared {
            name: manifest.name.clone(),
            family: manifest.family.clone(),
            pairs: manifest.pairs.clone(),
            graph,
            tokenizer,
            template,
            config,
            generation,
            setting,
        })))
    }
}

/// The package's tokenizer; a package without any file of one takes ids alone.
fn load_tokenizer(dir: &std::path::Path, vocabulary: usize) -> Result<Option<Arc<TextTokenizer>>, PackageError> {
    const FILES: [&str; 8] = [
        "tokenizer.json",
        "vocab.json",
        "vocab.txt",
        "source.spm",
        "spiece.model",
        "tokenizer.model",
        "sentencepiece.bpe.model",
        "merges.txt",
    ];
    if !FILES.iter().any(|file| dir.join(file).is_file()) {
        log::warn!("{}: no tokenizer; the model takes and gives token ids alone", dir.display());
        return Ok(None);
    }
    let tokenizer = TextTokenizer::load(dir).map_err(|e| PackageError::invalid(dir, e))?;
    let size = tokenizer.vocab_size() as usize;
    // A few tokens more than logits is common: special ones that are only read.
    if size > vocabulary + vocabulary / 16 + 1024 {
        let reason =
            format!("the tokenizer has {size} tokens, but the model {vocabulary}; both must come from one export");
        return Err(PackageError::invalid(dir, reason));
    }
    Ok(Some(Arc::new(tokenizer)))
}

fn load_graph(
    graphs: &layout::Graphs,
    package: &Package,
    engine: &dyn Engine,
    config: &WriterConfig,
) -> Result<Graph, PackageError> {
    let dir = &package.dir;
    if config.is_encoder_decoder {
        let encoder = graphs.part("encoder_model").ok_or_else(|| {
            PackageError::invalid(dir, "it has no encoder_model.onnx, which an encoder-decoder needs")
        })?;
        let part = |name: &str| graphs.part(name).map(std::path::Path::to_path_buf);
        let files = DecoderFiles {
            merged: part("decoder_model_merged"),
            first: part("decoder_model"),
            with_past: part("decoder_with_past_model"),
        };
        let decoder = Seq2SeqGraph::load(engine, dir, &files, config.context, config.vocabulary)?;
        return Ok(Graph::Seq2Seq { encoder: engine.load(dir, encoder)?, decoder });
    }
    let parts = ["model", "decoder_model_merged", "decoder_with_past_model", "decoder_model"];
    let onnx = parts.iter().find_map(|part| graphs.part(part)).ok_or_else(|| {
        PackageError::invalid(dir, "it has no model.onnx or decoder_model_merged.onnx, which a decoder needs")
    })?;
    Ok(Graph::Causal(CausalGraph::load(engine, dir, onnx, config.context, config.vocabulary)?))
}

impl Graph {
    fn keeps_cache(&self) -> bool {
        match self {
            Self::Causal(graph) => graph.keeps_cache(),
            Self::Seq2Seq { decoder, .. } => decoder.keeps_cache(),
        }
    }
}

impl Shared {
    /// The tokenizer, which a request with text needs.
    fn tokenizer(&self) -> Result<&Arc<TextTokenizer>, WireError> {
        self.tokenizer.as_ref().ok_or_else(|| {
            let message = format!("the model {} has no tokenizer; send token ids", self.name);
            WireError::new(ErrorCode::UnsupportedTask, message).with_param("prompt")
        })
    }
}

impl Pipeline for GeneratePipeline {
    fn memory_bytes(&self) -> u64 {
        match &self.0.graph {
            Graph::Causal(graph) => graph.memory_bytes(),
            Graph::Seq2Seq { encoder, decoder } => encoder.memory_bytes() + decoder.memory_bytes(),
        }
    }

    fn executor(&self) -> Result<Box<dyn Execute>, WireError> {
        Ok(Box::new(Worker { writer: Writer::open(Arc::clone(&self.0)).map_err(failed)? }))
    }

    fn prove(&self, canary: &Canary) -> Result<(), String> {
        canary::prove(&mut Writer::open(Arc::clone(&self.0)).map_err(|e| e.to_string())?, canary)
    }

    fn record(&self) -> Result<Canary, String> {
        canary::record(&mut Writer::open(Arc::clone(&self.0)).map_err(|e| e.to_string())?)
    }
}

/// One worker's half.
struct Worker {
    writer: Writer,
}

impl Execute for Worker {
    fn execute(&mut self, job: &Job, ctx: &mut TaskContext) -> Result<Answer, WireError> {
        match &job.request.task {
            TaskRequest::Generate(request) => request::generate(&mut self.writer, request, ctx).map(Answer::Generated),
            TaskRequest::Translate(request) => {
                translate::translate(&mut self.writer, request, ctx).map(Answer::Translated)
            }
            TaskRequest::Summarize(request) => {
                summarize::summarize(&mut self.writer, request, ctx).map(Answer::Summary)
            }
            other => Err(wrong_task(other)),
        }
    }
}

/// A text that the tokenizer refuses.
fn refused(error: &EncodeError) -> WireError {
    let code = match error {
        EncodeError::TooLarge { .. } | EncodeError::TooLong { .. } => ErrorCode::TooLarge,
        EncodeError::Language(_) => ErrorCode::InvalidOption,
        EncodeError::Failed(_) => ErrorCode::Internal,
    };
    WireError::new(code, error.to_string()).with_param("prompt")
}

/// The daemon's own failure.
fn failed(error: EngineError) -> WireError {
    WireError::new(ErrorCode::Internal, error.to_string())
}

#[cfg(test)]
mod tests;
