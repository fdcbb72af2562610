//! A tiny zipformer against sherpa-onnx (`tests/goldens/speech/zipformer`).

use serde_json::Value;

use super::*;
use crate::engine::tract::TractEngine;
use crate::store::layout;
use crate::task::transcribe::tests::{clip, goldens};

fn load(dir: &Path, dtype: Option<&str>) -> Result<TransducerPipeline, String> {
    let mut package = Package::open(dir).map_err(|e| e.to_string())?;
    assert_eq!(package.manifest.family, layout::TRANSDUCER_FAMILY);
    package.manifest.dtype = dtype.map(str::to_owned);
    TransducerPipeline::load(&package, &TractEngine::default()).map_err(|e| e.to_string())
}

#[test]
fn tokens_and_times_are_sherpa_onnxs() {
    let dir = goldens().join("speech/zipformer");
    let golden: Value =
        serde_json::from_slice(&std::fs::read(dir.join("golden.json")).expect("the golden is there")).expect("JSON");
    let mut failures = Vec::new();
    for case in golden["cases"].as_array().expect("cases") {
        let name = format!("{} {} {}", case["clip"], case["dtype"], case["method"]);
        let pipeline = load(&dir, case["dtype"].as_str()).expect("the tiny model loads");
        let beams = if case["method"] == "greedy_search" { 1 } else { 4 };
        let mut listener = pipeline.listener().expect("a worker's half");
        let heard = listener.hear_whole(&clip(case["clip"].as_str().expect("a clip")), beams).expect("hears");
        let units: Vec<u32> = heard.iter().map(|(unit, _)| *unit).collect();
        let text = pipeline.0.units.spell(&units);
        if Some(text.as_str()) != case["text"].as_str().map(str::trim) {
            failures.push(format!("{name}: {text:?} instead of {}", case["text"]));
            continue;
        }
        let times = case["times"].as_array().expect("times").iter().filter_map(Value::as_f64);
        let frames: Vec<usize> = times.map(|secs| (secs / 0.04).round() as usize).collect();
        if frames != heard.iter().map(|(_, frame)| *frame).collect::<Vec<_>>() {
            failures.push(format!("{name}: at {heard:?} instead of {frames:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_canary_is_recorded_and_repeated() {
    let pipeline = load(&goldens().join("speech/zipformer"), None).expect("the tiny model loads");
    let canary = pipeline.record().expect("records");
    assert_eq!(pipeline.prove(&canary), Ok(()));
    let Canary::Tokens(mut other) = canary else { panic!("not tokens") };
    other.logprob -= 0.1;
    assert!(pipeline.prove(&Canary::Tokens(other)).is_err());
}

#[test]
fn tokens_are_read_by_their_ids() {
    let (names, unknown) = tokens("<blk> 0\n<unk> 2\n▁a 1\nb 3\n").expect("well formed");
    assert_eq!((names, unknown), (vec!["<blank>".into(), "▁a".into(), "<unk>".into(), "b".into()], Some(2)));
    for (text, says) in
        [("a", "line 1"), ("a 0\nb 0", "stands twice"), ("a 0\nb 2", "without a gap"), ("a 0", "1 tokens")]
    {
        assert!(tokens(text).expect_err(text).contains(says), "{text}");
    }
}

#[test]
fn a_broken_package_is_refused_with_what_is_wrong() {
    let refused = |breaks: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().expect("temporary directory");
        for file in ["encoder.onnx", "decoder.onnx", "joiner.onnx", "tokens.txt"] {
            std::fs::copy(goldens().join("speech/zipformer").join(file), dir.path().join(file)).expect("copies");
        }
        breaks(dir.path());
        load(dir.path(), None).expect_err("it is broken")
    };
    let error = refused(&|dir| std::fs::remove_file(dir.join("decoder.onnx")).expect("removes"));
    assert!(error.contains("decoder*.onnx is missing"), "{error}");
    let error = refused(&|dir| std::fs::write(dir.join("tokens.txt"), "<blk> 0\na 1\n").expect("writes"));
    assert!(error.contains("40 logits") && error.contains("2 tokens"), "{error}");
    let error =
        refused(&|dir| std::fs::copy(dir.join("encoder.onnx"), dir.join("decoder.onnx")).map(|_| ()).expect("copies"));
    assert!(error.contains("decoder.onnx"), "{error}");
}
