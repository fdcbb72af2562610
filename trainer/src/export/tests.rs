use std::path::{Path, PathBuf};

use burn::tensor::{Tensor as BurnTensor, TensorData};
use clap::Parser;
use linnet::engine::tract::TractEngine;
use linnet::engine::{Engine, Tensor};
use linnet::store::{self, MANIFEST, Package};
use linnet_proto::manifest::{Canary, CanarySearch, CanaryStatus, Manifest};
use prost::Message;
use serde::Deserialize;
use tempfile::TempDir;

use super::trained::tests::{character_tokenizer, random, small_config, write};
use super::trained::{MODEL_JSON, WEIGHTS};
use super::*;
use crate::model::{Bound, Encoder, EncoderConfig, Weights};
use crate::skips;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/encoder").join(name)
}

/// A recording that is bundled with the project, and what is said in it.
fn sample() -> (PathBuf, String) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/audio");
    (dir.join("sample.wav"), std::fs::read_to_string(dir.join("sample.txt")).expect("readable"))
}

/// What the independent forward pass in NumPy wrote (`tests/goldens/encoder/generate.py`).
#[derive(Deserialize)]
struct Golden {
    frames: usize,
    lengths: Vec<usize>,
    features: Vec<f32>,
    log_probs: Vec<Vec<f32>>,
}

/// Frames, features and log-probabilities of a row.
type Case = (usize, Vec<f32>, Vec<f32>);

/// Weights and rows.
fn cases(name: &str) -> (Trained, Vec<Case>) {
    let dir = golden(name);
    let config = EncoderConfig::read(&dir.join(MODEL_JSON)).expect("reads");
    let weights = Weights::read(&config, &dir.join(WEIGHTS)).expect("reads");
    let tokenizer = character_tokenizer(config.units);
    let golden: Golden =
        serde_json::from_slice(&std::fs::read(dir.join("golden.json")).expect("readable")).expect("well formed");
    let rows = golden.features.chunks_exact(golden.frames * 80).zip(&golden.lengths).zip(golden.log_probs);
    let case = |((row, &n), want): ((&[f32], &usize), Vec<f32>)| (n, row[..n * 80].to_vec(), want);
    (Trained::new(config, &weights, tokenizer), rows.map(case).collect())
}

/// Features of any length.
fn features(frames: usize) -> Vec<f32> {
    (0..frames * 80).map(|i| ((i * 7919 % 1009) as f32 * 0.37).sin() * 1.5).collect()
}

fn graph(dir: &TempDir, trained: &Trained, precision: Precision) -> PathBuf {
    let path = dir.path().join("model.onnx");
    std::fs::write(&path, encoder(trained, precision).expect("builds").encode_to_vec()).expect("writes");
    path
}

fn run_graph(onnx: &Path, frames: usize, features: &[f32], plain: bool) -> Vec<f32> {
    let package = onnx.parent().expect("has a directory");
    let model = TractEngine { plain }.load(package, onnx.file_name().expect("a name").as_ref());
    let mut session = model.expect("loads").session().expect("opens");
    let features = Tensor::f32([1, frames, 80], features.to_vec());
    let outputs = session.run(&[("features", features)]).expect("runs");
    outputs[0].1.as_f32().expect("floats").to_vec()
}

/// Largest difference of a log-probability.
fn apart(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn the_graph_computes_what_the_reference_computes() {
    for name in ["chunked4x", "full8x"] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (trained, cases) = cases(name);
        let onnx = graph(&dir, &trained, Precision::F32);
        assert!(!cases.is_empty());
        for (frames, features, expected) in cases {
            for plain in [false, true] {
                let off = apart(&run_graph(&onnx, frames, &features, plain), &expected);
                assert!(off < 1e-4, "{name}, {frames} frames, plain {plain}: {off}");
            }
        }
    }
}

