//! Every family's tiny model against the reference: `tests/goldens/families`, whose README gives the format.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::causal::CausalGraph;
use super::seq2seq::{DecoderFiles, Encoded, Seq2SeqGraph};
use super::{LanguageModel, Logits};
use crate::engine::tract::TractEngine;
use crate::engine::{Engine, Positions, Tensor, TensorData};

fn families() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/families")
}

/// Directories with a golden; `LINNET_GOLDENS` names another place, `LINNET_GOLDEN` one of them.
fn directories() -> Vec<PathBuf> {
    let root = std::env::var_os("LINNET_GOLDENS").map_or_else(families, PathBuf::from);
    let only = std::env::var("LINNET_GOLDEN").ok();
    let mut found: Vec<PathBuf> = std::fs::read_dir(&root)
        .expect("the goldens are part of the tree")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("golden.json").is_file())
        .filter(|path| only.as_ref().is_none_or(|only| path.ends_with(only)))
        .collect();
    found.sort();
    found
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("it is there")).expect("it is JSON")
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().into_iter().flatten().filter_map(Value::as_u64).map(|id| id as u32).collect()
}

/// Largest difference over max |logit| that is accepted.
fn tolerance(dtype: &str) -> f32 {
    if dtype == "f32" { 2e-4 } else { 1e-2 }
}

/// Compares one step; the error says by how much it is off.
fn compare(logits: &Logits, step: &Value, chosen: u32, dtype: &str, forced: bool) -> Result<f32, String> {
    let row = logits.last(0);
    let max_abs = step["max_abs"].as_f64().unwrap_or(1.0) as f32;
    let top = ids(&step["top_ids"]);
    let values: Vec<f32> =
        step["top_logits"].as_array().into_iter().flatten().map(|v| v.as_f64().unwrap() as f32).collect();
    let off = top.iter().zip(&values).map(|(id, v)| (row[*id as usize] - v).abs()).fold(0.0, f32::max) / max_abs;
    if !(off <= tolerance(dtype)) {
        return Err(format!("off by {off:.2e} of max |logit|"));
    }
    let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0) as u32;
    let margin = (values[0] - values[1]) / max_abs;
    if !forced && top[0] == chosen && best != chosen && margin > 2.0 * off {
        return Err(format!("chose {best} instead of {chosen}"));
    }
    Ok(off)
}

fn decoder(dir: &Path, run: &Value, config: &Value) -> Result<f32, String> {
    let dtype = run["dtype"].as_str().unwrap_or("f32");
    let vocabulary =
        config["vocab_size"].as_u64().or(config["text_config"]["vocab_size"].as_u64()).ok_or("no vocab_size")?;
    let onnx = run["files"]["decoder"].as_str().ok_or("no decoder")?;
    let graph = CausalGraph::load(&TractEngine::default(), dir, Path::new(onnx), None, vocabulary as usize)
        .map_err(|e| e.to_string())?;
    let mut model = graph.open().map_err(|e| e.to_string())?;
    let mut worst = 0f32;
    for case in run["cases"].as_array().into_iter().flatten() {
        let (prompt, chosen) = (ids(&case["prompt"]), ids(&case["ids"]));
        let mut sequences = model.begin().map_err(|e| e.to_string())?;
        // In two pieces, as a long prompt is prefilled.
        let (head, tail) = prompt.split_at(prompt.len() / 2);
        if !head.is_empty() {
            model.step(&mut sequences, &[head.to_vec()], Positions::Last).map_err(|e| e.to_string())?;
        }
        let mut fed = tail.to_vec();
        for (i, (step, id)) in case["steps"].as_array().into_iter().flatten().zip(&chosen).enumerate() {
            let logits = model.step(&mut sequences, &[fed], Positions::Last).map_err(|e| format!("step {i}: {e}"))?;
            worst = worst.max(
                compare(&logits, step, *id, dtype, false)
                    .map_err(|e| format!("prompt of {}, step {i}: {e}", prompt.len()))?,
            );
            fed = vec![*id];
        }
    }
    Ok(worst)
}

