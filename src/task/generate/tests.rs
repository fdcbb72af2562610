//! The whole pipeline on the tiny models of `tests/goldens/families`: ids as the reference wrote them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use linnet_features::audio::AudioLimits;
use linnet_proto::generate::{DecodeOptions, FinishReason, GenerateInput, GenerateRequest, Generated};
use linnet_proto::text::SummarizeRequest;
use linnet_proto::translate::{TextFormat, TranslateRequest, Translated};
use linnet_proto::{ErrorCode, WireError};
use serde_json::Value;

use super::*;
use crate::engine::tract::TractEngine;
use crate::job::{Answer, Origin, Part, Priority, Reply, Request, TaskRequest};
use crate::task::{Heartbeat, TaskContext};

fn families() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/families")
}

fn load(name: &str) -> GeneratePipeline {
    let package = Package::read(&families().join(name)).expect("the goldens are part of the tree");
    GeneratePipeline::load(&package, &TractEngine::default(), &Events::default()).expect("it loads")
}

fn golden(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(families().join(name).join("golden.json")).expect("it is there"))
        .expect("JSON")
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().into_iter().flatten().filter_map(Value::as_u64).map(|id| id as u32).collect()
}

fn ask(executor: &mut dyn Execute, task: TaskRequest) -> (Result<Answer, WireError>, Vec<Part>) {
    let (parts, cancel, mut reply) = Reply::channel(1024);
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
    let answer = executor.execute(&job, &mut ctx);
    drop((ctx, job));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let parts = runtime.block_on(async {
        let mut seen = Vec::new();
        while let Some(Ok(part)) = reply.next().await {
            seen.push(part);
        }
        seen
    });
    (answer, parts)
}

fn generate(executor: &mut dyn Execute, input: GenerateInput, options: DecodeOptions) -> Result<Generated, WireError> {
    let request = GenerateRequest { options, ..GenerateRequest::new(input) };
    match ask(executor, TaskRequest::Generate(request)).0? {
        Answer::Generated(generated) => Ok(generated),
        other => panic!("{other:?}"),
    }
}

fn tokens(prompt: &[u32]) -> GenerateInput {
    GenerateInput::Tokens(prompt.to_vec())
}

fn by_ids(max_tokens: usize) -> DecodeOptions {
    DecodeOptions { max_tokens: Some(max_tokens as u64), return_token_ids: true, ..DecodeOptions::default() }
}

#[test]
fn every_family_writes_the_ids_of_the_reference() {
    let mut failures = Vec::new();
    let mut ran = 0;
    for entry in std::fs::read_dir(families()).expect("the goldens are part of the tree").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.path().join("golden.json").is_file() {
            continue;
        }
        let golden = golden(&name);
        let key = match golden["kind"].as_str() {
            Some("decoder") => "prompt",
            Some("seq2seq") => "input_ids",
            _ => continue,
        };
        let package = Package::read(&entry.path()).expect("it describes itself");
        for run in golden["runs"].as_array().into_iter().flatten().filter(|run| run["dtype"] == "f32") {
            let mut package = package.clone();
            package.manifest.dtype = Some("f32".to_owned());
            let pipeline = match GeneratePipeline::load(&package, &TractEngine::default(), &Events::default()) {
                Ok(pipeline) => pipeline,
                Err(e) => {
                    failures.push(format!("{name}: {e}"));
                    continue;
                }
            };
            let mut executor = pipeline.executor().expect("a worker");
            for case in
                run["cases"].as_array().into_iter().flatten().filter(|case| case["forced_bos_token_id"].is_null())
            {
                let wanted = ids(&case["ids"]);
                // The reference writes on beyond the model's positions; Linnet ends there, and says so.
                let context = pipeline.0.config.context.filter(|_| key == "prompt").unwrap_or(usize::MAX);
                if ids(&case[key]).len() + wanted.len() > context {
                    continue;
                }
                // A configuration may ask for beams, which are judged elsewhere.
                let options = DecodeOptions { num_beams: Some(1), ..by_ids(wanted.len()) };
                let written = generate(&mut *executor, tokens(&ids(&case[key])), options);
                ran += 1;
                match written {
                    Ok(written) if written.choices[0].token_ids.as_ref() == Some(&wanted) => {}
                    Ok(written) => {
                        failures.push(format!("{name}: {:?} instead of {wanted:?}", written.choices[0].token_ids))
                    }
                    Err(e) => failures.push(format!("{name}: {e}")),
                }
            }
        }
    }
    assert!(ran > 10, "there are goldens");
    assert!(failures.is_empty(), "{} of {ran}:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn beams_are_those_of_the_reference() {
    let mut ran = 0;
    for name in ["marian", "bart", "t5"].iter().filter(|name| families().join(name).join("golden.json").is_file()) {
        let pipeline = load(name);
        let mut executor = pipeline.executor().expect("a worker");
        for case in golden(name)["runs"][0]["cases"].as_array().into_iter().flatten() {
            for beams in case["beams"].as_array().into_iter().flatten() {
                let number = |key: &str| beams[key].as_f64().map(|x| x as f32);
                let wanted: Vec<Vec<u32>> =
                    beams["sequences"].as_array().into_iter().flatten().map(|s| ids(&s["ids"])).collect();
                let options = DecodeOptions {
                    num_beams: number("num_beams").map(|n| n as u32),
                    n: Some(wanted.len() as u32),
                    length_penalty: number("length_penalty"),
                    early_stopping: beams["early_stopping"].as_bool(),
                    ..by_ids(beams["max_new_tokens"].as_u64().unwrap_or(32) as usize)
                };
                let written = generate(&mut *executor, tokens(&ids(&case["input_ids"])), options).expect("it writes");
                let written: Vec<Vec<u32>> = written.choices.into_iter().filter_map(|c| c.token_ids).collect();
                assert_eq!(written, wanted, "{name} {beams}");
                ran += 1;
            }
        }
    }
    assert!(ran > 0, "there are goldens with beams");
}