#[test]
fn the_graph_computes_what_was_trained_for_any_length() {
    for (subsampling, chunk_frames) in [(4, 4), (8, 0)] {
        let config = EncoderConfig { subsampling, chunk_frames, ..small_config() };
        let trained = random(config.clone(), 7);
        let dir = tempfile::tempdir().expect("temporary directory");
        write(&trained, dir.path());
        let weights = Weights::read(&config, &dir.path().join(WEIGHTS)).expect("reads");
        let device = crate::train::device::device(Default::default()).expect("a device");
        let bound = Bound::new(&weights, &device);
        let encoder = Encoder::new(&config, &bound);
        let onnx = graph(&dir, &trained, Precision::F32);
        for frames in [1, 8, 9, 130] {
            let input = BurnTensor::<3>::from_data(TensorData::new(features(frames), [1, frames, 80]), &device);
            let trained: Vec<f32> = encoder.forward(input, &[frames], None).into_data().iter::<f32>().collect();
            let off = apart(&run_graph(&onnx, frames, &features(frames), false), &trained);
            assert!(off < 2e-4, "{subsampling}x, chunks of {chunk_frames}, {frames} frames: {off}");
        }
    }
}

#[test]
fn bytes_compute_nearly_the_same() {
    let (trained, cases) = cases("chunked4x");
    for precision in [Precision::Int8Weights, Precision::Int8Dynamic] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let onnx = graph(&dir, &trained, precision);
        for (frames, features, expected) in &cases {
            let ours = run_graph(&onnx, *frames, features, false);
            let probability = ours.iter().zip(expected).map(|(a, b)| (a.exp() - b.exp()).abs()).fold(0.0, f32::max);
            assert!(probability < 0.05, "{precision:?}, {frames} frames: {probability}");
            assert!(apart(&ours, expected) > 1e-4, "{precision:?} must be another computation");
        }
    }
}

/// Whether ONNX Runtime adds products of bytes in 32 bits: on x86-64 without VNNI it adds two in 16 bits, which saturate (so say its
/// notes on quantization), and computes something else than the file says.
fn products_of_bytes_are_exact() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512vnni") || is_x86_feature_detected!("avxvnni");
    #[cfg(not(target_arch = "x86_64"))]
    true
}

#[test]
fn onnx_runtime_computes_the_same() {
    let test = "onnx_runtime_computes_the_same";
    let Some(python) = std::env::var_os("LINNET_TEST_PYTHON") else {
        return skips::skip(test, "LINNET_TEST_PYTHON names no Python with onnxruntime");
    };
    for (precision, most) in
        // What is rounded while it runs may be rounded to another byte, where another engine's floats differ in their last bit.
        [(Precision::F32, 2e-4), (Precision::Int8Weights, 2e-4), (Precision::Int8Dynamic, 0.05)]
    {
        if precision == Precision::Int8Dynamic && !products_of_bytes_are_exact() {
            eprintln!("{precision:?} is left out: ONNX Runtime's products of bytes saturate on this CPU");
            continue;
        }
        let dir = tempfile::tempdir().expect("temporary directory");
        let onnx = graph(&dir, &random(small_config(), 3), precision);
        for frames in [1, 9, 130] {
            let theirs = reference::run(Path::new(&python), &onnx, &features(frames)).expect("it takes the graph");
            let off = apart(&run_graph(&onnx, frames, &features(frames), false), &theirs);
            assert!(off < most, "{precision:?}, {frames} frames: {off}");
        }
    }
}

#[test]
fn a_file_of_bytes_is_a_quarter_as_large() {
    let trained = random(EncoderConfig { d_model: 64, ..small_config() }, 3);
    let bytes = |precision| encoder(&trained, precision).expect("builds").encode_to_vec().len();
    assert!(bytes(Precision::Int8Weights) < bytes(Precision::F32) * 2 / 5);
}

/// Random weights, a manifest with the bundled recording, and arguments to export them.
fn export_args(home: &Path, seed: u64) -> ExportArgs {
    let weights = home.join("best");
    std::fs::create_dir_all(&weights).expect("creates");
    write(&random(small_config(), seed), &weights);
    let (audio, text) = sample();
    let row = serde_json::json!({ "audio": audio, "text": text.trim(), "speaker": "sample" });
    std::fs::write(home.join("valid.jsonl"), format!("{row}\n")).expect("writes");
    ExportArgs {
        from: weights,
        out: home.join("models/test"),
        name: "test".into(),
        version: "1.2.3".into(),
        aliases: vec!["whisper-1".into()],
        languages: vec!["en".into()],
        license: "MIT".into(),
        description: "random weights".into(),
        lm: None,
        valid: home.join("valid.jsonl"),
        canaries: vec![audio],
        // Weights that were never trained hear nothing right and are sure of nothing.
        canary_margin: 0.0,
        canary_as_heard: true,
        precision: Precision::Int8Weights,
        allow_loss: 100.0,
        tune: false,
        reference: None,
        card: None,
        facts: Vec::new(),
        tests: Vec::new(),
        max_segment_secs: 30.0,
        keep_weights: None,
        transformers: None,
        threads: Some(1),
    }
}

