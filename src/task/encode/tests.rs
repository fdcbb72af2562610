//! The whole pipeline on the tiny models of `tests/goldens/families`: answers as transformers' pipelines gave them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use linnet_features::audio::AudioLimits;
use linnet_proto::text::{
    AnswerRequest, ClassifyRequest, EmbedRequest, FillCandidate, FillRequest, Inputs, IntentRequest, Label, Nested,
    SpanAnswer, TagRequest, Tagged,
};
use serde_json::Value;

use super::*;
use crate::engine::tract::TractEngine;
use crate::job::{Origin, Priority, Reply, Request};
use crate::task::Heartbeat;

/// Scores are written with seven digits, and f32 differs by its order of sums.
const CLOSE: f64 = 2e-4;

fn families() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/families")
}

fn load(dir: &Path) -> EncoderPipeline {
    let mut package = Package::read(dir).expect("the goldens are part of the tree");
    package.manifest.dtype = Some("f32".to_owned());
    EncoderPipeline::load(&package, &TractEngine::default()).unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
}

fn ask(executor: &mut dyn Execute, task: TaskRequest) -> Result<Answer, WireError> {
    let (parts, cancel, _reply) = Reply::channel(8);
    let now = Instant::now();
    let request = Request {
        id: "1".into(),
        origin: Origin::Internal,
        task,
        timeout: Duration::from_secs(60),
        priority: Priority::Normal,
    };
    let job = Job { request, admitted: now, deadline: now + Duration::from_secs(60), cancel, parts };
    let mut ctx = TaskContext::new(&job, Heartbeat::default(), AudioLimits::default());
    executor.execute(&job, &mut ctx)
}

/// Every directory whose golden says what a pipeline of `task` answers, with its worker, its first case and the pipeline's record.
fn each(task: &str, mut check: impl FnMut(&str, &mut dyn Execute, &Value, &Value)) {
    let mut ran = 0;
    for entry in std::fs::read_dir(families()).expect("the goldens are part of the tree").flatten() {
        let Ok(bytes) = std::fs::read(entry.path().join("golden.json")) else { continue };
        let golden: Value = serde_json::from_slice(&bytes).expect("JSON");
        let case = &golden["runs"][0]["cases"][0];
        for piped in case["pipelines"].as_array().into_iter().flatten().filter(|piped| piped["task"] == task) {
            let mut executor = load(&entry.path()).executor().expect("a worker");
            check(&entry.file_name().to_string_lossy(), &mut *executor, case, piped);
            ran += 1;
        }
    }
    assert!(ran > 0, "no golden has a pipeline of {task}");
}

fn close(ours: f32, golden: &Value, what: &str) {
    let golden = golden.as_f64().expect("a number");
    assert!((f64::from(ours) - golden).abs() < CLOSE, "{what}: {ours} instead of {golden}");
}

fn list(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values.clone(),
        other => vec![other.clone()],
    }
}

fn flat<T: Clone>(nested: &Nested<T>) -> Vec<Vec<T>> {
    match nested {
        Nested::One(one) => vec![one.clone()],
        Nested::Many(many) => many.iter().flat_map(flat).collect(),
    }
}

#[test]
fn masks_are_filled_as_the_reference_fills_them() {
    each("fill-mask", |name, executor, case, piped| {
        for (text, answer) in list(&case["texts"]).iter().zip(list(&piped["answers"])) {
            let input = Inputs::One(text.as_str().expect("a text").to_owned());
            let request = FillRequest { input, top_k: Some(5), explain: true, ..FillRequest::default() };
            let Ok(Answer::Filled(ours)) = ask(executor, TaskRequest::Fill(request)) else { panic!("{name}: {text}") };
            let why = ours.explanation.unwrap_or_default();
            assert!(
                list(&why).iter().flat_map(list).all(|mask| mask["entropy"].as_f64().is_some_and(|e| e > 0.0)),
                "{why}"
            );
            let golden = if answer[0].is_array() { list(&answer) } else { vec![answer] };
            let ours: Vec<Vec<FillCandidate>> = flat(&ours.results);
            assert_eq!(ours.len(), golden.len(), "{name}: one list for each mask");
            for (ours, golden) in ours.iter().flatten().zip(golden.iter().flat_map(list)) {
                assert_eq!(u64::from(ours.token), golden["token"].as_u64().expect("an id"), "{name}: {text}");
                assert_eq!(ours.token_str, golden["token_str"].as_str().expect("text"), "{name}: {text}");
                assert_eq!(ours.sequence, golden["sequence"].as_str().expect("text"), "{name}: {text}");
                close(ours.score, &golden["score"], name);
            }
        }
    });
}

