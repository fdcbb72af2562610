//! A tiny Moonshine against `transformers` (`tests/goldens/speech/moonshine`).

use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::engine::tract::TractEngine;
use crate::task::transcribe::tests::{clip, copy, edit};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/speech/moonshine")
}

fn load(dir: &Path) -> Result<MoonshinePipeline, String> {
    let package = Package::open(dir).map_err(|e| e.to_string())?;
    MoonshinePipeline::load(&package, &TractEngine::default()).map_err(|e| e.to_string())
}

#[test]
fn text_and_tokens_are_transformers() {
    let pipeline = load(&golden()).expect("the tiny model loads");
    let told: Value =
        serde_json::from_slice(&std::fs::read(golden().join("golden.json")).expect("the golden is there"))
            .expect("JSON");
    for case in told["cases"].as_array().expect("cases") {
        let samples = clip(case["clip"].as_str().expect("a clip"));
        let mut listener = pipeline.listener().expect("a worker's half");
        let most = listener.most(samples.len());
        listener.listen(&samples).expect("listens");
        let (mut ids, mut logprobs) = (Vec::new(), Vec::new());
        let end = pipeline.0.end;
        listener
            .follow(most, |scores| {
                let token = best(scores).unwrap_or_default();
                ids.push(token as u64);
                logprobs.push(scores[token]);
                Ok((token as u32 != end).then_some(token as u32))
            })
            .expect("writes");
        let want: Vec<u64> = case["ids"].as_array().expect("ids").iter().filter_map(Value::as_u64).collect();
        assert_eq!(ids, want, "{}", case["clip"]);
        let avg = logprobs.iter().sum::<f32>() / logprobs.len() as f32;
        assert!((f64::from(avg) - case["avg_logprob"].as_f64().expect("a number")).abs() < 1e-3, "{avg}");
        // As one piece, which is what a whole clip without a pause is.
        let piece = Piece { start: 1600, samples, ends_in_pause: true };
        let plan = listener.plan(&TranscribeOptions::default()).expect("the defaults");
        let heard = listener.hear(&piece, &plan, &mut || Ok(())).expect("hears");
        assert_eq!(heard.text.as_deref(), case["text"].as_str());
        assert!(heard.words.iter().all(|word| word.interpolated && word.start >= 0.1 && word.end > word.start));
        let words: Vec<&str> = heard.words.iter().map(|word| word.word.as_str()).collect();
        assert_eq!(words.join(" "), case["text"].as_str().unwrap_or_default());
    }
}

#[test]
fn text_is_no_longer_than_its_sound() {
    let listener = load(&golden()).expect("the tiny model loads").listener().expect("a worker's half");
    assert_eq!([0, 1600, 16_000, 160_000, 16_000_000].map(|samples| listener.most(samples)), [0, 0, 5, 64, 193]);
}

#[test]
fn a_canary_is_recorded_and_repeated() {
    let pipeline = load(&golden()).expect("the tiny model loads");
    let canary = pipeline.record().expect("records");
    assert_eq!(pipeline.prove(&canary), Ok(()));
    let Canary::Tokens(mut other) = canary else { panic!("not tokens") };
    other.logprob -= 0.1;
    assert!(pipeline.prove(&Canary::Tokens(other)).is_err());
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
        (gone("tokenizer.json"), &["no tokenizer"]),
        (gone("onnx/encoder_model.onnx"), &["encoder_model.onnx is missing"]),
        (gone("onnx/decoder_model_merged.onnx"), &["no decoder"]),
        (set("config.json", "vocab_size", 10.into()), &["vocab_size", "10"]),
        (set("generation_config.json", "eos_token_id", 70_000.into()), &["eos_token_id", "below vocab_size"]),
        (set("preprocessor_config.json", "sampling_rate", 8000.into()), &["sampling_rate is 8000", "16000"]),
    ];
    for (i, (breaks, says)) in cases.iter().enumerate() {
        let dir = copy(&golden());
        breaks(dir.path());
        let error = load(dir.path()).expect_err("it is broken");
        assert!(says.iter().all(|part| error.contains(part)), "{i}: {error}");
    }
}
