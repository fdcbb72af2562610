//! Encoder and decoder: Marian, M2M100, NLLB, T5, BART, mBART, Whisper and Moonshine.
//!
//! The decoder's graph with a cache (`decoder_with_past_model`, or that side of `decoder_model_merged`) runs every step, the
//! first one, too, on an empty cache. What it reads of the encoder (keys and values of cross-attention) is computed once for
//! each input by a graph that holds nothing else: the graph without a cache, cut down to its outputs `present.N.encoder.*`, so that
//! no weight is in memory twice.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::causal::{fits_vocabulary, integers, logits_of, slots, unseen};
use super::{LanguageModel, Logits, Sequences};
use crate::engine::{Engine, EngineError, LoadOptions, Model, Part, Port, Positions, Session, Tensor};

/// Where an encoder-decoder's graphs lie, relative to the package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecoderFiles {
    /// `decoder_model_merged*.onnx`.
    pub merged: Option<PathBuf>,
    /// `decoder_model*.onnx`: without a cache.
    pub first: Option<PathBuf>,
    /// `decoder_with_past_model*.onnx`.
    pub with_past: Option<PathBuf>,
}

/// The weights of an encoder-decoder's decoder, shared by all workers.
#[derive(Debug, Clone)]
pub struct Seq2SeqGraph {
    /// What runs each step.
    step: Arc<dyn Model>,
    /// Computes keys and values of the encoder's positions; `None` when `step` reads the encoder's output itself (no cache).
    cross: Option<Arc<dyn Model>>,
    context: Option<usize>,
    vocabulary: usize,
    attentions: Vec<String>,
}

impl Seq2SeqGraph {
    /// Loads the decoder. `context` and `vocabulary` come from the model's configuration.
    pub fn load(
        engine: &dyn Engine,
        package: &Path,
        files: &DecoderFiles,
        context: Option<usize>,
        vocabulary: usize,
    ) -> Result<Self, EngineError> {
        let refuse =
            |onnx: &Path, reason: String| EngineError::Load { path: package.join(onnx).display().to_string(), reason };
        let (past, past_part, first, first_part) = match files {
            DecoderFiles { merged: Some(merged), .. } => (merged, Part::WithPast, merged, Part::First),
            DecoderFiles { first: Some(first), with_past: Some(with_past), .. } => {
                (with_past, Part::Whole, first, Part::Whole)
            }
            DecoderFiles { first: Some(first), .. } => {
                let options = LoadOptions { outputs: vec!["logits".into()], ..LoadOptions::default() };
                let step = engine.load_with(package, first, &options)?;
                fits_vocabulary(step.outputs(), vocabulary).map_err(|reason| refuse(first, reason))?;
                let file = package.join(first).display().to_string();
                log::warn!(
                    "{file}: the decoder keeps no cache, so that each step reads the whole text again; export it with past"
                );
                return Ok(Self { step, cross: None, context, vocabulary, attentions: Vec::new() });
            }
            // Alone it will do where it computes keys and values of the encoder's positions itself.
            DecoderFiles { with_past: Some(with_past), .. } => (with_past, Part::Whole, with_past, Part::Whole),
            _ => {
                let reason = "the package has no decoder: decoder_model_merged.onnx, or decoder_model.onnx and \
                              decoder_with_past_model.onnx";
                return Err(EngineError::Load { path: package.display().to_string(), reason: reason.into() });
            }
        };
        let (inputs, outputs) = engine.ports(package, past)?;
        let mut slots = slots(&inputs, &outputs);
        if slots.is_empty() {
            return Err(refuse(
                past,
                "the graph takes no `past_key_values.*`; it is not a decoder with a cache".into(),
            ));
        }
        if !outputs.iter().any(|port| port.name == "logits") {
            return Err(refuse(past, "the graph has no output `logits`".into()));
        }
        if first == past && past_part == Part::Whole && slots.iter().any(|slot| slot.grows.is_none()) {
            return Err(refuse(past, "decoder_model.onnx is missing beside it: it makes the first cache".into()));
        }
        let mut wanted = vec!["logits".to_owned()];
        wanted.extend(slots.iter().filter(|slot| slot.grows.is_some()).filter_map(|slot| slot.output.clone()));
        let attentions: Vec<String> =
            outputs.iter().map(|p| &p.name).filter(|name| name.starts_with("cross_attentions.")).cloned().collect();
        wanted.extend(attentions.iter().cloned());
        // The other graph fills what stands of the encoder.
        let mut filled = Vec::new();
        for slot in slots.iter_mut().filter(|slot| slot.grows.is_none()) {
            let name = slot.input.as_deref().unwrap_or_default().replace("past_key_values.", "present.");
            slot.output = Some(name.clone());
            filled.push(name);
        }
        let step = engine.load_with(
            package,
            past,
            &LoadOptions { part: past_part, slots: slots.clone(), outputs: wanted, ..LoadOptions::default() },
        )?;
        fits_vocabulary(step.outputs(), vocabulary).map_err(|reason| refuse(past, reason))?;
        let cross = match filled.is_empty() {
            true => None,
            false => {
                let cross_slots = slots.into_iter().filter(|slot| slot.grows.is_none()).map(|mut slot| {
                    slot.input = None;
                    slot
                });
                let options = LoadOptions {
                    part: first_part,
                    slots: cross_slots.collect(),
                    outputs: filled,
                    ..LoadOptions::default()
                };
                Some(engine.load_with(package, first, &options)?)
            }
        };
        Ok(Self { step, cross, context, vocabulary, attentions })
    }