#[test]
fn an_exported_package_is_whole_and_proves_its_canary() {
    let home = tempfile::tempdir().expect("temporary directory");
    let mut args = export_args(home.path(), 5);
    let (out, keep) = (args.out.clone(), home.path().join("kept"));
    args.tests = vec![sets::TestSet { title: "the sample".into(), manifest: args.valid.clone() }];
    args.tune = true;
    args.keep_weights = Some(keep.clone());
    let from = args.from.clone();
    run(args).expect("exports");

    let package = Package::open(&out).expect("opens");
    assert!(package.unlisted.is_empty());
    let manifest = &package.manifest;
    assert_eq!((manifest.name.as_str(), manifest.version.as_str()), ("test", "1.2.3"));
    let Some(Canary::Speech(canary)) = &manifest.canary else { panic!("{:?}", manifest.canary) };
    assert_eq!(canary.status, CanaryStatus::Recorded);
    assert!(!canary.text.is_empty() && canary.logprob < 0.0);
    assert_eq!(canary.search, CanarySearch::Package, "it is heard as requests are");
    canary::prove(&out).expect("proves");
    let card = std::fs::read_to_string(out.join("README.md")).expect("readable");
    assert!(card.contains("| the sample | 1 | 1 |") && !card.contains("{{"), "{card}");
    let beside: Vec<_> = std::fs::read_dir(home.path().join("models")).expect("readable").collect();
    assert_eq!(beside.len(), 1, "nothing is left beside it");
    let (kept, trained) = (Trained::open(&keep).expect("reads"), Trained::open(&from).expect("reads"));
    assert_eq!(kept.config, trained.config);
    assert_eq!(kept.tokenizer, trained.tokenizer);
}

/// Writes `manifest.toml` anew for files that were changed on purpose, so that only the canary can notice.
fn list_again(dir: &Path, manifest: &Manifest) {
    let mut manifest = manifest.clone();
    for (name, entry) in &mut manifest.files {
        *entry = store::file_entry(&dir.join(name)).expect("readable");
    }
    std::fs::write(dir.join(MANIFEST), toml::to_string(&manifest).expect("serialises")).expect("writes");
}

/// Turns the sign of one stored weight in a hundred, lists the files again, and gives how many were turned.
fn flip_one_in_a_hundred(dir: &Path) -> usize {
    let package = Package::open(dir).expect("opens");
    let onnx = package.path("model.onnx");
    let mut proto = onnx::proto::ModelProto::decode(std::fs::read(&onnx).expect("readable").as_slice()).expect("ONNX");
    let mut flipped = 0;
    let weights = proto.graph.as_mut().expect("a graph").initializer.iter_mut();
    for tensor in weights.filter(|t| t.name.ends_with(".weight_int8")) {
        for byte in tensor.raw_data.iter_mut().step_by(100) {
            // -128 is in no file of ours.
            *byte = byte.wrapping_neg();
            flipped += 1;
        }
    }
    std::fs::write(&onnx, proto.encode_to_vec()).expect("writes");
    list_again(dir, &package.manifest);
    flipped
}

/// A copy of a package.
fn copy(package: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("creates");
    for entry in std::fs::read_dir(package).expect("readable") {
        let from = entry.expect("an entry").path();
        std::fs::copy(&from, to.join(from.file_name().expect("a name"))).expect("copies");
    }
}

