//! Tiny wav2vec2, HuBERT and WavLM models against `transformers` (`tests/goldens/speech`), and what such a package must not be.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;
use crate::engine::tract::TractEngine;
use crate::task::decode::ctc::greedy;
use crate::task::decode::{HotWords, LogProbs};
use crate::task::transcribe::tests::{clip, copy, edit, goldens};

const FAMILIES: [&str; 3] = ["wav2vec2", "hubert", "wavlm"];

fn golden(family: &str) -> PathBuf {
    goldens().join("speech").join(family)
}

fn load(dir: &Path) -> Result<TranscribePipeline, String> {
    let package = Package::open(dir).map_err(|e| e.to_string())?;
    assert_eq!(package.manifest.tasks, ["transcribe"]);
    TranscribePipeline::load_foreign(&package, &TractEngine::default()).map_err(|e| e.to_string())
}

fn compare(family: &str, case: &Value) -> Result<(), String> {
    let pipeline = load(&golden(family))?;
    let samples = clip(case["clip"].as_str().ok_or("no clip")?);
    let mut recognizer = pipeline.recognizer().map_err(|e| e.to_string())?;
    let data = recognizer.log_probs(&samples).map_err(|e| e.to_string())?;
    let units = pipeline.0.acoustics.units;
    let path = data.chunks_exact(units).map(|frame| {
        let best = (0..units).max_by(|a, b| frame[*a].total_cmp(&frame[*b]).then(b.cmp(a)));
        best.unwrap_or_default() as u64
    });
    let want: Vec<u64> = case["path"].as_array().ok_or("no path")?.iter().filter_map(Value::as_u64).collect();
    if path.clone().collect::<Vec<_>>() != want {
        return Err(format!("heard {:?} instead of {want:?}", path.collect::<Vec<_>>()));
    }
    let heard = recognizer.hear(&samples, &SearchParams::default(), &HotWords::default()).map_err(|e| e.to_string())?;
    let mean_best = case["mean_best"].as_f64().ok_or("no mean_best")?;
    if (heard.mean_best - mean_best).abs() > 1e-3 {
        return Err(format!("a mean log-probability of {} instead of {mean_best}", heard.mean_best));
    }
    if Some(heard.decoded.text.as_str()) != case["text"].as_str() {
        return Err(format!("heard {:?} instead of {}", heard.decoded.text, case["text"]));
    }
    let frame = recognizer.frame_secs();
    let words = heard.decoded.words.iter().map(|word| {
        let secs = |frames: usize| (frames as f64 * frame * 100.0).round() / 100.0;
        serde_json::json!([word.text, secs(word.start_frame), secs(word.end_frame)])
    });
    let words = Value::Array(words.collect());
    if words != case["words"] {
        return Err(format!("words {words} instead of {}", case["words"]));
    }
    // What a beam without a language model finds is at least as likely, and here the same.
    let beam = SearchParams { beam_width: 8, ..SearchParams::default() };
    let beamed = recognizer.hear(&samples, &beam, &HotWords::default()).map_err(|e| e.to_string())?;
    if beamed.decoded.text != heard.decoded.text {
        return Err(format!("a beam heard {:?}", beamed.decoded.text));
    }
    Ok(())
}

#[test]
fn units_words_and_times_are_transformers() {
    let mut failures = Vec::new();
    for family in FAMILIES {
        let told = std::fs::read(golden(family).join("golden.json")).expect("the golden is there");
        let told: Value = serde_json::from_slice(&told).expect("JSON");
        for case in told["cases"].as_array().expect("cases") {
            if let Err(reason) = compare(family, case) {
                failures.push(format!("{family}, {}: {reason}", case["clip"]));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_canary_is_recorded_and_notices_another_model() {
    let own = load(&golden("wav2vec2")).expect("loads");
    let dir = copy(&golden("wav2vec2"));
    let mut graph = std::fs::read(dir.path().join("model.onnx")).expect("reads");
    // The numbers of a tensor follow its name, a tag and their length.
    let name = b"lm_head.bias";
    let numbers = graph.windows(name.len()).rposition(|window| window == name).expect("is there") + name.len() + 2;
    graph[numbers..numbers + 16].fill(0);
    std::fs::write(dir.path().join("model.onnx"), graph).expect("writes");
    let other = load(dir.path()).expect("loads");
    let canary = own.record().expect("records");
    assert_eq!(own.prove(&canary), Ok(()));
    assert!(other.prove(&canary).is_err());
    let Canary::Tokens(mut damaged) = canary else { panic!("not tokens") };
    damaged.logprob -= 0.1;
    assert!(own.prove(&Canary::Tokens(damaged)).expect_err("another print").contains("mean log-probability"));
}

#[test]
fn a_margin_of_a_golden_is_wider_than_rounding() {
    // Otherwise the comparison above could not tell a fault from another order of sums.
    let pipeline = load(&golden("wav2vec2")).expect("loads");
    let data = pipeline.recognizer().expect("a session").log_probs(&clip("short")).expect("runs");
    let log_probs = LogProbs::new(&data, pipeline.0.acoustics.units).expect("log-probabilities");
    assert!(greedy::margin(log_probs, pipeline.0.units.blank()) > 1e-3);
}

#[test]
fn a_broken_package_is_refused_with_what_is_wrong() {
    type Break = Box<dyn Fn(&Path)>;
    let gone =
        |file: &'static str| -> Break { Box::new(move |dir| std::fs::remove_file(dir.join(file)).expect("removes")) };
    let set = |file: &'static str, key: &'static str, to: Value| -> Break {
        Box::new(move |dir| edit(&dir.join(file), |value| value[key] = to.clone()))
    };
    let cases: Vec<(Break, &[&str])> = vec![
        (gone("vocab.json"), &["vocab.json", "missing"]),
        (gone("model.onnx"), &["it holds no graph", "model.onnx"]),
        (set("config.json", "vocab_size", 9.into()), &["vocab_size is 9", "one export"]),
        (set("config.json", "vocab_size", 500.into()), &["no unit has the id", "500"]),
        (set("config.json", "conv_stride", serde_json::json!([5, 2])), &["conv_kernel and conv_stride"]),
        (set("config.json", "conv_stride", serde_json::json!([5, 2, 2, 2, 2, 2, 1])), &["instead of", "one export"]),
        (set("preprocessor_config.json", "sampling_rate", 8000.into()), &["sampling_rate is 8000"]),
    ];
    for (i, (breaks, says)) in cases.iter().enumerate() {
        let dir = copy(&golden("wav2vec2"));
        breaks(dir.path());
        let error = load(dir.path()).expect_err("it is broken");
        assert!(says.iter().all(|part| error.contains(part)), "{i}: {error}");
    }
}