    /// Memory of the weights, bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.step.memory_bytes() + self.cross.as_ref().map_or(0, |cross| cross.memory_bytes())
    }

    /// Whether it keeps a cache; without one every step reads the whole sequence again.
    pub fn keeps_cache(&self) -> bool {
        self.step.cache().is_some()
    }

    /// A worker's own half.
    pub fn open(&self) -> Result<Seq2Seq, EngineError> {
        let cross = self.cross.as_ref().map(|cross| cross.session()).transpose()?;
        Ok(Seq2Seq { step: self.step.session()?, cross, graph: self.clone(), heard: None, attention: Vec::new() })
    }
}

/// What an encoder made of an input.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// `[1, positions, width]`.
    pub states: Tensor,
    /// 1 for each position that counts; `[1, positions]`.
    pub mask: Vec<i64>,
}

/// An encoder-decoder's decoder on one worker.
pub struct Seq2Seq {
    graph: Seq2SeqGraph,
    step: Box<dyn Session>,
    cross: Option<Box<dyn Session>>,
    heard: Option<Encoded>,
    /// Cross-attention of the last step, by layer, where the graph gives it: `[rows, heads, positions, encoder positions]`.
    attention: Vec<Tensor>,
}

impl Seq2Seq {
    /// Has the sequences that begin from now on listen to `encoded`.
    pub fn listen(&mut self, encoded: Encoded) {
        self.heard = Some(encoded);
    }

    /// Whether the graph gives its cross-attention.
    pub fn gives_attention(&self) -> bool {
        !self.graph.attentions.is_empty()
    }

    fn heard(&self) -> Result<&Encoded, EngineError> {
        self.heard.as_ref().ok_or_else(|| EngineError::Run("the decoder was asked before its encoder".into()))
    }

    /// The inputs of `ports`, where `fed[row]` stand behind `past` positions.
    fn inputs(&self, ports: &[Port], fed: &[Vec<u32>], past: usize) -> Result<Vec<(String, Tensor)>, EngineError> {
        let heard = self.heard()?;
        let (rows, columns) = (fed.len(), fed.first().map_or(0, Vec::len));
        let repeated = |values: &[i64]| values.iter().copied().cycle().take(values.len() * rows).collect::<Vec<_>>();
        ports
            .iter()
            .map(|port| {
                let tensor = match port.name.as_str() {
                    "input_ids" | "decoder_input_ids" => {
                        let ids = fed.iter().flatten().map(|id| i64::from(*id)).collect();
                        integers(port, vec![rows, columns], ids)?
                    }
                    "encoder_attention_mask" => integers(port, vec![rows, heard.mask.len()], repeated(&heard.mask))?,
                    "attention_mask" | "decoder_attention_mask" => {
                        integers(port, vec![rows, past + columns], vec![1; rows * (past + columns)])?
                    }
                    "attn_mask" => integers(port, vec![columns, past + columns], unseen(past, columns))?,
                    "encoder_hidden_states" | "encoder_outputs" => repeat_rows(&heard.states, rows, port)?,
                    "position_ids" | "cache_position" => {
                        let row = (past..past + columns).map(|p| p as i64);
                        let shape = if port.shape.len() == 1 { vec![columns] } else { vec![rows, columns] };
                        let count = if port.shape.len() == 1 { 1 } else { rows };
                        integers(port, shape, (0..count).flat_map(|_| row.clone()).collect())?
                    }
                    other => {
                        let message = format!("the decoder takes `{other}`, which no encoder-decoder's export does");
                        return Err(EngineError::Run(message));
                    }
                };
                Ok((port.name.clone(), tensor))
            })
            .collect()
    }
}