#[test]
fn a_canary_fails_when_one_weight_in_a_hundred_is_flipped() {
    let home = tempfile::tempdir().expect("temporary directory");
    let args = export_args(home.path(), 5);
    let small = args.out.clone();
    run(args).expect("exports");
    // What was just exported, of random weights; and what is shipped.
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/stt-en-small");
    for (package, least) in [(small, 50), (shipped, 39_000)] {
        let damaged = home.path().join("damaged").join(package.file_name().expect("a name"));
        copy(&package, &damaged);
        canary::prove(&damaged).expect("it is whole");
        let flipped = flip_one_in_a_hundred(&damaged);
        assert!(flipped > least, "{flipped} weights of {}", package.display());
        let error = canary::prove(&damaged).expect_err("the damage is heard");
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.to_string().contains("canary.wav"), "{error}");
        // With the graph as it was it proves itself again: nothing else is wrong with the copy.
        std::fs::copy(package.join("model.onnx"), damaged.join("model.onnx")).expect("copies");
        list_again(&damaged, &Package::open(&package).expect("opens").manifest);
        canary::prove(&damaged).expect("whole again");
    }
}

#[test]
fn an_export_that_is_refused_leaves_the_old_package() {
    let home = tempfile::tempdir().expect("temporary directory");
    let args = export_args(home.path(), 5);
    let out = args.out.clone();
    run(args).expect("exports");
    let before = std::fs::read(out.join(MANIFEST)).expect("readable");
    let mut args = export_args(home.path(), 6);
    args.canary_as_heard = false;
    let error = run(args).expect_err("not heard right");
    assert_eq!(error.kind(), Kind::Refused);
    let text = crate::text::normalize(&sample().1);
    assert!(error.to_string().contains(&format!("instead of {text:?}")), "{error}");
    assert_eq!(std::fs::read(out.join(MANIFEST)).expect("readable"), before);
    assert_eq!(std::fs::read_dir(home.path().join("models")).expect("readable").count(), 1);
}

/// Weights that compute with floats what `trained` computes but for one hidden unit of each feed-forward, which never wakes.
/// Its weights are huge: stored as bytes on one scale with them, all others of their matrix are 0.
fn deaf_in_bytes(mut trained: Trained) -> Trained {
    let (width, hidden) = (trained.config.d_model, trained.config.ff_mult * trained.config.d_model);
    for block in 0..trained.config.layers {
        for part in ["ff1", "ff2"] {
            let mut change = |name: &str, change: &dyn Fn(&mut [f32])| {
                let name = format!("blocks.{block}.{part}.{name}");
                change(&mut trained.tensors.get_mut(&name).expect("a tensor").data);
            };
            change("in.weight", &|weights| weights.iter_mut().step_by(hidden).for_each(|weight| *weight = 0.0));
            change("in.bias", &|biases| biases[0] = -200.0);
            // Of mean 0, since the exporter takes the mean away.
            change("out.weight", &|weights| {
                weights[..width].iter_mut().enumerate().for_each(|(i, w)| *w = if i % 2 == 0 { 1e4 } else { -1e4 });
            });
        }
    }
    trained
}

/// Points that may be lost where the command line says nothing.
fn default_loss() -> f64 {
    let words = "linnet-train export --from a --out b --name c --license d --description e --valid f";
    match crate::cli::Cli::parse_from(words.split(' ')).verb {
        crate::cli::Verb::Export(args) => args.allow_loss,
        other => panic!("{other:?}"),
    }
}

/// Every file below a directory.
fn files(dir: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(dir).expect("readable").map(|entry| entry.expect("an entry").path());
    let below = |path: PathBuf| match path.is_dir() {
        true => files(&path),
        false => [(path.clone(), std::fs::read(&path).expect("readable"))].into(),
    };
    entries.flat_map(below).collect()
}

