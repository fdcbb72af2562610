//! Decoders alone: Llama and its kin, GPT-2.
//!
//! Exports take `input_ids` and `attention_mask`, mostly `position_ids`, and `past_key_values.N.key` and `.value` of
//! `[rows, heads, positions, width]`, and give `logits` and `present.N.key` and `.value`
//! (<https://huggingface.co/docs/optimum-onnx/onnx/usage_guides/export_a_model>).

use std::path::Path;
use std::sync::Arc;

use super::{LanguageModel, Logits, Sequences};
use crate::engine::{
    Datum, Engine, EngineError, LoadOptions, Model, Part, Port, Positions, Session, Slot, Tensor, TensorData,
};

/// A decoder's weights, shared by all workers.
#[derive(Debug, Clone)]
pub struct CausalGraph {
    model: Arc<dyn Model>,
    context: Option<usize>,
    vocabulary: usize,
}

/// The slots of a graph whose inputs and outputs are named as Optimum names them (`past_key_values.0.key` and `present.0.key`), or
/// alike (`past_k_0` and `present_k_0`); empty when it keeps no cache.
///
/// The axis that grows is the last one of free size behind the batch; what stands of an encoder grows along none.
pub fn slots(inputs: &[Port], outputs: &[Port]) -> Vec<Slot> {
    let given = |name: &String| outputs.iter().any(|port| port.name == *name);
    inputs
        .iter()
        .filter_map(|port| {
            let rest = port.name.strip_prefix("past")?;
            let layer = rest.strip_prefix("_key_values").unwrap_or(rest);
            // Older exports call them `present_key_values.N.…`.
            let output = ["present", "present_key_values"].into_iter().map(|name| format!("{name}{layer}")).find(given);
            let free = port.shape.iter().rposition(Option::is_none).filter(|axis| *axis > 0);
            let grows = free.filter(|_| !layer.contains(".encoder."));
            Some(Slot { input: Some(port.name.clone()), output, grows })
        })
        .collect()
}

impl CausalGraph {
    /// Loads a decoder. `context` and `vocabulary` come from its configuration.
    pub fn load(
        engine: &dyn Engine,
        package: &Path,
        onnx: &Path,
        context: Option<usize>,
        vocabulary: usize,
    ) -> Result<Self, EngineError> {
        let (inputs, outputs) = engine.ports(package, onnx)?;
        let merged = inputs.iter().any(|port| port.name == "use_cache_branch");
        let slots = slots(&inputs, &outputs);
        let refuse = |reason: String| EngineError::Load { path: package.join(onnx).display().to_string(), reason };
        if !outputs.iter().any(|port| port.name == "logits") {
            return Err(refuse("the graph has no output `logits`; export it for the task text-generation".into()));
        }
        if let Some(slot) = slots.iter().find(|slot| slot.output.is_none()) {
            let name = slot.input.as_deref().unwrap_or_default();
            return Err(refuse(format!("the graph takes `{name}`, but does not give its next value")));
        }
        let mut wanted = vec!["logits".to_owned()];
        wanted.extend(slots.iter().filter_map(|slot| slot.output.clone()));
        let part = if merged { Part::WithPast } else { Part::Whole };
        if slots.is_empty() {
            let file = package.join(onnx).display().to_string();
            log::warn!(
                "{file}: the decoder keeps no cache, so that each step reads the whole text again; export it with past"
            );
        }
        let model =
            engine.load_with(package, onnx, &LoadOptions { part, slots, outputs: wanted, ..LoadOptions::default() })?;
        fits_vocabulary(model.outputs(), vocabulary).map_err(refuse)?;
        Ok(Self { model, context, vocabulary })
    }

    /// Memory of the weights, bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.model.memory_bytes()
    }

    /// Whether it keeps a cache; without one every step reads the whole sequence again.
    pub fn keeps_cache(&self) -> bool {
        self.model.cache().is_some()
    }

    /// A worker's own half.
    pub fn open(&self) -> Result<Causal, EngineError> {
        Ok(Causal { session: self.model.session()?, graph: self.clone() })
    }
}

/// A decoder on one worker.
pub struct Causal {
    graph: CausalGraph,
    session: Box<dyn Session>,
}

impl LanguageModel for Causal {
    fn vocabulary(&self) -> usize {
        self.graph.vocabulary
    }

    fn context(&self) -> Option<usize> {
        self.graph.context
    }

    fn begin(&mut self) -> Result<Sequences, EngineError> {
        Ok(Sequences::new(self.graph.model.cache()))
    }

