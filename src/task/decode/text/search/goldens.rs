//! Against `transformers`' `generate`: `tests/goldens/decode/searches.json`.

use std::sync::Arc;

use linnet_proto::generate::DecodeOptions;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::alphabet::Alphabet;
use super::super::generation::{Generation, Outcome, Prompt, Setting};
use super::super::{GenerationConfig, ResolvedOptions, Vocabulary};
use crate::task::model::fake::{FakeLanguageModel, hashed_logit};

#[derive(Deserialize)]
struct Case {
    name: String,
    model: ToyModel,
    prompt: Vec<u32>,
    max_new_tokens: u64,
    config: Map<String, Value>,
    expected: Vec<Vec<u32>>,
    scores: Option<Vec<f32>>,
}

#[derive(Deserialize)]
struct ToyModel {
    vocab_size: usize,
    seed: u32,
    end_bias: f32,
    ends: Vec<u32>,
}

fn run(case: &Case) -> Outcome {
    let ToyModel { vocab_size, seed, end_bias, ends } = &case.model;
    let (size, seed, end_bias, ends) = (*vocab_size, *seed, *end_bias, ends.clone());
    let mut model = FakeLanguageModel::new(size, move |ids| {
        let logit = |token| hashed_logit(seed, ids, token) + if ends.contains(&token) { end_bias } else { 0.0 };
        (0..size as u32).map(logit).collect()
    });
    let n = case.config.get("num_return_sequences").and_then(Value::as_u64).unwrap_or(1) as u32;
    let config = GenerationConfig::of_generation_config(case.config.clone()).expect("a configuration");
    let request = DecodeOptions {
        max_tokens: Some(case.max_new_tokens),
        n: Some(n),
        return_token_ids: true,
        ..DecodeOptions::default()
    };
    let options = ResolvedOptions::resolve(&config, &request, size).expect("options");
    let vocabulary = Arc::new(Vocabulary::new(Box::new(Alphabet::new(&[])), size, &options.ends));
    let setting = Setting { vocabulary, prefixes: None, processors: Vec::new() };
    let prompt = Prompt { ids: case.prompt.clone(), ..Prompt::default() };
    let generation = Generation::new(&model, setting, prompt, options).expect("begins");
    generation.run(&mut model, &(), &mut |_| Ok(())).expect("runs")
}

#[test]
fn searches_find_what_transformers_finds() {
    let text = include_str!("../../../../../tests/goldens/decode/searches.json");
    let cases: Vec<Case> = serde_json::from_str(text).expect("searches.json");
    assert!(cases.len() > 200, "{} cases", cases.len());
    for case in cases {
        let outcome = run(&case);
        let found: Vec<Vec<u32>> = outcome.choices.iter().map(|c| c.token_ids.clone().unwrap_or_default()).collect();
        assert_eq!(found, case.expected, "{}", case.name);
        for (choice, score) in outcome.choices.iter().zip(case.scores.iter().flatten()) {
            let own = choice.score.expect("a beam has a score");
            assert!((own - score).abs() <= 1e-4 * score.abs().max(1.0), "{}: {own}, expected {score}", case.name);
        }
    }
}
