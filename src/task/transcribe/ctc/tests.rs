use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use linnet_features::audio::{AudioLimits, Media};
use linnet_features::logmel::{MEL_BINS, fbank};
use linnet_proto::manifest::{CanarySearch, CanaryStatus, MANIFEST_VERSION, Manifest, SpeechCanary};
use linnet_proto::model_config::{CtcConfig, DecodingDefaults, Normalization, UnitKind};
use linnet_proto::{ErrorCode, Segment, TranscribeOptions, Transcript};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::engine::Tensor;
use crate::engine::fake::{FakeEngine, FakeModel, FakeRun};
use crate::job::{Answer, Job, Origin, Part, Priority, Reply, Request, TaskRequest, TranscribeRequest};
use crate::task::{Heartbeat, TaskContext};

/// A word of one letter for each pitch, Hz: what [`hearing_pitches`] spells.
const PITCHES: [f32; 4] = [300.0, 700.0, 1500.0, 3500.0];
const UNITS: [&str; 5] = ["<blank>", "▁i", "▁a", "▁b", "▁can't"];
const SUBSAMPLING: usize = 4;
const MAX_SECS: f64 = 5.0;

/// A tone of these many samples, or a silence for a pitch of 0.
fn tone(pitch: f32, samples: usize) -> Vec<f32> {
    let step = std::f32::consts::TAU * pitch / 16_000.0;
    let wave = |i: usize| 0.3 * (step * i as f32).sin() * if pitch == 0.0 { 0.0 } else { 1.0 };
    // A little noise, as every room has.
    (0..samples).map(|i| wave(i) + 1e-4 * ((i * 7919 % 101) as f32 / 101.0 - 0.5)).collect()
}

fn loudest(bins: &[f32]) -> (usize, f32) {
    let pairs = bins.iter().copied().enumerate();
    pairs.fold((0, f32::NEG_INFINITY), |best, pair| if pair.1 > best.1 { pair } else { best })
}

/// A model that hears tones: for each loud output frame the unit of the nearest pitch, else the blank.
fn hearing_pitches() -> FakeModel {
    let bins = PITCHES.map(|pitch| loudest(&fbank(&tone(pitch, 400))).0);
    FakeModel::new(move |inputs, _| {
        let features = inputs[0].1.as_f32().expect("floats");
        let rows: Vec<&[f32]> = features.chunks(SUBSAMPLING * MEL_BINS).collect();
        let rest = (0.02f32 / (UNITS.len() - 1) as f32).ln();
        let mut log_probs = vec![rest; rows.len() * UNITS.len()];
        for (row, out) in rows.iter().zip(log_probs.chunks_mut(UNITS.len())) {
            let frames = row.len() / MEL_BINS;
            let mean: Vec<f32> =
                (0..MEL_BINS).map(|b| row[b..].iter().step_by(MEL_BINS).sum::<f32>() / frames as f32).collect();
            let (bin, level) = loudest(&mean);
            let nearest = (0..PITCHES.len()).min_by_key(|i| bins[*i].abs_diff(bin)).expect("some pitch");
            out[if level > 17.0 { nearest + 1 } else { 0 }] = 0.98f32.ln();
        }
        FakeRun::Outputs(vec![("log_probs".into(), Tensor::f32([1, rows.len(), UNITS.len()], log_probs))])
    })
}

fn package(dir: &std::path::Path) -> Package {
    let canary = SpeechCanary {
        status: CanaryStatus::Recorded,
        audio: "canary.wav".into(),
        text: "i a".into(),
        search: CanarySearch::Greedy,
        logprob: 0.98f64.ln(),
        logprob_tolerance: 1e-4,
    };
    Package {
        dir: dir.to_owned(),
        manifest: Manifest {
            manifest_version: MANIFEST_VERSION,
            name: "tones".into(),
            version: "1.0.0".into(),
            aliases: Vec::new(),
            tasks: vec!["transcribe".into()],
            languages: vec!["en".into()],
            pairs: Vec::new(),
            license: "MIT".into(),
            description: "hears tones".into(),
            family: "linnet-ctc".into(),
            memory_mib: 1,
            files: BTreeMap::new(),
            dtype: None,
            canary: Some(Canary::Speech(canary)),
        },
        unlisted: Vec::new(),
    }
}