    fn step(
        &mut self,
        sequences: &mut Sequences,
        ids: &[Vec<u32>],
        positions: Positions,
    ) -> Result<Logits, EngineError> {
        let rows = sequences.rows();
        let (cache, held) = sequences.parts();
        let past = held.first().map_or(0, Vec::len);
        let rerun: Vec<Vec<u32>>;
        let (from, fed) = if cache.is_some() {
            (past, ids)
        } else {
            rerun = held.iter().zip(ids).map(|(old, new)| [old.as_slice(), new].concat()).collect();
            (0, rerun.as_slice())
        };
        let inputs = inputs_of(self.graph.model.inputs(), fed, from)?;
        let inputs: Vec<(&str, Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
        let outputs = match cache {
            Some(cache) => self.session.step(&inputs, &mut **cache, positions)?,
            None => self.session.run(&inputs)?,
        };
        let logits = logits_of(outputs, rows, self.graph.vocabulary)?;
        sequences.append(ids);
        Ok(logits)
    }
}

/// The inputs of a step: `fed[row]` stand behind `past` positions that the cache holds.
fn inputs_of(ports: &[Port], fed: &[Vec<u32>], past: usize) -> Result<Vec<(String, Tensor)>, EngineError> {
    let (rows, columns) = (fed.len(), fed.first().map_or(0, Vec::len));
    if columns == 0 || fed.iter().any(|row| row.len() != columns) {
        return Err(EngineError::Run("a step needs the same number of ids for each row, at least one".into()));
    }
    ports
        .iter()
        .map(|port| {
            let (shape, values): (Vec<usize>, Vec<i64>) = match port.name.as_str() {
                "input_ids" => (vec![rows, columns], fed.iter().flatten().map(|id| i64::from(*id)).collect()),
                "attention_mask" => (vec![rows, past + columns], vec![1; rows * (past + columns)]),
                "position_ids" => {
                    let row = past..past + columns;
                    (vec![rows, columns], (0..rows).flat_map(|_| row.clone()).map(|p| p as i64).collect())
                }
                // What is added to scores: nothing for what a position sees, which is all up to itself.
                "attn_mask" => (vec![columns, past + columns], unseen(past, columns)),
                "cache_position" => (vec![columns], (past..past + columns).map(|p| p as i64).collect()),
                // How many of the last positions get logits.
                "num_logits_to_keep" => (Vec::new(), vec![1]),
                other => {
                    return Err(EngineError::Run(format!("the graph takes `{other}`, which no decoder's export does")));
                }
            };
            Ok((port.name.clone(), integers(port, shape, values)?))
        })
        .collect()
}

/// For each of `columns` positions behind `past`, and each position up to the last: 0 where the one sees the other, and else what
/// takes its score away.
pub(super) fn unseen(past: usize, columns: usize) -> Vec<i64> {
    let row = |own: usize| (0..past + columns).map(move |other| if other <= past + own { 0 } else { -1_000_000_000 });
    (0..columns).flat_map(row).collect()
}

/// A tensor of the type that the graph wants.
pub(in crate::task) fn integers(port: &Port, shape: Vec<usize>, values: Vec<i64>) -> Result<Tensor, EngineError> {
    let data = match port.datum {
        Datum::I64 => TensorData::I64(values),
        // Positions and masks are far below 2³¹.
        Datum::I32 => TensorData::I32(values.into_iter().map(|v| v as i32).collect()),
        Datum::Bool => TensorData::Bool(values.into_iter().map(|v| v != 0).collect()),
        Datum::F32 => TensorData::F32(values.into_iter().map(|v| v as f32).collect()),
        Datum::F16 => TensorData::F16(values.into_iter().map(|v| half::f16::from_f32(v as f32)).collect()),
        _ => return Err(EngineError::Run(format!("the graph's `{}` is of a type that holds no ids", port.name))),
    };
    Ok(Tensor { shape, data })
}

/// Refuses a configuration of another export: the graph gives logits for another number of ids.
pub(super) fn fits_vocabulary(outputs: &[Port], vocabulary: usize) -> Result<(), String> {
    let logits = outputs.iter().find(|port| port.name == "logits");
    match logits.and_then(|port| port.shape.last().copied().flatten()) {
        Some(given) if given != vocabulary => Err(format!(
            "the graph gives logits for {given} ids, but config.json says vocab_size {vocabulary}; both must come from one export"
        )),
        _ => Ok(()),
    }
}

/// Takes `logits` from a step's outputs, `[rows, positions, vocabulary]`.
pub(super) fn logits_of(outputs: Vec<(String, Tensor)>, rows: usize, vocabulary: usize) -> Result<Logits, EngineError> {
    let wrong =
        |what: String| EngineError::Run(format!("`logits` {what}; graph and config.json must come from one export"));
    let Some((_, tensor)) = outputs.into_iter().find(|(name, _)| name == "logits") else {
        return Err(EngineError::Run("the graph gave no `logits`".into()));
    };
    let shape = tensor.shape;
    let TensorData::F32(data) = tensor.data else { return Err(wrong("holds no floats".into())) };
    if shape.len() != 3 || shape[0] != rows || shape[2] != vocabulary {
        return Err(wrong(format!(
            "has the shape {shape:?}, but for {rows} rows it is [{rows}, positions, {vocabulary}]"
        )));
    }
    Logits::new(data, rows, vocabulary).ok_or_else(|| wrong("is empty".into()))
}
