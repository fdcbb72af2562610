//! Tiny models against `transformers`' `generate` with timestamps (`tests/goldens/whisper`), and what a package must not be.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use linnet_features::audio::{AudioLimits, AudioReader, Media};
use linnet_proto::{ErrorCode, Segment, TranscribeOptions, Transcript};
use serde_json::Value;
use tempfile::TempDir;

use super::execute::Writer;
use super::plan::Plan;
use super::window::Written;
use super::*;
use crate::engine::tract::TractEngine;
use crate::job::{Answer, Job, Origin, Part, Priority, Reply, Request, TaskRequest, TranscribeRequest};
use crate::task::transcribe::tests::{self, copy, edit, file};
use crate::task::{Heartbeat, TaskContext};

fn goldens() -> PathBuf {
    tests::goldens().join("whisper")
}

fn load(dir: &std::path::Path) -> Result<WhisperPipeline, String> {
    let package = Package::open(dir).map_err(|e| e.to_string())?;
    WhisperPipeline::load(&package, &TractEngine::default()).map_err(|e| e.to_string())
}

fn model(name: &str) -> WhisperPipeline {
    load(&goldens().join(name)).expect("the tiny model loads")
}

/// A job whose segments are wanted as they come.
fn job(audio: Bytes, options: TranscribeOptions, translate: bool) -> (Job, Reply) {
    let options = TranscribeOptions { stream: true, ..options };
    let (parts, cancel, reply) = Reply::channel(64);
    let now = Instant::now();
    let request = Request {
        id: "1".into(),
        origin: Origin::Internal,
        task: TaskRequest::Transcribe(TranscribeRequest { audio, media: Media::Detect, options, translate }),
        timeout: Duration::from_secs(60),
        priority: Priority::Normal,
    };
    (Job { request, admitted: now, deadline: now + Duration::from_secs(60), cancel, parts }, reply)
}

/// A window as it was written: its first frame, its frames.
type Window = (Written, usize, usize);

fn run(writer: &mut Writer, plan: &Plan, audio: &Bytes) -> (Transcript, Vec<Window>) {
    let (job, _reply) = job(Bytes::new(), TranscribeOptions::default(), false);
    let ctx = TaskContext::new(&job, Heartbeat::default(), AudioLimits::default());
    let open = || AudioReader::open(audio.clone(), &Media::Detect, &AudioLimits::default());
    let mut windows = Vec::new();
    let mut watch = |written: &Written, seek: usize, frames: usize| windows.push((written.clone(), seek, frames));
    let answer = writer.transcribe_watched(plan, &open, &ctx, &mut watch).expect("well-formed audio");
    (answer, windows)
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().into_iter().flatten().filter_map(Value::as_u64).map(|id| id as u32).collect()
}

fn number(value: &Value) -> f32 {
    value.as_f64().expect("a number") as f32
}

/// What a golden asks for.
fn plan(pipeline: &WhisperPipeline, case: &Value) -> Plan {
    let given = &case["options"];
    let options = TranscribeOptions {
        language: given["language"].as_str().map(str::to_owned),
        prompt: case["prompt"].as_str().filter(|p| !p.is_empty()).map(str::to_owned),
        beam_width: given["num_beams"].as_u64().map(|beams| beams as u32),
        condition_on_previous_text: given["condition_on_prev_tokens"].as_bool(),
        ..TranscribeOptions::default()
    };
    let Shared { name, settings, tokens, .. } = &*pipeline.0;
    let mut plan = Plan::new(&options, given["task"] == "translate", name, settings, tokens).expect("a sound plan");
    plan.temperatures = vec![0.0];
    plan.thresholds = config::Thresholds {
        compression_ratio: None,
        logprob: Some(given["logprob_threshold"].as_f64().unwrap_or(-100.0) as f32),
        no_speech: Some(given["no_speech_threshold"].as_f64().unwrap_or(1.1) as f32),
    };
    plan
}