#[test]
fn an_export_that_loses_more_than_half_a_point_is_refused_and_leaves_the_old_package() {
    let home = tempfile::tempdir().expect("temporary directory");
    let old = export_args(home.path(), 5);
    let models = home.path().join("models");
    run(old).expect("exports");
    let before = files(&models);

    let lossy = || {
        let mut args = export_args(home.path(), 6);
        write(&deaf_in_bytes(random(small_config(), 6)), &args.from);
        // The float weights are right by definition: what they hear is what is said to be said.
        let opened = Opened::model(&args.from, None).expect("opens");
        let set = sets::read(&args.valid).expect("reads");
        let hear = HearOptions { threads: 1, ..HearOptions::default() };
        let mut bad = crate::bad::BadRows::new(crate::bad::OnBad::Stop);
        let heard = crate::evaluate::hear_all(&opened.pipeline, &set, &hear, &mut bad).expect("hears");
        let row = serde_json::json!({ "audio": sample().0, "text": heard[0].text });
        std::fs::write(&args.valid, format!("{row}\n")).expect("writes");
        args.allow_loss = default_loss();
        args.keep_weights = Some(home.path().join("kept"));
        args
    };
    let error = run(lossy()).expect_err("bytes hear something else");
    assert_eq!((error.kind(), error.exit_code()), (Kind::Refused, 76));
    let said = error.to_string();
    assert!(said.starts_with("quantization raises the word error rate from 0.00 % to "), "{said}");
    assert!(said.contains(" %, by more than 0.5 points; export with another --precision, train longer"), "{said}");
    assert!(files(&models) == before, "the old package is another, or something is left beside it");
    assert!(!home.path().join("kept").exists());

    // Nothing else is wrong with it: the loss that the message names is allowed, and floats lose nothing.
    let named = said.rsplit_once("--allow-loss ").expect("the way out").1.parse().expect("a number");
    run(ExportArgs { allow_loss: named, ..lossy() }).expect("it is allowed");
    assert!(files(&models) != before);
    run(ExportArgs { precision: Precision::F32, ..lossy() }).expect("nothing is lost");
}

#[test]
fn a_canary_is_a_wav_file_of_a_held_out_text() {
    let home = tempfile::tempdir().expect("temporary directory");
    let (audio, said) = sample();
    let place = |name: &str, audio: &[u8], text: Option<&str>| {
        let path = home.path().join(name);
        std::fs::write(&path, audio).expect("writes");
        if let Some(text) = text {
            std::fs::write(path.with_extension("txt"), text).expect("writes");
        }
        path
    };
    let wav = std::fs::read(&audio).expect("readable");
    let committed = HeldOut::committed();
    let read = |path: &PathBuf| canary::read(std::slice::from_ref(path), committed);
    let good = read(&place("good.wav", &wav, Some(&said))).expect("its text is held out");
    assert_eq!(good[0].text, crate::text::normalize(&said));

    let seen = "nobody has kept this sentence away from any model";
    let error = read(&place("seen.wav", &wav, Some(seen))).expect_err("no held-out text");
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.to_string().contains("held-out list") && error.to_string().contains("seen.wav"), "{error}");
    let error = read(&place("alone.wav", &wav, None)).expect_err("no text");
    assert!(error.to_string().contains("alone.txt") && error.to_string().contains("beside it"), "{error}");
    let error = read(&place("not.wav", b"fLaC", Some(&said))).expect_err("no WAV");
    assert!(error.to_string().contains("must be a WAV file"), "{error}");

    let rows = |text: &str| format!("{}\n", serde_json::json!({ "audio": audio, "text": text }));
    assert_eq!(read(&place("good.jsonl", rows(&said).as_bytes(), None)).expect("its row is held out"), {
        vec![canary::Clip { path: audio.clone(), ..good[0].clone() }]
    });
    let mixed = rows(&said) + &rows(seen);
    let error = read(&place("mixed.jsonl", mixed.as_bytes(), None)).expect_err("one is not held out");
    assert!(error.to_string().contains("mixed.jsonl:2"), "{error}");
    // And an export does not begin with one.
    let mut args = export_args(home.path(), 5);
    args.canaries.push(home.path().join("seen.wav"));
    let out = args.out.clone();
    assert_eq!(run(args).expect_err("no held-out text").kind(), Kind::Refused);
    assert!(!out.exists());
}

