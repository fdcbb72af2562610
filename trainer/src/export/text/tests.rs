//! The graphs, run by the daemon's engine, compute what was trained: whole, and token by token with a past.

use std::path::Path;

use linnet::engine::tract::TractEngine;
use linnet::engine::{Engine, Tensor, TensorData};

use super::package::write_graphs;
use super::{Kind, TextModel};
use crate::data::text::Vocabulary;
use crate::model::causal::{Causal, CausalConfig};
use crate::model::seq2seq::{Seq2Seq, Seq2SeqConfig, Texts};
use crate::model::{Bound, Weights};
use crate::vocabulary::{Kind as Tokens, learn};

type Named = Vec<(String, Tensor)>;

/// Seeded weights, larger than those that training begins with; no bias is 0 and no gain is 1.
fn noisy(mut weights: Weights) -> Weights {
    for (i, value) in weights.flat.iter_mut().enumerate() {
        let wave = (i as f32 * 0.7).sin();
        *value = if *value == 0.0 { 0.2 * wave } else { 1.7 * *value + 0.1 * wave * value.abs() };
    }
    weights
}

fn vocabulary(kind: Tokens) -> Vocabulary {
    let text = "one two three four five six seven eight nine ten".repeat(30);
    let tokenizer = learn(kind, 300, 1, &[text]).expect("learns");
    Vocabulary::from_json(tokenizer.to_string(false).expect("json").into_bytes()).expect("loads")
}

fn translator() -> TextModel {
    let vocabulary = vocabulary(Tokens::Words);
    let config = Seq2SeqConfig {
        vocab: vocabulary.len(),
        d_model: 16,
        encoder_layers: 2,
        decoder_layers: 2,
        heads: 4,
        ffn: 24,
        positions: 32,
        ..Seq2SeqConfig::default()
    };
    let weights = noisy(Weights::random(&config, 5));
    TextModel { kind: Kind::Seq2Seq(config), weights, vocabulary }
}

fn writer(kv_heads: usize) -> TextModel {
    let vocabulary = vocabulary(Tokens::Bytes);
    let config = CausalConfig {
        vocab: vocabulary.len(),
        d_model: 16,
        layers: 2,
        heads: 4,
        kv_heads,
        ffn: 24,
        positions: 32,
        ..CausalConfig::default()
    };
    let mut weights = noisy(Weights::random(&config, 6));
    weights.flat.iter_mut().for_each(|value| *value *= 2.0);
    TextModel { kind: Kind::Causal(config), weights, vocabulary }
}

fn run(package: &Path, file: &str, inputs: &[(&str, Tensor)]) -> Named {
    let model = TractEngine::default().load(package, &Path::new("onnx").join(file)).expect("loads");
    model.session().expect("opens").run(inputs).expect("runs")
}

fn ids(values: &[u32]) -> Tensor {
    Tensor::i64([1, values.len()], values.iter().map(|id| i64::from(*id)).collect())
}

fn ones(count: usize) -> Tensor {
    Tensor::i64([1, count], vec![1; count])
}

fn floats<'a>(named: &'a Named, name: &str) -> &'a [f32] {
    let (_, tensor) = named.iter().find(|(own, _)| own == name).unwrap_or_else(|| panic!("no output {name}"));
    let TensorData::F32(values) = &tensor.data else { panic!("{name} holds no floats") };
    values
}

fn near(what: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let most = theirs.iter().fold(0f32, |most, value| most.max(value.abs()));
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() < 1e-4 * (1.0 + most), "{what}[{i}]: {a}, not {b}");
    }
}

/// What a step gave becomes what the next is given.
fn past(given: &Named, keep: &Named) -> Named {
    let renamed = given.iter().filter(|(name, _)| name.starts_with("present."));
    let renamed = renamed.map(|(name, tensor)| (name.replace("present", "past_key_values"), tensor.clone()));
    let mut all: Named = renamed.collect();
    for (name, tensor) in keep {
        if !all.iter().any(|(own, _)| own == name) {
            all.push((name.clone(), tensor.clone()));
        }
    }
    all
}

