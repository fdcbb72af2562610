//! Operators of ONNX Runtime, each alone, against ONNX Runtime: `tests/goldens/operators`, made by its `generate.py`.

use base64::Engine as _;
use serde_json::Value;

use super::*;
use crate::engine::TensorData;

fn cases() -> Vec<Value> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/operators/cases.json");
    let cases: Value = serde_json::from_slice(&std::fs::read(path).expect("it is part of the tree")).expect("JSON");
    cases.as_array().expect("a list").clone()
}

fn shape(array: &Value) -> Vec<usize> {
    array["shape"].as_array().expect("a shape").iter().map(|v| v.as_u64().expect("a size") as usize).collect()
}

fn floats(array: &Value) -> Vec<f32> {
    array["values"].as_array().expect("values").iter().map(|v| v.as_f64().expect("a number") as f32).collect()
}

fn tensor(array: &Value) -> Tensor {
    let integers: Vec<i64> = array["values"].as_array().expect("values").iter().filter_map(Value::as_i64).collect();
    let data = match array["type"].as_str().expect("a type") {
        "float32" => TensorData::F32(floats(array)),
        "int64" => TensorData::I64(integers),
        "int32" => TensorData::I32(integers.iter().map(|v| *v as i32).collect()),
        "uint8" => TensorData::U8(integers.iter().map(|v| *v as u8).collect()),
        other => panic!("an input of type {other}"),
    };
    Tensor { shape: shape(array), data }
}

/// The largest difference over the largest value of the outputs.
fn difference(case: &Value, plain: bool) -> Result<f32, String> {
    let bytes = base64::prelude::BASE64_STANDARD.decode(case["model"].as_str().expect("a model")).expect("base64");
    let dir = package_of(&bytes);
    let engine = TractEngine { plain };
    let model = engine.load_model(dir.path(), std::path::Path::new("model.onnx")).map_err(|e| e.to_string())?;
    let inputs: Vec<(String, Tensor)> =
        case["inputs"].as_object().expect("inputs").iter().map(|(name, array)| (name.clone(), tensor(array))).collect();
    // Inputs that say what shapes do are not read.
    let read: Vec<(&str, Tensor)> = inputs
        .iter()
        .filter(|(name, _)| model.inputs().iter().any(|port| port.name == *name))
        .map(|(name, tensor)| (name.as_str(), tensor.clone()))
        .collect();
    let outputs = model.open().and_then(|mut session| session.run(&read)).map_err(|e| e.to_string())?;
    let mut worst = 0f32;
    for (name, want) in case["outputs"].as_object().expect("outputs") {
        let (_, have) = outputs.iter().find(|(own, _)| own == name).ok_or_else(|| format!("no output {name}"))?;
        if have.shape != shape(want) {
            return Err(format!("{name} is {:?} instead of {:?}", have.shape, shape(want)));
        }
        let have: Vec<f32> = match &have.data {
            TensorData::F32(v) => v.clone(),
            TensorData::I64(v) => v.iter().map(|v| *v as f32).collect(),
            other => return Err(format!("{name} is {other:?}")),
        };
        let want = floats(want);
        let most = want.iter().fold(1e-3f32, |most, v| most.max(v.abs()));
        for (have, want) in have.iter().zip(&want) {
            let off = (have - want).abs() / most;
            worst = if off.is_nan() { f32::INFINITY } else { worst.max(off) };
        }
    }
    Ok(worst)
}

#[test]
fn every_operator_of_onnx_runtime_gives_what_it_gives_there() {
    let only = std::env::var("LINNET_GOLDEN").ok();
    let (mut failures, mut ran) = (Vec::new(), 0);
    for case in cases() {
        let name = case["name"].as_str().expect("a name");
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        // There the activations of an LSTM are quantized, too.
        let tolerance = if name.starts_with("dynamic_lstm") { 2e-2 } else { 2e-5 };
        for plain in [false, true] {
            ran += 1;
            match difference(&case, plain) {
                Ok(off) if off <= tolerance => {}
                Ok(off) => failures.push(format!("{name}{}: off by {off:.1e}", if plain { " (plain)" } else { "" })),
                Err(reason) => failures.push(format!("{name}{}: {reason}", if plain { " (plain)" } else { "" })),
            }
        }
    }
    assert!(ran > 0, "there are no cases");
    assert!(failures.is_empty(), "{} of {ran}:\n{}", failures.len(), failures.join("\n"));
}
