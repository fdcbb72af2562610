//! Small trained models of others, as they are, against their golden answers: the shared data's `models`, which is no part of the
//! repository. What is no known family runs as a raw graph: named tensors in, named tensors out.

mod harness;

use std::path::{Path, PathBuf};

use linnet::engine::tract::TractEngine;
use linnet::engine::{Engine, Model, Positions, Session, Tensor, TensorData};
use linnet::task::model::causal::CausalGraph;
use linnet::task::model::seq2seq::{DecoderFiles, Encoded, Seq2SeqGraph};
use linnet::task::model::{LanguageModel, Logits};
use linnet_features::audio::{AudioLimits, AudioReader, Media};
use serde_json::Value;

/// A file of the shared data, or a skip that is said and counted.
fn shared(test: &str, path: &str) -> Option<PathBuf> {
    let found = harness::shared_data().map(|data| data.join(path)).filter(|path| path.exists());
    if found.is_none() {
        harness::skip_without_shared_data(test, &format!("shared data {path}"));
    }
    found
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("reads")).expect("it is JSON")
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("a list").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number") as f32).collect()
}

fn best(logits: &Logits) -> u32 {
    let row = logits.last(0);
    (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).expect("a vocabulary") as u32
}

/// A recording of the shared data, 16 kHz.
fn recording(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).expect("reads").into();
    let mut reader = AudioReader::open(bytes, &Media::Detect, &AudioLimits::default()).expect("it is FLAC");
    let mut samples = Vec::new();
    while reader.read(&mut samples).expect("it decodes") {}
    samples
}

fn session(dir: &Path, onnx: &str) -> Box<dyn Session> {
    let model: std::sync::Arc<dyn Model> =
        TractEngine::default().load(dir, Path::new(onnx)).unwrap_or_else(|e| panic!("{e}"));
    model.session().expect("a session")
}

fn floats(outputs: &[(String, Tensor)], name: &str) -> Vec<f32> {
    let (_, tensor) = outputs.iter().find(|(own, _)| own == name).expect("the output is there");
    tensor.as_f32().expect("floats").to_vec()
}

