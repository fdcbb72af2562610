//! Whole generations on every family's tiny model, against `transformers`' `generate`: `tests/goldens/families`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use linnet_proto::generate::{Choice, Constraint, DecodeOptions, FinishReason};
use serde_json::Value;

use super::alphabet::Alphabet;
use super::{Generation, GenerationConfig, PrefixCache, Prompt, ResolvedOptions, Setting, Spell, Vocabulary};
use crate::engine::tract::TractEngine;
use crate::engine::{Engine, Tensor};
use crate::status::metrics::PrefixCounts;
use crate::task::model::LanguageModel;
use crate::task::model::causal::{Causal, CausalGraph};
use crate::task::model::seq2seq::{DecoderFiles, Encoded, Seq2Seq, Seq2SeqGraph};
use crate::task::tokenizer::TextTokenizer;

/// A family's directory with the f32 run of its golden.
struct Family {
    dir: PathBuf,
    golden: Value,
    run: Value,
    vocabulary: usize,
    config: GenerationConfig,
}

fn families(kind: &str) -> Vec<Family> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/families");
    let mut dirs: Vec<PathBuf> = std::fs::read_dir(root).expect("the goldens").flatten().map(|e| e.path()).collect();
    dirs.sort();
    let read = |path: PathBuf| -> Option<Value> { serde_json::from_slice(&std::fs::read(path).ok()?).ok() };
    dirs.into_iter()
        .filter_map(|dir| {
            let golden = read(dir.join("golden.json")).filter(|golden| golden["kind"] == kind)?;
            let run = golden["runs"].as_array()?.iter().find(|run| run["dtype"] == "f32")?.clone();
            let config = read(dir.join("config.json"))?;
            let vocabulary =
                ["decoder_vocab_size", "vocab_size"].iter().find_map(|key| config[*key].as_u64())? as usize;
            let config = GenerationConfig::of_package(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
            Some(Family { dir, golden, run, vocabulary, config })
        })
        .collect()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().into_iter().flatten().filter_map(Value::as_u64).map(|id| id as u32).collect()
}

impl Family {
    fn cases(&self) -> &[Value] {
        self.run["cases"].as_array().expect("cases")
    }

    fn file(&self, role: &str) -> Option<PathBuf> {
        self.run["files"][role].as_str().map(PathBuf::from)
    }

    fn causal(&self) -> Causal {
        let onnx = self.file("decoder").expect("a decoder");
        let graph = CausalGraph::load(&TractEngine::default(), &self.dir, &onnx, None, self.vocabulary);
        graph.expect("loads").open().expect("opens")
    }

    /// The decoder, listening to what the encoder makes of `input`.
    fn seq2seq(&self, input: &[u32]) -> Seq2Seq {
        let (engine, decoder) = (TractEngine::default(), self.file("decoder").expect("a decoder"));
        let files = match self.file("decoder_with_past") {
            Some(with_past) => DecoderFiles { first: Some(decoder), with_past: Some(with_past), merged: None },
            None => DecoderFiles { merged: Some(decoder), ..DecoderFiles::default() },
        };
        let graph = Seq2SeqGraph::load(&engine, &self.dir, &files, None, self.vocabulary).expect("loads");
        let encoder = engine.load(&self.dir, &self.file("encoder").expect("an encoder")).expect("loads");
        let (input, mask): (Vec<i64>, Vec<i64>) = input.iter().map(|id| (i64::from(*id), 1)).unzip();
        let inputs = ["input_ids", "attention_mask"].into_iter().zip([&input, &mask]);
        let inputs: Vec<_> = inputs.map(|(name, v)| (name, Tensor::i64([1, v.len()], v.clone()))).collect();
        let states = encoder.session().expect("opens").run(&inputs).expect("runs").remove(0).1;
        let mut model = graph.open().expect("opens");
        model.listen(Encoded { states, mask });
        model
    }

    fn generate(
        &self,
        model: &mut dyn LanguageModel,
        setting: &Setting,
        prompt: Prompt,
        request: &DecodeOptions,
    ) -> Vec<Choice> {
        let options = ResolvedOptions::resolve(&self.config, request, self.vocabulary).expect("options");
        let generation = Generation::new(model, setting.clone(), prompt, options).expect("begins");
        generation.run(model, &(), &mut |_| Ok(())).expect("runs").choices
    }

    fn setting(&self) -> Setting {
        self.setting_of(Box::new(Alphabet::new(&[])))
    }

    fn setting_of(&self, spell: Box<dyn Spell>) -> Setting {
        let vocabulary = Arc::new(Vocabulary::new(spell, self.vocabulary, &self.config.eos_token_id));
        Setting { vocabulary, prefixes: None, processors: Vec::new() }
    }