/// Compares a case; the error says what differs.
fn compare(pipeline: &WhisperPipeline, case: &Value) -> Result<(), String> {
    let settings = &pipeline.0.settings;
    let mut writer = pipeline.writer().expect("a worker's half");
    let audio = file(case["clip"].as_str().expect("a clip"));
    let (answer, windows) = run(&mut writer, &plan(pipeline, case), &audio);
    let golden = case["windows"].as_array().expect("windows");
    for (i, (want, (have, _, _))) in golden.iter().zip(&windows).enumerate() {
        let tokens = ids(&want["tokens"]);
        if have.text.tokens != tokens {
            return Err(format!("window {i}: wrote {:?} instead of {tokens:?}", have.text.tokens));
        }
        let ratio = window::token_ratio(&tokens, settings.vocabulary);
        // transformers 4.57 reads that of English models behind its own suppression of the token, where it is always 0.
        let silence = Some(number(&want["no_speech"])).filter(|p| *p > 0.0).unwrap_or(have.no_speech);
        for (what, have, want, most) in [
            ("log-probability", have.avg_logprob, number(&want["avg_logprob"]), 1e-3),
            ("probability of silence", have.no_speech, silence, 1e-3),
            // Another implementation of the same format finds other matches.
            ("compression ratio", ratio, number(&want["compression_ratio"]), 0.05),
        ] {
            let off = (have - want).abs();
            if off.is_nan() || off > most {
                return Err(format!("window {i}: a {what} of {have} instead of {want}"));
            }
        }
        if Value::Bool(have.skip) != want["skip"] {
            return Err(format!("window {i}: skipped: {}", have.skip));
        }
    }
    if golden.len() != windows.len() {
        return Err(format!("{} windows instead of {}", windows.len(), golden.len()));
    }
    if let Some(language) = case["language"].as_str()
        && case["options"]["task"] != "translate"
        && answer.language != language
    {
        return Err(format!("heard {} instead of {language}", answer.language));
    }
    let told: Vec<&Value> = case["segments"].as_array().expect("segments").iter().collect();
    let spoken = told.iter().filter(|s| !s["text"].as_str().unwrap_or_default().trim().is_empty());
    if answer.segments.len() != spoken.clone().count() {
        return Err(format!("{} segments: {:?}", answer.segments.len(), answer.text));
    }
    for (have, want) in answer.segments.iter().zip(spoken) {
        let same = have.text == want["text"].as_str().unwrap_or_default().trim()
            && (have.start - want["start"].as_f64().unwrap_or(-1.0)).abs() < 1e-3
            && (have.end - want["end"].as_f64().unwrap_or(-1.0).min(answer.duration_secs)).abs() < 1e-3
            && have.written.as_ref().is_some_and(|w| w.tokens == ids(&want["tokens"]));
        if !same {
            return Err(format!("the segment {have:?} instead of {want}"));
        }
    }
    token_times(settings, &windows, &told)
}

/// Times of tokens, where the golden tells them.
fn token_times(settings: &Settings, windows: &[Window], told: &[&Value]) -> Result<(), String> {
    if !told.iter().any(|segment| segment["token_times"].is_array()) {
        return Ok(());
    }
    let of = |value: &Value| value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect::<Vec<_>>();
    let want: Vec<f64> = told.iter().flat_map(|segment| of(&segment["token_times"])).collect();
    let mut have = Vec::new();
    for (written, seek, frames) in windows {
        let ends = align::token_ends(&written.text.attention, settings, frames / 2).ok_or("no attention")?;
        let tokens = written.text.text_tokens(settings.end);
        let (cuts, _) = segments::cut(tokens, settings.first_time().unwrap_or(u32::MAX), *frames);
        let kept = cuts.iter().flat_map(|cut| cut.tokens.clone());
        have.extend(kept.map(|place| *seek as f64 * 0.01 + ends[place]));
    }
    if want.len() != have.len() {
        return Err(format!("{} times instead of {}", have.len(), want.len()));
    }
    let apart = |(want, have): (&f64, &f64)| (want - have).abs();
    let other: Vec<usize> = (0..want.len()).filter(|at| apart((&want[*at], &have[*at])) > 1e-4).collect();
    // Attention to silence is standardized rounding: there one path may be as good as another by two positions.
    match other.iter().find(|at| other.len() > 1 || apart((&want[**at], &have[**at])) > 0.0401) {
        Some(&at) => Err(format!("token {at} ends at {} instead of {}", have[at], want[at])),
        None => Ok(()),
    }
}

