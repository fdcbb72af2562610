//! A package's weights: `config.json` names languages and sizes, `weights.bin` holds one byte for each group and language.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::features::features;
use super::{FAMILY, WEIGHTS};
use crate::store::{CONFIG, PackageError, layout};

/// Most languages and buckets that are believable.
const MAX_LANGUAGES: usize = 512;
const MAX_BUCKETS: usize = 1 << 20;

/// `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Config {
    model_type: String,
    /// BCP-47 primary tags, in the order of the weights.
    languages: Vec<String>,
    /// How many places groups are hashed to.
    buckets: usize,
    /// What a weight of 1 stands for.
    scale: f32,
    /// Added to each language's score.
    bias: Vec<f32>,
}

/// One weight for each place and language.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    config: Config,
    /// `[buckets, languages]`.
    values: Vec<i8>,
}

impl Weights {
    /// Rounds float weights, `[buckets, languages]`.
    pub fn quantize(languages: Vec<String>, buckets: usize, values: &[f32], bias: Vec<f32>) -> Self {
        let most = values.iter().fold(1e-6f32, |most, x| most.max(x.abs()));
        let scale = most / 127.0;
        let values = values.iter().map(|x| (x / scale).round() as i8).collect();
        Self { config: Config { model_type: FAMILY.to_owned(), languages, buckets, scale, bias }, values }
    }

    /// Reads a package.
    pub fn read(dir: &Path) -> Result<Self, PackageError> {
        let path = dir.join(CONFIG);
        let config = serde_json::from_value(layout::read_config(dir)?);
        let config: Config = config.map_err(|e| PackageError::invalid(&path, e.to_string()))?;
        let count = config.languages.len();
        let fits = (1..=MAX_LANGUAGES).contains(&count) && (1..=MAX_BUCKETS).contains(&config.buckets);
        if !fits
            || config.bias.len() != count
            || !config.scale.is_finite()
            || config.bias.iter().any(|b| !b.is_finite())
        {
            return Err(PackageError::invalid(&path, "languages, buckets, bias and scale do not fit together"));
        }
        let path = dir.join(WEIGHTS);
        let read = |e| PackageError::read(&path, e);
        let wanted = config.buckets * count;
        let bytes = std::fs::metadata(&path).map_err(read)?.len();
        if bytes != wanted as u64 {
            let reason =
                format!("it has {bytes} bytes, but {count} languages by {} places are {wanted}", config.buckets);
            return Err(PackageError::invalid(&path, reason));
        }
        let values = std::fs::read(&path).map_err(read)?.into_iter().map(u8::cast_signed).collect();
        Ok(Self { config, values })
    }

    /// The files of a package, by name.
    pub fn files(&self) -> [(&'static str, Vec<u8>); 2] {
        // A struct of numbers and texts always serializes.
        let config = serde_json::to_vec_pretty(&self.config).unwrap_or_default();
        [(CONFIG, config), (WEIGHTS, self.values.iter().map(|x| x.cast_unsigned()).collect())]
    }

    /// Tags in the order of [`Weights::probabilities`].
    pub fn languages(&self) -> &[String] {
        &self.config.languages
    }

    /// How likely each language is, given the text.
    pub fn probabilities(&self, text: &str) -> Vec<f32> {
        self.probabilities_of(&features(text, self.config.buckets))
    }

    /// As [`Weights::probabilities`], for features that were counted already.
    pub fn probabilities_of(&self, features: &[(u32, f32)]) -> Vec<f32> {
        let count = self.config.languages.len();
        let mut scores = self.config.bias.clone();
        for &(place, x) in features {
            let row = &self.values[place as usize * count..(place as usize + 1) * count];
            for (score, weight) in scores.iter_mut().zip(row) {
                *score += x * self.config.scale * f32::from(*weight);
            }
        }
        let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        scores.iter_mut().for_each(|score| *score = (*score - most).exp());
        let sum: f32 = scores.iter().sum();
        scores.iter_mut().for_each(|score| *score /= sum);
        scores
    }

    /// Memory that it takes, bytes.
    pub fn bytes(&self) -> u64 {
        self.values.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_judged_alike() {
        let buckets = 64;
        let values: Vec<f32> = (0..buckets * 2).map(|i| ((i * 37 % 19) as f32 - 9.0) / 9.0).collect();
        let weights = Weights::quantize(vec!["en".into(), "de".into()], buckets, &values, vec![0.1, -0.1]);
        let dir = tempfile::tempdir().expect("a directory");
        for (name, bytes) in weights.files() {
            std::fs::write(dir.path().join(name), bytes).expect("writes");
        }
        let read = Weights::read(dir.path()).expect("reads");
        assert_eq!(read, weights);
        let sum: f32 = read.probabilities("hello there").iter().sum();
        assert!((sum - 1.0).abs() < 1e-5);
        std::fs::write(dir.path().join(WEIGHTS), [0; 3]).expect("writes");
        assert!(Weights::read(dir.path()).expect_err("cut off").to_string().contains("3 bytes"));
    }
}
