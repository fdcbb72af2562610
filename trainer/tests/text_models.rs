//! The text models against `transformers` (`tests/goldens/text/generate.py`), and back to its names.

use std::path::{Path, PathBuf};

use linnet_train::export::text::{Kind, to_transformers};
use linnet_train::model::causal::{Causal, CausalConfig};
use linnet_train::model::ops::Path as Form;
use linnet_train::model::seq2seq::{Seq2Seq, Seq2SeqConfig, Texts};
use linnet_train::model::{Bound, Weights};
use safetensors::SafeTensors;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    #[serde(default)]
    sources: Vec<Vec<u32>>,
    inputs: Vec<Vec<u32>>,
    logits: Vec<Vec<f32>>,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/text").join(name)
}

fn golden(name: &str) -> Golden {
    serde_json::from_slice(&std::fs::read(folder(name).join("golden.json")).unwrap()).unwrap()
}

fn forms() -> Vec<Form> {
    vec![
        Form::Composed,
        #[cfg(feature = "flex")]
        Form::Fused,
    ]
}

/// Logits of a padded batch beside those of each text alone.
fn compare(out: &[f32], golden: &Golden, vocab: usize, form: Form) {
    let rows = golden.inputs.iter().map(Vec::len).max().unwrap();
    let most = golden.logits.iter().flatten().fold(0f32, |most, logit| most.max(logit.abs()));
    for (text, want) in golden.logits.iter().enumerate() {
        assert_eq!(want.len(), golden.inputs[text].len() * vocab);
        for (i, want) in want.iter().enumerate() {
            let got = out[text * rows * vocab + i];
            assert!((got - want).abs() < 2e-5 * most, "{form:?}, text {text}, value {i} is {got}, not {want}");
        }
    }
}

fn marian() -> (Seq2SeqConfig, Weights) {
    let config = Seq2SeqConfig::read(&folder("marian").join("model.json")).unwrap();
    let weights = Weights::read(&config, &folder("marian").join("model.safetensors")).unwrap();
    (config, weights)
}

fn llama() -> (CausalConfig, Weights) {
    let config = CausalConfig::read(&folder("llama").join("model.json")).unwrap();
    let weights = Weights::read(&config, &folder("llama").join("model.safetensors")).unwrap();
    (config, weights)
}

#[test]
fn an_encoder_decoder_computes_what_marian_does() {
    let (golden, (config, weights)) = (golden("marian"), marian());
    let device = linnet_train::train::device::device(Default::default()).unwrap();
    for form in forms() {
        let bound = Bound::with_path(&weights, &device, form);
        let model = Seq2Seq::new(&config, &bound, None);
        let (sources, inputs) = (Texts::new(&golden.sources, config.pad), Texts::new(&golden.inputs, config.pad));
        let out: Vec<f32> = model.decode(model.encode(&sources), &sources, &inputs).into_data().iter::<f32>().collect();
        compare(&out, &golden, config.vocab, form);
    }
}

#[test]
fn a_decoder_computes_what_llama_does() {
    let (golden, (config, weights)) = (golden("llama"), llama());
    let device = linnet_train::train::device::device(Default::default()).unwrap();
    for form in forms() {
        let bound = Bound::with_path(&weights, &device, form);
        let texts = Texts::new(&golden.inputs, config.pad);
        let out: Vec<f32> = Causal::new(&config, &bound, None).forward(&texts).into_data().iter::<f32>().collect();
        compare(&out, &golden, config.vocab, form);
    }
}

#[test]
fn weights_go_back_to_the_names_and_values_of_transformers() {
    let (marian, llama) = (marian(), llama());
    for (name, kind, weights) in
        [("marian", Kind::Seq2Seq(marian.0), marian.1), ("llama", Kind::Causal(llama.0), llama.1)]
    {
        let ours = to_transformers(&kind, &weights).unwrap();
        let theirs = std::fs::read(folder(name).join("transformers.safetensors")).unwrap();
        let (ours, theirs) = (SafeTensors::deserialize(&ours).unwrap(), SafeTensors::deserialize(&theirs).unwrap());
        let names = |tensors: &SafeTensors| {
            let mut names: Vec<String> = tensors.names().iter().map(|name| (*name).to_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&ours), names(&theirs));
        for (tensor, view) in theirs.iter() {
            let own = ours.tensor(tensor).unwrap();
            assert_eq!(own.shape(), view.shape(), "{tensor}");
            let values = |data: &[u8]| -> Vec<f32> {
                data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
            };
            let (own, want) = (values(own.data()), values(view.data()));
            assert!(own.iter().zip(&want).all(|(own, want)| (own - want).abs() < 1e-6), "{tensor}");
        }
    }
}