#[test]
fn texts_are_labelled_as_the_reference_labels_them() {
    each("text-classification", |name, executor, case, piped| {
        for (text, answer) in list(&case["texts"]).iter().zip(list(&piped["answers"])) {
            let input = Inputs::One(text.as_str().expect("a text").to_owned());
            let request = ClassifyRequest { input, explain: true, ..ClassifyRequest::default() };
            let Ok(Answer::Classified(ours)) = ask(executor, TaskRequest::Classify(request)) else { panic!("{name}") };
            let why = &ours.explanation.expect("it was asked for")[0];
            let words = why["words"].as_array().expect("a list");
            assert!(words.iter().any(|word| word["change"].as_f64().is_some_and(|change| change != 0.0)), "{why}");
            assert_eq!((&why["method"], why["runs"].as_u64()), (&"occlusion".into(), Some(words.len() as u64)));
            let ours: Vec<Label> = flat(&ours.results).concat();
            let golden = if answer[0].is_array() { answer[0].clone() } else { answer.clone() };
            for (ours, golden) in ours.iter().zip(list(&golden)) {
                assert_eq!(ours.label, golden["label"].as_str().expect("text"), "{name}: {text}");
                close(ours.score, &golden["score"], name);
            }
        }
    });
    each("zero-shot-classification", |name, executor, case, piped| {
        let options = &piped["options"];
        let labels: Vec<String> =
            list(&options["candidate_labels"]).iter().filter_map(|l| l.as_str().map(str::to_owned)).collect();
        for (text, answer) in list(&case["texts"]).iter().zip(list(&piped["answers"])) {
            let request = ClassifyRequest {
                input: Inputs::One(text[0].as_str().expect("a pair").to_owned()),
                labels: labels.clone(),
                multi_label: options["multi_label"].as_bool(),
                ..ClassifyRequest::default()
            };
            let Ok(Answer::Classified(ours)) = ask(executor, TaskRequest::Classify(request)) else { panic!("{name}") };
            let ours: Vec<Label> = flat(&ours.results).concat();
            for ((ours, label), score) in ours.iter().zip(list(&answer["labels"])).zip(list(&answer["scores"])) {
                assert_eq!(ours.label, label.as_str().expect("text"), "{name}: {text}");
                close(ours.score, &score, name);
            }
        }
    });
}

#[test]
fn entities_are_those_of_the_reference_in_every_aggregation() {
    each("token-classification", |name, executor, case, piped| {
        let aggregation = piped["options"]["aggregation_strategy"].as_str().expect("a strategy").to_owned();
        for (text, answer) in list(&case["texts"]).iter().zip(list(&piped["answers"])) {
            let input = Inputs::One(text.as_str().expect("a text").to_owned());
            let request =
                TagRequest { input, aggregation: Some(aggregation.clone()), explain: true, ..TagRequest::default() };
            let Ok(Answer::Tagged(ours)) = ask(executor, TaskRequest::Tag(request)) else { panic!("{name}") };
            let why = &ours.explanation.expect("it was asked for")[0];
            assert!(list(why).iter().all(|unit| unit["top"][0]["score"].as_f64() >= unit["top"][1]["score"].as_f64()));
            let ours: Vec<Tagged> = flat(&ours.results).concat();
            let golden = list(&answer);
            let shown =
                |tagged: &[Tagged]| tagged.iter().map(|t| (t.label.clone(), t.start, t.end)).collect::<Vec<_>>();
            let wanted: Vec<(String, usize, usize)> = golden
                .iter()
                .map(|g| {
                    let label = g["entity_group"].as_str().or(g["entity"].as_str()).expect("a label").to_owned();
                    let at = |key: &str| g[key].as_u64().expect("a place") as usize;
                    (label, at("start"), at("end"))
                })
                .collect();
            assert_eq!(shown(&ours), wanted, "{name}, {aggregation}: {text}");
            ours.iter().zip(&golden).for_each(|(o, g)| close(o.score, &g["score"], &format!("{name}, {aggregation}")));
        }
    });
}

#[test]
fn answers_are_those_of_the_reference() {
    each("question-answering", |name, executor, case, piped| {
        let options = &piped["options"];
        for (pair, answer) in list(&case["texts"]).iter().zip(list(&piped["answers"])) {
            let number = |key: &str| options[key].as_u64().map(|n| n as u32);
            let request = AnswerRequest {
                question: pair[0].as_str().expect("a question").to_owned(),
                context: pair[1].as_str().expect("a context").to_owned(),
                top_k: number("top_k"),
                max_answer_tokens: number("max_answer_len"),
                allow_no_answer: options["handle_impossible_answer"] == true,
                explain: true,
                ..AnswerRequest::default()
            };
            let Ok(Answer::Answered(ours)) = ask(executor, TaskRequest::Answer(request)) else { panic!("{name}") };
            let why = ours.explanation.expect("it was asked for");
            assert!(why["rule"].is_string() && why["no_answer"].is_number(), "{why}");
            let ours: Vec<SpanAnswer> = ours.results;
            for (ours, golden) in ours.iter().zip(list(&answer)) {
                assert_eq!(ours.answer, golden["answer"].as_str().expect("text"), "{name} {options}: {pair}");
                close(ours.score, &golden["score"], name);
            }
        }
    });
}

