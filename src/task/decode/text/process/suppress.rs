//! Tokens that are never written, or never first; scores that are no numbers.

use super::super::distribution::log_softmax;
use super::{History, Process, ban};

/// Bans tokens everywhere.
#[derive(Debug)]
pub struct Suppress(pub Vec<u32>);

impl Process for Suppress {
    fn apply(&self, _history: &History<'_>, scores: &mut [f32]) {
        ban(scores, self.0.iter().copied());
    }
}

/// Bans tokens as the first of an answer.
#[derive(Debug)]
pub struct SuppressAtBegin {
    ids: Vec<u32>,
    /// Behind a forced first token, the one after it counts as the first.
    forced_bos: bool,
}

impl SuppressAtBegin {
    /// `None` when there are none.
    pub fn new(ids: &[u32], forced_bos: bool) -> Option<Self> {
        (!ids.is_empty()).then(|| Self { ids: ids.to_vec(), forced_bos })
    }
}

impl Process for SuppressAtBegin {
    fn apply(&self, history: &History<'_>, scores: &mut [f32]) {
        let begin = if self.forced_bos && history.prompt <= 1 { history.prompt + 1 } else { history.prompt };
        if history.ids.len() == begin {
            ban(scores, self.ids.iter().copied());
        }
    }
}

/// Puts numbers where there are none: 0 for not-a-number, the largest finite ones for the infinite.
#[derive(Debug)]
pub struct RemoveInvalid;

impl Process for RemoveInvalid {
    fn apply(&self, _history: &History<'_>, scores: &mut [f32]) {
        for score in scores {
            *score = if score.is_nan() { 0.0 } else { score.clamp(f32::MIN, f32::MAX) };
        }
    }
}

/// Makes scores logarithms of probabilities again.
#[derive(Debug)]
pub struct Normalize;

impl Process for Normalize {
    fn apply(&self, _history: &History<'_>, scores: &mut [f32]) {
        let normalized = log_softmax(scores);
        scores.copy_from_slice(&normalized);
    }
}
