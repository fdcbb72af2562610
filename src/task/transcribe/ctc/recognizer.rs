//! One piece of audio to words: log-mel, normalisation, the graph, the search.

use std::sync::Arc;

use super::Shared;
use super::acoustics::Ears;
use crate::engine::{EngineError, Session, TensorData};
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
    ears: Ears,
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
        Ok(Self { shared, session, ears: Ears::default(), features: Vec::new(), decoder })
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Seconds of one output frame.
    pub fn frame_secs(&self) -> f64 {
        self.shared.acoustics.frame_secs()
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
        let log_probs =
            LogProbs::new(&data, self.shared.acoustics.units).map_err(|e| EngineError::Run(e.to_string()))?;
        let decoded = self.decoder.decode_while(log_probs, search, hot, checkpoint)?;
        Ok(Heard { decoded, frames: log_probs.frames(), mean_best: log_probs.mean_best() })
    }

    /// What the graph is given of a whole piece: normalised log-mel, `[frames, 80]`, or normalised samples.
    pub fn features(&mut self, samples: &[f32]) -> &[f32] {
        self.ears.features(&self.shared.acoustics, samples, &mut self.features);
        &self.features
    }

    /// What the graph makes of a whole piece: log-probabilities, `[frames, units]`, empty for less than a frame. For code that
    /// searches them more than once.
    pub fn log_probs(&mut self, samples: &[f32]) -> Result<Vec<f32>, EngineError> {
        let acoustics = &self.shared.acoustics;
        self.ears.features(acoustics, samples, &mut self.features);
        if self.features.is_empty() {
            return Ok(Vec::new());
        }
        let frames = acoustics.frames(self.features.len());
        let inputs = acoustics.inputs(std::mem::take(&mut self.features));
        let outputs = self.session.run(&inputs);
        if let Some((_, features)) = inputs.into_iter().next()
            && let TensorData::F32(buffer) = features.data
        {
            self.features = buffer;
        }
        acoustics.log_probs(outputs?, frames)
    }
}