#[test]
fn vectors_are_pooled_as_the_reference_pools_them() {
    let mut ran = 0;
    for entry in std::fs::read_dir(families()).expect("the goldens are part of the tree").flatten() {
        let Ok(bytes) = std::fs::read(entry.path().join("golden.json")) else { continue };
        let golden: Value = serde_json::from_slice(&bytes).expect("JSON");
        let case = &golden["runs"][0]["cases"][0];
        let Some(ways) = case["embeddings"].as_object() else { continue };
        let mut executor = load(&entry.path()).executor().expect("a worker");
        let texts: Vec<String> = list(&case["texts"]).iter().filter_map(|t| t.as_str().map(str::to_owned)).collect();
        for (way, wanted) in ways {
            let request = EmbedRequest {
                input: Inputs::Many(texts.clone()),
                pooling: Some(way.clone()),
                ..EmbedRequest::default()
            };
            let Ok(Answer::Embedded(ours)) = ask(&mut *executor, TaskRequest::Embed(request)) else { panic!("{way}") };
            let wanted = array(&entry.path(), wanted);
            let off = ours.vectors.concat().iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(ours.vectors.concat().len() == wanted.len() && off < 1e-5, "{way} is off by {off}");
            ran += 1;
        }
        let request = EmbedRequest { input: Inputs::Many(texts), dimensions: Some(8), ..EmbedRequest::default() };
        let Ok(Answer::Embedded(short)) = ask(&mut *executor, TaskRequest::Embed(request)) else {
            panic!("dimensions")
        };
        assert!(
            short.vectors.iter().all(|v| v.len() == 8 && (v.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5)
        );
        let intents =
            [("light", vec!["turn on the {device}".to_owned()]), ("weather", vec!["will it rain".to_owned()])];
        let request = IntentRequest {
            input: "turn on the kitchen lamp".into(),
            intents: intents.into_iter().map(|(name, examples)| (name.to_owned(), examples)).collect(),
            threshold: Some(0.0),
            explain: true,
            ..IntentRequest::default()
        };
        let Ok(Answer::Intent(intent)) = ask(&mut *executor, TaskRequest::Intent(request)) else { panic!("intent") };
        assert_eq!(intent.candidates.len(), 2);
        assert!(!intent.out_of_scope && intent.intent.is_some());
    }
    assert!(ran > 0, "no golden has embeddings");
}

fn array(dir: &Path, value: &Value) -> Vec<f32> {
    match value["file"].as_str() {
        Some(file) => {
            let bytes = std::fs::read(dir.join(file)).expect("the golden's file is there");
            bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        }
        None => list(&value["values"]).iter().filter_map(Value::as_f64).map(|x| x as f32).collect(),
    }
}

#[test]
fn what_cannot_be_answered_is_refused_by_its_name() {
    let pipeline = load(&families().join("bert"));
    let mut executor = pipeline.executor().expect("a worker");
    let mut refused = |task: TaskRequest| {
        let error = ask(&mut *executor, task).expect_err("it must be refused");
        (error.code, error.param, error.message)
    };
    let fill =
        |text: &str| TaskRequest::Fill(FillRequest { input: Inputs::One(text.into()), ..FillRequest::default() });
    let (code, _, message) = refused(fill("no mask here"));
    assert_eq!(code, ErrorCode::InvalidRequest);
    assert!(message.contains("[MASK]"), "{message}");
    let (code, ..) = refused(fill(&"[MASK] ".repeat(100)));
    assert_eq!(code, ErrorCode::TooLarge);
    let targets = FillRequest {
        input: Inputs::One("a [MASK]".into()),
        targets: vec!["no such word".into()],
        ..FillRequest::default()
    };
    let (_, param, _) = refused(TaskRequest::Fill(targets));
    assert_eq!(param.as_deref(), Some("targets"));
}

#[test]
fn a_special_token_in_somebodys_text_is_no_special_token() {
    let pipeline = load(&families().join("bert"));
    let mut executor = pipeline.executor().expect("a worker");
    let mut sequence = |text: &str| {
        let request = FillRequest { input: Inputs::One(text.into()), top_k: Some(1), ..FillRequest::default() };
        match ask(&mut *executor, TaskRequest::Fill(request)) {
            Ok(Answer::Filled(filled)) => flat(&filled.results).concat(),
            other => panic!("{other:?}"),
        }
    };
    let plain = sequence("the bird [MASK] in the garden");
    let marked = sequence("the bird [MASK] in the garden [SEP] [CLS]");
    assert_ne!(plain[0].score, marked[0].score);
    assert!(!marked[0].sequence.is_empty());
}

#[test]
fn a_canary_is_recorded_proved_and_notices_another_model() {
    let bert = load(&families().join("bert"));
    let canary = bert.record().expect("it records");
    assert_eq!(bert.prove(&canary), Ok(()));
    let Canary::Outputs(mut other) = canary else { panic!("outputs") };
    other.rms.values_mut().for_each(|rms| *rms *= 1.01);
    assert!(bert.prove(&Canary::Outputs(other)).is_err());
}
