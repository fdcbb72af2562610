//! Against `transformers`: `tests/goldens/decode/processors.json`.

use std::sync::Arc;

use linnet_proto::generate::DecodeOptions;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::alphabet::Alphabet;
use super::super::config::GenerationConfig;
use super::super::options::{Lengths, ResolvedOptions};
use super::super::vocabulary::Vocabulary;
use super::build::{processors, warpers};
use super::{History, Process};

#[derive(Deserialize)]
struct Case {
    name: String,
    config: Map<String, Value>,
    ids: Vec<u32>,
    prompt: usize,
    heard: Option<Vec<u32>>,
    max_new_tokens: usize,
    scores: Vec<f32>,
    expected: Vec<Option<f32>>,
}

impl Case {
    fn scores(&self) -> Vec<f32> {
        let config = GenerationConfig::of_generation_config(self.config.clone()).expect("a configuration");
        let size = self.scores.len();
        let options = ResolvedOptions::resolve(&config, &DecodeOptions::default(), size).expect("options");
        let vocabulary = Arc::new(Vocabulary::new(Box::new(Alphabet::new(&[])), size, &[]));
        let lengths = Lengths { most: self.max_new_tokens, least: config.min_new_tokens.unwrap_or(0) };
        let history = History { ids: &self.ids, prompt: self.prompt };
        let mut scores = self.scores.clone();
        processors(&options, lengths, self.heard.as_deref(), &vocabulary, &[]).apply(&history, &mut scores);
        warpers(&options).apply(&history, &mut scores);
        scores
    }

    fn agrees(&self, scores: &[f32]) -> bool {
        scores.iter().zip(&self.expected).all(|(score, expected)| match expected {
            None => *score == f32::NEG_INFINITY,
            Some(expected) => (score - expected).abs() <= 1e-5 * expected.abs().max(1.0),
        })
    }
}

fn cases() -> Vec<Case> {
    let text = include_str!("../../../../../tests/goldens/decode/processors.json");
    serde_json::from_str(text).expect("processors.json")
}

#[test]
fn scores_are_processed_as_transformers_does() {
    let cases = cases();
    assert!(cases.len() > 100, "{} cases", cases.len());
    for case in cases {
        let scores = case.scores();
        assert!(case.agrees(&scores), "{}: {scores:?}, expected {:?}", case.name, case.expected);
    }
}

#[test]
fn every_case_has_something_to_do() {
    let idle =
        ["over", "not yet", "reached", "longer than", "as long as", "beyond", "top p 0.999", "min p 0.0 ", "eta"];
    for case in cases() {
        let may_be = idle.iter().any(|part| case.name.contains(part));
        assert!(may_be || !case.agrees(&case.scores), "{} changes nothing", case.name);
    }
}