#[test]
fn a_stream_adds_up_to_the_answer_and_a_seed_is_kept() {
    let pipeline = load("marian");
    let mut executor = pipeline.executor().expect("a worker");
    let case = &golden("marian")["runs"][0]["cases"][0];
    let text = case["text"].as_str().unwrap_or("the bird sings").to_owned();
    let options =
        DecodeOptions { max_tokens: Some(12), temperature: Some(1.0), seed: Some(7), ..DecodeOptions::default() };
    let request = GenerateRequest {
        options: options.clone(),
        stream: true,
        ..GenerateRequest::new(GenerateInput::Text(text.clone()))
    };
    let (answer, parts) = ask(&mut *executor, TaskRequest::Generate(request));
    let Ok(Answer::Generated(whole)) = answer else { panic!("{answer:?}") };
    let streamed: String =
        parts.iter().map(|p| if let Part::Delta(delta) = p { delta.text.as_str() } else { "" }).collect();
    assert_eq!(streamed, whole.choices[0].text);
    let again = generate(&mut *executor, GenerateInput::Text(text), options).expect("it writes");
    assert_eq!(again.choices[0].text, whole.choices[0].text, "the same seed, the same text");
}

#[test]
fn a_text_is_answered_as_the_reference_answers_it() {
    let pipeline = load("marian");
    let mut executor = pipeline.executor().expect("a worker");
    for case in golden("marian")["runs"][0]["cases"].as_array().into_iter().flatten() {
        let (Some(text), Some(answer)) = (case["text"].as_str(), case["answer"].as_str()) else { continue };
        let options = DecodeOptions { max_tokens: Some(32), num_beams: Some(1), ..DecodeOptions::default() };
        let written = generate(&mut *executor, GenerateInput::Text(text.to_owned()), options).expect("it writes");
        assert_eq!(written.choices[0].text.trim(), answer.trim());
        assert_eq!(written.choices[0].finish_reason, FinishReason::Stop);
        assert_eq!(written.prompt_tokens as usize, ids(&case["input_ids"]).len());
    }
}

fn translate(executor: &mut dyn Execute, request: TranslateRequest) -> Result<Translated, WireError> {
    match ask(executor, TaskRequest::Translate(request)).0? {
        Answer::Translated(translated) => Ok(translated),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_stands_around_sentences_stays_where_it_is() {
    let pipeline = load("marian");
    let mut executor = pipeline.executor().expect("a worker");
    let request = |texts: &[&str], format| TranslateRequest {
        texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        source: "en".into(),
        target: "de".into(),
        format,
        ..TranslateRequest::default()
    };
    let plain = translate(&mut *executor, request(&["\n\n 123 \n- 7", ""], TextFormat::Text)).expect("it translates");
    let texts: Vec<&str> = plain.translations.iter().map(|t| t.text.as_str()).collect();
    assert_eq!(texts, ["\n\n 123 \n- 7", ""], "nothing in it is language");
    let html = translate(&mut *executor, request(&["<p class=\"x\">1 &amp; 2<br/></p>"], TextFormat::Html))
        .expect("it translates");
    assert_eq!(html.translations[0].text, "<p class=\"x\">1 &amp; 2<br/></p>");
    let kept = translate(&mut *executor, request(&["Hello {name}, see https://example.org!"], TextFormat::Text))
        .expect("it translates");
    let text = &kept.translations[0].text;
    assert!(text.contains("{name}") && text.contains("https://example.org"), "{text}");
}

#[test]
fn what_cannot_be_written_is_refused_by_its_name() {
    let pipeline = load("gemma");
    let mut executor = pipeline.executor().expect("a worker");
    let error = |result: Result<Generated, WireError>| {
        let error = result.expect_err("it must be refused");
        (error.code, error.message)
    };
    let (code, message) =
        error(generate(&mut *executor, GenerateInput::Text("hello".into()), DecodeOptions::default()));
    assert_eq!(code, ErrorCode::UnsupportedTask);
    assert!(message.contains("no tokenizer"), "{message}");
    let (code, message) = error(generate(&mut *executor, tokens(&[4000]), DecodeOptions::default()));
    assert_eq!(code, ErrorCode::InvalidRequest);
    assert!(message.contains("4000") && message.contains("127"), "{message}");
    let (code, message) = error(generate(&mut *executor, tokens(&[4; 129]), DecodeOptions::default()));
    assert_eq!(code, ErrorCode::ContextLengthExceeded);
    assert!(message.contains("129") && message.contains("128"), "{message}");
    let other =
        ask(&mut *executor, TaskRequest::Summarize(SummarizeRequest { input: "x".into(), ..Default::default() })).0;
    assert!(other.is_err());
}

#[test]
fn a_canary_is_recorded_proved_and_notices_another_model() {
    let (llama, gpt2) = (load("llama"), load("gpt2"));
    let canary = llama.record().expect("it records");
    assert_eq!(llama.prove(&canary), Ok(()));
    assert!(gpt2.prove(&canary).is_err());
    let marian = load("marian");
    let canary = marian.record().expect("it records");
    assert_eq!(marian.prove(&canary), Ok(()));
}
