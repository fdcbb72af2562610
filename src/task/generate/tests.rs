//! The whole pipeline on the tiny models of `tests/goldens/families`: ids as the reference wrote them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use linnet_features::audio::AudioLimits;
use linnet_proto::generate::{
    Chat, Content, DecodeOptions, FinishReason, GenerateInput, GenerateRequest, Generated, Message,
};
use linnet_proto::text::SummarizeRequest;
use linnet_proto::translate::{TextFormat, TranslateRequest, Translated};
use linnet_proto::{ErrorCode, WireError};
use serde_json::Value;

use super::*;
use crate::engine::tract::TractEngine;
use crate::job::{Answer, Origin, Part, Priority, Reply, Request, TaskRequest};
use crate::task::tokenizer::Encode;
use crate::task::{Heartbeat, TaskContext};

mod alignment;
mod forced;

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

/// A copy of a golden to break.
fn copy_of(name: &str, keep: impl Fn(&str) -> bool) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for sub in ["", "onnx"] {
        let (from, to) = (families().join(name).join(sub), dir.path().join(sub));
        std::fs::create_dir_all(&to).expect("a directory");
        for entry in std::fs::read_dir(from).into_iter().flatten().flatten().filter(|entry| entry.path().is_file()) {
            let file = entry.file_name();
            if keep(&file.to_string_lossy()) {
                std::fs::copy(entry.path(), to.join(file)).expect("copies");
            }
        }
    }
    dir
}

/// Writes other values into the copy's `config.json`.
fn configure(dir: &Path, values: &[(&str, Value)]) {
    let path = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).expect("reads")).expect("JSON");
    values.iter().for_each(|(key, value)| config[*key] = value.clone());
    std::fs::write(path, config.to_string()).expect("writes");
}

fn load_from(dir: &Path) -> Result<GeneratePipeline, String> {
    let package = Package::read(dir).map_err(|e| e.to_string())?;
    GeneratePipeline::load(&package, &TractEngine::default(), &Events::default()).map_err(|e| e.to_string())
}

#[test]
fn a_decoder_without_a_cache_writes_the_same_and_is_known_to_be_slower() {
    let dir =
        copy_of("t5-optimum", |file| !["decoder_model_merged.onnx", "decoder_with_past_model.onnx"].contains(&file));
    let (slow, fast) = (load_from(dir.path()).expect("it loads"), load("t5-optimum"));
    assert!(!slow.0.graph.keeps_cache() && fast.0.graph.keeps_cache());
    let case = &golden("t5-optimum")["runs"][0]["cases"][0];
    let options = DecodeOptions { num_beams: Some(1), ..by_ids(ids(&case["ids"]).len()) };
    let mut executor = slow.executor().expect("a worker");
    let written = generate(&mut *executor, tokens(&ids(&case["input_ids"])), options).expect("it writes");
    assert_eq!(written.choices[0].token_ids, Some(ids(&case["ids"])));
}

#[test]
fn a_package_whose_parts_do_not_fit_is_refused_with_what_is_wrong() {
    // A vocabulary that is larger than the embedding, in front of the load or at the first step.
    for name in ["gpt2", "marian"] {
        let dir = copy_of(name, |_| true);
        configure(dir.path(), &[("vocab_size", 4096.into()), ("decoder_vocab_size", 4096.into())]);
        let message = match load_from(dir.path()) {
            Err(message) => message,
            Ok(pipeline) => {
                let mut executor = pipeline.executor().expect("a worker");
                let beyond = generate(&mut *executor, tokens(&[4000]), by_ids(4));
                beyond.expect_err("there is no such row");
                generate(&mut *executor, tokens(&[5, 6]), by_ids(4)).expect_err("the logits are fewer").message
            }
        };
        assert!(message.contains("4096") && message.contains("config.json"), "{name}: {message}");
    }
    // An encoder under a decoder's name.
    let dir = copy_of("minilm", |_| true);
    configure(dir.path(), &[("model_type", "gpt2".into()), ("architectures", serde_json::json!(["GPT2LMHeadModel"]))]);
    let message = load_from(dir.path()).expect_err("it gives no logits");
    assert!(message.contains("logits"), "{message}");
    // Half of one type of weights, half of another.
    let mixed = |file: &str| !file.ends_with(".onnx") || file == "encoder_model.onnx" || file.ends_with("_fp16.onnx");
    let dir = copy_of("marian", |file| mixed(file) && file != "encoder_model_fp16.onnx");
    let message = load_from(dir.path()).expect_err("no type is whole");
    assert!(message.contains("decoder_model_merged.onnx"), "{message}");
    // A tokenizer whose file is not there any more.
    let dir = copy_of("marian", |file| file != "source.spm");
    let message = load_from(dir.path()).expect_err("half a tokenizer");
    assert!(message.contains("source.spm"), "{message}");
}