#[test]
fn a_clip_is_heard_once_and_what_is_read_from_it_is_what_the_daemon_hears() {
    let home = tempfile::tempdir().expect("temporary directory");
    let args = export_args(home.path(), 5);
    let out = args.out.clone();
    run(args).expect("exports");
    let opened = Opened::package(&out).expect("opens");
    let (audio, said) = sample();
    let copy = home.path().join("once.wav");
    std::fs::copy(&audio, &copy).expect("copies");
    let clips = [canary::Clip { path: copy.clone(), text: crate::text::normalize(&said) }];
    let log_probs = canary::listen(&opened, &clips).expect("it is heard");
    // From here on nobody can hear it again.
    std::fs::remove_file(&copy).expect("removes");
    let heard = canary::hear(&opened, &log_probs).expect("it was heard");
    let daemons = opened.pipeline.hear_clip(&audio, CanarySearch::Package).expect("hears");
    assert_eq!((heard[0].text.as_str(), heard[0].logprob), (daemons.decoded.text.as_str(), daemons.mean_best));
    assert!(heard[0].margin >= 0.0, "{}", heard[0].margin);
}

#[test]
fn a_clip_that_the_daemon_would_not_hear_in_one_piece_is_refused() {
    let home = tempfile::tempdir().expect("temporary directory");
    let mut args = export_args(home.path(), 5);
    args.max_segment_secs = 1.0;
    let error = run(args).expect_err("the recording is longer");
    assert!(error.to_string().contains("in one piece, of at most 1 s"), "{error}");
}

#[test]
fn the_canary_is_the_clip_that_is_heard_right_by_the_largest_margin() {
    let clip = |name: &str| canary::Clip { path: name.into(), text: format!("this is {name}") };
    let heard = |text: &str, margin| canary::Heard { text: text.into(), logprob: -0.1, margin };
    let clips = ["a", "b", "c"].map(clip);
    let strict = canary::Rules { margin: 0.2, as_heard: false };
    let chosen = |heard: &[canary::Heard; 3], rules| canary::choose(&clips, heard, rules);
    let sure = [heard("this is a", 0.4), heard("this is b", 0.9), heard("this is sea", 3.0)];
    assert_eq!(chosen(&sure, strict).expect("two are right"), 1);
    let unsure = [heard("this is a", 0.19), heard("this is", 0.9), heard("this is sea", 3.0)];
    let error = chosen(&unsure, strict).expect_err("none is right by enough");
    assert_eq!(error.kind(), Kind::Refused);
    let error = error.to_string();
    assert!(error.contains("a is heard by a margin of 0.190 only (at least 0.2)"), "{error}");
    assert!(error.contains("c is heard as \"this is sea\" instead of \"this is c\""), "{error}");
    assert_eq!(chosen(&unsure, canary::Rules { as_heard: true, ..strict }).expect("any text will do"), 2);
    let silent = [heard("", 9.0), heard("", 9.0), heard("", 9.0)];
    assert!(chosen(&silent, canary::Rules { margin: 0.0, as_heard: true }).is_err(), "silence never does");
    let tie = [heard("this is a", f64::NAN), heard("this is", 0.9), heard("this is sea", 3.0)];
    assert!(chosen(&tie, strict).is_err(), "a margin that is no number is none");
}

#[test]
fn more_loss_than_allowed_is_refused() {
    let score = |errors| crate::evaluate::Score {
        words: linnet_features::wer::ErrorCounts { substitutions: errors, reference: 1000, ..Default::default() },
        ..Default::default()
    };
    let gate = gate::Gate { float: score(100), quantized: score(105) };
    assert!(gate.check(0.5).is_ok());
    let gate = gate::Gate { float: score(100), quantized: score(106) };
    let error = gate.check(0.5).expect_err("0.6 points");
    assert_eq!(error.kind(), Kind::Refused);
    assert!(
        error.to_string().contains("from 10.00 % to 10.60 %") && error.to_string().contains("--allow-loss"),
        "{error}"
    );
    assert!(gate::Gate { float: score(106), quantized: score(100) }.check(0.0).is_ok());
}

#[test]
fn a_test_set_has_a_title_and_a_manifest() {
    let parsed = sets::parse("held-out reader = a/b=c.jsonl").expect("parses");
    assert_eq!((parsed.title.as_str(), parsed.manifest.as_path()), ("held-out reader", Path::new("a/b=c.jsonl")));
    assert!(sets::parse("a.jsonl").is_err());
    assert!(sets::parse("=a.jsonl").is_err());
}
