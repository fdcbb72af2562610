//! One piece of audio to words: log-mel, normalisation, the graph, the search.

use std::sync::Arc;

use linnet_features::logmel::{KaldiFbank, MEL_BINS};
use linnet_features::normalize::{RunningNorm, normalize_utterance};
use linnet_proto::model_config::Normalization;

use super::Shared;
use crate::engine::{EngineError, Session, Tensor, TensorData};
use crate::store::{FEATURES, LOG_PROBS};
use crate::task::decode::{Decoded, Decoder, HotWords, LogProbs, SearchParams};

/// What was heard in one piece.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// Words with their frames, of which one lasts [`Recognizer::frame_secs`].
    pub decoded: Decoded,
    /// Output frames of the graph.
    pub frames: usize,
    /// [`LogProbs::mean_best`]: the fingerprint of a canary.
    pub mean_best: f64,
}

/// A session of a model with all that is used again from piece to piece. One per worker; `linnet-train evaluate` has its own.
pub struct Recognizer {
    shared: Arc<Shared>,
    session: Box<dyn Session>,
    fbank: KaldiFbank,
    running: RunningNorm,
    features: Vec<f32>,
    decoder: Decoder,
}

impl std::fmt::Debug for Recognizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recognizer").field("model", &self.shared.name).finish_non_exhaustive()
    }
}

impl Recognizer {
    pub(super) fn new(shared: Arc<Shared>) -> Result<Self, EngineError> {
        let session = shared.model.session()?;
        let decoder = Decoder::new(Arc::clone(&shared.units), shared.lm.clone());
        Ok(Self {
            shared,
            session,
            fbank: KaldiFbank::new(),
            running: RunningNorm::new(MEL_BINS),
            features: Vec::new(),
            decoder,
        })
    }

    /// Seconds of one output frame.
    pub fn frame_secs(&self) -> f64 {
        self.shared.config.subsampling as f64 * self.shared.config.frame_shift_ms / 1000.0
    }

    /// Hears a whole piece of at most `max_segment_secs`, 16 kHz mono. One that is shorter than a frame (25 ms) is silence.
    pub fn hear(&mut self, samples: &[f32], search: &SearchParams, hot: &HotWords) -> Result<Heard, EngineError> {
        self.hear_while(samples, search, hot, &mut || Ok(()))
    }

    /// As [`Recognizer::hear`], with a look at `checkpoint` between the graph's run and the search, and every few frames of
    /// the search. Its error is returned at once.
    pub fn hear_while<E: From<EngineError>>(
        &mut self,
        samples: &[f32],
        search: &SearchParams,
        hot: &HotWords,
        checkpoint: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<Heard, E> {
        let data = self.log_probs(samples)?;
        if data.is_empty() {
            let decoded = Decoded { text: String::new(), words: Vec::new(), avg_logprob: 0.0 };
            return Ok(Heard { decoded, frames: 0, mean_best: 0.0 });
        }
        let log_probs = LogProbs::new(&data, self.shared.config.units).map_err(|e| EngineError::Run(e.to_string()))?;
        let decoded = self.decoder.decode_while(log_probs, search, hot, checkpoint)?;
        Ok(Heard { decoded, frames: log_probs.frames(), mean_best: log_probs.mean_best() })
    }

    /// Normalised log-mel of a whole piece, `[frames, MEL_BINS]`: what the graph is given.
    pub fn features(&mut self, samples: &[f32]) -> &[f32] {
        self.extract(samples);
        &self.features
    }

    /// What the graph makes of a whole piece: log-probabilities, `[frames, units]`, empty for less than a frame. For code that
    /// searches them more than once.
    pub fn log_probs(&mut self, samples: &[f32]) -> Result<Vec<f32>, EngineError> {
        self.extract(samples);
        if self.features.is_empty() {
            return Ok(Vec::new());
        }
        let frames = self.features.len() / MEL_BINS;
        let features = Tensor::f32([1, frames, MEL_BINS], std::mem::take(&mut self.features));
        let inputs = [(FEATURES, features)];
        let outputs = self.session.run(&inputs);
        let [(_, features)] = inputs;
        if let TensorData::F32(buffer) = features.data {
            self.features = buffer;
        }
        let output = output(outputs?)?;
        let wanted = [1, frames.div_ceil(self.shared.config.subsampling), self.shared.config.units];
        if output.shape != wanted {
            let reason = format!("for {frames} frames the graph gave {:?} instead of {wanted:?}", output.shape);
            return Err(EngineError::Run(reason));
        }
        match output.data {
            TensorData::F32(data) => Ok(data),
            _ => Err(EngineError::Run(format!("`{LOG_PROBS}` does not hold floats"))),
        }
    }

    fn extract(&mut self, samples: &[f32]) {
        self.features.clear();
        self.fbank.reset();
        self.fbank.push(samples, &mut self.features);
        match self.shared.config.normalization {
            Normalization::None => {}
            Normalization::Utterance => normalize_utterance(&mut self.features, MEL_BINS),
            Normalization::Streaming => {
                self.running.reset();
                self.running.normalize(&mut self.features);
            }
        }
    }
}

fn output(outputs: Vec<(String, Tensor)>) -> Result<Tensor, EngineError> {
    let found = outputs.into_iter().find(|(name, _)| name == LOG_PROBS);
    found.map(|(_, tensor)| tensor).ok_or_else(|| EngineError::Run(format!("the graph gave no `{LOG_PROBS}`")))
}
