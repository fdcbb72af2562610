//! A trained encoder on disk: `model.json`, `model.safetensors`, `tokenizer.json` in one directory (`docs/model.md`).

use std::collections::BTreeMap;
use std::path::Path;

use half::f16;
use safetensors::tensor::{Dtype, TensorView};

use crate::error::{Failure, Result};
use crate::model::{EncoderConfig, Weights};
use crate::output::write_whole;

/// Name of the shape.
pub const MODEL_JSON: &str = "model.json";
/// Name of the weights.
pub const WEIGHTS: &str = "model.safetensors";
/// Name of the units.
pub const TOKENIZER: &str = "tokenizer.json";

/// One tensor, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Elements.
    pub data: Vec<f32>,
}

/// A trained encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// Its shape.
    pub config: EncoderConfig,
    /// Every tensor by name.
    pub tensors: BTreeMap<String, Weight>,
    /// Bytes of `tokenizer.json`.
    pub tokenizer: Vec<u8>,
}

impl Trained {
    /// Reads the three files; weights may be f32 or f16.
    pub fn open(dir: &Path) -> Result<Self> {
        let config = EncoderConfig::read(&dir.join(MODEL_JSON))?;
        let weights = Weights::read(&config, &dir.join(WEIGHTS))?;
        let path = dir.join(TOKENIZER);
        let tokenizer = std::fs::read(&path).map_err(|e| Failure::read(&path, e))?;
        Ok(Self::new(config, &weights, tokenizer))
    }

    /// From weights at hand.
    pub fn new(config: EncoderConfig, weights: &Weights, tokenizer: Vec<u8>) -> Self {
        let tensor = |place: &crate::model::weights::Place| {
            let data = weights.flat[place.range.clone()].to_vec();
            (place.name.clone(), Weight { shape: place.shape.clone(), data })
        };
        let tensors = weights.layout.places().iter().map(tensor).collect();
        Self { config, tensors, tokenizer }
    }

    /// Numbers in all tensors.
    pub fn parameters(&self) -> usize {
        self.tensors.values().map(|w| w.data.len()).sum()
    }

    /// Writes the three files into `dir`, the weights rounded to f16: half the size, for going on from there.
    pub fn write_half(&self, dir: &Path) -> Result<()> {
        let software = |e: &dyn std::fmt::Display| Failure::software(e.to_string());
        let json = serde_json::to_vec_pretty(&self.config).map_err(|e| software(&e))?;
        let half = |w: &Weight| w.data.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect::<Vec<u8>>();
        let bytes: Vec<_> = self.tensors.iter().map(|(name, weight)| (name, weight, half(weight))).collect();
        let views = bytes
            .iter()
            .map(|(name, weight, bytes)| Ok((*name, TensorView::new(Dtype::F16, weight.shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(|e| software(&e))?;
        let weights = safetensors::serialize(views, None).map_err(|e| software(&e))?;
        write_whole(&dir.join(MODEL_JSON), &json)?;
        write_whole(&dir.join(TOKENIZER), &self.tokenizer)?;
        write_whole(&dir.join(WEIGHTS), &weights)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A small encoder.
    pub(crate) fn small_config() -> EncoderConfig {
        EncoderConfig {
            conv_channels: 6,
            d_model: 16,
            layers: 2,
            heads: 2,
            ff_mult: 2,
            conv_kernel: 5,
            chunk_frames: 4,
            left_chunks: 1,
            units: 9,
            ..EncoderConfig::default()
        }
    }

    /// A tokenizer of `units` single characters.
    pub(crate) fn character_tokenizer(units: usize) -> Vec<u8> {
        let letters = (2..units).zip('a'..).map(|(id, letter)| (letter.to_string(), id));
        let vocabulary: serde_json::Map<String, serde_json::Value> = [("<blank>".to_owned(), 0), ("▁".to_owned(), 1)]
            .into_iter()
            .chain(letters)
            .map(|(n, i)| (n, i.into()))
            .collect();
        let model = serde_json::json!({ "type": "WordLevel", "vocab": vocabulary, "unk_token": "<blank>" });
        let file = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": null, "post_processor": null, "decoder": null, "model": model,
        });
        serde_json::to_vec(&file).expect("serialises")
    }

    /// Seeded random weights, larger than those that training begins with, so that every unit is heard; no bias is 0 and
    /// no gain is 1.
    pub(crate) fn random(config: EncoderConfig, seed: u64) -> Trained {
        let mut weights = Weights::random(&config, seed);
        for (i, value) in weights.flat.iter_mut().enumerate() {
            let wave = (i as f32 * 0.7).sin();
            *value = if *value == 0.0 { 0.2 * wave } else { 1.7 * *value + 0.1 * wave * value.abs() };
        }
        let tokenizer = character_tokenizer(config.units);
        Trained::new(config, &weights, tokenizer)
    }

    /// The three files with whole floats, as a run leaves them.
    pub(crate) fn write(trained: &Trained, dir: &Path) {
        let flat = |name: &str| trained.tensors[name].data.clone();
        let mut weights = Weights::random(&trained.config, 0);
        weights.flat = weights.layout.places().iter().flat_map(|p| flat(&p.name)).collect();
        let json = serde_json::to_vec(&trained.config).expect("serialises");
        for (name, bytes) in [
            (MODEL_JSON, json),
            (WEIGHTS, weights.to_safetensors().expect("serialises")),
            (TOKENIZER, trained.tokenizer.clone()),
        ] {
            std::fs::write(dir.join(name), bytes).expect("writes");
        }
    }

    #[test]
    fn weights_kept_in_half_the_size_are_read_within_their_rounding() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let trained = random(small_config(), 1);
        trained.write_half(dir.path()).expect("writes");
        let read = Trained::open(dir.path()).expect("reads");
        assert_eq!((&read.config, &read.tokenizer), (&trained.config, &trained.tokenizer));
        for (name, weight) in &trained.tensors {
            assert_eq!(weight.shape, read.tensors[name].shape);
            for (a, b) in weight.data.iter().zip(&read.tensors[name].data) {
                assert!((a - b).abs() <= a.abs() / 2048.0 + 1e-7, "{name}: {a} became {b}");
            }
        }
        let bytes = std::fs::metadata(dir.path().join(WEIGHTS)).expect("there").len();
        assert!(bytes < 3 * trained.parameters() as u64);
    }
}