#[test]
fn every_window_is_written_as_transformers_writes_it() {
    let mut failures = Vec::new();
    let mut longest = 0;
    for name in ["multilingual", "english"] {
        let pipeline = model(name);
        let text = std::fs::read(goldens().join(name).join("golden.json")).expect("the golden is there");
        let golden: Value = serde_json::from_slice(&text).expect("it is JSON");
        for case in golden["cases"].as_array().expect("cases") {
            longest = longest.max(case["windows"].as_array().map_or(0, Vec::len));
            if let Err(reason) = compare(&pipeline, case) {
                failures.push(format!("{name}, {}: {reason}", case["name"]));
            }
        }
    }
    assert!(longest > 2, "no golden has several windows");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn execute(pipeline: &WhisperPipeline, job: Job, mut reply: Reply) -> (Result<Transcript, WireError>, Vec<Segment>) {
    let mut executor = pipeline.executor().expect("a worker's half");
    let mut ctx = TaskContext::new(&job, Heartbeat::default(), AudioLimits::default());
    let answer = executor.execute(&job, &mut ctx).map(|answer| match answer {
        Answer::Transcript(transcript) => transcript,
        other => panic!("{other:?}"),
    });
    drop((ctx, job));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut segments = Vec::new();
    while let Some(part) = runtime.block_on(reply.next()) {
        match part {
            Ok(Part::Segment(segment)) => segments.push(segment),
            other => panic!("a worker only emits segments, not {other:?}"),
        }
    }
    (answer, segments)
}

fn transcribe(pipeline: &WhisperPipeline, name: &str, options: TranscribeOptions) -> Result<Transcript, WireError> {
    let (job, reply) = job(file(name), options, false);
    let (answer, segments) = execute(pipeline, job, reply);
    if let Ok(answer) = &answer {
        assert_eq!(answer.segments, segments, "every segment is handed out when it is known");
    }
    answer
}

#[test]
fn words_have_times_from_attention_or_say_that_they_are_interpolated() {
    for (name, interpolated) in [("multilingual", false), ("english", true)] {
        let answer = transcribe(&model(name), "en", TranscribeOptions::default()).expect("well-formed audio");
        assert!(!answer.words.is_empty());
        assert_eq!(answer.language, "en");
        for segment in &answer.segments {
            let words: Vec<&str> = segment.words.iter().map(|w| w.word.as_str()).collect();
            assert_eq!(segment.text, words.join(" "));
            let mut last = segment.start;
            for word in &segment.words {
                assert!(word.start >= last && word.end >= word.start && word.end <= segment.end, "{segment:?}");
                assert_eq!(word.interpolated, interpolated);
                assert!((0.0..=1.0).contains(&word.confidence));
                last = word.start;
            }
        }
    }
}

#[test]
fn doubtful_text_is_written_again_at_a_higher_temperature_and_chance_can_be_repeated() {
    let pipeline = model("multilingual");
    let mut writer = pipeline.writer().expect("a worker's half");
    let Shared { name, settings, tokens, .. } = &*pipeline.0;
    let mut plan = Plan::new(&TranscribeOptions::default(), false, name, settings, tokens).expect("the defaults");
    assert_eq!(plan.temperatures, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
    let sure = run(&mut writer, &plan, &file("en"));
    assert!(sure.1.iter().all(|(w, ..)| w.temperature == 0.0), "the likeliest text is not doubtful here");
    // Nothing is ever likely enough.
    plan.thresholds = config::Thresholds { compression_ratio: None, logprob: Some(1.0), no_speech: None };
    let wild = run(&mut writer, &plan, &file("en"));
    assert!(wild.1.iter().all(|(w, ..)| w.temperature == 1.0), "every rung was tried");
    assert_eq!(run(&mut writer, &plan, &file("en")).0.segments, wild.0.segments, "same seed, same text");
    plan.seed = 5;
    let texts = |windows: &[Window]| windows.iter().map(|(w, ..)| w.text.tokens.clone()).collect::<Vec<_>>();
    assert_ne!(texts(&run(&mut writer, &plan, &file("en")).1), texts(&wild.1), "another seed, another text");
}

#[test]
fn a_stutter_is_noticed_by_its_compression() {
    let pipeline = model("multilingual");
    let mut writer = pipeline.writer().expect("a worker's half");
    let Shared { name, settings, tokens, .. } = &*pipeline.0;
    let mut plan = Plan::new(&TranscribeOptions::default(), false, name, settings, tokens).expect("the defaults");
    plan.thresholds = config::Thresholds { compression_ratio: Some(0.9), logprob: None, no_speech: None };
    let (_, windows) = run(&mut writer, &plan, &file("stutter"));
    assert!(windows.iter().any(|(w, ..)| w.temperature > 0.0));
}

#[test]
fn a_temperature_of_a_request_is_where_the_ladder_begins() {
    let pipeline = model("english");
    let Shared { name, settings, tokens, .. } = &*pipeline.0;
    let options = TranscribeOptions { temperature: Some(0.5), ..TranscribeOptions::default() };
    let plan = Plan::new(&options, false, name, settings, tokens).expect("within its rule");
    assert_eq!(plan.temperatures, [0.5, 0.6, 0.8, 1.0]);
}

#[test]
fn what_a_model_cannot_do_is_refused_by_name() {
    let refused = |name: &str, options: TranscribeOptions, translate| {
        let (job, reply) = job(file("short"), options, translate);
        execute(&model(name), job, reply).0.expect_err("it cannot")
    };
    let language = |tag: &str| TranscribeOptions { language: Some(tag.into()), ..TranscribeOptions::default() };
    let error = refused("multilingual", language("klingon"), false);
    assert_eq!((error.code, error.param.as_deref()), (ErrorCode::UnsupportedTask, Some("language")));
    assert!(error.message.contains("de, en, fr"), "{error}");
    assert!(refused("english", language("de"), false).message.contains("en alone"));
    let error = refused("english", TranscribeOptions::default(), true);
    assert_eq!(error.code, ErrorCode::UnsupportedTask);
    // A name or a region is a language, too.
    let pipeline = model("multilingual");
    for asked in ["german", "de-AT", "DE"] {
        assert_eq!(transcribe(&pipeline, "de", language(asked)).expect("it speaks German").language, "de");
    }
}

#[test]
fn silence_and_no_audio_are_an_empty_transcript_and_a_refusal() {
    let pipeline = model("english");
    let l16 = |samples: usize| -> (Job, Reply) {
        let (mut job, reply) = job(Bytes::new(), TranscribeOptions::default(), false);
        if let TaskRequest::Transcribe(request) = &mut job.request.task {
            request.audio = vec![0; samples * 2].into();
            request.media = Media::L16 { rate: 16_000, channels: 1, big_endian: false };
        }
        (job, reply)
    };
    let (job, reply) = l16(100);
    let answer = execute(&pipeline, job, reply).0.expect("short audio is well-formed");
    assert_eq!((answer.text.as_str(), answer.segments.len()), ("", 0));
    let (job, reply) = l16(0);
    assert_eq!(execute(&pipeline, job, reply).0.expect_err("no audio").code, ErrorCode::EmptyAudio);
}

#[test]
fn a_job_stops_when_its_caller_goes_away() {
    let (job, reply) = job(file("en"), TranscribeOptions::default(), false);
    job.cancel.cancel();
    assert_eq!(execute(&model("english"), job, reply).0.expect_err("cancelled").code, ErrorCode::Cancelled);
}

#[test]
fn a_canary_is_recorded_and_notices_another_model() {
    let (multilingual, english) = (model("multilingual"), model("english"));
    let canary = multilingual.record().expect("records");
    assert_eq!(multilingual.prove(&canary), Ok(()));
    let plain = WhisperPipeline::load(
        &Package::open(&goldens().join("multilingual")).expect("opens"),
        &TractEngine { plain: true },
    );
    assert_eq!(plain.expect("the plain plan loads").prove(&canary), Ok(()), "plain and optimised plans agree");
    assert!(english.prove(&canary).is_err());
}

#[test]
fn a_broken_package_is_refused_with_what_is_wrong() {
    let refused = |name: &str, breaks: &dyn Fn(&TempDir)| {
        let dir = copy(&goldens().join(name));
        breaks(&dir);
        load(dir.path()).expect_err("it is broken")
    };
    let gone = |file: &'static str| move |dir: &TempDir| std::fs::remove_file(dir.path().join(file)).expect("removes");
    let set = |file: &'static str, key: &'static str, to: Value| {
        move |dir: &TempDir| edit(&dir.path().join(file), |value| value[key] = to.clone())
    };
    type Break = Box<dyn Fn(&TempDir)>;
    let cases: Vec<(&str, Break, &[&str])> = vec![
        ("english", Box::new(gone("tokenizer.json")), &["no tokenizer"]),
        ("english", Box::new(gone("encoder_model.onnx")), &["encoder_model.onnx is missing"]),
        ("english", Box::new(gone("decoder_model.onnx")), &["decoder_model.onnx"]),
        (
            "multilingual",
            Box::new(gone("onnx/decoder_model_merged.onnx")),
            &["no decoder", "decoder_model_merged.onnx"],
        ),
        ("english", Box::new(set("config.json", "num_mel_bins", 80.into())), &["feature_size is 128", "80"]),
        ("english", Box::new(set("config.json", "max_source_positions", 1500.into())), &["n_samples", "480000"]),
        ("english", Box::new(set("config.json", "max_target_positions", Value::Null)), &["max_target_positions"]),
        ("english", Box::new(set("config.json", "vocab_size", 10.into())), &["vocab_size is 10", "one export"]),
        ("english", Box::new(set("config.json", "vocab_size", 5000.into())), &["vocab_size is 5000", "logits"]),
        (
            "english",
            Box::new(set("generation_config.json", "eos_token_id", 3.into())),
            &["eos_token_id is 3", "<|endoftext|>"],
        ),
        (
            "english",
            Box::new(set("generation_config.json", "alignment_heads", serde_json::json!([[9, 0]]))),
            &["alignment_heads", "below 2"],
        ),
        (
            "english",
            Box::new(|dir| std::fs::write(dir.path().join("tokenizer.json"), "{").expect("writes")),
            &["tokenizer.json"],
        ),
        (
            "english",
            Box::new(|dir| std::fs::write(dir.path().join("tokenizer.json"), WORDS).expect("writes")),
            &["decoder_start_token_id is", "one export"],
        ),
    ];
    for (i, (name, breaks, says)) in cases.iter().enumerate() {
        let error = refused(name, breaks);
        assert!(says.iter().all(|part| error.contains(part)), "{i}: {error}");
    }
}

/// A tokenizer of another family.
const WORDS: &str = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,"pre_tokenizer":null,
    "post_processor":null,"decoder":null,"model":{"type":"WordLevel","unk_token":"a","vocab":{"a":0,"b":1}}}"#;
