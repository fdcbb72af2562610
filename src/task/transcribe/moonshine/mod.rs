//! Moonshine: samples of a piece to text, token by token.
//!
//! Greedy, as `transformers`' `generate` with the length that its documentation gives: 6.5 tokens for each second, lest a model that
//! hears nothing goes on writing.

use std::path::Path;
use std::sync::Arc;

use linnet_features::audio::SAMPLE_RATE;
use linnet_proto::manifest::Canary;
use linnet_proto::{TranscribeOptions, WireError, Word};
use serde_json::Value;

use super::canary::{self, Recite, Recited};
use super::growing::{HeardPiece, spread};
use super::pieces::{Hear, Spoken, Transcriber, clock};
use super::splitter::Piece;
use super::{decoder_files, language};
use crate::engine::{Datum, Engine, EngineError, Model, Positions, Session, Tensor, TensorData};
use crate::store::{Package, PackageError, layout, memory};
use crate::task::decode::text::distribution::{best, log_softmax};
use crate::task::model::LanguageModel;
use crate::task::model::seq2seq::{Encoded, Seq2Seq, Seq2SeqGraph};
use crate::task::tokenizer::TextTokenizer;
use crate::task::{Execute, Pipeline};

/// `model_type` of the family.
pub const FAMILY: &str = "moonshine";
/// `model_type` of the second version, which hears while somebody speaks.
pub const STREAMING_FAMILY: &str = "moonshine_streaming";

/// Tokens for a second of sound at most.
const TOKENS_PER_SEC: f64 = 6.5;
/// Longest piece, seconds: what such models are taught with.
const MAX_SEGMENT_SECS: f64 = 24.0;
/// Fewest samples that the encoder's three convolutions make a position of.
const MIN_SAMPLES: usize = 1023;
/// Tokens that a canary holds at most.
const CANARY_TOKENS: usize = 12;

/// A loaded Moonshine package.
#[derive(Debug, Clone)]
pub struct MoonshinePipeline(Arc<Shared>);

/// What all workers share.
struct Shared {
    name: String,
    languages: Vec<String>,
    tokens: TextTokenizer,
    encoder: Arc<dyn Model>,
    decoder: Seq2SeqGraph,
    start: u32,
    end: u32,
    /// Most ids of a sequence, the start among them.
    max_length: usize,
    normalizes: bool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).finish_non_exhaustive()
    }
}

impl MoonshinePipeline {
    /// Loads a package; each error names its file.
    pub fn load(package: &Package, engine: &dyn Engine) -> Result<Self, PackageError> {
        let config = layout::read_config(&package.dir)?;
        let optional = |file: &str| -> Result<Value, PackageError> {
            if package.path(file).is_file() { layout::read_json(&package.path(file)) } else { Ok(Value::Null) }
        };
        let (generation, extractor) = (optional("generation_config.json")?, optional("preprocessor_config.json")?);
        let invalid = |reason: String| PackageError::invalid(&package.path("config.json"), reason);
        let vocabulary = match config["vocab_size"].as_u64() {
            Some(size @ 2..=1_048_576) => size as usize,
            _ => return Err(invalid("vocab_size must be 2 to 1048576".into())),
        };
        let id = |key: &str| {
            let value = [&generation[key], &config[key]].into_iter().find(|value| !value.is_null());
            let id =
                value.and_then(|value| value.get(0).unwrap_or(value).as_u64()).filter(|id| *id < vocabulary as u64);
            id.map(|id| id as u32).ok_or_else(|| invalid(format!("{key} must be an id below vocab_size, {vocabulary}")))
        };
        let (start, end) = (id("decoder_start_token_id")?, id("eos_token_id")?);
        if let Some(rate) = extractor["sampling_rate"].as_u64().filter(|rate| *rate != u64::from(SAMPLE_RATE)) {
            let reason = format!("sampling_rate is {rate}, but must be {SAMPLE_RATE}");
            return Err(PackageError::invalid(&package.path("preprocessor_config.json"), reason));
        }
        let tokens = TextTokenizer::load(&package.dir).map_err(|e| PackageError::invalid(&package.dir, e))?;
        if tokens.vocab_size() as usize > vocabulary {
            let reason = format!(
                "the tokenizer has {} tokens, but vocab_size is {vocabulary}; both must come from one export",
                tokens.vocab_size()
            );
            return Err(invalid(reason));
        }
        let context = config["max_position_embeddings"].as_u64().map_or(194, |n| n as usize);
        let memory = memory::memory();
        package.check_memory(memory)?;
        let available = memory.map(|memory| memory.available_mib << 20);
        let graphs = layout::choose(&package.dir, package.manifest.dtype.as_deref(), available)?;
        let encoder = graphs.part("encoder_model").ok_or_else(|| {
            let reason =
                "encoder_model.onnx is missing, here and in onnx/; export the model for automatic-speech-recognition";
            PackageError::invalid(&package.dir, reason)
        })?;
        let encoder = load_encoder(package, engine, encoder)?;
        let decoder = Seq2SeqGraph::load(engine, &package.dir, &decoder_files(&graphs), Some(context), vocabulary)?;
        Ok(Self(Arc::new(Shared {
            name: package.manifest.name.clone(),
            languages: package.manifest.languages.clone(),
            tokens,
            encoder,
            decoder,
            start,
            end,
            max_length: generation["max_length"].as_u64().map_or(context, |most| (most as usize).min(context)),
            normalizes: extractor["do_normalize"].as_bool().unwrap_or(false),
        })))
    }

