//! One run of a golden.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::causal::CausalGraph;
use super::super::seq2seq::{DecoderFiles, Encoded, Seq2SeqGraph};
use super::super::{LanguageModel, Logits};
use crate::engine::tract::TractEngine;
use crate::engine::{Datum, Engine, Positions, Tensor, TensorData};

/// How far a run is from its reference.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    /// Ids that were chosen; 0 for what gives no ids.
    pub(super) steps: usize,
    /// Of them, those that are the reference's.
    pub(super) equal: usize,
    /// The largest difference, over the reference's largest.
    pub(super) worst: f32,
    /// The first id that is another although the reference was sure of its own: its margin over twice the error.
    wrong: Option<String>,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} ids, off by {:.1e}", self.equal, self.steps, self.worst)
    }
}

/// Largest difference over the reference's largest that is accepted.
fn tolerance(dtype: &str) -> f32 {
    if dtype == "f32" { 2e-4 } else { 1e-2 }
}

impl Outcome {
    /// The reason why a run is too far from its reference.
    pub(super) fn within(&self, dtype: &str) -> Result<(), String> {
        if self.worst.is_nan() || self.worst > tolerance(dtype) {
            return Err(format!("off by {:.2e} of the largest", self.worst));
        }
        self.wrong.clone().map_or(Ok(()), Err)
    }

    /// Adds one step. `chosen` is the reference's id, which its logits need not prefer when it is `forced`.
    fn add(&mut self, place: &str, logits: &Logits, step: &Value, chosen: u32, forced: bool) {
        let row = logits.last(0);
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN) as f32;
        let top = ids(&step["top_ids"]);
        let values: Vec<f32> = step["top_logits"].as_array().into_iter().flatten().map(number).collect();
        let max_abs = number(&step["max_abs"]);
        let off = top.iter().zip(&values).map(|(id, v)| (row[*id as usize] - v).abs()).fold(0.0, f32::max) / max_abs;
        // What is no number is not within any tolerance.
        self.worst = if off.is_nan() { f32::INFINITY } else { self.worst.max(off) };
        if forced {
            return;
        }
        self.steps += 1;
        let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0) as u32;
        if best == top[0] {
            self.equal += 1;
        } else if (values[0] - values[1]) / max_abs > 2.0 * off && self.wrong.is_none() {
            self.wrong = Some(format!("{place}: chose {best} instead of {chosen}"));
        }
    }
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().into_iter().flatten().filter_map(Value::as_u64).map(|id| id as u32).collect()
}

/// Runs what a golden's run holds; `None` for kinds that are tested elsewhere.
pub(super) fn run(dir: &Path, golden: &Value, run: &Value, config: &Value) -> Option<Result<Outcome, String>> {
    match golden["kind"].as_str().unwrap_or_default() {
        "decoder" => Some(decoder(dir, run, config)),
        "seq2seq" => Some(seq2seq(dir, run, config)),
        "encoder" => Some(encoder(dir, run)),
        _ => None,
    }
}

/// What is quantized at run time is quantized over all positions of a step together: only a prompt in one piece gives what the
/// reference, which had it so, gives.
fn in_one_piece(dtype: &str) -> bool {
    matches!(dtype, "int8" | "uint8")
}

fn decoder(dir: &Path, run: &Value, config: &Value) -> Result<Outcome, String> {
    let dtype = run["dtype"].as_str().unwrap_or("f32");
    let vocabulary =
        config["vocab_size"].as_u64().or(config["text_config"]["vocab_size"].as_u64()).ok_or("no vocab_size")?;
    let onnx = run["files"]["decoder"].as_str().ok_or("no decoder")?;
    let graph = CausalGraph::load(&TractEngine::default(), dir, Path::new(onnx), None, vocabulary as usize)
        .map_err(|e| e.to_string())?;
    let mut model = graph.open().map_err(|e| e.to_string())?;
    let mut outcome = Outcome::default();
    for case in run["cases"].as_array().into_iter().flatten() {
        let (prompt, chosen) = (ids(&case["prompt"]), ids(&case["ids"]));
        let mut sequences = model.begin().map_err(|e| e.to_string())?;
        // In two pieces, as a long prompt is prefilled.
        let (head, tail) = prompt.split_at(if in_one_piece(dtype) { 0 } else { prompt.len() / 2 });
        if !head.is_empty() {
            model.step(&mut sequences, &[head.to_vec()], Positions::Last).map_err(|e| e.to_string())?;
        }
        let mut fed = tail.to_vec();
        for (i, (step, id)) in case["steps"].as_array().into_iter().flatten().zip(&chosen).enumerate() {
            let place = format!("prompt of {}, step {i}", prompt.len());
            let logits = model.step(&mut sequences, &[fed], Positions::Last).map_err(|e| format!("{place}: {e}"))?;
            outcome.add(&place, &logits, step, *id, false);
            fed = vec![*id];
        }
    }
    Ok(outcome)
}