fn seq2seq(dir: &Path, run: &Value, config: &Value) -> Result<f32, String> {
    let dtype = run["dtype"].as_str().unwrap_or("f32");
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
    let mut worst = 0f32;
    for case in run["cases"].as_array().into_iter().flatten() {
        let input: Vec<i64> = ids(&case["input_ids"]).into_iter().map(i64::from).collect();
        let (n, mask) = (input.len(), vec![1i64; input.len()]);
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
            let logits = model.step(&mut sequences, &[fed], Positions::Last).map_err(|e| format!("step {i}: {e}"))?;
            worst =
                worst.max(compare(&logits, step, *id, dtype, forced && i == 0).map_err(|e| format!("step {i}: {e}"))?);
            fed = vec![*id];
        }
    }
    Ok(worst)
}

fn array(dir: &Path, value: &Value) -> Vec<f32> {
    match value["file"].as_str() {
        Some(file) => {
            let bytes = std::fs::read(dir.join(file)).expect("the golden's file is there");
            bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        }
        None => value["values"].as_array().into_iter().flatten().map(|v| v.as_f64().unwrap() as f32).collect(),
    }
}

fn encoder(dir: &Path, run: &Value) -> Result<f32, String> {
    let dtype = run["dtype"].as_str().unwrap_or("f32");
    let onnx = run["files"]["model"].as_str().ok_or("no model")?;
    let model = TractEngine::default().load(dir, Path::new(onnx)).map_err(|e| e.to_string())?;
    let mut session = model.session().map_err(|e| e.to_string())?;
    let mut worst = 0f32;
    for case in run["cases"].as_array().into_iter().flatten() {
        let mut inputs = Vec::new();
        for port in model.inputs() {
            let rows =
                case["inputs"][&port.name].as_array().ok_or_else(|| format!("the golden has no {}", port.name))?;
            let data: Vec<i64> =
                rows.iter().flat_map(|row| row.as_array().into_iter().flatten()).map(|v| v.as_i64().unwrap()).collect();
            let shape = [rows.len(), data.len() / rows.len()];
            inputs.push((port.name.as_str(), Tensor::i64(shape, data)));
        }
        let outputs = session.run(&inputs).map_err(|e| e.to_string())?;
        for (name, golden) in case["outputs"].as_object().into_iter().flatten() {
            let (_, ours) = outputs.iter().find(|(own, _)| own == name).ok_or_else(|| format!("no output {name}"))?;
            let TensorData::F32(ours) = &ours.data else { return Err(format!("{name} holds no floats")) };
            let golden = array(dir, golden);
            if ours.len() != golden.len() {
                return Err(format!("{name} has {} values instead of {}", ours.len(), golden.len()));
            }
            let max = golden.iter().fold(0f32, |m, v| m.max(v.abs()));
            let off = ours.iter().zip(&golden).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / max;
            if !(off <= tolerance(dtype)) {
                return Err(format!("{name} is off by {off:.2e} of its largest"));
            }
            worst = worst.max(off);
        }
    }
    Ok(worst)
}

#[test]
fn every_family_answers_as_the_reference_does() {
    let mut failures = Vec::new();
    let mut ran = 0;
    for dir in directories() {
        let golden = json(&dir.join("golden.json"));
        let config = json(&dir.join("config.json"));
        for run in golden["runs"].as_array().into_iter().flatten() {
            let kind = golden["kind"].as_str().unwrap_or_default();
            let name = format!("{} {}", dir.file_name().unwrap().display(), run["dtype"].as_str().unwrap_or_default());
            let result = match kind {
                "decoder" => decoder(&dir, run, &config),
                "seq2seq" => seq2seq(&dir, run, &config),
                "encoder" => encoder(&dir, run),
                _ => continue,
            };
            ran += 1;
            match result {
                Ok(worst) => eprintln!("{name}: off by at most {worst:.1e} of max |logit|"),
                Err(reason) => failures.push(format!("{name}: {reason}")),
            }
        }
    }
    assert!(ran > 0, "there are no goldens");
    assert!(failures.is_empty(), "{} of {ran}:\n{}", failures.len(), failures.join("\n"));
}