    fn listener(&self) -> Result<Listener, EngineError> {
        let shared = Arc::clone(&self.0);
        Ok(Listener { encoder: shared.encoder.session()?, decoder: shared.decoder.open()?, shared })
    }
}

fn load_encoder(package: &Package, engine: &dyn Engine, onnx: &Path) -> Result<Arc<dyn Model>, PackageError> {
    let encoder = engine.load(&package.dir, onnx)?;
    let known = |name: &str| matches!(name, "input_values" | "attention_mask");
    match encoder.inputs().iter().find(|port| !known(&port.name)) {
        Some(port) => {
            let reason = format!("the graph takes `{}`, but Moonshine's encoder takes `input_values`", port.name);
            Err(PackageError::invalid(&package.path_of(onnx), reason))
        }
        None => Ok(encoder),
    }
}

impl Pipeline for MoonshinePipeline {
    fn memory_bytes(&self) -> u64 {
        self.0.encoder.memory_bytes() + self.0.decoder.memory_bytes()
    }

    fn executor(&self) -> Result<Box<dyn Execute>, WireError> {
        Ok(Box::new(Transcriber::new(self.listener()?)))
    }

    fn record(&self) -> Result<Canary, String> {
        canary::record(&mut self.listener().map_err(|e| e.to_string())?)
    }

    fn prove(&self, canary: &Canary) -> Result<(), String> {
        canary::prove(canary, &mut self.listener().map_err(|e| e.to_string())?)
    }
}

/// What a request asks for: there is nothing to ask but the language.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    language: String,
}

impl Spoken for Plan {
    fn language(&self) -> &str {
        &self.language
    }
}

/// A worker's half of the pipeline.
pub(super) struct Listener {
    shared: Arc<Shared>,
    encoder: Box<dyn Session>,
    decoder: Seq2Seq,
}

impl Listener {
    /// Has the decoder listen to samples, which are at least [`MIN_SAMPLES`].
    fn listen(&mut self, samples: &[f32]) -> Result<(), EngineError> {
        let n = samples.len();
        let mut values = samples.to_vec();
        if self.shared.normalizes {
            super::standardize(&mut values);
        }
        let inputs = self.shared.encoder.inputs().iter().map(|port| {
            let data = match (port.name.as_str(), port.datum) {
                ("input_values", Datum::F16) => {
                    TensorData::F16(values.iter().map(|v| half::f16::from_f32(*v)).collect())
                }
                ("input_values", _) => TensorData::F32(values.clone()),
                _ => TensorData::I64(vec![1; n]),
            };
            (port.name.as_str(), Tensor { shape: vec![1, n], data })
        });
        let outputs = self.encoder.run(&inputs.collect::<Vec<_>>())?;
        let states = outputs.into_iter().next().map(|(_, states)| states);
        let states = states.ok_or_else(|| EngineError::Run("the encoder gave nothing".into()))?;
        let mask = vec![1; states.shape.get(1).copied().unwrap_or(0)];
        self.decoder.listen(Encoded { states, mask });
        Ok(())
    }