#[test]
fn an_input_longer_than_the_encoder_reads_is_refused_with_both_numbers_and_an_empty_one_is_not() {
    let pipeline = load("marian");
    let mut executor = pipeline.executor().expect("a worker");
    let error = generate(&mut *executor, tokens(&[5; 65]), by_ids(4)).expect_err("it is too long");
    assert_eq!(error.code, ErrorCode::ContextLengthExceeded);
    assert!(error.message.contains("65") && error.message.contains("64"), "{error}");
    let error = generate(&mut *executor, tokens(&[]), by_ids(4)).expect_err("there is nothing");
    assert_eq!((error.code, error.param.as_deref()), (ErrorCode::InvalidRequest, Some("prompt")));
    // A text of nothing still has the end that every text has.
    generate(&mut *executor, GenerateInput::Text(String::new()), by_ids(4)).expect("it writes");
    let mut decoder = load("gpt2").executor().expect("a worker");
    generate(&mut *decoder, GenerateInput::Text(String::new()), by_ids(4)).expect("it writes behind the beginning");
}

#[test]
fn control_tokens_in_somebodys_text_are_text_unless_that_is_asked_for() {
    for name in ["marian", "t5", "llama", "qwen2"] {
        let pipeline = load(name);
        let tokenizer = pipeline.0.tokenizer().expect("a tokenizer");
        let control: Vec<String> = tokenizer.control_tokens().map(|(token, _)| token.to_owned()).take(40).collect();
        let steers = |id: &u32| tokenizer.is_control(*id) && Some(*id) != tokenizer.special().unk;
        let mut executor = pipeline.executor().expect("a worker");
        let mut steering = |input: GenerateInput, allow: bool| {
            let options = DecodeOptions { allow_special_tokens: allow, ..by_ids(1) };
            let written = generate(&mut *executor, input, options).expect("it writes");
            written.prompt_token_ids.expect("ids").iter().filter(|id| steers(id)).count()
        };
        let text = |text: &str| GenerateInput::Text(text.to_owned());
        let plain = steering(text("the bird"), false);
        for token in &control {
            let said = format!("the {token} bird{token}");
            assert_eq!(steering(text(&said), false), plain, "{name}: {token}");
            let asked = steering(text(&said), true);
            assert!(asked > plain || tokenizer.token_to_id(token) == tokenizer.special().unk, "{name}: {token}");
            if pipeline.0.template.is_some() {
                let chat = |text: &str| {
                    let message =
                        Message { role: "user".into(), content: Content::Text(text.into()), ..Message::default() };
                    GenerateInput::Chat(Chat { messages: vec![message], ..Chat::default() })
                };
                assert_eq!(steering(chat(&said), false), steering(chat("the bird"), false), "{name}: {token}");
            }
        }
        assert!(!control.is_empty(), "{name}");
    }
}

#[test]
fn control_tokens_in_a_text_to_translate_are_text() {
    let pipeline = load("marian");
    let mut executor = pipeline.executor().expect("a worker");
    let text = "the bird </s> sings <pad> here";
    let of = |allow| {
        let how = Encode { allow_special_in_text: allow, ..Encode::default() };
        pipeline.0.tokenizer().expect("a tokenizer").encode(text, how).expect("it encodes").ids
    };
    let mut written = |ids: &[u32]| {
        let options = DecodeOptions { num_beams: Some(1), temperature: Some(0.0), ..by_ids(ids.len() * 3 + 32) };
        generate(&mut *executor, tokens(ids), options).expect("it writes").choices[0].text.trim().to_owned()
    };
    let (plain, steered) = (written(&of(false)), written(&of(true)));
    assert_ne!(plain, steered, "the golden tells the two apart");
    let request = TranslateRequest {
        texts: vec![text.into()],
        source: "en".into(),
        target: "de".into(),
        num_beams: Some(1),
        ..TranslateRequest::default()
    };
    assert_eq!(translate(&mut *executor, request).expect("it translates").translations[0].text, plain);
}

#[test]
fn a_pair_that_a_model_does_not_translate_is_refused_with_those_that_it_does() {
    for (name, known) in [("m2m_100", "it knows af, am"), ("t5", "en, de, fr")] {
        let mut executor = load(name).executor().expect("a worker");
        for (source, target) in [("en", "tlh"), ("tlh", "en")] {
            let request = TranslateRequest {
                texts: vec!["the bird".into()],
                source: source.into(),
                target: target.into(),
                ..TranslateRequest::default()
            };
            let error = translate(&mut *executor, request).expect_err("nobody speaks it");
            assert_eq!(error.code, ErrorCode::UnsupportedTask, "{name}");
            assert!(error.message.contains("tlh") && error.message.contains(known), "{name}: {error}");
        }
    }
    assert!(load("m2m_100").0.tokenizer().is_ok_and(|t| t.languages().len() == 100));
}
