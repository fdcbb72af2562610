//! What may be written where: suppressed tokens, and the grammar of timestamps.
//!
//! As `transformers`' `SuppressTokensLogitsProcessor`, `SuppressTokensAtBeginLogitsProcessor` and `WhisperTimeStampLogitsProcessor`, in
//! their order.

use super::config::Settings;

/// The rules of one window.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rules<'a> {
    settings: &'a Settings,
    /// Id of the timestamp 0, where timestamps are written.
    first_time: Option<u32>,
}

impl<'a> Rules<'a> {
    /// With timestamps where the model has them and `times` asks.
    pub(super) fn new(settings: &'a Settings, times: bool) -> Self {
        Self { settings, first_time: settings.first_time().filter(|_| times) }
    }

    /// Puts −∞ where no token may be written behind `written`, the window's tokens so far.
    pub(super) fn apply(&self, scores: &mut [f32], written: &[u32]) {
        if written.is_empty() {
            forbid(scores, &self.settings.begin_suppress);
        }
        forbid(scores, &self.settings.suppress);
        if let Some(first_time) = self.first_time {
            self.times(scores, written, first_time as usize);
        }
    }

    fn times(&self, scores: &mut [f32], written: &[u32], first_time: usize) {
        if let Some(mark) = self.settings.no_timestamps {
            forbid(scores, &[mark]);
        }
        let is_time = |id: &u32| *id as usize >= first_time;
        let last_is_time = written.last().is_some_and(is_time);
        let one_before_is_time = written.len() < 2 || is_time(&written[written.len() - 2]);
        let end = (self.settings.end as usize).min(scores.len());
        if last_is_time {
            // Timestamps come in pairs, except right before the end.
            let forbidden = if one_before_is_time { first_time..scores.len() } else { 0..end };
            scores[forbidden].fill(f32::NEG_INFINITY);
        }
        if let Some(last) = written.iter().rev().find(|id| is_time(id)) {
            // Time does not go back, and no phrase takes none.
            let least = *last as usize + usize::from(!last_is_time || one_before_is_time);
            scores[first_time..least.min(self.settings.vocabulary)].fill(f32::NEG_INFINITY);
        }
        if written.is_empty() {
            scores[..first_time].fill(f32::NEG_INFINITY);
            if let Some(most) = self.settings.max_initial_timestamp {
                let behind = (first_time + most + 1).min(scores.len());
                scores[behind..].fill(f32::NEG_INFINITY);
            }
        }
        let (text, times) = scores.split_at(first_time);
        if log_sum_exp(times) > maximum(text) {
            scores[..first_time].fill(f32::NEG_INFINITY);
        }
    }
}

fn forbid(scores: &mut [f32], ids: &[u32]) {
    for id in ids {
        if let Some(score) = scores.get_mut(*id as usize) {
            *score = f32::NEG_INFINITY;
        }
    }
}

fn maximum(scores: &[f32]) -> f32 {
    scores.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// Natural logarithm of the sum of exponentials; −∞ of nothing.
pub(super) fn log_sum_exp(scores: &[f32]) -> f32 {
    let most = maximum(scores);
    if most == f32::NEG_INFINITY {
        return most;
    }
    let sum: f64 = scores.iter().map(|score| f64::from(score - most).exp()).sum();
    (f64::from(most) + sum.ln()) as f32
}
