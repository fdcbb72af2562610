//! What a CTC model's graph takes and gives.

use linnet_features::audio::SAMPLE_RATE;
use linnet_features::logmel::{HOP_SAMPLES, KaldiFbank, MEL_BINS};
use linnet_features::normalize::{RunningNorm, normalize_utterance};
use linnet_proto::model_config::{CtcConfig, DecodingDefaults, Normalization};

use crate::engine::{Datum, EngineError, Model, Tensor, TensorData};
use crate::store::{FEATURES, LOG_PROBS, PackageError};
use crate::task::transcribe::standardize;

/// How a model hears: the same for all workers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Acoustics {
    pub(super) front: Front,
    /// Name of the output, `[1, frames, units]`.
    pub(super) output: String,
    /// Whether the output is log-probabilities already.
    pub(super) is_normalized: bool,
    /// Units of a frame, the blank included.
    pub(super) units: usize,
    /// Longest piece that one run of the graph may take, seconds.
    pub(super) max_segment_secs: f64,
    /// Defaults of the search.
    pub(super) decoding: DecodingDefaults,
}

/// What is made of the sound before the graph.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Front {
    /// Log-mel frames, `features` `[1, frames, 80]`.
    Fbank {
        normalization: Normalization,
        /// Mel frames of an output frame.
        subsampling: usize,
    },
    /// The samples themselves, `[1, samples]`.
    Waveform {
        /// Name of the input.
        input: String,
        /// Name of the input that says which samples count, where the graph has one, and its elements.
        mask: Option<(String, Datum)>,
        /// Whether each piece is brought to mean 0 and variance 1.
        normalizes: bool,
        /// Kernel and stride of each layer of convolution.
        layers: Vec<(usize, usize)>,
    },
}

impl Acoustics {
    /// Of a `linnet-ctc` package.
    pub(super) fn of_config(config: &CtcConfig) -> Self {
        Self {
            front: Front::Fbank { normalization: config.normalization, subsampling: config.subsampling },
            output: LOG_PROBS.to_owned(),
            is_normalized: true,
            units: config.units,
            max_segment_secs: config.max_segment_secs,
            decoding: config.decoding.clone(),
        }
    }

    /// Seconds of one output frame.
    pub(super) fn frame_secs(&self) -> f64 {
        let samples = match &self.front {
            Front::Fbank { subsampling, .. } => subsampling * HOP_SAMPLES,
            Front::Waveform { layers, .. } => layers.iter().map(|(_, stride)| stride).product(),
        };
        samples as f64 / f64::from(SAMPLE_RATE)
    }

    /// Output frames of so many floats of [`Ears::features`].
    pub(super) fn frames(&self, floats: usize) -> usize {
        match &self.front {
            Front::Fbank { subsampling, .. } => (floats / MEL_BINS).div_ceil(*subsampling),
            Front::Waveform { layers, .. } => {
                let shorter =
                    |n: usize, (kernel, stride): &(usize, usize)| n.checked_sub(*kernel).map(|n| n / stride + 1);
                layers.iter().try_fold(floats, shorter).unwrap_or(0)
            }
        }
    }

    /// The graph's inputs for `features`, which are moved into the first one.
    pub(super) fn inputs(&self, features: Vec<f32>) -> Vec<(&str, Tensor)> {
        match &self.front {
            Front::Fbank { .. } => vec![(FEATURES, Tensor::f32([1, features.len() / MEL_BINS, MEL_BINS], features))],
            Front::Waveform { input, mask, .. } => {
                let samples = features.len();
                let ones = |datum: &Datum| match datum {
                    Datum::F32 => TensorData::F32(vec![1.0; samples]),
                    Datum::I32 => TensorData::I32(vec![1; samples]),
                    Datum::Bool => TensorData::Bool(vec![true; samples]),
                    _ => TensorData::I64(vec![1; samples]),
                };
                let mask = mask.as_ref();
                let mask =
                    mask.map(|(name, datum)| (name.as_str(), Tensor { shape: vec![1, samples], data: ones(datum) }));
                std::iter::once((input.as_str(), Tensor::f32([1, samples], features))).chain(mask).collect()
            }
        }
    }