fn speech(package: &Package) -> SpeechCanary {
    match &package.manifest.canary {
        Some(Canary::Speech(canary)) => canary.clone(),
        other => panic!("{other:?}"),
    }
}

fn parts(normalization: Normalization) -> CtcParts {
    CtcParts {
        config: CtcConfig {
            model_type: "linnet-ctc".into(),
            sample_rate: 16_000,
            mel_bins: MEL_BINS,
            frame_shift_ms: 10.0,
            normalization,
            subsampling: SUBSAMPLING,
            blank_id: 0,
            units: UNITS.len(),
            max_segment_secs: MAX_SECS,
            unit_kind: UnitKind::Bpe,
            onnx: "model.onnx".into(),
            language_model: None,
            decoding: DecodingDefaults { beam_width: 1, ..DecodingDefaults::default() },
        },
        units: UNITS.map(str::to_owned).to_vec(),
    }
}

fn loaded(package: &Package, parts: CtcParts, model: FakeModel) -> Result<TranscribePipeline, PackageError> {
    TranscribePipeline::of_parts(package, parts, &FakeEngine(model))
}

fn pipeline(model: &FakeModel) -> TranscribePipeline {
    let package = package(std::path::Path::new("/nowhere"));
    loaded(&package, parts(Normalization::None), model.clone()).expect("the package loads")
}

/// Signed 16-bit samples.
fn pcm(samples: &[f32]) -> Bytes {
    samples.iter().flat_map(|s| ((s * 32_767.0) as i16).to_le_bytes()).collect()
}

const L16: Media = Media::L16 { rate: 16_000, channels: 1, big_endian: false };

/// A job whose segments are wanted as they come.
fn job(audio: Bytes, media: Media, options: TranscribeOptions) -> (Job, Reply) {
    let options = TranscribeOptions { stream: true, ..options };
    let (parts, cancel, reply) = Reply::channel(64);
    let now = Instant::now();
    let request = Request {
        id: "1".into(),
        origin: Origin::Internal,
        task: TaskRequest::Transcribe(TranscribeRequest { audio, media, options, translate: false }),
        timeout: Duration::from_secs(60),
        priority: Priority::Normal,
    };
    (Job { request, admitted: now, deadline: now + Duration::from_secs(60), cancel, parts }, reply)
}