#[test]
fn an_encoder_decoders_graphs_compute_what_was_trained() {
    for int8 in [false, true] {
        let model = translator();
        let dir = tempfile::tempdir().expect("a directory");
        write_graphs(&model, int8, dir.path()).expect("writes");
        let held = if int8 { model.rounded().expect("rounds") } else { translator() };
        let Kind::Seq2Seq(config) = &held.kind else { unreachable!() };
        let device = super::judge::cpu().expect("a device");
        let bound = Bound::new(&held.weights, &device);
        let trained = Seq2Seq::new(config, &bound, None);
        let (source, fed) = ([9u32, 5, 30, 47, 0], [config.pad, 12, 7, 40]);
        let texts = Texts::new(&[source], config.pad);
        let encoded = trained.encode(&texts);
        let logits = trained.decode(encoded.clone(), &texts, &Texts::new(&[fed], config.pad));
        let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
        let encoded: Vec<f32> = encoded.into_data().iter::<f32>().collect();

        let suffix = if int8 { "_quantized" } else { "" };
        let file = |part: &str| format!("{part}{suffix}.onnx");
        let inputs = [("input_ids", ids(&source)), ("attention_mask", ones(source.len()))];
        let out = run(dir.path(), &file("encoder_model"), &inputs);
        near("last_hidden_state", floats(&out, "last_hidden_state"), &encoded);
        let hidden = Tensor::f32([1, source.len(), config.d_model], encoded);
        let first = |fed: &[u32]| {
            let inputs = [
                ("encoder_attention_mask", ones(source.len())),
                ("input_ids", ids(fed)),
                ("encoder_hidden_states", hidden.clone()),
            ];
            run(dir.path(), &file("decoder_model"), &inputs)
        };
        near("all at once", floats(&first(&fed), "logits"), &logits);
        let mut out = first(&fed[..1]);
        let mut known: Named = Vec::new();
        for (i, id) in fed.iter().enumerate().skip(1) {
            known = past(&out, &known);
            let mut inputs: Vec<(&str, Tensor)> =
                known.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
            inputs.push(("encoder_attention_mask", ones(source.len())));
            inputs.push(("input_ids", ids(&[*id])));
            out = run(dir.path(), &file("decoder_with_past_model"), &inputs);
            near(&format!("step {i}"), floats(&out, "logits"), &logits[i * config.vocab..][..config.vocab]);
        }
    }
}

#[test]
fn a_decoders_graph_computes_what_was_trained() {
    for (int8, kv_heads) in [(false, 4), (false, 2), (true, 4)] {
        let model = writer(kv_heads);
        let dir = tempfile::tempdir().expect("a directory");
        write_graphs(&model, int8, dir.path()).expect("writes");
        let held = if int8 { model.rounded().expect("rounds") } else { writer(kv_heads) };
        let Kind::Causal(config) = &held.kind else { unreachable!() };
        let device = super::judge::cpu().expect("a device");
        let bound = Bound::new(&held.weights, &device);
        let fed = [1u32, 50, 90, 33, 120, 7];
        let logits = Causal::new(config, &bound, None).forward(&Texts::new(&[fed], config.pad));
        let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
        let file = if int8 { "model_quantized.onnx" } else { "model.onnx" };
        let empty = || Tensor::f32([1, kv_heads, 0, config.head()], Vec::new());
        let mut known: Named = Vec::new();
        for i in 0..config.layers {
            known.push((format!("past_key_values.{i}.key"), empty()));
            known.push((format!("past_key_values.{i}.value"), empty()));
        }
        // The prompt in two pieces, then token by token.
        let mut at = 0;
        for piece in [2, 2, 1, 1] {
            let mut inputs: Vec<(&str, Tensor)> =
                known.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
            let positions: Vec<u32> = (at..at + piece).map(|position| position as u32).collect();
            inputs.push(("input_ids", ids(&fed[at..at + piece])));
            inputs.push(("attention_mask", ones(at + piece)));
            inputs.push(("position_ids", ids(&positions)));
            let out = run(dir.path(), file, &inputs);
            let want = &logits[at * config.vocab..(at + piece) * config.vocab];
            near(&format!("from {at}"), floats(&out, "logits"), want);
            known = past(&out, &Vec::new());
            at += piece;
        }
    }
}