    /// Log-probabilities, `[frames, units]`, of what the graph gave for `frames`.
    pub(super) fn log_probs(&self, outputs: Vec<(String, Tensor)>, frames: usize) -> Result<Vec<f32>, EngineError> {
        let found = outputs.into_iter().find(|(name, _)| *name == self.output);
        let output = found.map(|(_, tensor)| tensor);
        let output = output.ok_or_else(|| EngineError::Run(format!("the graph gave no `{}`", self.output)))?;
        let wanted = [1, frames, self.units];
        if output.shape != wanted {
            let reason = format!("for {frames} frames the graph gave {:?} instead of {wanted:?}", output.shape);
            return Err(EngineError::Run(reason));
        }
        let TensorData::F32(mut data) = output.data else {
            return Err(EngineError::Run(format!("`{}` does not hold floats", self.output)));
        };
        if !self.is_normalized {
            data.chunks_exact_mut(self.units).for_each(log_softmax);
        }
        Ok(data)
    }

    /// Runs the graph once on a short silence and refuses outputs that are not what the package says.
    pub(super) fn try_out(&self, onnx: &std::path::Path, model: &dyn Model) -> Result<(), PackageError> {
        // A tenth of a second more than the first frame needs.
        let mut floats = 1600;
        while self.frames(floats) < 2 {
            floats += 1600;
        }
        let outputs = model.session()?.run(&self.inputs(vec![0.0; floats]))?;
        let tried = self.log_probs(outputs, self.frames(floats));
        tried
            .map(drop)
            .map_err(|e| PackageError::invalid(onnx, format!("{e}; graph and config.json must come from one export")))
    }
}

fn log_softmax(frame: &mut [f32]) {
    let most = frame.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = frame.iter().map(|logit| f64::from(logit - most).exp()).sum();
    let total = (f64::from(most) + sum.ln()) as f32;
    frame.iter_mut().for_each(|logit| *logit -= total);
}

/// One worker's way from samples to a graph's features, with buffers that are used again.
#[derive(Debug)]
pub(super) struct Ears {
    fbank: KaldiFbank,
    running: RunningNorm,
}

impl Default for Ears {
    fn default() -> Self {
        Self { fbank: KaldiFbank::new(), running: RunningNorm::new(MEL_BINS) }
    }
}

impl Ears {
    /// What the graph is given of a whole piece, 16 kHz mono; empty when it is too short for a frame.
    pub(super) fn features(&mut self, acoustics: &Acoustics, samples: &[f32], features: &mut Vec<f32>) {
        features.clear();
        match &acoustics.front {
            Front::Fbank { normalization, .. } => {
                self.fbank.reset();
                self.fbank.push(samples, features);
                match normalization {
                    Normalization::None => {}
                    Normalization::Utterance => normalize_utterance(features, MEL_BINS),
                    Normalization::Streaming => {
                        self.running.reset();
                        self.running.normalize(features);
                    }
                }
            }
            Front::Waveform { normalizes, .. } => {
                if acoustics.frames(samples.len()) == 0 {
                    return;
                }
                features.extend_from_slice(samples);
                if *normalizes {
                    standardize(features);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waveform_has_the_frames_that_its_convolutions_leave() {
        let layers = vec![(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)];
        let front = Front::Waveform { input: "input_values".into(), mask: None, normalizes: true, layers };
        let acoustics = Acoustics {
            front,
            output: "logits".into(),
            is_normalized: false,
            units: 4,
            max_segment_secs: 20.0,
            decoding: DecodingDefaults::default(),
        };
        // As wav2vec2 does: 49 frames of a second.
        assert_eq!([0, 399, 400, 719, 720, 16_000].map(|n| acoustics.frames(n)), [0, 0, 1, 1, 2, 49]);
        assert!((acoustics.frame_secs() - 0.02).abs() < 1e-12);
    }

    #[test]
    fn logits_become_log_probabilities() {
        let mut frame = [1000.0, 1000.0, -1000.0];
        log_softmax(&mut frame);
        assert!((frame[0] + 2f32.ln()).abs() < 1e-4 && frame[2] < -1000.0, "{frame:?}");
    }

    #[test]
    fn silence_is_not_divided_by_nothing() {
        let mut samples = [0.5; 8];
        standardize(&mut samples);
        assert_eq!(samples, [0.0; 8]);
    }
}
