//! Encoders: masks filled, texts labelled, entities found, questions answered from a text, texts embedded, intents told apart.
//!
//! One package is one graph with one head (`architectures` of `config.json`), so that a model does one of these tasks; each is a file
//! here, and follows the pipeline of the same name in transformers.

mod answer;
mod canary;
mod classify;
mod config;
mod embed;
mod fill;
mod graph;
mod intent;
mod tag;

use std::sync::Arc;

use linnet_proto::manifest::Canary;
use linnet_proto::{ErrorCode, WireError};

use super::tokenizer::{EncodeError, TextTokenizer};
use super::{Execute, Pipeline, TaskContext, wrong_task};
use crate::engine::{Engine, EngineError, Model};
use crate::job::{Answer, Job, TaskRequest};
use crate::store::{Package, PackageError, layout, memory};

use config::EncoderConfig;
use graph::Encoder;

/// A loaded encoder.
#[derive(Debug, Clone)]
pub struct EncoderPipeline(Arc<Shared>);

/// What all workers share.
#[derive(Debug)]
struct Shared {
    name: String,
    tasks: Vec<String>,
    model: Arc<dyn Model>,
    tokenizer: TextTokenizer,
    config: EncoderConfig,
}

impl EncoderPipeline {
    /// Loads a package in the layout of an export.
    pub fn load(package: &Package, engine: &dyn Engine) -> Result<Self, PackageError> {
        package.check_memory(memory::memory())?;
        let available = memory::memory().map(|memory| memory.available_mib << 20);
        let graphs = layout::choose(&package.dir, package.manifest.dtype.as_deref(), available)?;
        let onnx = graphs.part("model").ok_or_else(|| {
            PackageError::invalid(&package.dir, "it holds no model.onnx; an encoder's graph is called so")
        })?;
        let config = EncoderConfig::read(&package.dir)?;
        let tokenizer = TextTokenizer::load(&package.dir).map_err(|e| PackageError::invalid(&package.dir, e))?;
        let size = tokenizer.vocab_size() as usize;
        if config.vocabulary.is_some_and(|vocabulary| size > vocabulary) {
            let vocabulary = config.vocabulary.unwrap_or_default();
            let reason = format!(
                "the tokenizer has {size} tokens, but the model only {vocabulary}; both must come from one export"
            );
            return Err(PackageError::invalid(&package.dir, reason));
        }
        let model = engine.load(&package.dir, onnx)?;
        let (name, tasks) = (package.manifest.name.clone(), package.manifest.tasks.clone());
        Ok(Self(Arc::new(Shared { name, tasks, model, tokenizer, config })))
    }

    fn open(&self) -> Result<Encoder, EngineError> {
        Encoder::open(Arc::clone(&self.0))
    }
}

impl Pipeline for EncoderPipeline {
    fn memory_bytes(&self) -> u64 {
        self.0.model.memory_bytes()
    }

    fn executor(&self) -> Result<Box<dyn Execute>, WireError> {
        Ok(Box::new(Worker { encoder: self.open().map_err(failed)? }))
    }

    fn prove(&self, canary: &Canary) -> Result<(), String> {
        canary::prove(&mut self.open().map_err(|e| e.to_string())?, canary)
    }

    fn record(&self) -> Result<Canary, String> {
        canary::record(&mut self.open().map_err(|e| e.to_string())?)
    }
}

/// One worker's half.
struct Worker {
    encoder: Encoder,
}

impl Execute for Worker {
    fn execute(&mut self, job: &Job, ctx: &mut TaskContext) -> Result<Answer, WireError> {
        let encoder = &mut self.encoder;
        match &job.request.task {
            TaskRequest::Fill(request) => fill::fill(encoder, request, ctx).map(Answer::Filled),
            TaskRequest::Classify(request) => classify::classify(encoder, request, ctx).map(Answer::Classified),
            TaskRequest::Tag(request) => tag::tag(encoder, request, ctx).map(Answer::Tagged),
            TaskRequest::Answer(request) => answer::answer(encoder, request, ctx).map(Answer::Answered),
            TaskRequest::Embed(request) => embed::embed(encoder, request, ctx).map(Answer::Embedded),
            TaskRequest::Intent(request) => intent::intent(encoder, request, ctx).map(Answer::Intent),
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
    WireError::new(code, error.to_string()).with_param("input")
}

/// The daemon's own failure.
fn failed(error: EngineError) -> WireError {
    WireError::new(ErrorCode::Internal, error.to_string())
}

/// Probabilities of logits.
fn softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exps: Vec<f32> = logits.iter().map(|x| (x - most).exp()).collect();
    let sum: f32 = exps.iter().sum();
    exps.into_iter().map(|x| x / sum).collect()
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// Places of the largest values, best first.
fn best(values: &[f32], count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..values.len()).collect();
    places.sort_by(|a, b| values[*b].total_cmp(&values[*a]).then(a.cmp(b)));
    places.truncate(count);
    places
}

#[cfg(test)]
mod tests;