/// Runs a job on a fresh worker; the answer, and the segments that came before it.
fn run(model: &FakeModel, job: Job, mut reply: Reply) -> (Result<Transcript, WireError>, Vec<Segment>) {
    let mut executor = pipeline(model).executor().expect("a worker's half");
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

fn transcribe(audio: &[f32], options: TranscribeOptions) -> (Result<Transcript, WireError>, Vec<Segment>) {
    let (job, reply) = job(pcm(audio), L16, options);
    run(&hearing_pitches(), job, reply)
}

/// Tones (index of the pitch, ms) and the silence after each, ms.
fn any_melody() -> impl Strategy<Value = Vec<(usize, usize, usize)>> {
    prop::collection::vec((0..PITCHES.len(), 150usize..900, 150usize..2500), 0..14)
}

fn sound(melody: &[(usize, usize, usize)]) -> (Vec<f32>, Vec<(f64, f64)>) {
    let (mut samples, mut times) = (tone(0.0, 3000), Vec::new());
    for &(pitch, ms, silence) in melody {
        let start = samples.len() as f64 / 16_000.0;
        samples.extend(tone(PITCHES[pitch], ms * 16));
        times.push((start, samples.len() as f64 / 16_000.0));
        samples.extend(tone(0.0, silence * 16));
    }
    (samples, times)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_tone_is_heard_once_at_its_time(melody in any_melody()) {
        let (samples, times) = sound(&melody);
        let (answer, emitted) = transcribe(&samples, TranscribeOptions::default());
        let answer = answer.expect("well-formed audio");
        let words: Vec<&str> = melody.iter().map(|(pitch, _, _)| UNITS[pitch + 1].trim_start_matches('▁')).collect();
        prop_assert_eq!(&answer.text, &words.join(" "));
        prop_assert_eq!(answer.duration_secs, samples.len() as f64 / 16_000.0);
        prop_assert_eq!(&emitted, &answer.segments);
        let of_segments: Vec<_> = answer.segments.iter().flat_map(|s| s.words.iter().cloned()).collect();
        prop_assert_eq!(&of_segments, &answer.words);
        let mut last = 0.0;
        for (word, (start, end)) in answer.words.iter().zip(times) {
            prop_assert!((word.start - start).abs() < 0.1 && (word.end - end).abs() < 0.1, "{word:?} {start} {end}");
            prop_assert!(word.start >= last && word.end > word.start && word.end <= answer.duration_secs);
            prop_assert!((word.confidence - 0.98).abs() < 1e-3);
            last = word.start;
        }
        for (index, segment) in answer.segments.iter().enumerate() {
            prop_assert_eq!(segment.id as usize, index);
            prop_assert!(segment.end - segment.start <= MAX_SECS && !segment.text.is_empty());
        }
    }

    #[test]
    fn the_text_does_not_depend_on_how_the_audio_comes(melody in any_melody(), chunk in 1usize..30_000) {
        let (samples, _) = sound(&melody);
        let model = hearing_pitches();
        let pipeline = pipeline(&model);
        let mut worker = Transcriber::new(pipeline.recognizer().expect("a worker's half"));
        let plan = options::Plan::new(&TranscribeOptions::default(), &pipeline.0.acoustics.decoding, "tones", &["en".into()])
            .expect("the defaults");
        let mut hear = |chunk: usize| {
            let (job, _reply) = job(Bytes::new(), L16, TranscribeOptions::default());
            let ctx = TaskContext::new(&job, Heartbeat::default(), AudioLimits::default());
            let mut chunks = samples.chunks(chunk);
            let mut read = |out: &mut Vec<f32>| {
                let next = chunks.next();
                out.extend_from_slice(next.unwrap_or_default());
                Ok(next.is_some())
            };
            let answer = worker.transcribe(&plan, &mut read, &ctx).expect("well-formed audio");
            (answer.words, answer.segments)
        };
        prop_assert_eq!(hear(chunk), hear(1600));
    }
}

#[test]
fn silence_never_reaches_the_model() {
    let model = hearing_pitches();
    let (job, reply) = job(pcm(&tone(0.0, 200_000)), L16, TranscribeOptions::default());
    let (answer, segments) = run(&model, job, reply);
    let answer = answer.expect("silence is well-formed");
    assert_eq!((answer.text.as_str(), answer.words.len(), answer.segments.len()), ("", 0, 0));
    assert_eq!((answer.duration_secs, segments), (12.5, vec![]));
    // Loading tries the graph once.
    assert_eq!(model.runs(), 1);
}

#[test]
fn audio_shorter_than_a_frame_is_an_empty_transcript() {
    for samples in [1, 160, 399] {
        let (answer, _) = transcribe(&tone(700.0, samples), TranscribeOptions::default());
        let answer = answer.expect("short audio is well-formed");
        assert_eq!(answer.text, "", "{samples}");
        assert!((answer.duration_secs - samples as f64 / 16_000.0).abs() < 1e-9 && answer.rtf.is_finite());
    }
}

#[test]
fn no_audio_and_no_such_audio_are_refused_by_their_codes() {
    let code = |audio: &[u8], media| {
        let (job, reply) = job(Bytes::copy_from_slice(audio), media, TranscribeOptions::default());
        run(&hearing_pitches(), job, reply).0.expect_err("not audio").code
    };
    assert_eq!(code(b"", L16), ErrorCode::EmptyAudio);
    assert_eq!(
        code(b"to be or not to be, that is the question: ".as_slice(), Media::Detect),
        ErrorCode::UnsupportedMedia
    );
    assert_eq!(code(&[0; 640], Media::L16 { rate: 1, channels: 1, big_endian: false }), ErrorCode::InvalidAudio);
    let long = vec![0; 640_000 * 8];
    let (job, reply) = job(long.into(), L16, TranscribeOptions::default());
    let mut executor = pipeline(&hearing_pitches()).executor().expect("a worker's half");
    let limits = AudioLimits { max_secs: 10.0, ..AudioLimits::default() };
    let mut ctx = TaskContext::new(&job, Heartbeat::default(), limits);
    assert_eq!(executor.execute(&job, &mut ctx).expect_err("too long").code, ErrorCode::TooLarge);
    drop(reply);
}

#[test]
fn rules_of_punctuation_are_applied_where_asked() {
    let melody = [(0, 300, 300), (3, 300, 1500), (1, 300, 300), (0, 300, 300)];
    let options = TranscribeOptions { punctuate: Some(true), ..TranscribeOptions::default() };
    let answer = transcribe(&sound(&melody).0, options).0.expect("well-formed audio");
    assert_eq!(answer.text, "I can't. A I.");
    let words: Vec<&str> = answer.words.iter().map(|w| w.word.as_str()).collect();
    assert_eq!(words, ["I", "can't.", "A", "I."]);
}

#[test]
fn a_language_of_another_model_is_refused_before_the_audio_is_read() {
    let options = TranscribeOptions { language: Some("fr".into()), ..TranscribeOptions::default() };
    let (job, reply) = job(Bytes::new(), L16, options);
    let error = run(&hearing_pitches(), job, reply).0.expect_err("no French");
    assert_eq!(error.code, ErrorCode::UnsupportedTask);
}

#[test]
fn a_job_stops_between_segments_when_its_caller_goes_away() {
    let melody = [(1, 500, 2000); 6];
    let (job, reply) = job(pcm(&sound(&melody).0), L16, TranscribeOptions::default());
    let cancel = job.cancel.clone();
    let hearing = hearing_pitches();
    let model = FakeModel::new(move |inputs, run| {
        // The caller goes away while the second segment is heard; run 0 was the load's.
        if run == 2 {
            cancel.cancel();
        }
        let mut session = crate::engine::Model::session(&hearing).expect("fake sessions open");
        let inputs: Vec<_> = inputs.iter().map(|(name, tensor)| (*name, tensor.clone())).collect();
        FakeRun::Outputs(session.run(&inputs).expect("hears"))
    });
    let (answer, segments) = run(&model, job, reply);
    assert_eq!(answer.expect_err("cancelled").code, ErrorCode::Cancelled);
    assert_eq!((segments.len(), model.runs()), (1, 3));
}

#[test]
fn a_job_stops_between_the_graph_and_its_search() {
    for beam_width in [1, 8] {
        let options = TranscribeOptions { beam_width: Some(beam_width), ..TranscribeOptions::default() };
        let (job, _reply) = job(pcm(&tone(700.0, 32_000)), L16, options.clone());
        let (cancel, hearing) = (job.cancel.clone(), hearing_pitches());
        let model = FakeModel::new(move |inputs, run| {
            // Run 0 was the load's.
            if run == 1 {
                cancel.cancel();
            }
            let mut session = crate::engine::Model::session(&hearing).expect("fake sessions open");
            let inputs: Vec<_> = inputs.iter().map(|(name, tensor)| (*name, tensor.clone())).collect();
            FakeRun::Outputs(session.run(&inputs).expect("hears"))
        });
        let pipeline = pipeline(&model);
        let mut worker = Transcriber::new(pipeline.recognizer().expect("a worker's half"));
        let plan =
            options::Plan::new(&options, &pipeline.0.acoustics.decoding, "tones", &["en".into()]).expect("a plan");
        let heartbeat = Heartbeat::default();
        let ctx = TaskContext::new(&job, heartbeat.clone(), AudioLimits::default());
        let mut audio = Some(tone(700.0, 32_000));
        let mut read = |out: &mut Vec<f32>| Ok(audio.take().map(|samples| out.extend(samples)).is_some());
        let error = worker.transcribe(&plan, &mut read, &ctx).expect_err("cancelled");
        assert_eq!(error.code, ErrorCode::Cancelled);
        // Two reads, one piece, and one look behind the graph's run: nothing was searched.
        assert_eq!((model.runs(), heartbeat.count()), (2, 4));
    }
}

#[test]
fn a_long_search_shows_that_it_goes_on() {
    let marks = |beam_width| {
        let options = TranscribeOptions { beam_width: Some(beam_width), ..TranscribeOptions::default() };
        let (job, _reply) = job(pcm(&tone(700.0, 64_000)), L16, options);
        let heartbeat = Heartbeat::default();
        let mut executor = pipeline(&hearing_pitches()).executor().expect("a worker's half");
        let mut ctx = TaskContext::new(&job, heartbeat.clone(), AudioLimits::default());
        executor.execute(&job, &mut ctx).expect("well-formed audio");
        heartbeat.count()
    };
    // Four seconds are a hundred frames.
    let more = marks(8) - marks(1);
    assert!((6..=9).contains(&more), "{more} marks within the search");
}

#[test]
fn a_job_whose_deadline_passed_is_answered_with_that() {
    let (mut job, reply) = job(pcm(&tone(700.0, 16_000)), L16, TranscribeOptions::default());
    job.deadline = Instant::now();
    assert_eq!(run(&hearing_pitches(), job, reply).0.expect_err("too late").code, ErrorCode::DeadlineExceeded);
}

#[test]
fn a_model_that_fails_or_gives_nonsense_is_an_error_and_not_a_text() {
    type Run = fn(usize) -> FakeRun;
    let of_shape = |frames: usize, value: f32| {
        let data = vec![value; frames * UNITS.len()];
        FakeRun::Outputs(vec![("log_probs".into(), Tensor::f32([1, frames, UNITS.len()], data))])
    };
    let faults: [(&str, Run); 4] = [
        ("out of memory", |_| FakeRun::Fail("out of memory".into())),
        ("log_probs", |_| FakeRun::Outputs(Vec::new())),
        ("instead of", |frames| {
            FakeRun::Outputs(vec![("log_probs".into(), Tensor::f32([1, frames, 2], vec![-0.7; frames * 2]))])
        }),
        ("not a log-probability", |frames| {
            let data = vec![f32::NAN; frames * UNITS.len()];
            FakeRun::Outputs(vec![("log_probs".into(), Tensor::f32([1, frames, UNITS.len()], data))])
        }),
    ];
    for (reason, fault) in faults {
        let model = FakeModel::new(move |inputs, run| {
            let frames = inputs[0].1.shape[1].div_ceil(SUBSAMPLING);
            if run == 0 { of_shape(frames, -1.7) } else { fault(frames) }
        });
        let (job, reply) = job(pcm(&tone(700.0, 16_000)), L16, TranscribeOptions::default());
        let error = run(&model, job, reply).0.expect_err(reason);
        assert_eq!(error.code, ErrorCode::Internal);
        assert!(error.message.contains(reason), "{error}");
    }
}

#[test]
fn each_normalisation_reaches_the_graph() {
    for normalization in [Normalization::None, Normalization::Utterance, Normalization::Streaming] {
        let seen: Arc<std::sync::Mutex<Vec<f32>>> = Arc::default();
        let write = Arc::clone(&seen);
        let model = FakeModel::new(move |inputs, _| {
            *write.lock().expect("not poisoned") = inputs[0].1.as_f32().expect("floats").to_vec();
            let frames = inputs[0].1.shape[1].div_ceil(SUBSAMPLING);
            let data = vec![-1.7; frames * UNITS.len()];
            FakeRun::Outputs(vec![("log_probs".into(), Tensor::f32([1, frames, UNITS.len()], data))])
        });
        let package = package(std::path::Path::new("/nowhere"));
        let pipeline = loaded(&package, parts(normalization), model).expect("the package loads");
        let samples: Vec<f32> = (0..16_000).map(|i| 0.2 * ((i * i % 977) as f32 / 977.0 - 0.5)).collect();
        // The second piece must not know of the first.
        let mut recognizer = pipeline.recognizer().expect("a session");
        for _ in 0..2 {
            recognizer.hear(&samples, &Default::default(), &Default::default()).expect("hears");
        }
        let mut wanted = fbank(&samples);
        match normalization {
            Normalization::None => {}
            Normalization::Utterance => linnet_features::normalize::normalize_utterance(&mut wanted, MEL_BINS),
            Normalization::Streaming => linnet_features::normalize::RunningNorm::new(MEL_BINS).normalize(&mut wanted),
        }
        assert_eq!(*seen.lock().expect("not poisoned"), wanted, "{normalization:?}");
    }
}

/// A package directory with the clip of a canary.
fn with_canary(samples: &[f32]) -> (TempDir, Package) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let data = pcm(samples);
    let mut wav = Vec::new();
    wav.extend(b"RIFF");
    wav.extend((36 + data.len() as u32).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data");
    wav.extend((data.len() as u32).to_le_bytes());
    wav.extend(&data);
    std::fs::write(dir.path().join("canary.wav"), wav).expect("writes");
    let package = package(dir.path());
    (dir, package)
}

#[test]
fn a_canary_proves_text_and_fingerprint() {
    let (samples, _) = sound(&[(0, 300, 300), (1, 300, 300)]);
    let (dir, package) = with_canary(&samples);
    let pipeline = loaded(&package, parts(Normalization::None), hearing_pitches()).expect("the package loads");
    let good = speech(&package);
    let prove = |canary: SpeechCanary| pipeline.prove(&Canary::Speech(canary));
    assert_eq!(prove(good.clone()), Ok(()));
    let heard = pipeline.hear_clip(&dir.path().join("canary.wav"), CanarySearch::Greedy).expect("hears");
    assert_eq!(heard.decoded.text, good.text);
    assert!((heard.mean_best - good.logprob).abs() < 1e-6);

    // By the package's own search, which here is a beam without a language model, the same is heard.
    assert_eq!(prove(SpeechCanary { search: CanarySearch::Package, ..good.clone() }), Ok(()));

    let error = prove(SpeechCanary { text: "i b".into(), ..good.clone() }).expect_err("another text");
    assert!(error.contains("\"i a\"") && error.contains("\"i b\""), "{error}");
    let error = prove(SpeechCanary { logprob: good.logprob - 0.01, ..good.clone() }).expect_err("another print");
    assert!(error.contains("mean log-probability"), "{error}");
    let error = prove(SpeechCanary { audio: "gone.wav".into(), ..good.clone() }).expect_err("no clip");
    assert!(error.contains("gone.wav"), "{error}");
    let (_dir, package) = with_canary(&vec![0.0; 100_000]);
    let pipeline = loaded(&package, parts(Normalization::None), hearing_pitches()).expect("the package loads");
    assert!(pipeline.prove(&Canary::Speech(good)).expect_err("longer than a segment").contains("canary.wav"));
}

#[test]
fn a_canary_is_heard_by_the_search_that_it_names() {
    let (samples, _) = sound(&[(0, 300, 300), (1, 300, 300)]);
    let (_dir, package) = with_canary(&samples);
    let mut own = parts(Normalization::None);
    // A beam with a bonus for each word that no sound pays for hears more words than there are.
    own.config.decoding = DecodingDefaults { beam_width: 8, word_bonus: 30.0, ..DecodingDefaults::default() };
    let pipeline = loaded(&package, own, hearing_pitches()).expect("the package loads");
    let good = speech(&package);
    assert_eq!(pipeline.prove(&Canary::Speech(good.clone())), Ok(()), "greedily");
    let error = pipeline
        .prove(&Canary::Speech(SpeechCanary { search: CanarySearch::Package, ..good }))
        .expect_err("another search");
    assert!(error.contains("was heard as"), "{error}");
}

#[test]
fn a_language_model_that_is_none_is_named() {
    let (dir, package) = with_canary(&[0.0; 16]);
    let mut own = parts(Normalization::None);
    own.config.language_model = Some("lm.bin".into());
    let load = |package: &Package| loaded(package, own.clone(), hearing_pitches());
    assert!(load(&package).expect_err("no file").to_string().contains("lm.bin"));
    std::fs::write(dir.path().join("lm.bin"), b"not a language model").expect("writes");
    let error = load(&package).expect_err("not a language model").to_string();
    assert!(error.contains("lm.bin") && error.contains("no language model of Linnet"), "{error}");
}