    /// Asks `next` for token after token, given log-probabilities, until it gives none or `most` were written.
    fn follow(
        &mut self,
        most: usize,
        mut next: impl FnMut(&[f32]) -> Result<Option<u32>, WireError>,
    ) -> Result<(), WireError> {
        let mut sequences = self.decoder.begin()?;
        let mut token = self.shared.start;
        for _ in 0..most {
            let logits = self.decoder.step(&mut sequences, &[vec![token]], Positions::Last)?;
            let Some(chosen) = next(&log_softmax(logits.last(0)))? else { break };
            token = chosen;
        }
        Ok(())
    }

    /// Tokens that may be written of so many samples.
    fn most(&self, samples: usize) -> usize {
        let by_length = (samples as f64 / f64::from(SAMPLE_RATE) * TOKENS_PER_SEC) as usize;
        by_length.min(self.shared.max_length).saturating_sub(1)
    }
}

impl Hear for Listener {
    type Plan = Plan;

    fn name(&self) -> &str {
        &self.shared.name
    }

    fn max_secs(&self) -> f64 {
        MAX_SEGMENT_SECS
    }

    fn plan(&self, options: &TranscribeOptions) -> Result<Plan, WireError> {
        options.check()?;
        Ok(Plan { language: language(options.language.as_deref(), &self.shared.name, &self.shared.languages)? })
    }

    fn hear(
        &mut self,
        piece: &Piece,
        _plan: &Plan,
        checkpoint: &mut dyn FnMut() -> Result<(), WireError>,
    ) -> Result<HeardPiece, WireError> {
        if piece.samples.len() < MIN_SAMPLES {
            return Ok(HeardPiece::default());
        }
        self.listen(&piece.samples)?;
        let (end, most) = (self.shared.end, self.most(piece.samples.len()));
        let (mut ids, mut logprobs) = (Vec::new(), Vec::new());
        self.follow(most, |scores| {
            checkpoint()?;
            let token = best(scores).unwrap_or_default();
            logprobs.push(scores[token]);
            if token as u32 == end {
                return Ok(None);
            }
            ids.push(token as u32);
            Ok(Some(token as u32))
        })?;
        let text = self.shared.tokens.decode(&ids, true).trim().to_owned();
        let time = clock(piece);
        let length = piece.samples.len() as f64 / f64::from(SAMPLE_RATE);
        let avg_logprob = logprobs.iter().sum::<f32>() / logprobs.len().max(1) as f32;
        let mut words: Vec<Word> = text
            .split_whitespace()
            .map(|word| Word { word: word.to_owned(), confidence: avg_logprob.exp(), ..Word::default() })
            .collect();
        spread(&mut words, time(0.0), time(length));
        Ok(HeardPiece { words, text: Some(text), avg_logprob })
    }
}

impl Recite for Listener {
    fn recite(&mut self, sound: &[f32]) -> Result<Recited, String> {
        self.listen(sound).map_err(|e| e.to_string())?;
        let (end, mut recited) = (self.shared.end, Recited::default());
        self.follow(CANARY_TOKENS, |scores| {
            let token = best(scores).unwrap_or_default();
            let rest = scores.iter().enumerate().filter(|(id, _)| *id != token).map(|(_, score)| *score);
            recited.margins.push(scores[token] - rest.fold(f32::NEG_INFINITY, f32::max));
            recited.tokens.push(token as u32);
            recited.logprobs.push(scores[token]);
            Ok((token as u32 != end).then_some(token as u32))
        })
        .map_err(|e| e.message)?;
        Ok(recited)
    }

    fn logprobs(&mut self, sound: &[f32], tokens: &[u32]) -> Result<Vec<f32>, String> {
        self.listen(sound).map_err(|e| e.to_string())?;
        let mut logprobs = Vec::new();
        let mut left = tokens.iter().copied();
        self.follow(tokens.len(), |scores| {
            let token = left.next().filter(|token| (*token as usize) < scores.len());
            logprobs.extend(token.map(|token| scores[token as usize]));
            Ok(token)
        })
        .map_err(|e| e.message)?;
        Ok(logprobs)
    }
}

#[cfg(test)]
mod tests;