/// Largest difference of two lists of the same length.
fn difference(have: &[f32], want: &[f32]) -> f32 {
    assert_eq!(have.len(), want.len());
    have.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_story_model_writes_its_two_hundred_ids() {
    let Some(dir) = shared("a_story_model_writes_its_two_hundred_ids", "models/stories260K") else { return };
    let golden = json(&dir.join("golden_greedy.json"));
    let graph = CausalGraph::load(&TractEngine::default(), &dir, Path::new("stories260K_kv.onnx"), Some(512), 512)
        .unwrap_or_else(|e| panic!("{e}"));
    assert!(graph.keeps_cache());
    let mut model = graph.open().expect("a worker's half");
    for case in golden["cases"].as_array().expect("cases") {
        let (prompt, want) = (ids(&case["prompt_ids"]), ids(&case["output_ids"]));
        // In one piece, and in two: a prompt that goes on behind a cache.
        for head in [0, prompt.len() / 2] {
            let mut sequences = model.begin().expect("a sequence");
            let mut have = prompt.clone();
            if head > 0 {
                model.step(&mut sequences, &[prompt[..head].to_vec()], Positions::Last).expect("a step");
            }
            let mut fed = prompt[head..].to_vec();
            while have.len() < want.len() {
                let logits = model.step(&mut sequences, &[fed], Positions::Last).expect("a step");
                let id = best(&logits);
                have.push(id);
                fed = vec![id];
            }
            assert_eq!(have, want, "{}", case["prompt"]);
        }
    }
}

#[test]
fn a_transliterating_model_writes_its_five_words() {
    let test = "a_transliterating_model_writes_its_five_words";
    let Some(dir) = shared(test, "models/ct2-aren-transliteration") else { return };
    const START: u32 = 1;
    const END: u32 = 2;
    let mut encoder = session(&dir, "encoder_model.onnx");
    let files = DecoderFiles { with_past: Some("decoder_with_past_model.onnx".into()), ..DecoderFiles::default() };
    let graph = Seq2SeqGraph::load(&TractEngine::default(), &dir, &files, None, 43).unwrap_or_else(|e| panic!("{e}"));
    let mut model = graph.open().expect("a worker's half");
    let golden = json(&dir.join("golden_greedy.json"));
    for case in golden["cases"].as_array().expect("cases") {
        let source: Vec<i64> = ids(&case["src_ids"]).into_iter().map(i64::from).collect();
        let length = source.len();
        let inputs = [
            ("input_ids", Tensor::i64([1, length], source)),
            ("position_ids", Tensor::i64([1, length], (0..length as i64).collect::<Vec<_>>())),
        ];
        let (_, states) = encoder.run(&inputs).expect("it encodes").remove(0);
        model.listen(Encoded { states, mask: vec![1; length] });
        let mut sequences = model.begin().expect("a sequence");
        let (mut have, mut id) = (Vec::new(), START);
        while have.len() < 40 {
            let logits = model.step(&mut sequences, &[vec![id]], Positions::Last).expect("a step");
            id = best(&logits);
            if id == END {
                break;
            }
            have.push(id);
        }
        assert_eq!(have, ids(&case["hyp_ids"]), "{}", case["src"]);
    }
}

#[test]
fn a_voice_detector_tells_speech_with_its_probabilities() {
    let test = "a_voice_detector_tells_speech_with_its_probabilities";
    let Some(dir) = shared(test, "models/silero-vad") else { return };
    let golden = json(&dir.join("golden_jfk.json"));
    let Some(clip) = shared(test, golden["audio"].as_str().expect("a path")) else { return };
    let samples = recording(&clip);
    const CHUNK: usize = 512;
    const CONTEXT: usize = 64;
    for (onnx, want) in golden["probs"].as_object().expect("models") {
        let mut session = session(&dir, onnx);
        let mut state = vec![0f32; 2 * 128];
        let mut heard = vec![0f32; CONTEXT];
        let mut have = Vec::new();
        for chunk in samples.chunks_exact(CHUNK) {
            heard.extend(chunk);
            let inputs = [
                ("input", Tensor::f32([1, CONTEXT + CHUNK], heard.clone())),
                ("state", Tensor::f32([2, 1, 128], state)),
                ("sr", Tensor { shape: vec![], data: TensorData::I64(vec![16_000]) }),
            ];
            let outputs = session.run(&inputs).unwrap_or_else(|e| panic!("{onnx}: {e}"));
            have.extend(floats(&outputs, "output"));
            state = floats(&outputs, "stateN");
            heard.drain(..CHUNK);
        }
        let off = difference(&have, &numbers(want));
        assert!(off < 1e-4, "{onnx}: off by {off}");
    }
}

#[test]
fn a_wake_word_front_end_gives_its_mel_and_its_embedding() {
    let test = "a_wake_word_front_end_gives_its_mel_and_its_embedding";
    let Some(dir) = shared(test, "models/openwakeword") else { return };
    let Some(clip) = shared(test, "speech/samples/jfk/flac16k/jfk.flac") else { return };
    let golden = json(&dir.join("golden_jfk.json"));
    // It takes what 16-bit samples say.
    let samples: Vec<f32> = recording(&clip).into_iter().map(|sample| sample * 32_767.0).collect();
    let mel =
        session(&dir, "melspectrogram.onnx").run(&[("input", Tensor::f32([1, samples.len()], samples))]).expect("runs");
    let mel: Vec<f32> = floats(&mel, "output").into_iter().map(|value| value / 10.0 + 2.0).collect();
    let shape = golden["mel_shape"].as_array().expect("a shape");
    assert_eq!(mel.len() as u64, shape.iter().map(|size| size.as_u64().expect("a size")).product::<u64>());
    let first = numbers(&golden["mel_first"]);
    assert!(difference(&mel[..first.len()], &first) < 1e-3);
    let input = Tensor::f32([1, 76, 32, 1], mel[..76 * 32].to_vec());
    let embedding = session(&dir, "embedding_model.onnx").run(&[("input_1", input)]).expect("runs");
    let first = numbers(&golden["emb_first"]);
    let off = difference(&floats(&embedding, "conv2d_19")[..first.len()], &first);
    assert!(off < 1e-2, "off by {off}");
}

/// Log-mel of a second, as the spelling model was trained: 128 frames each 125 samples of 512 with a Hann window, 64 mel bands of Slaney's
/// scale (<https://librosa.org/doc/main/generated/librosa.filters.mel.html>) from 20 to 8000 Hz, then of mean 0 and deviation 1.
fn spelling_mel(samples: &[f32]) -> Vec<f32> {
    const SECOND: usize = 16_000;
    const WINDOW: usize = 512;
    const BANDS: usize = 64;
    const FRAMES: usize = 128;
    let before = (SECOND - samples.len()) / 2;
    let mut padded = vec![0f64; SECOND + WINDOW];
    for (i, sample) in samples.iter().enumerate() {
        padded[WINDOW / 2 + before + i] = f64::from(*sample);
    }
    let to_mel = |hz: f64| if hz < 1000.0 { hz * 3.0 / 200.0 } else { 15.0 + (hz / 1000.0).ln() * 27.0 / 6.4f64.ln() };
    let to_hz =
        |mel: f64| if mel < 15.0 { mel * 200.0 / 3.0 } else { 1000.0 * ((mel - 15.0) * 6.4f64.ln() / 27.0).exp() };
    let (low, high) = (to_mel(20.0), to_mel(8000.0));
    let edges: Vec<f64> = (0..BANDS + 2).map(|i| to_hz(low + (high - low) * i as f64 / (BANDS + 1) as f64)).collect();
    let turn = std::f64::consts::TAU / WINDOW as f64;
    let window: Vec<f64> = (0..WINDOW).map(|i| 0.5 - 0.5 * (turn * i as f64).cos()).collect();
    let (cos, sin): (Vec<f64>, Vec<f64>) =
        (0..WINDOW).map(|i| ((turn * i as f64).cos(), (turn * i as f64).sin())).unzip();
    let mut bands = vec![0f32; BANDS * FRAMES];
    for frame in 0..FRAMES {
        let part: Vec<f64> = padded[frame * 125..][..WINDOW].iter().zip(&window).map(|(a, b)| a * b).collect();
        let power = (0..=WINDOW / 2).map(|bin| {
            let sum = |table: &[f64]| part.iter().enumerate().map(|(i, v)| v * table[i * bin % WINDOW]).sum::<f64>();
            sum(&cos).powi(2) + sum(&sin).powi(2)
        });
        let power: Vec<f64> = power.collect();
        for band in 0..BANDS {
            let [from, middle, to] = [edges[band], edges[band + 1], edges[band + 2]];
            let sum: f64 = power
                .iter()
                .enumerate()
                .map(|(bin, power)| {
                    let hz = bin as f64 * SECOND as f64 / WINDOW as f64;
                    power * ((hz - from) / (middle - from)).min((to - hz) / (to - middle)).max(0.0)
                })
                .sum();
            bands[band * FRAMES + frame] = (sum * 2.0 / (to - from) + 1e-6).ln() as f32;
        }
    }
    let count = bands.len() as f32;
    let mean = bands.iter().sum::<f32>() / count;
    let deviation = (bands.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / (count - 1.0)).sqrt();
    bands.iter().map(|v| (v - mean) / deviation).collect()
}

#[test]
fn a_spelling_model_gives_its_logits_as_floats_and_as_bytes() {
    let test = "a_spelling_model_gives_its_logits_as_floats_and_as_bytes";
    let Some(dir) = shared(test, "models/moonshine-spelling-cnn") else { return };
    for name in ["spelling_cnn_mel", "spelling_cnn_mel.shrunk"] {
        let golden = json(&dir.join(format!("golden_{name}.json")));
        let mut session = session(&dir, &format!("{name}.onnx"));
        let mut compared = 0;
        for case in golden["cases"].as_array().expect("cases") {
            // Some recordings are held back.
            let clip = harness::shared_data().map(|data| data.join(case["audio"].as_str().expect("a path")));
            let Some(clip) = clip.filter(|clip| clip.exists()) else { continue };
            let samples = recording(&clip);
            if samples.len() > 16_000 {
                continue;
            }
            let mel = Tensor::f32([1, 1, 64, 128], spelling_mel(&samples));
            let have = floats(&session.run(&[("log_mel", mel)]).expect("runs"), "logits");
            let off = difference(&have, &numbers(&case["logits"]));
            assert!(off < 1e-3, "{name}, {}: off by {off}", case["audio"]);
            compared += 1;
        }
        if compared == 0 {
            harness::skip_without_shared_data(test, "every recording that its golden names");
        }
    }
}