fn seq2seq(dir: &Path, run: &Value, config: &Value) -> Result<Outcome, String> {
    let vocabulary = config["decoder_vocab_size"].as_u64().or(config["vocab_size"].as_u64()).ok_or("no vocab_size")?;
    let path = |role: &str| run["files"][role].as_str().map(PathBuf::from);
    let decoder = path("decoder").ok_or("no decoder")?;
    let files = match path("decoder_with_past") {
        Some(with_past) => DecoderFiles { first: Some(decoder), with_past: Some(with_past), merged: None },
        None => DecoderFiles { merged: Some(decoder), ..DecoderFiles::default() },
    };
    let engine = TractEngine::default();
    let encoder = path("encoder").ok_or("no encoder")?;
    let encoder = engine.load(dir, &encoder).map_err(|e| e.to_string())?;
    let graph = Seq2SeqGraph::load(&engine, dir, &files, None, vocabulary as usize).map_err(|e| e.to_string())?;
    let mut model = graph.open().map_err(|e| e.to_string())?;
    let mut session = encoder.session().map_err(|e| e.to_string())?;
    let mut outcome = Outcome::default();
    for case in run["cases"].as_array().into_iter().flatten() {
        let input: Vec<i64> = ids(&case["input_ids"]).into_iter().map(i64::from).collect();
        let n = input.len();
        // Padded inputs say what is padding.
        let mask = match case["attention_mask"].as_array() {
            Some(mask) => mask.iter().filter_map(Value::as_i64).collect(),
            None => vec![1i64; n],
        };
        let mut inputs = Vec::new();
        for port in encoder.inputs() {
            inputs.push(match port.name.as_str() {
                "input_ids" => ("input_ids", Tensor::i64([1, n], input.clone())),
                "attention_mask" => ("attention_mask", Tensor::i64([1, n], mask.clone())),
                other => return Err(format!("the encoder takes {other}")),
            });
        }
        let states = session.run(&inputs).map_err(|e| format!("encoder: {e}"))?.remove(0).1;
        model.listen(Encoded { states, mask });
        let mut sequences = model.begin().map_err(|e| format!("cross: {e}"))?;
        let chosen = ids(&case["ids"]);
        let mut fed = ids(&case["start"]);
        let forced = case["forced_bos_token_id"].as_u64().is_some();
        for (i, (step, id)) in case["steps"].as_array().into_iter().flatten().zip(&chosen).enumerate() {
            let place = format!("input of {n}, step {i}");
            let logits = model.step(&mut sequences, &[fed], Positions::Last).map_err(|e| format!("{place}: {e}"))?;
            outcome.add(&place, &logits, step, *id, forced && i == 0);
            fed = vec![*id];
        }
    }
    Ok(outcome)
}

/// The numbers of an array, which may lie in a file.
fn array(dir: &Path, value: &Value) -> Vec<f32> {
    match value["file"].as_str() {
        Some(file) => {
            let bytes = std::fs::read(dir.join(file)).expect("the golden's file is there");
            bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        }
        None => {
            value["values"].as_array().into_iter().flatten().map(|v| v.as_f64().unwrap_or(f64::NAN) as f32).collect()
        }
    }
}

/// An input: rows of integers, or an array of floats.
fn input(dir: &Path, value: &Value, datum: Datum) -> Tensor {
    if let Some(rows) = value.as_array() {
        let data: Vec<i64> =
            rows.iter().flat_map(|row| row.as_array().into_iter().flatten()).filter_map(Value::as_i64).collect();
        let shape = [rows.len(), data.len() / rows.len().max(1)];
        return match datum {
            Datum::I32 => {
                Tensor { shape: shape.to_vec(), data: TensorData::I32(data.into_iter().map(|v| v as i32).collect()) }
            }
            _ => Tensor::i64(shape, data),
        };
    }
    let shape: Vec<usize> =
        value["shape"].as_array().into_iter().flatten().filter_map(Value::as_u64).map(|size| size as usize).collect();
    Tensor::f32(shape, array(dir, value))
}

fn encoder(dir: &Path, run: &Value) -> Result<Outcome, String> {
    let onnx = run["files"]["model"].as_str().ok_or("no model")?;
    let model = TractEngine::default().load(dir, Path::new(onnx)).map_err(|e| e.to_string())?;
    let mut session = model.session().map_err(|e| e.to_string())?;
    let mut outcome = Outcome::default();
    for case in run["cases"].as_array().into_iter().flatten() {
        let mut inputs = Vec::new();
        for port in model.inputs() {
            let value = &case["inputs"][&port.name];
            if value.is_null() {
                return Err(format!("the golden has no {}", port.name));
            }
            inputs.push((port.name.as_str(), input(dir, value, port.datum)));
        }
        let outputs = session.run(&inputs).map_err(|e| e.to_string())?;
        // transformers answers more than an export does.
        let whole = run["reference"] == "transformers";
        let exported: HashSet<&str> = model.outputs().iter().map(|port| port.name.as_str()).collect();
        if !case["outputs"].as_object().is_some_and(|golden| golden.keys().any(|name| exported.contains(name.as_str())))
        {
            return Err(format!("none of the golden's outputs is one of the graph's: {exported:?}"));
        }
        for (name, golden) in case["outputs"].as_object().into_iter().flatten() {
            if whole && !exported.contains(name.as_str()) {
                continue;
            }
            let (_, ours) = outputs.iter().find(|(own, _)| own == name).ok_or_else(|| format!("no output {name}"))?;
            let TensorData::F32(ours) = &ours.data else { return Err(format!("{name} holds no floats")) };
            let golden = array(dir, golden);
            if ours.len() != golden.len() {
                return Err(format!("{name} has {} values instead of {}", ours.len(), golden.len()));
            }
            let max = golden.iter().fold(0f32, |m, v| m.max(v.abs()));
            let off = ours.iter().zip(&golden).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / max;
            outcome.worst = if off.is_nan() { f32::INFINITY } else { outcome.worst.max(off) };
        }
    }
    Ok(outcome)
}