    /// Its tokenizer; `None` where the golden has none.
    fn tokenizer(&self) -> Option<Arc<TextTokenizer>> {
        let has_text = self.cases().iter().any(|case| !case["answer"].is_null());
        has_text.then(|| Arc::new(TextTokenizer::load(&self.dir).expect("a tokenizer")))
    }
}

/// Greedy, of as many tokens as the case has.
fn greedy(case: &Value) -> DecodeOptions {
    DecodeOptions {
        max_tokens: Some(if case["stop"] == "eos" { 64 } else { ids(&case["ids"]).len() as u64 }),
        num_beams: Some(1),
        return_token_ids: true,
        ..DecodeOptions::default()
    }
}

#[test]
fn decoders_write_what_transformers_writes() {
    let families = families("decoder");
    assert!(families.len() >= 5, "{} families", families.len());
    for family in families {
        let (mut model, setting) = (family.causal(), family.setting());
        for case in family.cases() {
            let prompt = Prompt { ids: ids(&case["prompt"]), ..Prompt::default() };
            let choice = family.generate(&mut model, &setting, prompt, &greedy(case)).remove(0);
            let name = format!("{} behind {} ids", family.golden["family"], ids(&case["prompt"]).len());
            assert_eq!(choice.token_ids.expect("asked for"), ids(&case["ids"]), "{name}");
            let ended = if case["stop"] == "eos" { FinishReason::Stop } else { FinishReason::Length };
            assert_eq!(choice.finish_reason, ended, "{name}");
        }
    }
}

#[test]
fn sequence_to_sequence_models_write_what_transformers_writes_greedy_and_with_beams() {
    let families = families("seq2seq");
    assert!(families.len() >= 3, "{} families", families.len());
    let mut beams = 0;
    for family in families {
        for case in family.cases() {
            let setting = family.setting();
            let mut heard = ids(&case["input_ids"]);
            // Of a padded row of a batch, what is no padding.
            if case["attention_mask"].is_array() {
                heard.truncate(ids(&case["attention_mask"]).iter().filter(|mask| **mask == 1).count());
            }
            let mut model = family.seq2seq(&heard);
            let prompt = Prompt { ids: ids(&case["start"]), heard: Some(heard), ..Prompt::default() };
            assert_eq!(prompt.ids.first().copied(), family.config.decoder_start());
            let mut request = greedy(case);
            if let Some(language) = case["forced_bos_token_id"].as_u64() {
                // As a translation asks for its language: the answer begins with it.
                request.max_tokens = request.max_tokens.map(|most| most - 1);
                let mut prompt = prompt.clone();
                prompt.ids.push(language as u32);
                let choice = family.generate(&mut model, &setting, prompt, &request).remove(0);
                assert_eq!(choice.token_ids.expect("asked for"), ids(&case["ids"])[1..], "{}", family.golden["family"]);
                continue;
            }
            let choice = family.generate(&mut model, &setting, prompt.clone(), &request).remove(0);
            assert_eq!(choice.token_ids.expect("asked for"), ids(&case["ids"]), "{}", family.golden["family"]);
            for search in case["beams"].as_array().into_iter().flatten() {
                let number = |key: &str| search[key].as_f64().map(|number| number as f32);
                let sequences = search["sequences"].as_array().expect("sequences");
                let request = DecodeOptions {
                    num_beams: search["num_beams"].as_u64().map(|n| n as u32),
                    length_penalty: number("length_penalty"),
                    early_stopping: search["early_stopping"].as_bool(),
                    max_tokens: search["max_new_tokens"].as_u64(),
                    n: Some(sequences.len() as u32),
                    return_token_ids: true,
                    ..DecodeOptions::default()
                };
                let choices = family.generate(&mut model, &setting, prompt.clone(), &request);
                assert_eq!(choices.len(), sequences.len());
                for (choice, sequence) in choices.iter().zip(sequences) {
                    assert_eq!(choice.token_ids.as_ref(), Some(&ids(&sequence["ids"])), "{search}");
                    let (own, score) =
                        (choice.score.expect("a score"), sequence["score"].as_f64().expect("a score") as f32);
                    assert!((own - score).abs() < 1e-3, "{own}, expected {score}");
                }
                beams += 1;
            }
        }
    }
    assert!(beams >= 4, "{beams} beam searches");
}

