//! The encoder against an independent forward pass (`tests/goldens/encoder/generate.py`).

use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, TensorData};
use linnet_train::model::ops::Path as Form;
use linnet_train::model::{Bound, Encoder, EncoderConfig, Weights};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    frames: usize,
    lengths: Vec<usize>,
    features: Vec<f32>,
    log_probs: Vec<Vec<f32>>,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/encoder").join(name)
}

fn check(name: &str, form: Form) {
    let folder = folder(name);
    let golden: Golden = serde_json::from_slice(&std::fs::read(folder.join("golden.json")).unwrap()).unwrap();
    let config = EncoderConfig::read(&folder.join("model.json")).unwrap();
    let weights = Weights::read(&config, &folder.join("model.safetensors")).unwrap();
    let device = linnet_train::train::device::device(Default::default()).unwrap();
    let bound = Bound::with_path(&weights, &device, form);
    let encoder = Encoder::new(&config, &bound);
    let shape = [golden.lengths.len(), golden.frames, config.mel_bins];
    let features = Tensor::<3>::from_data(TensorData::new(golden.features, shape), &device);
    let out: Vec<f32> = encoder.forward(features, &golden.lengths, None).into_data().iter::<f32>().collect();
    let row = config.output_frames(golden.frames) * config.units;
    for (out, (want, length)) in out.chunks_exact(row).zip(golden.log_probs.iter().zip(&golden.lengths)) {
        assert_eq!(want.len(), config.output_frames(*length) * config.units);
        for (i, (out, want)) in out.iter().zip(want).enumerate() {
            assert!((out - want).abs() < 1e-4, "{name}, {form:?}: value {i} is {out}, not {want}");
        }
    }
}

#[test]
fn chunked_attention_and_four_fold_subsampling_give_the_golden() {
    check("chunked4x", Form::Composed);
    #[cfg(feature = "flex")]
    check("chunked4x", Form::Fused);
}

#[test]
fn full_attention_and_eight_fold_subsampling_give_the_golden() {
    check("full8x", Form::Composed);
    #[cfg(feature = "flex")]
    check("full8x", Form::Fused);
}