/// The encoder's states once for each row, of the type that the graph wants.
fn repeat_rows(states: &Tensor, rows: usize, port: &Port) -> Result<Tensor, EngineError> {
    let data = states.as_f32().ok_or_else(|| EngineError::Run("the encoder gave no floats".into()))?;
    let mut shape = states.shape.clone();
    if let Some(batch) = shape.first_mut() {
        *batch = rows;
    }
    let repeated = data.iter().copied().cycle().take(data.len() * rows);
    let data = match port.datum {
        crate::engine::Datum::F16 => crate::engine::TensorData::F16(repeated.map(half::f16::from_f32).collect()),
        _ => crate::engine::TensorData::F32(repeated.collect()),
    };
    Ok(Tensor { shape, data })
}

fn borrowed(inputs: Vec<(String, Tensor)>) -> (Vec<String>, Vec<Tensor>) {
    inputs.into_iter().unzip()
}

impl LanguageModel for Seq2Seq {
    fn vocabulary(&self) -> usize {
        self.graph.vocabulary
    }

    fn context(&self) -> Option<usize> {
        self.graph.context
    }

    fn attention(&self) -> &[Tensor] {
        &self.attention
    }

    fn begin(&mut self) -> Result<Sequences, EngineError> {
        let mut cache = self.graph.step.cache();
        if let (Some(cache), Some(cross)) = (&mut cache, &self.graph.cross) {
            // Cut down to the encoder's keys and values, the graph needs no token; one that still asks gets any.
            let (names, tensors) = borrowed(self.inputs(cross.inputs(), &[vec![0]], 0)?);
            let inputs: Vec<(&str, Tensor)> = names.iter().map(String::as_str).zip(tensors).collect();
            let session = self.cross.as_mut().ok_or_else(|| EngineError::Run("the decoder has no session".into()))?;
            session.step(&inputs, &mut **cache, Positions::All)?;
        }
        Ok(Sequences::new(cache))
    }

    fn step(
        &mut self,
        sequences: &mut Sequences,
        ids: &[Vec<u32>],
        positions: Positions,
    ) -> Result<Logits, EngineError> {
        let columns = ids.first().map_or(0, Vec::len);
        if columns == 0 || ids.len() != sequences.rows() || ids.iter().any(|row| row.len() != columns) {
            return Err(EngineError::Run("a step needs the same number of ids for each row, at least one".into()));
        }
        let (cache, held) = sequences.parts();
        let rows = held.len();
        let Some(cache) = cache else {
            let whole: Vec<Vec<u32>> = held.iter().zip(ids).map(|(old, new)| [old.as_slice(), new].concat()).collect();
            let (names, tensors) = borrowed(self.inputs(self.graph.step.inputs(), &whole, 0)?);
            let inputs: Vec<(&str, Tensor)> = names.iter().map(String::as_str).zip(tensors).collect();
            let logits = logits_of(self.step.run(&inputs)?, rows, self.graph.vocabulary)?;
            sequences.append(ids);
            return Ok(logits);
        };
        // Exports trace this graph with one position, and some leave the mask between several out: one after the other.
        let past = held.first().map_or(0, Vec::len);
        let before = (columns > 1).then(|| cache.fork());
        let mut each = Vec::with_capacity(columns);
        for column in 0..columns {
            let fed: Vec<Vec<u32>> = ids.iter().map(|row| vec![row[column]]).collect();
            let (names, tensors) = borrowed(self.inputs(self.graph.step.inputs(), &fed, past + column)?);
            let inputs: Vec<(&str, Tensor)> = names.iter().map(String::as_str).zip(tensors).collect();
            match self.step.step(&inputs, &mut **cache, Positions::Last) {
                Ok(mut outputs) => {
                    self.attention = self.graph.attentions.iter().filter_map(|name| take(&mut outputs, name)).collect();
                    each.push(logits_of(outputs, rows, self.graph.vocabulary)?);
                }
                Err(error) => {
                    if let Some(before) = before {
                        *cache = before;
                    }
                    return Err(error);
                }
            }
        }
        sequences.append(ids);
        if positions == Positions::Last {
            each.drain(..each.len() - 1);
        }
        let data =
            (0..rows).flat_map(|row| each.iter().flat_map(move |logits| logits.last(row).iter().copied())).collect();
        Logits::new(data, rows, self.graph.vocabulary).ok_or_else(|| EngineError::Run("the step gave no logits".into()))
    }
}

fn take(outputs: &mut Vec<(String, Tensor)>, name: &str) -> Option<Tensor> {
    let place = outputs.iter().position(|(own, _)| own == name)?;
    Some(outputs.swap_remove(place).1)
}