#[test]
fn a_kept_prefix_changes_nothing_on_a_real_graph() {
    let family = families("decoder").into_iter().find(|family| family.dir.ends_with("llama")).expect("Llama");
    let counts = PrefixCounts::default();
    let mut setting = family.setting();
    let mut model = family.causal();
    let fresh = setting.clone();
    setting.prefixes = Some(Arc::new(PrefixCache::new(counts.clone())));
    let mut conversation: Vec<u32> = (10..22).collect();
    let request =
        DecodeOptions { max_tokens: Some(6), ignore_eos: true, return_token_ids: true, ..DecodeOptions::default() };
    for turn in 0..4 {
        let prompt = || Prompt { ids: conversation.clone(), ..Prompt::default() };
        let kept = family.generate(&mut model, &setting, prompt(), &request);
        assert_eq!(kept, family.generate(&mut model, &fresh, prompt(), &request), "turn {turn}");
        conversation.extend(kept[0].token_ids.clone().expect("asked for"));
        conversation.extend([30 + turn, 40, 50]);
    }
    assert_eq!(counts.hits(), 3);
}

#[test]
fn answers_are_spelled_by_the_models_own_tokenizer() {
    let mut spelled = 0;
    for family in families("decoder") {
        let Some(tokenizer) = family.tokenizer() else { continue };
        let (mut model, setting) = (family.causal(), family.setting_of(Box::new(Arc::clone(&tokenizer))));
        for case in family.cases().iter().filter(|case| !case["answer"].is_null()) {
            let prompt = ids(&case["prompt"]);
            let given = Prompt { ids: prompt.clone(), ..Prompt::default() };
            let choice = family.generate(&mut model, &setting, given, &greedy(case)).remove(0);
            let answer = case["answer"].as_str().expect("text");
            // Behind a prompt the first word keeps its blank, so that prompt and answer are one text.
            assert_eq!(choice.text.trim_start(), answer.trim_start(), "{} {case}", family.dir.display());
            let whole = tokenizer.decode(&[prompt.clone(), ids(&case["ids"])].concat(), true);
            let half = whole.contains('\u{FFFD}');
            assert!(half || whole == tokenizer.decode(&prompt, true) + &choice.text, "{whole:?} {:?}", choice.text);
            spelled += 1;
        }
    }
    for family in families("seq2seq") {
        let Some(tokenizer) = family.tokenizer() else { continue };
        let setting = family.setting_of(Box::new(Arc::clone(&tokenizer)));
        for case in family.cases().iter().filter(|case| !case["answer"].is_null()) {
            let mut model = family.seq2seq(&ids(&case["input_ids"]));
            let mut prompt = Prompt { ids: ids(&case["start"]), ..Prompt::default() };
            let mut want = case["answer"].as_str().expect("text").to_owned();
            if let Some(language) = case["forced_bos_token_id"].as_u64() {
                // As a translation asks for its language: it is no part of the answer.
                prompt.ids.push(language as u32);
                want = want.replace(&tokenizer.decode(&[language as u32], false), "");
            }
            let mut request = greedy(case);
            request.max_tokens = request.max_tokens.map(|most| most - prompt.ids.len() as u64 + 1);
            let choice = family.generate(&mut model, &setting, prompt, &request).remove(0);
            assert_eq!(choice.text, want, "{}", family.dir.display());
            spelled += 1;
        }
    }
    assert!(spelled >= 6, "{spelled} answers");
}

#[test]
fn a_real_models_answer_matches_its_constraint() {
    let mut matched = 0;
    for family in families("decoder") {
        let Some(tokenizer) = family.tokenizer() else { continue };
        let (mut model, setting) = (family.causal(), family.setting_of(Box::new(tokenizer)));
        let schema = serde_json::json!({"type": "object", "additionalProperties": false, "required": ["on", "room"], "properties": {
            "on": {"type": "boolean"}, "room": {"enum": ["hall", "kitchen"]}, "level": {"type": "integer", "minimum": 0, "maximum": 9}}});
        for temperature in [0.0, 1.0] {
            let request = DecodeOptions {
                constraint: Some(Constraint::JsonSchema(schema.clone())),
                temperature: Some(temperature),
                seed: Some(5),
                max_tokens: Some(300),
                ..DecodeOptions::default()
            };
            let prompt = Prompt { ids: vec![5, 6, 7], ..Prompt::default() };
            let choice = family.generate(&mut model, &setting, prompt, &request).remove(0);
            assert_eq!(choice.finish_reason, FinishReason::Stop, "{}: {:?}", family.dir.display(), choice.text);
            let value: Value = serde_json::from_str(&choice.text).unwrap_or_else(|e| panic!("{e}: {:?}", choice.text));
            assert!(
                value["on"].is_boolean() && ["hall", "kitchen"].contains(&value["room"].as_str().unwrap_or_default())
            );
            matched += 1;
        }
    }
    assert!(matched >= 4, "{matched} answers");
}
